//! Image manifest, block hashing, compare, rewrite, wipe and verify over traits that read and write blocks.
//! Decides what a disk must hold and proves that it does; must not open a file, a device or a socket itself.

mod blocks;
mod buffer;
mod claim;
mod compare;
mod disk_stream;
mod error;
mod extent;
mod files;
mod fitted_table;
mod goal;
mod layout;
mod manifest;
mod mbr;
mod new_table;
mod own_table;
mod packed;
mod partition;
mod reimage;
mod signatures;
mod sparse;
mod table;
mod tree;
mod wipe;
mod zeros;

pub use blocks::{Progress, ReadBlocks, WriteBlocks};
pub use buffer::AlignedBuffer;
pub use compare::{check, compare};
pub use disk_stream::{DiskReceiver, DiskStreamError, Keep, SentDisk, send_disk};
pub use error::{Device, ImageError, Verb};
pub use extent::digest_of_extents;
pub use files::{FileEntry, FileKind, Files};
pub use manifest::{ClaimedManifest, MANIFEST_VERSION, Manifest};
pub use new_table::{TableWritten, write_table};
pub use packed::{PackOptions, pack, read_manifest, read_manifest_unless, verify_packed};
pub use partition::{Partition, find_partitions};
pub use reimage::{Changed, CompareMode, Options, Rewritten, VerifiedImage, boot_head, rewrite, sampled_bytes};
pub use signatures::{remove_signatures, signature_places};
pub use table::Table;
pub use wipe::{Wiped, discard, wipe};

/// Bytes of a leaf: the smallest range with a digest of its own, and the smallest that is rewritten.
pub const LEAF_SIZE: u64 = 64 << 10;
/// Bytes of raw image in one compressed frame, and of one read from a disk.
pub const FRAME_SIZE: u64 = 1 << 20;
/// Offsets and lengths of reads and writes are multiples of this, and so are the addresses of buffers: what unbuffered
/// access to any disk asks for. Only the last range of a disk may be a shorter multiple of [`SECTOR_SIZE`].
pub const ALIGNMENT: u64 = 4096;
/// Bytes of the sectors that an image's partition table counts in.
pub const SECTOR_SIZE: u64 = 512;
/// Largest raw image, in bytes.
pub const MAX_IMAGE_SIZE: u64 = 16 << 40;
