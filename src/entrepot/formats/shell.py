"""What the set-up scripts of all formats have in common: POSIX sh, run as root on a customer's machine.

Nothing that a request says stands in a script, but values of the repository, each in single quotes. Nothing that the
server answers is run: it is written into files. A script that arrives cut off does nothing, because all of it is
functions and the last line alone calls them.
"""

from entrepot.formats.protocol import InstallFile, InstallInput

_HEAD = r"""#!/bin/sh
# Sets this machine up for the repository __TITLE__, for __CLIENT__. Run it as root:
#   curl -fsSL __URL__ | sudo sh
#
# It writes the files that it names, asks __CLIENT__ for the new index, and installs nothing of the repository.
# It knows this system by /etc/os-release; what that says wrongly, the environment may say:
#   os=debian dist=bookworm  the system          unique_id=NAME  what this machine's token is called
#   rootdir=DIR              set up the system below DIR, such as an image; the index is not asked for then
set -eu
"""

_COMMON = r"""
say() { printf 'entrepot: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Percent-encodes everything, so that no text can mean anything in an address.
encode() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'; }

prepare() {
    [ "$(id -u)" = 0 ] || fail "run this as root, for example with sudo."
    root=${rootdir:-}
    work=$(mktemp -d) || fail "no temporary folder can be made; is TMPDIR right?"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    machine=${unique_id:-$(hostname -f 2>/dev/null || hostname 2>/dev/null || uname -n)}
    login
    if ! command -v curl >/dev/null 2>&1 && ! command -v wget >/dev/null 2>&1; then
        fail "curl or wget is needed; install one of them first."
    fi
}

# The token goes to curl and wget in files that root alone reads: arguments are for everybody to see.
login() {
    : > "$work/curlrc"
    : > "$work/wgetrc"
    if [ -n "$token" ]; then
        printf 'user = "%s:"\n' "$token" > "$work/curlrc"
        printf 'user = %s\npassword = x\nauth_no_challenge = on\n' "$token" > "$work/wgetrc"
    fi
}

# fetch ADDRESS FILE [FORM]: the answer into FILE, its status into $status.
fetch() {
    : > "$2"
    if command -v curl >/dev/null 2>&1; then
        status=$(curl -sS -K "$work/curlrc" -w '%{http_code}' -o "$2" ${3:+--data "$3"} "$1") ||
            fail "the server cannot be reached (see above)."
    else
        WGETRC=$work/wgetrc wget -nv -S --content-on-error -O "$2" ${3:+--post-data="$3"} "$1" 2> "$work/wget" || :
        status=$(sed -n 's,^ *HTTP/[0-9.]* \([0-9][0-9]*\).*,\1,p' "$work/wget" | tail -n 1)
        [ -n "$status" ] || fail "the server cannot be reached: $(tail -n 1 "$work/wget")"
    fi
}

# The sentence that the server sent instead.
refused() {
    sentence=$(head -c 600 "$1" | tr -cd '[:print:]\n')
    fail "the server answered $status: ${sentence:-no reason given}"
}

# ask NAME FILE: what the server has under NAME for this system. Ends with 1 when it does not know the system.
ask() {
    fetch "$url/$1?os=$(encode "$os")&dist=$(encode "$dist")&name=$(encode "$machine")&source=script${3:-}" "$2"
    case $status in
        200) ;;
        404) return 1 ;;
        *) refused "$2" ;;
    esac
}

# A token of this machine's own, for the repository alone; the same one each time.
own_token() {
    [ -n "$token" ] || return 0
    fetch "$url/tokens.text" "$work/token" "name=$(encode "$machine")"
    [ "$status" = 201 ] || refused "$work/token"
    token=$(head -c 200 "$work/token" | tr -cd 0-9a-f)
    login
}

# A value of os-release, which is read and never run.
release() {
    [ -r "$root/etc/os-release" ] || return 0
    sed -n "s/^$1=//p" "$root/etc/os-release" | tail -n 1 | tr -d "\"'" | tr -cd 'A-Za-z0-9 ._:/-'
}

# know NAME FILE: finds out what the server calls this system; derivatives go by what they derive from.
know() {
    if [ -n "$any" ]; then
        os=$any dist=$any
    else
        os=${os:-} dist=${dist:-}
        detect
    fi
    ask "$1" "$2" && return 0
    cp "$2" "$work/first"
    if [ -z "$any" ]; then
        for like in $(likes); do
            os=${like%%=*} dist=${like#*=}
            if [ -n "$dist" ] && ask "$1" "$2"; then
                say "this system is taken for $os $dist, which it derives from."
                return 0
            fi
        done
    fi
    status=404
    refused "$work/first"
}

# put MODE FILE DESTINATION: a whole file at once, never open to more than MODE says.
put() {
    (umask 022 && mkdir -p "$(dirname "$root$3")")
    rm -f "$root$3.new"
    (umask 077 && cat "$2" > "$root$3.new")
    chmod "$1" "$root$3.new"
    mv -f "$root$3.new" "$root$3"
    say "wrote $root$3"
}
"""


def quoted(text: str) -> str:
    """A text as one word of POSIX sh: single quotes, and nothing inside means anything."""
    return "'" + text.replace("'", "'\\''") + "'"


def script(name: str, request: InstallInput, *, client: str, any_name: str, body: str) -> InstallFile:
    """A whole script, served as ``name``; ``body`` defines ``detect``, ``likes`` and ``main``.

    Args: ``client`` (apt) stands in its comment; ``any_name``: the distribution whose packages fit every system.
    """
    values = {
        "url": request.install_url,
        "stem": request.stem,
        "token": request.token or "",
        "any": any_name if request.any else "",
    }
    own = f"{request.install_url}/{name}"
    own = f"'{own}?any=true'" if request.any else own
    head = _HEAD.replace("__CLIENT__", client).replace("__TITLE__", _comment(request.title))
    head = head.replace("__URL__", _comment(own))
    given = "".join(f"{variable}={quoted(value)}\n" for variable, value in values.items())
    return InstallFile("application/x-sh", f'{head}{given}{_COMMON}{body}\nmain "$@"\n')


def _comment(text: str) -> str:
    """Text that cannot end the line of its comment."""
    return "".join(each for each in text if each.isprintable())
