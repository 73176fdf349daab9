#!/bin/sh
# First process of the rescue system: network, a fresh host key, sshd. It touches no disk unless it is told to.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts /run/sshd
mount -t devpts devpts /dev/pts
for module in /modules/*.ko; do insmod "$module"; done
echo rescue >/proc/sys/kernel/hostname
# Without its journal, so that nothing is written.
[ ! -e /uses-disk ] || mount -t ext4 -o ro,noload /dev/vda2 /mnt
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
echo 'nameserver 10.0.2.3' >/etc/resolv.conf
ssh-keygen -q -t ed25519 -N '' -C rescue -f /etc/ssh/ssh_host_ed25519_key
echo "rescue: host key $(cat /etc/ssh/ssh_host_ed25519_key.pub)"
/usr/sbin/sshd -D -e &
echo "rescue: ready"
# Processes whose parents are gone are this one's; without it the kernel panics.
while :; do
    wait
    sleep 1
done
