//! Disks whose root lies on something else than that of the image, made on the host, and a pool of ZFS in a machine. GRUB, `/boot` and the
//! system partition of UEFI stay those of the image; the initramfs in `/boot` is made anew.

use std::{fs, path::Path, process::Command};

use cloud_machine_tests::{
    baked::{BakedRoot, Generator},
    loop_device::run,
    plain_machine::{PlainMachine, Start},
};

use super::{
    machine::{SHELL, STOP, put_into_boot, typed},
    promise::FALSE_VOLUME,
};

/// Where the partition of the root lies on the disk of `images/debian-12-baked`: first MiB, and how many.
const PARTITION: (u64, u64) = (97, 793);

/// What a root lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// ext4 in a partition, as in the image.
    Ext4,
    Xfs,
    /// ext4 in a volume group.
    Lvm,
    /// Likewise, with `/usr` in a volume of its own.
    LvmUsr,
    /// A dataset of a pool of ZFS.
    Zfs,
}

impl Root {
    /// Words for the kernel command line by which it is found, where `root=UUID=` is not enough.
    fn words(self, generator: Generator) -> &'static str {
        match self {
            Self::Zfs if generator == Generator::Dracut => "root=zfs:rpool/ROOT",
            Self::Zfs => "root=ZFS=rpool/ROOT boot=zfs",
            Self::Ext4 | Self::Xfs => "",
            Self::Lvm => "root=/dev/mapper/rootvg-root rd.lvm.lv=rootvg/root",
            Self::LvmUsr => "root=/dev/mapper/rootvg-root rd.lvm.lv=rootvg/root rd.lvm.lv=rootvg/usr",
        }
    }

    /// What findmnt(8) says of it.
    pub(super) fn mounted(self) -> &'static str {
        match self {
            Self::Ext4 => "/dev/vda2 ext4\n",
            Self::Xfs => "/dev/vda2 xfs\n",
            Self::Lvm => "/dev/mapper/rootvg-root ext4\n",
            Self::LvmUsr => "/dev/mapper/rootvg-root ext4\n/dev/mapper/rootvg-usr ext4\n",
            Self::Zfs => "rpool/ROOT zfs\n",
        }
    }

    /// Whether a job can make what looks like it on another disk.
    pub(super) fn is_named_by_a_job(self) -> bool {
        matches!(self, Self::Lvm | Self::LvmUsr | Self::Zfs)
    }

    /// What a job leaves on the data disk: what could be taken for the root, where there is such a thing.
    pub(super) fn dirt(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Xfs => FALSE_VOLUME,
            Self::Lvm | Self::LvmUsr => {
                "rm -r /dev/rootvg && mount -t tmpfs lvm /etc/lvm && only='--devices /dev/vdb -qq -y' && pvcreate -ff $only /dev/vdb && vgcreate $only rootvg /dev/vdb &&
                lvcreate $only --noudevsync -an -Zn -Wn -l 100%FREE -n root rootvg"
            }
            Self::Zfs => {
                "zpool create -f -t job rpool /dev/vdb && zfs create -o canmount=noauto -o mountpoint=/ job/ROOT && zpool export job"
            }
        }
    }

    /// The module without which it is not found.
    fn module(self) -> Option<&'static str> {
        match self {
            Self::Ext4 => None,
            Self::Xfs => Some("xfs"),
            Self::Lvm | Self::LvmUsr => Some("dm_mod"),
            Self::Zfs => Some("zfs"),
        }
    }

    fn fstab(self) -> &'static str {
        match self {
            Self::Ext4 => "PARTUUID=ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e03 / ext4 errors=remount-ro 0 1\n",
            Self::Xfs => "PARTUUID=ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e03 / xfs defaults 0 0\n",
            Self::Lvm => "/dev/mapper/rootvg-root / ext4 errors=remount-ro 0 1\n",
            Self::LvmUsr => {
                "/dev/mapper/rootvg-root / ext4 errors=remount-ro 0 1\n/dev/mapper/rootvg-usr /usr ext4 defaults 0 2\n"
            }
            Self::Zfs => "",
        }
    }

    /// Makes `part`, which is as long as the partition, from the folder `tree`.
    fn script(self) -> &'static str {
        match self {
            Self::Ext4 => EXT4,
            Self::Zfs => ":",
            Self::Xfs => XFS,
            Self::Lvm => "group; volume -l 100%FREE -n root; filesystem \"$tree\" 1 788",
            Self::LvmUsr => {
                "group; volume -L 256M -n root; volume -l 100%FREE -n usr
                mv \"$tree/usr\" \"$tree.usr\"; mkdir \"$tree/usr\"
                filesystem \"$tree\" 1 256; filesystem \"$tree.usr\" 257 532; rm -rf \"$tree.usr\""
            }
        }
    }
}

/// With the identifier of the image's own root, which GRUB's settings name, as the next.
const EXT4: &str = "mke2fs -q -F -t ext4 -U ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e05 -d \"$tree\" \"$part\"";
const XFS: &str = "
    mkfs.xfs -q -m uuid=ccab4f1b-7c75-4c71-9e58-1b7d3d2a6e05 \"$part\"
    mount -t xfs -o loop \"$part\" /mnt; cp -a \"$tree/.\" /mnt; umount /mnt";

/// Runs in a mount namespace of its own. The host may have no device mapper: the root's own programs write the group's description, and
/// what lies in a volume is written where that says that it lies: the first extent begins behind the first MiB.
const FUNCTIONS: &str = "
    tree=$0 part=$1
    lvm() {
        command=$1; shift
        chroot \"$tree\" \"$command\" --driverloaded n --devices \"$device\" -qq -y \"$@\"
    }
    group() {
        mount --bind /dev \"$tree/dev\"; mount -t proc proc \"$tree/proc\"; mount -t sysfs sysfs \"$tree/sys\"; mount -t tmpfs t \"$tree/run\"
        device=$(losetup --find --show \"$part\"); trap 'losetup --detach \"$device\"' EXIT
        lvm pvcreate \"$device\"; lvm vgcreate rootvg \"$device\"
    }
    volume() { lvm lvcreate --noudevsync --config devices/obtain_device_list_from_udev=0 -an -Zn -Wn \"$@\" rootvg; }
    unmount() { for at in dev proc sys run; do ! mountpoint -q \"$tree/$at\" || umount \"$tree/$at\"; done; }
    filesystem() { unmount; mke2fs -q -F -t ext4 -E offset=$(($2 << 20)) -d \"$1\" \"$part\" \"$3M\"; }
";

/// Typed into a machine whose root is what becomes that of the second disk.
const MAKE_POOL: &str = "mount -o remount,rw /; modprobe zfs; set -e
zpool create -f -o cachefile=none -o ashift=12 -O mountpoint=none -O compression=lz4 rpool /dev/vdb2
zfs create -o mountpoint=/ -o canmount=noauto rpool/ROOT; zpool set bootfs=rpool/ROOT rpool
mount -t zfs -o zfsutil rpool/ROOT /mnt; cp -ax /. /mnt/; umount /mnt; zpool export rpool; echo the pool is made";

/// Copies `tree` into a pool in the partition of the root on `disk`.
fn put_into_pool(tree: &BakedRoot, image: &Path, initramfs: &Path, disk: &Path) {
    let source = disk.with_extension("source");
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(tree.path()).arg(&source).arg("768M"));
    let append = format!("root=/dev/vda rw {STOP} {SHELL}");
    // The agent in it finds no volume, and does nothing.
    let start = Start::Kernel { kernel: image.join("kernel"), initramfs: initramfs.to_owned(), append };
    let mut machine = PlainMachine { start, arguments: Vec::new() };
    machine.disk(&source, "raw");
    machine.disk(disk, "raw");
    let (said, _) = typed(machine.start(), MAKE_POOL);
    assert!(said.contains("the pool is made"), "{said}");
    fs::remove_file(&source).expect("the file");
}

/// Puts an initramfs of `generator`, and the root `kind` with what is in `tree`, on `disk`, which is that of `image`. Gives the
/// words for the kernel command line by which the root is found.
pub(super) fn put(kind: Root, tree: &BakedRoot, generator: Generator, image: &Path, disk: &Path) -> &'static str {
    if let Some(module) = kind.module() {
        tree.add_module(module);
    }
    let table = tree.path().join("etc/fstab");
    let before = fs::read_to_string(&table).expect("the root's fstab");
    let boot = before.lines().find(|line| line.contains(" /boot ")).expect("a line for /boot");
    fs::write(&table, format!("{}{boot}\n", kind.fstab())).expect("the root's fstab");
    let mut made = tree.initramfs(generator).unwrap_or_else(|said| panic!("{generator:?}: {said}"));
    if generator == Generator::Dracut {
        // The tests have it make one that is not compressed, for which there is no room.
        run(Command::new("zstd").args(["-q", "-3", "--rm", "-f"]).arg(&made));
        made.set_extension("zst");
    }
    put_into_boot(disk, &made, &format!("initrd.img-{}", tree.release()));
    match kind {
        Root::Zfs => put_into_pool(tree, image, &made, disk),
        _ => put_into_partition(kind, tree, disk),
    }
    kind.words(generator)
}

/// Makes the partition of the root on `disk` anew, of what is in `tree`.
fn put_into_partition(kind: Root, tree: &BakedRoot, disk: &Path) {
    let part = disk.with_extension("part");
    fs::File::create(&part).and_then(|file| file.set_len(PARTITION.1 << 20)).expect("a file");
    let script = format!("{FUNCTIONS}{}", kind.script());
    run(Command::new("unshare").args(["--mount", "sh", "-ec", &script]).arg(tree.path()).arg(&part));
    let offset = (PARTITION.0 << 20).to_string();
    let length = (PARTITION.1 << 20).to_string();
    run(Command::new("fallocate").args(["--punch-hole", "--offset", &offset, "--length", &length]).arg(disk));
    run(Command::new("dd")
        .args(["bs=1M", "conv=notrunc,sparse", "status=none", &format!("seek={}", PARTITION.0)])
        .arg(format!("if={}", part.display()))
        .arg(format!("of={}", disk.display())));
    fs::remove_file(&part).expect("the file");
}
