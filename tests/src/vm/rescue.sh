#!/bin/busybox sh
# shellcheck shell=dash
# A rescue system: the first process of a machine that uses none of its disks, in which the agent serves the host's
# connection. Words on the kernel command line: hold=DEVICE mounts it, again=yes serves until it was done.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
while read -r module; do insmod "/modules/$module"; done </modules/boot
hold='' again=''
# shellcheck disable=SC2013 # words are wanted
for word in $(cat /proc/cmdline); do
    case $word in
        hold=*) hold=${word#hold=} ;;
        again=*) again=yes ;;
    esac
done
# Its driver hears of the port, and of its name, some time after it was loaded.
found=''
while [ -z "$found" ]; do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" != cloud-machine.agent.0 ] || found=${port##*/}
    done
    [ -n "$found" ] || sleep 1
done
exec 3<>"/dev/$found"
mkdir /held
[ -z "$hold" ] || mount -o ro "/dev/$hold" /held
while :; do
    /init serve <&3 >&3
    code=$?
    echo "the agent ended with $code, $(grep -c /newroot /proc/mounts) mounts of it are left"
    if [ -z "$again" ] || [ $code = 0 ]; then break; fi
    # A connection begins empty, this port with what was on its way when the host hung up.
    timeout 1 cat <&3 >/dev/null
done
poweroff -f
