#!/bin/sh
# That of debian-12-baked, and what finds a root in a pool, for both generators. In: $1 the root folder; MMDEBSTRAP_APT_CONFIG, the
# configuration of apt for it.
set -eu
"$(dirname "$0")/../../debian-12-baked/hooks/customize.sh" "$@"

# Installed, they would bring a compiler, with which they make a module of their own.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet -o APT::Sandbox::User=root download zfs-initramfs zfs-dracut)
for package in "$folder"/*.deb; do
    dpkg-deb --extract "$package" "$1"
done
