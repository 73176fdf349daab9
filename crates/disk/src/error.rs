//! Why a disk cannot be used. Every I/O error has a verb and a path.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::Holder;

/// Why a disk or disk file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Nothing has that name.
    #[error("there is no {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// Something else than a block device or a file.
    #[error("{} is a {found}, neither a block device nor a file", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The kernel refuses writes to the device.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// Something uses the disk.
    #[error("{} is in use: {}", path.display(), list(holders))]
    Held {
        /// The path.
        path: PathBuf,
        /// By what; empty when the kernel refuses and names nobody.
        holders: Vec<Holder>,
    },
    /// The disk has another size than when it was opened.
    #[error("{} has {found} bytes now, it had {expected} when it was opened", path.display())]
    Resized {
        /// The path.
        path: PathBuf,
        /// Bytes when it was opened.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// A system call failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn list(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "the kernel does not say by what".to_owned();
    }
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// An error of `verb` on `path`.
pub(crate) fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { verb, path, source }
}
