#!/bin/sh
# Runs after all packages are installed and before the hook of debian-12. In: $1 the root folder.
set -eu
root=$1

rm "$root/usr/local/sbin/update-initramfs"
# A way in for who looks at a machine of the tests from its console.
chroot "$root" passwd --quiet --delete root

for program in mkinitramfs dracut lvm mdadm cryptsetup cloud-init; do
    chroot "$root" sh -c "command -v $program" >/dev/null || { echo "$program was not installed" >&2 && exit 1; }
done
