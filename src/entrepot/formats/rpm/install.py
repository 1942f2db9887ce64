"""One line on the customer's machine, for dnf, yum and zypper: the set-up script and the files that it asks for.

packagecloud's addresses and parameters, so that its users' own tools go on; the texts are ours.
"""

from collections.abc import Mapping

from entrepot.formats.protocol import InstallFile, InstallInput
from entrepot.formats.rpm.arches import SOURCE_SCOPE
from entrepot.formats.shell import script

SCRIPT = "script.rpm.sh"
INSTALLS: Mapping[str, bool] = {SCRIPT: False, "config_file.repo": True, "gpg_key_url.repo": True, "rpm_base_url": True}
_PLAIN = "text/plain; charset=utf-8"
_ANY = "rpm_any"

_BODY = r"""
detect() {
    if [ -z "$os" ]; then
        os=$(release ID)
        [ -n "$os" ] || os=$(cut -d : -f 3 "$root/etc/system-release-cpe" 2>/dev/null) || :
        [ -n "$os" ] || fail "this system has no /etc/os-release: say os=… dist=…"
    fi
    [ -n "$dist" ] || dist=$(release VERSION_ID)
    [ -n "$dist" ] || dist=$(cut -d : -f 5 "$root/etc/system-release-cpe" 2>/dev/null) || :
}

likes() {
    platform=$(release PLATFORM_ID)
    case $platform in platform:el*) printf 'el=%s\n' "${platform#platform:el}" ;; esac
    case " $(release ID_LIKE) " in
        *' rhel '*) printf 'el=%s\n' "$(release VERSION_ID)" ;;
        *' sles '* | *' suse '*) printf 'sles=%s\n' "$(release VERSION_ID)" ;;
    esac
}

main() {
    prepare
    folder=
    if [ -d "$root/etc/zypp/repos.d" ]; then
        folder=/etc/zypp/repos.d client=zypper
    else
        for client in dnf microdnf yum tdnf none; do
            ! command -v "$client" >/dev/null 2>&1 || break
        done
        folder=/etc/yum.repos.d
    fi
    own_token
    know config_file.repo "$work/repo"
    mode=0644
    [ -z "$token" ] || mode=0600
    put "$mode" "$work/repo" "$folder/$stem.repo"
    if [ -z "$root" ]; then
        case $client in
            zypper) by_zypper ;;
            none) say "neither dnf nor yum is here to ask for the index." ;;
            *)
                "$client" -q -y makecache --disablerepo='*' --enablerepo="$stem" ||
                    fail "$client could not read the index (see above)."
                ;;
        esac
    fi
    say "done: install with $client install PACKAGE."
}

by_zypper() {
    ask gpg_key_url.repo "$work/keyurl" || refused "$work/keyurl"
    while read -r address; do
        fetch "$address" "$work/key"
        [ "$status" = 200 ] || refused "$work/key"
        rpm --import "$work/key" || fail "rpm could not import the key (see above)."
    done < "$work/keyurl"
    zypper --non-interactive --gpg-auto-import-keys refresh "$stem" ||
        fail "zypper could not read the index (see above)."
}
"""


def install(name: str, request: InstallInput) -> InstallFile:
    """See :meth:`entrepot.formats.protocol.Format.install`."""
    if name == SCRIPT:
        return script(SCRIPT, request, client="dnf, yum or zypper", any_name=_ANY, body=_BODY)
    if name == "gpg_key_url.repo":
        return InstallFile(_PLAIN, "".join(f"{each}\n" for each in _keys(request)))
    folder = request.with_token(request.distribution)
    if name == "rpm_base_url":
        return InstallFile(_PLAIN, f"{folder}/$basearch\n")
    sections = (
        _section(request, request.stem, request.title, f"{folder}/$basearch", 1),
        _section(request, f"{request.stem}-source", f"{request.title} (sources)", f"{folder}/{SOURCE_SCOPE}", 0),
    )
    return InstallFile("text/repo; charset=utf-8", "\n".join(sections))


def _keys(request: InstallInput) -> list[str]:
    """The addresses of the key that signs the index, and of those that signed packages elsewhere."""
    return [request.with_token("gpgkey"), *(request.with_token(f"gpgkey/{name}") for name in request.package_keys)]


def _section(request: InstallInput, section: str, label: str, baseurl: str, enabled: int) -> str:
    """A section of a .repo file. Packages are checked by their own signature where there is a key to check them by;
    the index, and through it each package's sha256, always is.
    """
    keys = "\n       ".join(_keys(request))
    return (
        f"[{section}]\nname={label}\nbaseurl={baseurl}\nenabled={enabled}\nrepo_gpgcheck=1\n"
        f"gpgcheck={int(bool(request.package_keys))}\ngpgkey={keys}\nsslverify=1\nmetadata_expire=300\n"
    )
