#!/bin/sh
# Builds the kernel module of OpenZFS from Debian's sources for the kernel of the image, and takes away what that needed.
# In: $1 the root folder; MMDEBSTRAP_APT_CONFIG, the configuration of apt for it.
set -eu
root=$1
release=$(ls "$root/usr/lib/modules")
modules=usr/lib/modules/$release

apt() {
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends \
        -o "DPkg::Chroot-Directory=$root" -o Dpkg::Use-Pty=0 "$@" </dev/null
}

packages() {
    # shellcheck disable=SC2016 # dpkg-query's own variables
    dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${db:Status-Abbrev}${Package}\n' |
        sed -n 's/^ii //p' | sort
}

before=$(mktemp)
after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
packages >"$before"

# A key would be made at random for each build, and the kernel asks for no signature.
mkdir -p "$root/etc/dkms/framework.conf.d"
echo 'sign_file="/nonexistent"' >"$root/etc/dkms/framework.conf.d/no-signature.conf"
# Debug information is most of what the compiler would have to write, and goes again when the module is stripped.
KCFLAGS=-g0 apt install "linux-headers-$release" zfs-dkms

# The package of the sources takes its modules away with it.
mkdir -p "$root/$modules/extra"
cp "$root/$modules"/updates/dkms/*.ko "$root/$modules/extra/"
packages >"$after"
# shellcheck disable=SC2046 # a list of words
apt purge $(comm -13 "$before" "$after")
rm -rf "$root/etc/dkms" "$root/var/lib/dkms" "$root/usr/src"/*
[ -f "$root/$modules/extra/zfs.ko" ] || { echo "the module zfs was not built" >&2 && exit 1; }
chroot "$root" depmod "$release"
chroot "$root" update-initramfs -u -k "$release"
