#!/bin/sh
# Runs after all packages are installed and before the hook of debian-12: GRUB's cores for both kinds of firmware, its settings, and a way
# in. In: $1 the root folder.
set -eu
root=$1
recipe=$(dirname "$0")/../../debian-12/recipe
setting() { sed -n "s/^$1=//p" "$recipe"; }

# A way in for who looks at a machine of the tests from its console.
chroot "$root" passwd --quiet --delete root

grub=$root/boot/grub
mkdir -p "$grub/i386-pc" "$grub/x86_64-efi"
# Where the disk is among others is the firmware's to decide, so the filesystem with the settings is looked for.
cat >"$grub/early.cfg" <<CONFIG
search.fs_uuid $(setting boot_filesystem_uuid) root
set prefix=(\$root)/grub
CONFIG
make_core() {
    chroot "$root" grub-mkimage --format="$1" --prefix=/grub --config=/boot/grub/early.cfg --output="/boot/grub/$1/$2" \
        part_gpt ext2 iso9660 search search_fs_uuid search_fs_file linux normal configfile serial terminal echo reboot test "$3"
}
make_core i386-pc core.img biosdisk
make_core x86_64-efi BOOTX64.EFI fat
cp "$root/usr/lib/grub/i386-pc/boot.img" "$grub/i386-pc/boot.img"
# A test has no other way to a kernel command line of its own than a file on another disk, as a person has GRUB's menu. UEFI shows all
# disks; of a PC's firmware GRUB sees only the one that it was started from, and says that there is no such file.
cat >"$grub/grub.cfg" <<CONFIG
serial --unit=0 --speed=115200
terminal_output serial
echo "GRUB on \$grub_platform"
set words=
search --file --set=words_at /grub-words.cfg
if [ -n "\$words_at" ]; then source (\$words_at)/grub-words.cfg; fi
linux /vmlinuz root=UUID=$(setting root_filesystem_uuid) ro console=ttyS0 net.ifnames=0 no_timer_check panic=-1 \$words
initrd /initrd.img
boot
CONFIG

for program in mkinitramfs dracut lvm mdadm cryptsetup cloud-init; do
    chroot "$root" sh -c "command -v $program" >/dev/null || { echo "$program was not installed" >&2 && exit 1; }
done
for file in vmlinuz initrd.img; do
    [ -e "$root/boot/$file" ] || { echo "/boot/$file is absent, which GRUB boots" >&2 && exit 1; }
done
