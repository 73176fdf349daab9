//! What can go wrong with a disk image that is read, one variant a reason. Must not decide what follows from it.

use std::{io, path::PathBuf, process::ExitStatus};

use super::Format;

/// Why an image could not be read. `name` is its path, or `standard input`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The image could not be opened; the source tells whether it is there.
    #[error("cannot open {name}")]
    Open {
        /// The image.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A folder in the place of an image.
    #[error("{name} is a folder, not a disk image")]
    Folder {
        /// The image.
        name: String,
    },
    /// Somebody would have to type a disk image.
    #[error("standard input is a terminal, not a disk image")]
    Terminal,
    /// Nothing to read.
    #[error("{name} is empty")]
    Empty {
        /// The image.
        name: String,
    },
    /// The image could not be read.
    #[error("cannot read {name}")]
    Read {
        /// The image.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The image is truncated, followed by something else, or not of this format.
    #[error("cannot decompress {name} as {}, after {decompressed} bytes of the disk", format.name())]
    Decompress {
        /// The image.
        name: String,
        /// The format.
        format: Format,
        /// Bytes that had been decompressed.
        decompressed: u64,
        /// The decompressor's answer.
        #[source]
        source: io::Error,
    },
    /// A compressed image whose decoder would have to keep more in memory than is allowed. It is not damaged.
    #[error("cannot decompress {name} as {}: it needs {}, at most {limit} bytes are allowed", format.name(), wanted(*window))]
    Window {
        /// The image.
        name: String,
        /// The format.
        format: Format,
        /// Bytes that it asks for, where its beginning tells.
        window: Option<u64>,
        /// Most bytes that are allowed.
        limit: u64,
    },
    /// The image is in a form that is not read.
    #[error("{name} is {what}")]
    Foreign {
        /// The image.
        name: String,
        /// What it is.
        what: String,
        /// What makes a disk of it that is read.
        way_out: String,
    },
    /// The raw image has more bytes than allowed.
    #[error("{name} is a disk of more than {max} bytes")]
    TooLarge {
        /// The image.
        name: String,
        /// Most bytes that are allowed.
        max: u64,
    },
    /// The file was written while it was read.
    #[error("{name} was changed while it was read")]
    Changed {
        /// The image.
        name: String,
    },
    /// No temporary file.
    #[error("cannot make a temporary file in {}", folder.display())]
    Temporary {
        /// Where it should be.
        folder: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The temporary file could not be written: the source tells whether there is no space.
    #[error("cannot write the raw image of {name} to a temporary file, {written} bytes of data so far")]
    Write {
        /// The image.
        name: String,
        /// Bytes that were written.
        written: u64,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The finished image could not be put where it is to be.
    #[error("cannot write {name}")]
    Put {
        /// Where it is to be.
        name: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A qcow2 image that is damaged or needs more than its own file.
    #[error("{name} cannot be converted: {reason}")]
    Qcow2 {
        /// The image.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program that converts could not be run; the source tells whether it is there.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program that converts failed.
    #[error("{program} {arguments} ended with {status}: {stderr}")]
    Program {
        /// The program.
        program: String,
        /// Its arguments.
        arguments: String,
        /// How it ended.
        status: ExitStatus,
        /// The last 4 KiB of its stderr, safe to show.
        stderr: String,
    },
}

fn wanted(window: Option<u64>) -> String {
    window.map_or_else(|| "a larger window".to_owned(), |window| format!("a window of {window} bytes"))
}

impl InputError {
    /// Whether the filesystem of the temporary files is full, or a limit of the process is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            )
        };
        match self {
            Self::Write { source, .. } | Self::Temporary { source, .. } | Self::Put { source, .. } => full(source),
            // strerror(3) of ENOSPC, in the locale C.
            Self::Program { stderr, .. } => stderr.contains("No space left on device"),
            _ => false,
        }
    }
}
