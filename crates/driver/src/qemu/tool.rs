//! How programs of QEMU's are run: with a clean environment and files that only their owner can open. Must not know what
//! they are asked to do.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command},
    sync::{Mutex, PoisonError},
};

use rustix::fs::Mode;

use cloud_machine_child::{self as child, Bounds, ChildError, Output};

use super::QemuError;

/// The mask belongs to the whole process: two threads that change it at once would leave each other's.
static MASK: Mutex<()> = Mutex::new(());

/// A program that gets nothing of the caller's environment but where programs lie: no variable of an operator's session
/// changes a machine, and what is printed is in the language that it is looked through for.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Starts it; the files that it makes have no permissions for others.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let child = command.spawn();
    rustix::process::umask(before);
    child
}

/// Runs it to its end within `bounds` and gives what it printed; the files that it makes have no permissions for others.
pub(super) fn output(command: &mut Command, bounds: Bounds) -> Result<Output, ChildError> {
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let output = child::run(command, bounds);
    rustix::process::umask(before);
    output
}

/// An empty file for its owner alone.
pub(crate) fn private(path: &Path) -> Result<File, QemuError> {
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    made.map_err(QemuError::io("make", path))
}
