//! What can be wrong with a recovery partition. Must not say what is to be done about a machine.

use std::io;

use cloud_machine_image::ImageError;

/// A failure; none of them leaves a disk that starts nothing.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk cannot be read, written or flushed.
    #[error("cannot {verb} {length} bytes at byte {offset}")]
    Io {
        /// Infinitive of what failed.
        verb: &'static str,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Why.
        source: io::Error,
    },
    /// The disk gives back other bytes than it was given.
    #[error("bytes {offset} to {} were not read back as they were written", offset + length)]
    ReadBack {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Neither copy of the partition table can be used.
    #[error("the disk has no usable GPT: {reason}")]
    Table {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No place for the partition is left.
    #[error(
        "there is no room for a recovery partition of {wanted} bytes: partition {number} ends at byte {end}, and it would begin \
         at byte {start}"
    )]
    NoRoom {
        /// Bytes of the recovery partition.
        wanted: u64,
        /// The partition that is in the way, from 1.
        number: usize,
        /// Where that one ends.
        end: u64,
        /// Where the recovery partition would begin.
        start: u64,
    },
    /// The disk is smaller than what is to be at its end.
    #[error("a recovery partition of {wanted} bytes does not fit on a disk of {size} bytes")]
    DiskTooSmall {
        /// Bytes of the recovery partition.
        wanted: u64,
        /// Bytes of the disk.
        size: u64,
    },
    /// All 128 entries of the table are used.
    #[error("the partition table has no free entry")]
    TableFull,
    /// The disk has no recovery partition.
    #[error("the disk has no recovery partition")]
    Absent,
    /// What is staged there is not what was written, or of another version.
    #[error("what is staged in the recovery partition is unreadable: {reason}")]
    Control {
        /// What is wrong with it.
        reason: String,
    },
    /// A record does not fit where it belongs.
    #[error("a record of {length} bytes does not fit into {limit}")]
    TooLong {
        /// Bytes of the record.
        length: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// A request is not staged.
    #[error("the request is not staged: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The bytes of a request do not arrive.
    #[error("the request cannot be read")]
    Stream {
        /// Why.
        source: io::Error,
    },
    /// What was staged cannot be made zero.
    #[error("what was staged cannot be made zero")]
    Wipe {
        /// Why.
        source: Box<ImageError>,
    },
    /// A staged file lies outside of its place.
    #[error("the place of the staged {name}, {length} bytes at byte {offset}, is not in the recovery partition")]
    Place {
        /// Which file.
        name: &'static str,
        /// First byte, from the beginning of the partition.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}
