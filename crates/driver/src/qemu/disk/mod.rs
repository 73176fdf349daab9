//! Short cuts of the host below a machine's system disk: a fresh overlay on a golden disk, and a dirty map beside a raw
//! file. Owns files and block nodes of both; must not decide which is used.

mod map;
mod overlay;

use std::{ffi::OsString, io, path::Path, time::Duration};

pub use map::{MAX_EXTENTS, is_newer_than_map, new_map, read_map};
pub use overlay::new_overlay;
use serde_json::{Value, json};

use super::{QemuError, tool};
pub use crate::machine::DirtyMap;
use crate::{child::Bounds, escape};

/// What a program of QEMU's disk tools may take: none of those that run here looks at the content of a disk, and a dirty
/// map of [`MAX_EXTENTS`] has less than 40,001 lines of 120 bytes.
const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(120), output: 8 << 20 };

/// Block node of a disk whose writes go to the qcow2 file `overlay`, above the raw file `golden` that is only read.
///
/// The name of the lower file is given here and never taken from the overlay.
///
/// # Errors
/// [`QemuError::InvalidLaunch`] for a path that is not absolute UTF-8.
pub fn overlay_node(overlay: &Path, golden: &Path) -> Result<String, QemuError> {
    let lower = json!({"driver": "raw", "read-only": true, "file": file(golden, true)?});
    let node = json!({
        "driver": "qcow2", "read-only": false, "discard": "unmap", "detect-zeroes": "off",
        "file": file(overlay, false)?, "backing": lower,
    });
    Ok(node.to_string())
}

/// Block node of the raw file `raw` whose dirty ranges QEMU marks in `map`, as [`new_map`] made it.
///
/// # Errors
/// [`QemuError::InvalidLaunch`] for a path that is not absolute UTF-8.
pub fn mapped_node(map: &Path, raw: &Path) -> Result<String, QemuError> {
    Ok(mapped(map, raw, false)?.to_string())
}

/// A qcow2 file without data of its own: the name of the raw file in it is never used.
fn mapped(map: &Path, raw: &Path, read_only: bool) -> Result<Value, QemuError> {
    Ok(json!({
        "driver": "qcow2", "read-only": read_only, "discard": "unmap", "detect-zeroes": "off",
        "file": file(map, read_only)?, "data-file": file(raw, read_only)?,
    }))
}

/// `discard` is obeyed by each node for itself: see the raw drive.
fn file(path: &Path, read_only: bool) -> Result<Value, QemuError> {
    let text = path.to_str().filter(|_| path.is_absolute()).ok_or_else(|| QemuError::InvalidLaunch {
        what: "path of a disk",
        found: path.to_string_lossy().chars().take(200).collect(),
        allowed: "an absolute path of UTF-8",
    })?;
    Ok(json!({
        "driver": "file", "filename": text, "read-only": read_only, "locking": "on",
        "discard": "unmap", "cache": {"direct": false, "no-flush": false},
    }))
}

/// Runs a program of QEMU's disk tools to its end and gives what it printed.
fn run(program: &str, arguments: Vec<OsString>) -> Result<Vec<u8>, QemuError> {
    let output = tool::output(tool::command(program).args(&arguments), BOUNDS).map_err(QemuError::child)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(QemuError::Refused {
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        status: output.status,
        said: escape::tail(&output.stderr, 10).replace('\n', "; "),
    })
}

/// Puts the finished file `new` at `path` in one step, also across a power cut.
fn put_in_place(new: &Path, path: &Path) -> Result<(), QemuError> {
    std::fs::rename(new, path).map_err(QemuError::io("put in place", path))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(QemuError::io("flush the folder", folder))
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), QemuError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(QemuError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "../disk_tests.rs"]
mod tests;
