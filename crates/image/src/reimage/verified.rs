//! The two proofs of a reimage, as values that nothing but a reading of the disk can make. Must not offer any other way
//! to one.

use cloud_machine_protocol::Digest;

use super::{Sweep, Swept, observed::Observed};
use crate::{ImageError, Table, goal::Goal};

/// Every byte of the ranges of a pass was seen to be right after the last write to it.
#[derive(Debug)]
pub(super) struct VerifiedBody(Observed);

impl VerifiedBody {
    pub(super) fn new(sweep: &Sweep<'_>, swept: &mut Swept) -> Result<Self, ImageError> {
        let observed = std::mem::take(&mut swept.observed);
        if observed.seen() != sweep.units.bytes() {
            return Err(ImageError::Unverified { seen: observed.seen(), expected: sweep.units.bytes() });
        }
        Ok(Self(observed))
    }

    /// Bytes that were seen to be right.
    pub(super) fn bytes(&self) -> u64 {
        self.0.seen()
    }

    /// Gives up the proof for what it was made of, so that the boot head can be added.
    pub(super) fn into_observed(self) -> Observed {
        self.0
    }
}

/// Proof that a disk is right after the last write to it: the image, and zeros behind it. All that was to be read was
/// read and was right; [`VerifiedImage::read_bytes`] says how much that was. Only [`crate::rewrite`] and
/// [`crate::check`] make one.
#[derive(Debug)]
pub struct VerifiedImage {
    root: Option<Digest>,
    table: Option<Digest>,
    image_size: u64,
    disk_size: u64,
    read_bytes: u64,
    zero_bytes: u64,
}

impl VerifiedImage {
    /// `expected` bytes had to be read: all of the disk, or what a map named.
    pub(crate) fn new(goal: Goal<'_>, disk_size: u64, expected: u64, observed: &Observed) -> Result<Self, ImageError> {
        let unverified = ImageError::Unverified { seen: observed.seen(), expected };
        let Some(manifest) = goal.image.filter(|_| observed.seen() == expected) else { return Err(unverified) };
        let root = observed.root(manifest);
        let is_whole = root == Some(manifest.digest()) && observed.beyond() == disk_size - manifest.size();
        if (root.is_some() || expected == disk_size) && !is_whole {
            return Err(unverified);
        }
        Ok(Self {
            root,
            table: goal.table.map(Table::digest),
            image_size: manifest.size(),
            disk_size,
            read_bytes: expected,
            zero_bytes: observed.beyond(),
        })
    }

    /// BLAKE3 of the image's range as it was read; `None` when not all of it was read. Leaves with data count with the
    /// value of the bytes that were read; a run of zeros counts with the manifest's value for it, once all its bytes
    /// were seen to be zero: a [`crate::Manifest`] exists only with the values of zeros. Leaves of a computed table
    /// count with the image's value for what they replace.
    #[must_use]
    pub fn root(&self) -> Option<Digest> {
        self.root
    }

    /// [`Table::digest`] of the computed table, which was read too; `None` when the disk has the image's own.
    #[must_use]
    pub fn table(&self) -> Option<Digest> {
        self.table
    }

    /// Bytes of the disk that were read after the last write to them.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes of the image.
    #[must_use]
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// Bytes behind the image that were read and are zero, or the computed table.
    #[must_use]
    pub fn zero_bytes(&self) -> u64 {
        self.zero_bytes
    }
}
