#!/bin/sh
# Runs before the chosen packages are installed, and with the kernel its initrd is made: only what finds the root filesystem.
set -eu
root=$1
files=$(dirname "$0")/../files

for file in etc/initramfs-tools/conf.d/cloud usr/share/initramfs-tools/modules.d/cloud; do
    install -D -m 0644 "$files/$file" "$root/$file"
done
