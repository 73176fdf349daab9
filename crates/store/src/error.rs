//! What can go wrong with the state folder, one variant a reason. Must not decide what follows from it.

use std::{io, path::PathBuf};

use cloud_machine_protocol::{Digest, DiskName, ImageName, MachineName, ParseError};

/// Why the state folder, a record, a lock or an image could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused an operation on a path.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// Verb and object, such as `write the record`.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something lies in the place of a file that is no file: reading it might wait or never end.
    #[error("{} is {found}, an ordinary file is expected", path.display())]
    NotOrdinary {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file is larger than any that this program writes in its place.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// Another operation holds the machine's lock.
    #[error("machine {name} is locked by another operation")]
    Locked {
        /// The machine.
        name: MachineName,
    },
    /// Somebody has a lease on the machine.
    #[error("machine {name} is leased to {owner:?} until {until:.0}")]
    Leased {
        /// The machine.
        name: MachineName,
        /// Who has it.
        owner: String,
        /// When it ends.
        until: jiff::Timestamp,
    },
    /// A lease that was named is not the one that holds now.
    #[error("lease {number} of machine {name} {why}")]
    LeaseLost {
        /// The machine.
        name: MachineName,
        /// Its number.
        number: u64,
        /// What became of it.
        why: String,
    },
    /// A lease that may be somebody's, and cannot be read.
    #[error("cannot say whether somebody has a lease on machine {name}")]
    LeaseUnreadable {
        /// The machine.
        name: MachineName,
        /// The file of its leases.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<StoreError>,
    },
    /// A lease that nobody can have.
    #[error("cannot lease machine {name}: {reason}")]
    LeaseRefused {
        /// The machine.
        name: MachineName,
        /// Why not.
        reason: &'static str,
    },
    /// Another operation holds the image's lock.
    #[error("image {name} is locked by another operation")]
    ImageLocked {
        /// The image.
        name: ImageName,
    },
    /// The source of a disk that is never written is not what it was.
    #[error("{} was changed since the machine was described", path.display())]
    MediumChanged {
        /// The source.
        path: PathBuf,
    },
    /// The content of a disk that is never written is gone.
    #[error("{} is absent: the disk has the content that was copied there, and no other", path.display())]
    MediumAbsent {
        /// The file in the machine's folder.
        path: PathBuf,
    },
    /// No such machine.
    #[error("no machine {name}")]
    NoMachine {
        /// The machine.
        name: MachineName,
    },
    /// No such image.
    #[error("no image {name}")]
    NoImage {
        /// The image.
        name: ImageName,
    },
    /// An older image than one that was here.
    #[error("image {name} of generation {generation} is older than generation {highest}, the highest that was here")]
    GenerationLow {
        /// The image.
        name: ImageName,
        /// Its generation.
        generation: u64,
        /// The highest that was ever installed.
        highest: u64,
    },
    /// Another image with the same generation.
    #[error("image {name} of generation {generation} is here already with other content: {digest}")]
    GenerationTaken {
        /// The image.
        name: ImageName,
        /// Its generation.
        generation: u64,
        /// Digest of what was installed as that.
        digest: Digest,
    },
    /// The machine's folder is there already.
    #[error("machine {name} already exists")]
    MachineExists {
        /// The machine.
        name: MachineName,
    },
    /// A folder of the store is there, its record is not.
    #[error("there is no record {}", path.display())]
    NoRecord {
        /// Where it should be.
        path: PathBuf,
    },
    /// The record is of a version that this program does not know.
    #[error("record {} has version {found}, this program knows {known}", path.display())]
    UnknownVersion {
        /// The record.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The record is no JSON of the right shape.
    #[error("cannot read the record {}", path.display())]
    InvalidJson {
        /// The record.
        path: PathBuf,
        /// The parser's answer.
        #[source]
        source: serde_json::Error,
    },
    /// The record has the right shape and says something that cannot be.
    #[error("record {} is invalid: {reason}", path.display())]
    InvalidRecord {
        /// The record.
        path: PathBuf,
        /// What cannot be.
        reason: String,
    },
    /// The record could not be turned to JSON.
    #[error("cannot write {what} as JSON")]
    ToJson {
        /// Which document.
        what: &'static str,
        /// The writer's answer.
        #[source]
        source: serde_json::Error,
    },
    /// An entry of the store is not named like a machine or an image.
    #[error("cannot read the name of {}", path.display())]
    InvalidName {
        /// The entry.
        path: PathBuf,
        /// What its name should have been.
        #[source]
        source: ParseError,
    },
    /// A relative path of a record, or the id of a request, would lead out of its folder.
    #[error("{path:?} does not stay in the folder of its machine")]
    Escapes {
        /// The text.
        path: String,
    },
    /// The file of a disk was asked for that has none on this host.
    #[error("disk {disk} is a device of the machine, and no file of this host")]
    NoFile {
        /// Name of the disk.
        disk: DiskName,
    },
    /// Other users can write the state folder.
    #[error("state folder {} can be written by other users (mode {mode:04o})", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The state folder belongs to somebody else.
    #[error("state folder {} belongs to user id {owner}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A disk's file is there with another size than the record says.
    #[error("disk {} has {found} bytes, its record says {expected}", path.display())]
    DiskSize {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A file of an image is not the one that was installed.
    #[error("{} has digest {found}, it was installed as {expected}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was installed.
        expected: String,
    },
    /// There is no key, so nobody can say whether a file is the one that was stored.
    #[error("the key {} is missing, so nothing can be said of the evidence that was sealed with it", path.display())]
    KeyAbsent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("cannot make a key or an id")]
    Random(#[source] crate::identity::RandomError),
    /// A lock of one machine was used for another.
    #[error("the lock of machine {held} was used for machine {wanted}")]
    WrongLock {
        /// What is locked.
        held: MachineName,
        /// What was meant.
        wanted: MachineName,
    },
}

impl StoreError {
    /// Whether the file system, or the user's share of it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// An [`StoreError::Io`] made of the system's answer, for `map_err`.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// The system's answer, for a caller that names operation and path itself; of another reason
    /// [`io::ErrorKind::InvalidInput`] with it.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidInput, other),
        }
    }
}
