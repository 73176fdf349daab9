//! The step into the new root. Must not write to it.

use std::{convert::Infallible, ffi::CString, fs, os::unix::fs::MetadataExt, path::Path};

use nix::{
    sys::statfs::{FsType, TMPFS_MAGIC, statfs},
    unistd::{chdir, chroot, execv},
};

use super::empty;
use crate::{SystemError, mounts};

/// Programs that may be the new system's first process, tried in order (kernel's init/main.c has the same list).
const INIT: [&str; 2] = ["/sbin/init", "/bin/init"];

/// What an initramfs is (Documentation/filesystems/ramfs-rootfs-initramfs.rst): tmpfs, or ramfs (linux/magic.h).
const INITRAMFS: [FsType; 2] = [TMPFS_MAGIC, FsType(0x8584_58f6)];

/// Makes the new root the root and becomes its first process. For PID 1 only; on success it never returns.
///
/// # Errors
/// [`SystemError::Io`] naming what failed. The machine cannot go on after that.
pub fn switch() -> Result<Infallible, SystemError> {
    move_mounts()?;
    give_back_memory()?;
    enter()?;
    let mut failure = SystemError::unexpected("the new root", "no init program", "/sbin/init");
    for program in INIT {
        match execute(&[program]) {
            Ok(never) => match never {},
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// As [`switch`], to a program with arguments in the place of the system's own, and with the files of the initramfs left where mounts
/// of them lead.
///
/// # Errors
/// As [`switch`].
pub fn switch_to(words: &[&str]) -> Result<Infallible, SystemError> {
    move_mounts()?;
    enter()?;
    execute(words)
}

fn move_mounts() -> Result<(), SystemError> {
    ["/dev", "/proc", "/sys", "/run"].into_iter().try_for_each(mounts::move_into_root)
}

fn enter() -> Result<(), SystemError> {
    chdir(mounts::NEW_ROOT).map_err(SystemError::io("enter", mounts::NEW_ROOT))?;
    sys_mount::Mount::builder()
        .fstype("none")
        .flags(sys_mount::MountFlags::MOVE)
        .mount(mounts::NEW_ROOT, "/")
        .map_err(SystemError::io("move mount", mounts::NEW_ROOT))?;
    chroot(".").map_err(SystemError::io("change root to", mounts::NEW_ROOT))?;
    chdir("/").map_err(SystemError::io("enter", "/"))
}

fn execute(words: &[&str]) -> Result<Infallible, SystemError> {
    let arguments: Vec<CString> = words.iter().map(|word| CString::new(*word).unwrap_or_default()).collect();
    let program = arguments.first().cloned().unwrap_or_default();
    execv(&program, &arguments).map_err(SystemError::io("execute", words.first().copied().unwrap_or_default()))
}

/// Removes all of the initramfs: agent, modules, programs. What is left behind stays in memory for good.
fn give_back_memory() -> Result<(), SystemError> {
    let root = Path::new("/");
    // The root of anything but an initramfs is not ours to empty.
    let kind = statfs(root).map_err(SystemError::io("examine", "/"))?.filesystem_type();
    if !INITRAMFS.contains(&kind) {
        return Err(SystemError::unexpected("/", &format!("filesystem type {:#x}", kind.0), "an initramfs"));
    }
    let device = fs::symlink_metadata(root).map_err(SystemError::io("examine", "/"))?.dev();
    empty(root, device)
}
