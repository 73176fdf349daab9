//! Block nodes of QEMU above files of a system disk, as JSON. Must not make a file.

use std::path::Path;

use serde_json::{Value, json};

use crate::qemu::QemuError;

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

/// Block node of the raw file `raw` whose dirty ranges QEMU marks in `map`, as [`super::new_map`] made it.
///
/// # Errors
/// [`QemuError::InvalidLaunch`] for a path that is not absolute UTF-8.
pub fn mapped_node(map: &Path, raw: &Path) -> Result<String, QemuError> {
    Ok(mapped(map, raw, false)?.to_string())
}

/// A qcow2 file without data of its own: the name of the raw file in it is never used.
pub(super) fn mapped(map: &Path, raw: &Path, read_only: bool) -> Result<Value, QemuError> {
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
