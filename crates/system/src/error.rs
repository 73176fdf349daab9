//! What can go wrong between the guest and Linux. Every I/O error has a verb and an object.

use std::{io, process::ExitStatus};

use cloud_machine_disk::DiskError;
use cloud_machine_image::ImageError;
use cloud_machine_volume::VolumeError;

/// An effect on the machine that failed.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A system call failed.
    #[error("cannot {verb} {object}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel had other content than documented.
    #[error("{object} holds {found:?}, expected {expected}")]
    Unexpected {
        /// Which file or device.
        object: String,
        /// What it held, shortened.
        found: String,
        /// What it should have held.
        expected: &'static str,
    },
    /// A program is not in the initramfs.
    #[error("there is no {program} in the initramfs: `image pack --programs` brings programs")]
    ProgramAbsent {
        /// Its path.
        program: String,
    },
    /// A kernel module is not in the initramfs.
    #[error("there is no kernel module {module} in the initramfs: `image pack --kernel-module {module}` brings it")]
    ModuleAbsent {
        /// Its name.
        module: String,
    },
    /// The programs for ZFS were made for another module.
    #[error("the kernel module of ZFS is {module} and its programs are {programs}: one image must bring both")]
    Versions {
        /// Version of the module.
        module: String,
        /// Version of the programs.
        programs: String,
    },
    /// A program did not do its work.
    #[error("{program} {} ended with {status}: {stderr}", arguments.join(" "))]
    ProgramFailed {
        /// Its path.
        program: String,
        /// What it was told.
        arguments: Vec<String>,
        /// Its exit status or signal.
        status: ExitStatus,
        /// The end of what it said, escaped, in one line.
        stderr: String,
    },
    /// A program was ended, since it took too long.
    #[error("{program} did not end within {seconds} s")]
    ProgramSlow {
        /// Its path.
        program: String,
        /// The time it had.
        seconds: u64,
    },
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A disk was not wiped.
    #[error("cannot wipe /dev/{device}")]
    Wipe {
        /// Kernel name.
        device: String,
        /// What failed.
        #[source]
        source: ImageError,
    },
    /// A device is larger than what may be read into memory.
    #[error("/dev/{device} has {size} bytes, more than the {limit} of a volume")]
    TooLarge {
        /// Kernel name.
        device: String,
        /// Its bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The volume, or a file on it, cannot be read.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The process that reads a foreign volume could not read it.
    #[error("cannot read the volume: {reason}")]
    ForeignVolume {
        /// What the process said, escaped and shortened.
        reason: String,
    },
    /// The process that reads a foreign volume died.
    #[error("the process that reads the volume ended with {status}")]
    ReaderEnded {
        /// Its signal or exit status.
        status: ExitStatus,
    },
    /// The process that reads a foreign volume was ended, since it took too long.
    #[error("the process that reads the volume did not answer within {seconds} s")]
    ReaderSlow {
        /// The time it had.
        seconds: u64,
    },
    /// The process that reads a foreign volume said what it never says.
    #[error("the process that reads the volume gave an invalid answer")]
    ReaderAnswer,
    /// The partition table on the disk is not the one that was expected.
    #[error("the kernel does not see the expected partitions of /dev/{device}: {difference}")]
    PartitionTable {
        /// Kernel name of the disk.
        device: String,
        /// What differs.
        difference: String,
    },
    /// The partition table could not be read at all.
    #[error("cannot read the partition table of /dev/{device}")]
    PartitionTableUnreadable {
        /// Kernel name of the disk.
        device: String,
        /// What the reader said.
        #[source]
        source: gpt::GptError,
    },
    /// The host's port did not appear.
    #[error("no virtio-serial port is named {name}")]
    PortAbsent {
        /// Name of the port.
        name: String,
    },
}

impl SystemError {
    /// For `map_err`: names the verb and the object of a failed call.
    pub fn io<S: Into<io::Error>>(verb: &'static str, object: impl Into<String>) -> impl FnOnce(S) -> Self {
        let object = object.into();
        move |source| Self::Io { verb, object, source: source.into() }
    }

    pub(crate) fn unexpected(object: impl Into<String>, found: &str, expected: &'static str) -> Self {
        Self::Unexpected { object: object.into(), found: found.chars().take(80).collect(), expected }
    }
}
