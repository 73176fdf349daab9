//! A fresh overlay, which is all that a machine can change of a golden disk. Must not look at either of them.

use std::path::Path;

use super::tools::{put_in_place, remove, run};
use crate::qemu::QemuError;

/// Makes an empty overlay of `size` bytes above `golden` at `path`, in the place of an older one. The process that used
/// the older one must be gone. One program is run, and one folder flushed: what the overlay holds is durable when QEMU's
/// guest says so, and what it does not hold yet needs not be.
///
/// # Errors
/// [`QemuError::Run`], [`QemuError::Refused`] or [`QemuError::Io`].
pub fn new_overlay(path: &Path, golden: &Path, size: u64) -> Result<(), QemuError> {
    let new = path.with_extension("new");
    remove(&new)?;
    // The name of the golden disk is for people and their tools: machines get it from the host. Nor is it opened now
    // (`-u`), since its size is known.
    let arguments = [
        "create".into(),
        "-q".into(),
        "-u".into(),
        "-f".into(),
        "qcow2".into(),
        "-F".into(),
        "raw".into(),
        "-b".into(),
    ];
    let files = [golden.into(), new.clone().into(), size.to_string().into()];
    run("qemu-img", arguments.into_iter().chain(files).collect())?;
    put_in_place(&new, path)
}
