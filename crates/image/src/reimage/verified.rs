//! The two proofs of a reimage, as values that nothing but a reading of the disk can make. Must not offer any other way
//! to one.

use cloud_machine_protocol::Digest;

use super::{Sweep, Swept, observed::Observed};
use crate::{ImageError, Manifest};

/// Every byte between the boot head's ranges was seen to be right after the last write to it.
#[derive(Debug)]
pub(super) struct VerifiedBody(Observed);

impl VerifiedBody {
    pub(super) fn new(sweep: &Sweep<'_>, swept: &mut Swept) -> Result<Self, ImageError> {
        let observed = std::mem::take(&mut swept.observed);
        if observed.seen() != sweep.range.length {
            return Err(ImageError::Unverified { seen: observed.seen(), expected: sweep.range.length });
        }
        Ok(Self(observed))
    }

    /// Gives up the proof for what it was made of, so that the boot head can be added.
    pub(super) fn into_observed(self) -> Observed {
        self.0
    }
}

/// Proof that every byte of a disk was read and was right, after the last write to it: the image, and zeros behind it.
/// Only [`crate::rewrite`] makes one.
#[derive(Debug)]
pub struct VerifiedImage {
    root: Digest,
    image_size: u64,
    disk_size: u64,
    zero_bytes: u64,
}

impl VerifiedImage {
    pub(super) fn new(manifest: &Manifest, disk_size: u64, observed: &Observed) -> Result<Self, ImageError> {
        let unverified = ImageError::Unverified { seen: observed.seen(), expected: disk_size };
        let root = observed.root(manifest).filter(|root| *root == manifest.digest());
        match root {
            Some(root) if observed.seen() == disk_size && observed.beyond() == disk_size - manifest.size() => {
                Ok(Self { root, image_size: manifest.size(), disk_size, zero_bytes: observed.beyond() })
            }
            _ => Err(unverified),
        }
    }

    /// BLAKE3 of the image's range as it was read. Leaves with data count with the value of the bytes that were read;
    /// a run of zeros counts with the manifest's value for it, once all its bytes were seen to be zero. That value
    /// itself is checked by [`crate::verify_packed`].
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Bytes of the image.
    #[must_use]
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// Bytes of the disk, all of which were read.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// Bytes behind the image, all of which were read as zero.
    #[must_use]
    pub fn zero_bytes(&self) -> u64 {
        self.zero_bytes
    }
}
