# Sourced: apt_install PACKAGE… installs Debian packages as root or through sudo, or says what to install by hand.

apt_install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "This system has no apt-get; install by hand what these Debian packages hold: $*" >&2
        return 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        echo "Not root, and sudo is missing or would ask for a password. Run as root: apt-get install $*" >&2
        return 1
    fi
    echo "Installing: $*"
    # The tests start the servers they need on their own ports; Debian would start nginx and others at once.
    # In a subshell, so that the trap takes the block away again however this ends.
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap '$as_root rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM HUP
            printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
            $as_root chmod 755 "$policy"
        fi
        $as_root apt-get update -qq &&
            $as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    ) || {
        echo "apt-get could not install: $*" >&2
        return 1
    }
}
