//! The two ends of a disk as bytes, which hold all that a firmware looks at before it starts anything. Must not know what they mean, but for
//! the entry of the MBR that reaches over the disk.

use cloud_machine_image::{LEAF_SIZE, ReadBlocks};

use crate::{RecoveryError, UNIT, blocks::read, number, put};

/// Where the first entry of the MBR is, and its type: it protects the GPT (UEFI 2.10, section 5.2.3).
const MBR_ENTRY: usize = 446;
const PROTECTIVE: u8 = 0xee;

/// The first 64 KiB and the end of one disk, from the last MiB on that leaves 64 KiB for the backup table.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// Bytes of its sectors.
    pub(crate) sector: u64,
    pub(crate) first: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

/// Where the tail of a disk of `size` bytes begins; a recovery partition ends there.
pub(crate) fn tail_of(size: u64) -> u64 {
    size.saturating_sub(LEAF_SIZE) / UNIT * UNIT
}

impl Ends {
    /// Reads both; [`RecoveryError::DiskTooSmall`] for a disk on which they would touch.
    pub(crate) fn read(disk: &dyn ReadBlocks) -> Result<Self, RecoveryError> {
        let (size, sector) = (disk.size(), disk.sector_size());
        let tail_at = tail_of(size);
        if tail_at <= LEAF_SIZE {
            return Err(RecoveryError::DiskTooSmall { wanted: crate::MIN_SIZE, size });
        }
        let first = read(disk, 0, LEAF_SIZE)?.to_vec();
        let tail = read(disk, tail_at, size - tail_at)?.to_vec();
        Ok(Self { size, sector, first, tail })
    }

    /// Makes the entry of the MBR that protects the GPT reach to sector `last`.
    pub(crate) fn protect(&mut self, last: u64) {
        if self.first.get(MBR_ENTRY + 4) == Some(&PROTECTIVE) {
            let sectors = u32::try_from(last).unwrap_or(u32::MAX);
            put(&mut self.first, MBR_ENTRY + 12, &sectors.to_le_bytes());
        }
    }

    /// The bytes at `offset` of the disk, where they lie in one of the two ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let tail_at = tail_of(self.size);
        let (part, start) = if offset < tail_at { (&self.first, offset) } else { (&self.tail, offset - tail_at) };
        let start = usize::try_from(start).ok()?;
        part.get(start..start.checked_add(length)?)
    }

    /// The bytes at `offset` of the disk, to be changed.
    pub(crate) fn bytes_mut(&mut self, offset: u64, length: usize) -> Option<&mut [u8]> {
        let tail_at = tail_of(self.size);
        let (part, start) =
            if offset < tail_at { (&mut self.first, offset) } else { (&mut self.tail, offset - tail_at) };
        let start = usize::try_from(start).ok()?;
        part.get_mut(start..start.checked_add(length)?)
    }

    /// Puts `bytes` at `offset` of the disk.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        if let Some(place) = self.bytes_mut(offset, bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// The little-endian number of `bytes` at `at` of the sector at `offset`.
    pub(crate) fn number(&self, offset: u64, at: usize, bytes: usize) -> u64 {
        self.bytes(offset + at as u64, bytes).map_or(0, |place| number(place, 0, bytes))
    }
}
