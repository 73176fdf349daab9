//! What can be wrong with a volume. Absent, damaged and too large are different; none of them panics.

use std::io;

use cloud_machine_protocol::volume::{MAX_FILE, MAX_FILES};

/// Why a volume, or a file on it, could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// Neither filesystem.
    #[error("the volume has neither a FAT nor an ISO 9660 filesystem")]
    Unknown,
    /// Both filesystems: which of them is meant would be a guess.
    #[error("the volume has both a FAT and an ISO 9660 filesystem")]
    Ambivalent,
    /// The filesystem, or a folder of it, is damaged.
    #[error("cannot read the filesystem of the volume")]
    Filesystem(#[source] io::Error),
    /// There is no such file.
    #[error("the volume has no file {path}")]
    NoFile {
        /// The path.
        path: String,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {path} on the volume")]
    File {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than what may be read.
    #[error("file {path} on the volume has more than {MAX_FILE} bytes")]
    FileTooLarge {
        /// The path.
        path: String,
    },
    /// More files than may be on a volume, or more folders than so many files need.
    #[error("the volume has more than {MAX_FILES} files, or too many folders")]
    TooManyFiles,
}

/// A fault in the bytes of a volume.
pub(crate) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
