#!/bin/sh
# First process of the small system, after its initramfs: network and sshd. The disk is its root, as in a real one.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec </dev/console >/dev/console 2>&1
mount -o remount,rw /
mount -t tmpfs none /tmp
mkdir -p /dev/pts /run/sshd
mount -t devpts devpts /dev/pts
# What says whether secure boot is on.
[ ! -d /sys/firmware/efi ] || mount -t efivarfs none /sys/firmware/efi/efivars
hostname=$(cat /etc/hostname)
echo "$hostname" >/proc/sys/kernel/hostname
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
# Whoever stops it has it read its host key again.
while :; do
    echo "small system: sshd starts"
    /usr/sbin/sshd -D -e
    sleep 1
done
