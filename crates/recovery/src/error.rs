//! What can be wrong with a recovery partition. Must not say what is to be done about a machine.

use std::io;

use cloud_machine_image::ImageError;
use cloud_machine_protocol::Extent;

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
    /// The recovery partition does not end where one must.
    #[error(
        "entry {number} of the partition table is a recovery partition of {length} bytes at byte {offset}, and one ends at byte {end}: \
         the next start of the machine makes a new one, where no reimage is under way and its agent's policy has `recovery`",
        length = .found.length,
        offset = .found.offset
    )]
    Misplaced {
        /// Its number, from 1.
        number: usize,
        /// Where it lies.
        found: Extent,
        /// Where one ends on this disk.
        end: u64,
    },
    /// Another partition lies in the recovery partition, too.
    #[error(
        "partition {number} ends at byte {end}, and the recovery partition begins at byte {start}: nothing is written to either while they \
         overlap"
    )]
    Overlap {
        /// The other one, from 1.
        number: usize,
        /// Where that one ends.
        end: u64,
        /// Where the recovery partition begins.
        start: u64,
    },
    /// The boot head starts a recovery partition that the table does not have where it must be: the head of before is kept in it.
    #[error(
        "no recovery partition is made, since the boot head starts another one, for a reimage that is under way: the boot head of before \
         is kept at byte {kept} of the disk, its first 65536 bytes first, and has to come back before that"
    )]
    UnderWay {
        /// Where the head of before is kept.
        kept: u64,
    },
    /// The recovery partition is not what the agent made.
    #[error(
        "the recovery partition has no record of its place, so it is not as the agent made it: without its entry in the partition table \
         (`sfdisk --delete DISK NUMBER`) the next start of the machine makes a new one; not while a reimage is under way"
    )]
    Unplaced,
    /// The recovery partition lies elsewhere than where the agent made it, or where a request was told that it lies.
    #[error(
        "the recovery partition has {} bytes at byte {} in the partition table, and {record} says {} bytes at byte {}: without its entry \
         in the partition table the next start of the machine makes a new one; not while a reimage is under way",
        .found.length, .found.offset, .stated.length, .stated.offset
    )]
    Moved {
        /// What says so.
        record: &'static str,
        /// Where it should lie.
        stated: Extent,
        /// Where it lies.
        found: Extent,
    },
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
