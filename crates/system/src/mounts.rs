//! Mounts of the initramfs and of the new root. The filesystem type is always given: letting the kernel try every
//! type on an untrusted device is an attack surface.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};
use sys_mount::{Mount, MountFlags, UnmountFlags};

use crate::SystemError;

/// Where the new root is mounted.
pub const NEW_ROOT: &str = "/newroot";
/// Where the root filesystem of an image is mounted while its files are read.
pub const IMAGE_ROOT: &str = "/image-root";

/// Kernel filesystems of the initramfs, in order: target, type, flags, options.
const KERNEL_FILESYSTEMS: [(&str, &str, MountFlags, &str); 4] = [
    ("/proc", "proc", MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC), ""),
    ("/sys", "sysfs", MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC), ""),
    ("/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755"),
    ("/run", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=0755"),
];

/// Mounts /proc, /sys, /dev and /run.
///
/// # Errors
/// [`SystemError::Io`] naming the first that cannot be mounted.
pub fn mount_kernel_filesystems() -> Result<(), SystemError> {
    for (target, kind, flags, options) in KERNEL_FILESYSTEMS {
        Mount::builder()
            .fstype(kind)
            .flags(flags)
            .data(options)
            .mount(kind, target)
            .map_err(SystemError::io("mount", target))?;
    }
    Ok(())
}

/// Leaves the mounts of everybody else: from here on this process mounts for itself alone, and what it mounted goes with it.
/// For a process with one thread.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn leave_namespace() -> Result<(), SystemError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(SystemError::io("leave", "the mount namespace"))?;
    // Without it a mount would be seen by all others, too (mount_namespaces(7)).
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(SystemError::io("make private the mounts of", "/"))
}

/// Whether the new root is mounted.
///
/// # Errors
/// [`SystemError::Io`] when the kernel does not say.
pub fn is_root_mounted() -> Result<bool, SystemError> {
    let list = fs::read_to_string("/proc/self/mounts").map_err(SystemError::io("read", "/proc/self/mounts"))?;
    Ok(list.lines().any(|line| line.split(' ').nth(1) == Some(NEW_ROOT)))
}

/// Mounts `/dev/<partition>` as the new root, writable.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn mount_root(partition: &str, filesystem: &str) -> Result<(), SystemError> {
    let device = format!("/dev/{partition}");
    fs::create_dir_all(NEW_ROOT).map_err(SystemError::io("create", NEW_ROOT))?;
    Mount::builder()
        .fstype(filesystem)
        .flags(MountFlags::empty())
        // A job can leave errors=panic in the superblock; a damaged block must not take the agent's kernel down.
        .data("errors=remount-ro")
        .mount(&device, NEW_ROOT)
        .map_err(SystemError::io("mount", &device))?;
    Ok(())
}

/// Mounts `/dev/<device>` as the new root, with no option but whether it may be written.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn mount_disk(device: &str, filesystem: &str, read_only: bool) -> Result<(), SystemError> {
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    mount_at(NEW_ROOT, &format!("/dev/{device}"), filesystem, flags, "")
}

/// Shows the folder `source` at `target`, too.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn bind(source: &str, target: &str) -> Result<(), SystemError> {
    mount_at(target, source, "none", MountFlags::BIND, "")
}

/// Mounts the root filesystem of an image from `/dev/<partition>` at [`IMAGE_ROOT`], read-only and without a replay of
/// its journal.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn mount_image(partition: &str, filesystem: &str) -> Result<(), SystemError> {
    let device = format!("/dev/{partition}");
    let options = match filesystem {
        "ext4" => "noload",
        "xfs" => "norecovery",
        "btrfs" => "rescue=nologreplay",
        _ => "",
    };
    mount_at(IMAGE_ROOT, &device, filesystem, MountFlags::RDONLY, options)
}

/// Mounts a dataset of an imported pool as the new root. What its own property says of a mountpoint does not count.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn mount_dataset(dataset: &str, read_only: bool) -> Result<(), SystemError> {
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    mount_at(NEW_ROOT, dataset, "zfs", flags, "")
}

fn mount_at(target: &str, source: &str, kind: &str, flags: MountFlags, options: &str) -> Result<(), SystemError> {
    fs::create_dir_all(target).map_err(SystemError::io("create", target))?;
    let builder = Mount::builder().fstype(kind).flags(flags);
    let builder = if options.is_empty() { builder } else { builder.data(options) };
    builder.mount(source, target).map(|_| ()).map_err(SystemError::io("mount", source))
}

/// Does `work` while what is mounted at `target` can be written: one that is mounted read-only is so again afterwards.
///
/// # Errors
/// That of `work`, and [`SystemError::Io`] when the kernel refuses either change.
pub fn while_writable<E: From<SystemError>>(target: &Path, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let object = || target.display().to_string();
    let found = statvfs(target).map_err(SystemError::io("examine", object()))?;
    if !found.flags().contains(FsFlags::ST_RDONLY) {
        return work();
    }
    let none: Option<&str> = None;
    let again = |flags| mount(none, target, none, MsFlags::MS_REMOUNT | flags, none);
    again(MsFlags::empty()).map_err(SystemError::io("make writable", object()))?;
    let done = work();
    let back = again(MsFlags::MS_RDONLY).map_err(SystemError::io("make read-only", object()));
    done?;
    Ok(back?)
}

/// Unmounts `target`.
///
/// # Errors
/// [`SystemError::Io`] when something uses it.
pub fn unmount(target: &str) -> Result<(), SystemError> {
    sys_mount::unmount(target, UnmountFlags::empty()).map_err(SystemError::io("unmount", target))
}

/// Moves a mount of the initramfs below the new root.
///
/// # Errors
/// [`SystemError::Io`] when the target is absent or the kernel refuses.
pub fn move_into_root(target: &str) -> Result<(), SystemError> {
    let inside = format!("{NEW_ROOT}{target}");
    if !Path::new(&inside).is_dir() {
        fs::create_dir(&inside).map_err(SystemError::io("create", &inside))?;
    }
    // The filesystem type is ignored for a move (mount(2)).
    Mount::builder()
        .fstype("none")
        .flags(MountFlags::MOVE)
        .mount(target, &inside)
        .map_err(SystemError::io("move mount", target))?;
    Ok(())
}
