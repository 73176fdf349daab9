#!/bin/sh
# Runs after the packages of debian-12 are installed and before its hook: takes away what a system needs only to be changed.
# In: $1 the root folder.
set -eu
root=$1

# Filesystems that a machine of this image has not, and the languages that their tools are written in; the kernel brings its own
# initramfs nowhere, since the host hands over the agent's.
remove='adduser apt btrfs-progs cpio debconf debian-archive-keyring dosfstools gcc-12-base gpgv initramfs-tools
    initramfs-tools-core klibc-utils libapt-pkg6.0 libffi8 libgnutls30 libhogweed6 libicu72
    libidn2-0 libinih1 libklibc liblzo2-2 libnettle8 libp11-kit0 libpython3-stdlib libpython3.11-minimal
    libpython3.11-stdlib libsqlite3-0 libstdc++6 libtasn1-6 libunistring2 liburcu8 linux-base media-types perl-base python3
    python3-minimal python3.11 python3.11-minimal tzdata ucf xfsprogs zstd'

# What a package's own script would do with the tools that go is of no use here.
for package in $remove; do
    rm -f "$root/var/lib/dpkg/info/$package".prerm "$root/var/lib/dpkg/info/$package".postrm \
        "$root/var/lib/dpkg/info/$package":*.prerm "$root/var/lib/dpkg/info/$package":*.postrm
done
# shellcheck disable=SC2086 # a list of words
chroot "$root" dpkg --purge --force-depends --force-remove-essential --force-remove-protected $remove

# What the packages made when they were installed; scripts for another init, which a program in Perl would look after; udev's
# database of hardware that no virtual machine has.
rm -rf "$root"/usr/lib/python3* "$root"/etc/init.d "$root"/etc/rc?.d "$root"/usr/lib/udev/hwdb.* "$root"/usr/share/doc \
    "$root"/usr/share/zoneinfo "$root"/usr/share/bash-completion "$root"/boot/initrd.img* "$root"/boot/System.map* \
    "$root"/boot/config-*
release=$(ls "$root/usr/lib/modules")
find "$root/usr/lib/modules/$release" -name '*.ko' -exec xz --check=crc32 --lzma2=dict=1MiB {} +
chroot "$root" depmod "$release"

# Last, the package manager itself; its list of what is installed stays.
while read -r path; do
    [ -d "$root$path" ] || rm -f "$root$path"
done <"$root/var/lib/dpkg/info/dpkg.list"
rm -rf "$root"/var/lib/dpkg/info "$root"/var/lib/dpkg/triggers "$root"/var/lib/dpkg/alternatives
