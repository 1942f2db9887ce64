#!/bin/sh
# Puts Entrepot in place as a systemd service, or replaces it: scripts/install.sh install|upgrade
#
#   PREFIX/releases/VERSION-TIME/   an environment for each version; the last two are kept
#   PREFIX/current                  a link to the one that runs
#   PREFIX/install.conf             what `install` was told, for `upgrade`
#
# PREFIX, DATA, LISTEN, PUBLIC_URL and SERVICE_USER say what goes where; UNITS, BIN and SYSTEMCTL are systemd's folder of
# units, a folder of the PATH and systemctl itself. `upgrade` needs PREFIX alone, and that only where it is another one.
set -eu
umask 022
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/opt/entrepot}
SYSTEMCTL=${SYSTEMCTL:-systemctl}
current=$PREFIX/current
old=""
release=""

say() { echo "entrepot: $*"; }

fail() {
    echo "entrepot: $*" >&2
    exit 1
}

as_service_user() {
    if [ "$(id -un)" = "$SERVICE_USER" ]; then
        "$@"
    else
        runuser -u "$SERVICE_USER" -- "$@"
    fi
}

check_value() { # NAME VALUE: it goes into unit files and a shell's file
    case $2 in
    "" | *[!A-Za-z0-9/._:@\[\]-]*) fail "$1 is '$2'; letters, digits and / . _ : @ - are possible." ;;
    esac
}

check_path() { # NAME VALUE
    check_value "$1" "$2"
    [ "${2#/}" != "$2" ] || fail "$1 is '$2', and has to begin with a slash."
}

check_values() {
    check_path PREFIX "$PREFIX"
    check_path DATA "$DATA"
    check_path UNITS "$UNITS"
    check_path BIN "$BIN"
    check_value LISTEN "$LISTEN"
    check_value PUBLIC_URL "$PUBLIC_URL"
    check_value SERVICE_USER "$SERVICE_USER"
}

# A release is whole before anything refers to it; one that is not goes again.
build_release() {
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/entrepot/__init__.py)
    mkdir -p "$PREFIX/releases"
    release=$PREFIX/releases/$version-$(date -u +%Y%m%dT%H%M%SZ)
    trap 'rm -rf "$release"' EXIT
    trap 'exit 130' INT TERM HUP
    say "building $release"
    scripts/setup.sh "$release" server
    mkdir -p "$release/share/doc"
    cp -R docs "$release/share/doc/entrepot"
    case $(readlink -f "$release/bin/python") in
    /home/* | /root/*)
        say "warning: Python lies in a home directory, which the unit hides (ProtectHome=): set PYTHON=/usr/bin/python3"
        ;;
    esac
}

# With the settings that are in force, as the user that will run it.
try_release() {
    as_service_user "$release/bin/entrepot" config --offline --data "$DATA" >/dev/null ||
        fail "the user $SERVICE_USER cannot run it, or it does not take the settings in $DATA/entrepot.toml; the line" \
            "above says which. Nothing was replaced."
}

place_units() {
    mkdir -p "$UNITS"
    for unit in entrepot.service entrepot.socket; do
        cmp -s "packaging/systemd/$unit" "$UNITS/$unit" || cp "packaging/systemd/$unit" "$UNITS/$unit"
    done
    "$SYSTEMCTL" daemon-reload
}

# What differs from the unit files stands in drop-ins of its own, so that an upgrade can replace the files.
place_drop_ins() {
    mkdir -p "$UNITS/entrepot.socket.d"
    printf '[Socket]\nListenStream=\nListenStream=%s\n' "$LISTEN" >"$UNITS/entrepot.socket.d/listen.conf"
    [ "$PREFIX $DATA $SERVICE_USER" != "/opt/entrepot /var/lib/entrepot entrepot" ] || return 0
    mkdir -p "$UNITS/entrepot.service.d"
    cat >"$UNITS/entrepot.service.d/places.conf" <<CONF
[Service]
ExecStart=
ExecStart=$current/bin/entrepot serve --data $DATA
User=$SERVICE_USER
Group=$(id -gn "$SERVICE_USER")
StateDirectory=
ReadWritePaths=$DATA
CONF
}

place_data() {
    install -d -m 0700 -o "$SERVICE_USER" -g "$(id -gn "$SERVICE_USER")" "$DATA"
    [ ! -e "$DATA/entrepot.toml" ] || return 0
    # Written by that user: root follows no link in a folder that is not root's.
    as_service_user tee "$DATA/entrepot.toml" >/dev/null <<CONF
# Settings of Entrepot; docs/install.md has them all.
[server]
# systemd opens the port: another address belongs into $UNITS/entrepot.socket.d/listen.conf too.
listen = "$LISTEN"
public_url = "$PUBLIC_URL"
CONF
}

write_conf() {
    cat >"$PREFIX/install.conf.new" <<CONF
DATA='$DATA'
SERVICE_USER='$SERVICE_USER'
UNITS='$UNITS'
CONF
    mv "$PREFIX/install.conf.new" "$PREFIX/install.conf"
}

switch_to() { # in one step: a start finds the one or the other
    ln -sfn "$1" "$current.new"
    mv -T "$current.new" "$current"
}

# Two are kept: that which runs, and that which ran, whose process may still load something of it.
drop_old_releases() {
    for each in "$PREFIX/releases"/*; do
        [ "$each" = "$release" ] || [ "$each" = "$old" ] || rm -rf "$each"
    done
}

take_lock() {
    mkdir -p "$PREFIX" 2>/dev/null || true
    [ -w "$PREFIX" ] || fail "$PREFIX cannot be written: run this as root (sudo make $1)."
    exec 9>"$PREFIX/.lock"
    flock -n 9 || fail "another install or upgrade is running."
}

do_install() {
    DATA=${DATA:-/var/lib/entrepot}
    LISTEN=${LISTEN:-127.0.0.1:8420}
    PUBLIC_URL=${PUBLIC_URL:-http://$LISTEN}
    SERVICE_USER=${SERVICE_USER:-entrepot}
    UNITS=${UNITS:-/etc/systemd/system}
    BIN=${BIN:-/usr/local/bin}
    check_values
    take_lock install
    [ ! -e "$current" ] || fail "$PREFIX has an Entrepot already; 'make upgrade' replaces it."
    id -u "$SERVICE_USER" >/dev/null 2>&1 ||
        useradd --system --user-group --home-dir "$DATA" --no-create-home --shell /usr/sbin/nologin "$SERVICE_USER"
    build_release
    place_data
    try_release
    place_drop_ins
    write_conf
    switch_to "$release"
    trap - EXIT
    place_units
    mkdir -p "$BIN"
    [ -e "$BIN/entrepot" ] || ln -s "$current/bin/entrepot" "$BIN/entrepot"
    "$SYSTEMCTL" enable entrepot.service entrepot.socket
    "$SYSTEMCTL" start entrepot.socket entrepot.service || fail "the server does not start; journalctl -u entrepot says" \
        "why. Mend it, then: $SYSTEMCTL start entrepot.socket entrepot.service"
    say "running: $PUBLIC_URL"
    say "settings: $DATA/entrepot.toml; the administrator's token: $DATA/admin-token"
}

start_release() {
    if "$SYSTEMCTL" is-active --quiet entrepot.socket; then
        "$SYSTEMCTL" restart entrepot.service
    else # the port is the old process's own: there is nothing to hand over
        "$SYSTEMCTL" stop entrepot.service
        "$SYSTEMCTL" start entrepot.socket entrepot.service
    fi
}

do_upgrade() {
    [ -e "$PREFIX/install.conf" ] || fail "$PREFIX has no Entrepot that 'make install' made; begin with that."
    # shellcheck source=/dev/null
    . "$PREFIX/install.conf"
    take_lock upgrade
    old=$(readlink -f "$current")
    build_release
    try_release
    place_units
    switch_to "$release"
    trap - EXIT
    if ! "$SYSTEMCTL" is-active --quiet entrepot.service; then
        say "put in place; the server was not running, and is not started"
    elif start_release; then
        say "running: $("$current/bin/entrepot" --version)"
    else
        switch_to "$old"
        if "$SYSTEMCTL" restart entrepot.service; then
            back="the version before runs again."
        else
            back="the version before does not start either; docs/operate.md, Upgrade, has the way back."
        fi
        rm -rf "$release"
        fail "the new version does not start; journalctl -u entrepot says why. $back"
    fi
    drop_old_releases
}

case ${1:-} in
install) do_install ;;
upgrade) do_upgrade ;;
*) fail "usage: scripts/install.sh install|upgrade" ;;
esac
