#!/bin/sh
# Runs before the chosen packages are installed, and with the kernel its initrd is made: only what finds the root filesystem, and
# compressed in little time. Baking makes it anew, in a machine that is emulated.
set -eu
root=$1

mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESSLEVEL=1\n' >"$root/etc/initramfs-tools/conf.d/cheap"
printf 'virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n' >"$root/usr/share/initramfs-tools/modules.d/cheap"
