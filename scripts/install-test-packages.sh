#!/bin/sh
# Installs the Debian packages that the tests and the bench drive: real package managers, builders, peers. Only what is missing.
set -eu
cd "$(dirname "$0")/.."

packages="
    apt-utils dpkg-dev fakeroot dput gnupg gpgv sqv
    dnf zypper rpm createrepo-c
    maven libmaven-deploy-plugin-java libmaven-dependency-plugin-java libmaven-install-plugin-java gradle default-jdk-headless
    nginx aptly haproxy
    busybox eatmydata mmdebstrap shellcheck
    chromium chromium-driver fonts-dejavu-core prometheus
    btrfs-progs curl e2fsprogs git iproute2 libfaketime openssl strace systemd unzip wrk xfsprogs xz-utils zstd
"

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -n "$missing" ]; then
    . scripts/apt.sh
    # shellcheck disable=SC2086 # one word per package
    apt_install $missing
fi
