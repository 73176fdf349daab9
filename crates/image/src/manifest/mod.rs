//! The manifest of an image: what every byte of a disk must be, and where its bytes are in the packed file.
//! Owns the checked value; must not read a disk.

mod binary;
mod claimed;
mod entry;
mod header;
mod zeros;

use cloud_machine_protocol::{Algorithm, Digest};

use crate::{FRAME_SIZE, ImageError, LEAF_SIZE, MAX_IMAGE_SIZE, Partition, SECTOR_SIZE, tree};

pub use claimed::ClaimedManifest;
pub(crate) use entry::Entry;
#[cfg(test)]
pub(crate) use entry::{Leaf, collect};
pub(crate) use header::{Header, ROOT_FILESYSTEM, check_name, check_size};

/// Version of the manifest's format. A reader refuses any other.
pub const MANIFEST_VERSION: u32 = 1;

/// A manifest that stands for its digest: the values of its entries give it, the value of every run of zeros is that of
/// so many zeros at that place, and entries and frames cover the image without gap or overlap. So a disk whose leaves
/// have the values of the data entries, and zeros elsewhere, has the digest.
///
/// One that was read is a [`ClaimedManifest`] until its zeros are proved or somebody who proved them vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    header: Header,
    root: Partition,
    entries: Vec<Entry>,
    // Where each frame begins in the packed file, and after them where the last one ends.
    frames: Vec<u64>,
}

impl Manifest {
    /// Puts a manifest together and checks that its parts agree. That the values of its zero entries are those of zeros is
    /// for the caller to know: whoever packs has hashed them, and what was read is only [`ClaimedManifest`].
    pub(crate) fn assemble(header: Header, entries: Vec<Entry>, lengths: &[u32]) -> Result<Self, ImageError> {
        let root = header.check()?.clone();
        entry::check(&entries, header.size)?;
        let frames = frame_offsets(lengths, header.size)?;
        let computed = digest_of_entries(header.size, &entries)?;
        if computed != header.digest {
            return Err(ImageError::ManifestRoot { stated: header.digest, computed });
        }
        Ok(Self { header, root, entries, frames })
    }

    /// Reads a manifest that [`Manifest::to_bytes`] wrote and proves its zeros. Safe on hostile bytes: what it allocates is
    /// bounded by their number.
    ///
    /// # Errors
    /// As [`ClaimedManifest::parse`] and [`ClaimedManifest::prove`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        ClaimedManifest::parse(bytes)?.prove(&|_, _| ())
    }

    /// The bytes of the manifest; the same for equal manifests.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        binary::to_bytes(self)
    }

    /// Name of the image, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// Number that grows with every build of the image.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Bytes of the raw image.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.header.size
    }

    /// BLAKE3 of the raw image, as `b3sum` prints it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.header.digest
    }

    /// `uname -r` of the kernel in the image.
    #[must_use]
    pub fn kernel_release(&self) -> &str {
        &self.header.kernel_release
    }

    /// All partitions of the image, by number.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.header.partitions
    }

    /// The partition with the root filesystem.
    #[must_use]
    pub fn root(&self) -> &Partition {
        &self.root
    }

    /// Type of the root filesystem, such as `ext4`.
    #[must_use]
    pub fn root_filesystem(&self) -> &str {
        &self.header.root_filesystem
    }

    /// Bytes of the raw image in leaves that are not all zero.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let data = self.entries.iter().filter(|entry| !entry.zero);
        data.map(|entry| entry.length(self.size())).sum()
    }

    /// Bytes of all compressed frames; the packed file is longer by the manifest and the footer.
    #[must_use]
    pub fn packed_bytes(&self) -> u64 {
        self.frames.last().copied().unwrap_or_default()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Index of the entry that covers the byte at `offset`, which lies in the image.
    pub(crate) fn entry_at(&self, offset: u64) -> usize {
        let leaf = offset / LEAF_SIZE;
        let after = self.entries.partition_point(|entry| u64::from(entry.first) <= leaf);
        after.saturating_sub(1)
    }

    pub(crate) fn frame_count(&self) -> u64 {
        self.size().div_ceil(FRAME_SIZE)
    }

    /// First byte of a frame in the packed file and the bytes of the frame.
    pub(crate) fn frame(&self, frame: u64) -> (u64, u64) {
        let index = frame as usize;
        (self.frames[index], self.frames[index + 1] - self.frames[index])
    }

    fn frame_lengths(&self) -> impl Iterator<Item = u64> {
        self.frames.windows(2).map(|pair| pair[1] - pair[0])
    }
}

/// Refuses a disk that cannot hold the image.
pub(crate) fn check_target(manifest: &Manifest, size: u64) -> Result<(), ImageError> {
    if size < manifest.size() {
        return Err(ImageError::TargetTooSmall { image: manifest.size(), target: size });
    }
    if !size.is_multiple_of(SECTOR_SIZE) {
        return Err(ImageError::TargetUnaligned { size });
    }
    Ok(())
}

/// The digest that the values of `entries` give.
pub(crate) fn digest_of_entries(size: u64, entries: &[Entry]) -> Result<Digest, ImageError> {
    let nodes = entries.iter().map(|entry| entry.node(size));
    let root = tree::root(size, nodes).ok_or_else(|| ImageError::ManifestInvalid {
        reason: "its entries are not, in order, the subtrees of an image of its size".to_owned(),
    })?;
    Ok(Digest::new(Algorithm::Blake3, root))
}

/// Bytes of the largest compressed frame; a frame of random bytes is a little longer than they are.
pub(crate) fn max_frame_length() -> u64 {
    zstd::zstd_safe::compress_bound(FRAME_SIZE as usize) as u64
}

/// Bytes of the smallest zstd frame that gives `raw` bytes (RFC 8878, 3.1.1): magic, descriptor, one byte of content size
/// or window, and for each 128 KiB a block of three bytes of header and one of content. It keeps what a file can claim in
/// proportion to what it has.
fn min_frame_length(raw: u64) -> u64 {
    6 + 4 * raw.div_ceil(128 << 10)
}

fn frame_offsets(lengths: &[u32], size: u64) -> Result<Vec<u64>, ImageError> {
    let invalid = |reason| Err(ImageError::ManifestInvalid { reason });
    let expected = size.min(MAX_IMAGE_SIZE).div_ceil(FRAME_SIZE);
    if lengths.len() as u64 != expected {
        return invalid(format!("it lists {} frames instead of {expected}", lengths.len()));
    }
    let mut offsets = Vec::with_capacity(lengths.len() + 1);
    let mut offset = 0;
    offsets.push(offset);
    for (frame, length) in lengths.iter().enumerate() {
        let length = u64::from(*length);
        let raw = FRAME_SIZE.min(size - frame as u64 * FRAME_SIZE);
        if length < min_frame_length(raw) || length > max_frame_length() {
            return invalid(format!(
                "frame {frame} has an impossible length of {length} bytes for {raw} bytes of the image"
            ));
        }
        offset += length;
        offsets.push(offset);
    }
    Ok(offsets)
}
