"""One line on the customer's machine, for apt: the set-up script and the files that it asks for.

packagecloud's addresses and parameters, so that its users' own tools go on; the texts are ours.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from entrepot.formats.debian.names import COMPONENT
from entrepot.formats.protocol import InstallFile, InstallInput
from entrepot.formats.shell import script

SCRIPT = "script.deb.sh"
INSTALLS: Mapping[str, bool] = {
    SCRIPT: False,
    "config_file.list": True,
    "config_file.sources": True,
    "gpg_key_url.list": True,
    "apt_auth_conf": True,
}
_PLAIN = "text/plain; charset=utf-8"
_LIST = "text/apt_source_list; charset=utf-8"
_ANY = "any"

_BODY = r"""
detect() {
    if [ -z "$os" ]; then
        os=$(release ID)
        [ -n "$os" ] || os=$(lsb_release -is 2>/dev/null) || fail "this system has no /etc/os-release: say os=… dist=…"
    fi
    [ -n "$dist" ] || dist=$(release VERSION_CODENAME)
    [ -n "$dist" ] || dist=$(release VERSION_ID)
    [ -n "$dist" ] || dist=$(cut -d / -f 1 "$root/etc/debian_version" 2>/dev/null) || :
}

likes() {
    printf 'ubuntu=%s\n' "$(release UBUNTU_CODENAME)"
    printf 'debian=%s\n' "$(release DEBIAN_CODENAME)"
    case " $(release ID_LIKE) " in *' debian '*) printf 'debian=%s\n' "$(release VERSION_CODENAME)" ;; esac
}

# Whether this apt is at least VERSION.
apt_from() { dpkg --compare-versions "$apt" ge "$1"; }

main() {
    prepare
    command -v dpkg >/dev/null 2>&1 || fail "this machine has no dpkg; is it one for script.rpm.sh?"
    apt=$(dpkg-query ${root:+--root="$root"} -W -f '${Version}' apt 2>/dev/null) || fail "this machine has no apt."
    apt_from 1.1 || fail "apt $apt is too old: Debian 9, Ubuntu 16.04 and newer can be set up."
    case $url in
        https:*) need_https ;;
    esac
    own_token
    know gpg_key_url.list "$work/keyurl"
    fetch "$(head -n 1 "$work/keyurl")" "$work/key"
    [ "$status" = 200 ] || refused "$work/key"
    grep -q 'BEGIN PGP PUBLIC KEY BLOCK' "$work/key" || fail "what the server sent is no key."
    keyring=asc
    if ! apt_from 1.4; then
        # It reads binary keyrings only.
        keyring=gpg
        gpg --batch --homedir "$work" --dearmor < "$work/key" > "$work/binary" || fail "gpg could not read the key."
        mv -f "$work/binary" "$work/key"
    fi
    put 0644 "$work/key" "/etc/apt/keyrings/$stem-archive-keyring.$keyring"
    auth=url
    if [ -n "$token" ] && apt_from 1.5; then
        auth=conf
        ask apt_auth_conf "$work/auth" || refused "$work/auth"
        put 0600 "$work/auth" "/etc/apt/auth.conf.d/$stem.conf"
    fi
    # The newer way of writing sources, where apt's own tools use it too; style=list or style=sources decides otherwise.
    [ -n "${style:-}" ] || { style=list && apt_from 2.9 && style=sources; } || :
    case $style in
        list) other=sources ;;
        sources) other=list ;;
        *) fail "style is list or sources." ;;
    esac
    ask "config_file.$style" "$work/source" "&keyring=$keyring&auth=$auth" || refused "$work/source"
    mode=0644
    [ "$auth" = conf ] || [ -z "$token" ] || mode=0600
    rm -f "$root/etc/apt/sources.list.d/$stem.$other"
    put "$mode" "$work/source" "/etc/apt/sources.list.d/$stem.$style"
    if [ -z "$root" ]; then
        apt-get update -o Dir::Etc::SourceList="sources.list.d/$stem.$style" -o Dir::Etc::SourceParts=- \
            -o APT::Get::List-Cleanup=0 || fail "apt-get update failed (see above)."
    fi
    say "done: install with apt-get install PACKAGE."
}

# What apt needs to speak HTTPS; minimal systems come without.
need_https() {
    [ -z "$root" ] || return 0
    missing=
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing=ca-certificates
    apt_from 1.5 || [ -e /usr/lib/apt/methods/https ] || missing="$missing${missing:+ }apt-transport-https"
    [ -n "$missing" ] || return 0
    say "installing what HTTPS needs: $missing"
    # shellcheck disable=SC2086 # one word per package
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } ||
        fail "install $missing by hand, then try again."
}
"""


def install(name: str, request: InstallInput) -> InstallFile:
    """See :meth:`entrepot.formats.protocol.Format.install`."""
    if name == SCRIPT:
        return script(SCRIPT, request, client="apt", any_name=_ANY, body=_BODY)
    if name == "gpg_key_url.list":
        return InstallFile(_PLAIN, f"{request.with_token('gpgkey')}\n")
    if name == "apt_auth_conf":
        return InstallFile(_PLAIN, _auth(request))
    return InstallFile(_LIST, _sources(request) if name.endswith(".sources") else _list(request))


def _keyring(request: InstallInput) -> str:
    suffix = "asc" if request.options.get("keyring") == "asc" else "gpg"
    return f"/etc/apt/keyrings/{request.stem}-archive-keyring.{suffix}"


def _address(request: InstallInput) -> tuple[str, str]:
    """The URI and the suite. The token stands in the URI, unless the machine keeps it in auth.conf.d."""
    family, _, codename = request.distribution.partition("/")
    inside = request.options.get("auth") != "conf"
    return (request.with_token(f"{family}/") if inside else f"{request.base_url}/{family}/"), codename


def _list(request: InstallInput) -> str:
    uri, codename = _address(request)
    rest = f"[signed-by={_keyring(request)}] {uri} {codename} {COMPONENT}\n"
    return f"# {request.title}, set up by Entrepot\ndeb {rest}deb-src {rest}"


def _sources(request: InstallInput) -> str:
    uri, codename = _address(request)
    return (
        f"# {request.title}, set up by Entrepot\nTypes: deb deb-src\nURIs: {uri}\nSuites: {codename}\n"
        f"Components: {COMPONENT}\nSigned-By: {_keyring(request)}\n"
    )


def _auth(request: InstallInput) -> str:
    """A line of apt_auth.conf(5); nothing for a repository that everybody may read."""
    if request.token is None:
        return ""
    url = urlsplit(request.base_url)
    # Without a scheme apt uses an entry for https only.
    scheme = "" if url.scheme == "https" else f"{url.scheme}://"
    return f"machine {scheme}{url.netloc}{url.path}/ login {request.token} password x\n"
