#!/bin/sh
# Runs after all packages are installed and before the hook of debian-12: the boot loader's files, and settings.
# In: $1 the root folder, ROOT_PARTITION_GUID in the environment.
set -eu
root=$1
files=$(dirname "$0")/../files

(cd "$files" && find . -type f) | while read -r file; do
    install -D -m 0644 "$files/$file" "$root/$file"
done

mkdir -p "$root/boot/grub/i386-pc"
chroot "$root" grub-mkimage --format=i386-pc --prefix='(hd0,gpt1)/grub' --output=/boot/grub/i386-pc/core.img \
    biosdisk part_gpt ext2 linux normal configfile serial terminal echo reboot
cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/grub/i386-pc/boot.img"
cat >"$root/boot/grub/grub.cfg" <<CONFIG
serial --unit=0 --speed=115200
terminal_output serial
echo "GRUB of this machine's own disk"
linux /vmlinuz root=PARTUUID=$ROOT_PARTITION_GUID ro console=ttyS0 net.ifnames=0 no_timer_check
initrd /initrd.img
boot
CONFIG

for file in vmlinuz initrd.img; do
    [ -e "$root/boot/$file" ] || { echo "/boot/$file is absent, which GRUB boots" >&2 && exit 1; }
done
