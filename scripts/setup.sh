#!/bin/sh
# Makes a virtual environment with Entrepot: scripts/setup.sh [FOLDER [dev|server]]
#   dev      every locked package, and Entrepot in place: what is changed in src is changed in it (the default)
#   server   what a server needs, and a copy of Entrepot as it is now
# Needs Python 3.11 or newer and glib; on Debian and Ubuntu it installs what is missing, when it may.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
kind=${2:-dev}

find_python() {
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

venv_works() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

# The Debian packages to install first, one a line; all of them at once, so that nobody is sent to apt-get twice.
missing_packages() {
    if [ -z "$python" ]; then
        printf '%s\n' python3 python3-venv libglib2.0-0
        return
    fi
    # Debian ships venv without ensurepip until python3-venv is there.
    venv_works || "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    # createrepo_c's wheel holds every library but this one; without it each .rpm would be refused.
    "$python" -c 'import ctypes; ctypes.CDLL("libgobject-2.0.so.0")' 2>/dev/null || echo libglib2.0-0
}

python=$(find_python) || python=""
missing=$(missing_packages)
if [ -n "$missing" ]; then
    . scripts/apt.sh
    # shellcheck disable=SC2086 # one word per package
    apt_install $missing
    python=$(find_python) || {
        echo "setup: needs Python 3.11 or newer; install it, or name it with PYTHON=/path/to/python3" >&2
        exit 1
    }
fi
venv_works || "$python" -m venv "$venv"

# The digests in the locks are checked; the build backend is in one, so nothing unlocked is ever run.
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"; }
if [ "$kind" = server ]; then
    install --require-hashes --requirement requirements/server.txt --requirement requirements/build.txt
    install --no-build-isolation .
else
    install --require-hashes --requirement requirements/dev.txt
    install --no-build-isolation --editable .
fi
echo "setup: $venv is ready"
