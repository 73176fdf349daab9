//! QEMU's disk tools, run to their end, and files that come and go whole. Must not know what is in a file.

use std::{ffi::OsString, io, path::Path, time::Duration};

use cloud_machine_child::Bounds;
use cloud_machine_protocol::escape;

use crate::qemu::{QemuError, tool};

/// What a program of QEMU's disk tools may take: none of those that run here looks at the content of a disk, and a dirty
/// map of [`super::MAX_EXTENTS`] has less than 40,001 lines of 120 bytes.
const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(120), output: 8 << 20 };

/// Runs a program of QEMU's disk tools to its end and gives what it printed.
pub(super) fn run(program: &str, arguments: Vec<OsString>) -> Result<Vec<u8>, QemuError> {
    let output = tool::output(tool::command(program).args(&arguments), BOUNDS).map_err(QemuError::child)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(QemuError::Refused {
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        status: output.status,
        stderr: escape::tail(&output.stderr, 10).replace('\n', "; "),
    })
}

/// Puts the finished file `new` at `path` in one step, also across a power cut.
pub(super) fn put_in_place(new: &Path, path: &Path) -> Result<(), QemuError> {
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
