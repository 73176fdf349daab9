#!/bin/sh
# Runs after all packages are installed: settings, units, and what must not be the same on two machines.
# In: $1 the root folder, ROOT_PARTITION_GUID and BOOT_PARTITION_GUID in the environment.
set -eu
root=$1
files=$(dirname "$0")/../files

copy_files() {
    (cd "$files" && find . -type f) | while read -r file; do
        # A link to somewhere else (resolv.conf) must not be written through.
        rm -f "$root/$file"
        install -D -m 0644 "$files/$file" "$root/$file"
    done
}

write_fstab() {
    # No fsck pass: the disk is fresh after a reimage, and a pull of the plug is healed by the journal at mount.
    # nofail takes the wait for /boot out of the way of the login; nothing at boot reads it.
    cat >"$root/etc/fstab" <<FSTAB
PARTUUID=$ROOT_PARTITION_GUID / ext4 defaults,errors=remount-ro 0 0
PARTUUID=$BOOT_PARTITION_GUID /boot ext4 defaults,nofail 0 0
FSTAB
}

enable_units() {
    chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service serial-getty@ttyS0.service
    chroot "$root" systemctl --quiet disable getty@tty1.service
    chroot "$root" systemctl --quiet set-default multi-user.target
}

# What costs boot time under emulation and does nothing for a machine that lives for one job.
mask_units() {
    # Upkeep of long-lived machines.
    mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service xfs_scrub_all.timer fstrim.timer \
        systemd-hwdb-update.service systemd-update-done.service systemd-pstore.service
    # Records that no later boot reads: the disk is rewritten before it.
    mask systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
    # The agent writes the network's settings, and nothing in the image waits for the network.
    mask systemd-network-generator.service systemd-networkd-wait-online.service
    # The only console is ttyS0.
    mask getty-static.service console-getty.service
    # Kernel interfaces that a job can mount, and modules that the kernel loads when their device is opened.
    mask sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
        dev-hugepages.mount \
        modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@fuse.service \
        modprobe@loop.service
}

mask() { chroot "$root" systemctl --quiet mask "$@"; }

# Programs that systemd runs at each boot to make units for things which this image does not have.
mask_generators() {
    mkdir -p "$root/etc/systemd/system-generators"
    # gpt-auto mounts and swaps on partitions by their type: here fstab alone says what is mounted.
    for generator in gpt-auto cryptsetup veritysetup integritysetup hibernate-resume rc-local sysv system-update; do
        ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
    done
}

# Each machine gets its own from the agent, before the system starts.
remove_identity() {
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
    : >"$root/etc/machine-id"
}

# Logs and caches that hold times or host paths.
remove_traces() {
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old \
        "$root"/var/cache/ldconfig "$root"/var/lib/dpkg/*-old "$root"/var/lib/systemd/random-seed \
        "$root"/var/log/journal "$root"/etc/*- "$root"/etc/.pwd.lock
    find "$root/var/log" -type f -delete
}

copy_files
write_fstab
enable_units
mask_units
mask_generators
remove_identity
remove_traces
