//! The little that a plan needs to know of an image. Must not look at the digests of its leaves.

use cloud_machine_image::Manifest;
use cloud_machine_protocol::Digest;
use serde::{Deserialize, Serialize};

/// Digest, size, generation and root partition of an image, as its manifest states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// BLAKE3 digest of the raw image.
    pub digest: Digest,
    /// Bytes of the raw image.
    pub size: u64,
    /// Number that grows with every build of the image.
    pub generation: u64,
    /// Where the root filesystem lies.
    pub root: RootPartition,
}

/// The partition with the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPartition {
    /// Number in the partition table.
    pub number: u32,
    /// First byte in the image.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Filesystem type, such as `ext4`.
    pub filesystem: String,
}

impl ImageLayout {
    /// Whether the root partition has bytes and all of them lie in the image.
    pub(crate) fn holds_root(&self) -> bool {
        let end = self.root.offset.checked_add(self.root.length);
        self.root.length > 0 && end.is_some_and(|end| end <= self.size)
    }
}

impl From<&Manifest> for ImageLayout {
    fn from(manifest: &Manifest) -> Self {
        let root = manifest.root();
        Self {
            digest: manifest.digest(),
            size: manifest.size(),
            generation: manifest.generation(),
            root: RootPartition {
                number: root.number,
                offset: root.offset,
                length: root.length,
                filesystem: manifest.root_filesystem().to_owned(),
            },
        }
    }
}
