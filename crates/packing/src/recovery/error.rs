//! Why there are no boot files. Must not know which machine they are for.

use std::{io, path::PathBuf};

use cloud_machine_child::ChildError;
use cloud_machine_uki::UkiError;
use cloud_machine_volume::write::VolumeError;

use crate::efi_signature::EfiSignatureError;

/// Why there are no boot files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The disk counts in something else than what firmware is given.
    #[error(
        "a recovery can only be started from a disk with sectors of 512 bytes, and this one has sectors of {found}"
    )]
    SectorSize {
        /// Bytes of a sector.
        found: u32,
    },
    /// The area begins within a sector.
    #[error("the boot files of a recovery begin with a sector, and byte {offset} of the disk is not the first of one")]
    Offset {
        /// Where the area begins.
        offset: u64,
    },
    /// A file or program of a package is not on this host.
    #[error("cannot find {what}: `apt-get install {package}` brings it")]
    Absent {
        /// The file or program.
        what: String,
        /// Debian's package.
        package: &'static str,
    },
    /// A file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Files for a program could not be passed to it or taken from it.
    #[error("cannot keep files in a temporary folder")]
    Temporary(#[source] io::Error),
    /// GRUB's program could not be run.
    #[error("cannot make GRUB's image")]
    Run(#[source] ChildError),
    /// GRUB's program ended with an error.
    #[error("grub-mkimage cannot make GRUB's image: {said}")]
    Failed {
        /// What it said, safe to show.
        said: String,
    },
    /// A part of GRUB is not laid out as that of Debian 12 is, so numbers put into it would be anywhere.
    #[error("{what} is not laid out as in GRUB 2.06: {why}")]
    UnknownGrub {
        /// Which part.
        what: String,
        /// What is different.
        why: &'static str,
    },
    /// GRUB or the kernel would make something else of the command line.
    #[error(
        "the command line has '{letter}' at byte {at}; only printable ASCII can be in it, without quotation marks, backslashes and \
         dollar signs"
    )]
    CommandLine {
        /// The letter, safe to show.
        letter: String,
        /// Its byte, from 0.
        at: usize,
    },
    /// Kernel, initramfs and command line are not what can be started.
    #[error("cannot use kernel, initramfs and command line for a recovery")]
    Parts(#[from] UkiError),
    /// There is no FAT filesystem with them.
    #[error("cannot make the EFI system partition of a recovery")]
    Volume(#[from] VolumeError),
    /// The operator's key cannot sign.
    #[error("cannot sign the boot files of a recovery")]
    Sign(#[from] EfiSignatureError),
    /// They do not fit.
    #[error("the boot files of a recovery have {needed} bytes, and the recovery partition has room for {room}")]
    TooLarge {
        /// Their bytes.
        needed: u64,
        /// Bytes there are for them.
        room: u64,
    },
}
