//! The two ends of a system disk with all that a firmware looks at before it starts anything: boot code, both copies of the partition
//! table. Owns the order in which one head takes the place of another, so that after a power cut at any write, torn or not, the
//! firmware finds the one or the other.

use cloud_machine_image::{ALIGNMENT, AlignedBuffer, LEAF_SIZE, ReadBlocks, WriteBlocks};

use crate::{
    RecoveryError, UNIT,
    partition::{self, RecoveryPartition},
    table::{self, Table},
};

/// Boot code of the first sector, which ends before the disk's signature.
pub const BOOT_CODE: usize = 440;
/// Where the first entry of the MBR is, and its type: it protects the GPT (UEFI 2.10, section 5.2.3).
const MBR_ENTRY: usize = 446;
const PROTECTIVE: u8 = 0xee;

/// The first 64 KiB and the end of one disk, from the last MiB on that leaves 64 KiB for the backup table.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// Bytes of its sectors.
    pub(crate) sector: u64,
    first: Vec<u8>,
    tail: Vec<u8>,
}

/// Which head takes the place of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    /// From here on the firmware starts the recovery partition.
    Recovery,
    /// From here on it starts the machine's own system.
    System,
}

impl Head {
    /// Where the tail of a disk of `size` bytes begins; a recovery partition ends there.
    pub(crate) fn tail_of(size: u64) -> u64 {
        size.saturating_sub(LEAF_SIZE) / UNIT * UNIT
    }

    /// Reads both ends.
    ///
    /// # Errors
    /// [`RecoveryError::Io`], or [`RecoveryError::DiskTooSmall`] for a disk on which they would touch.
    pub fn read(disk: &dyn ReadBlocks) -> Result<Self, RecoveryError> {
        let (size, sector) = (disk.size(), disk.sector_size());
        let tail_at = Self::tail_of(size);
        if tail_at <= LEAF_SIZE {
            return Err(RecoveryError::DiskTooSmall { wanted: crate::MIN_SIZE, size });
        }
        let first = read(disk, 0, LEAF_SIZE)?.to_vec();
        let tail = read(disk, tail_at, size - tail_at)?.to_vec();
        Ok(Self { size, sector, first, tail })
    }

    /// The head of a disk of the same kind whose bytes are `bytes`, as [`Head::to_bytes`] gave them.
    #[must_use]
    pub(crate) fn with_bytes(&self, bytes: &[u8]) -> Option<Self> {
        let (first, tail) = bytes.split_at_checked(self.first.len())?;
        let tail = tail.get(..self.tail.len())?;
        Some(Self { first: first.to_vec(), tail: tail.to_vec(), ..*self })
    }

    /// Both ends, one behind the other.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.first.as_slice(), &self.tail].concat()
    }

    /// The recovery partition that the table has.
    ///
    /// # Errors
    /// [`RecoveryError::Table`] when there is no usable table.
    pub fn recovery(&self) -> Result<Option<RecoveryPartition>, RecoveryError> {
        Ok(partition::find(&Table::read(self)?, self))
    }

    /// This head as it is while the disk is rewritten: boot code of the recovery partition, if it has any, and a table in which that
    /// partition is the one that UEFI starts. The image's own EFI system partition is not listed: firmware would find it by its
    /// identity, whatever its type is.
    ///
    /// # Errors
    /// [`RecoveryError::Table`], or [`RecoveryError::Absent`] without a recovery partition.
    pub fn interim(&self, boot_code: Option<&[u8; BOOT_CODE]>) -> Result<Self, RecoveryError> {
        let mut table = Table::read(self)?;
        partition::let_it_start(&mut table)?;
        let mut head = self.clone();
        table.write(&mut head);
        if let Some(code) = boot_code {
            table::put(&mut head.first, 0, code);
        }
        Ok(head)
    }

    /// This head with the recovery partition that `before` has.
    ///
    /// # Errors
    /// [`RecoveryError::Table`]; [`RecoveryError::Absent`] when `before` has none; [`RecoveryError::NoRoom`] when a partition is in
    /// its place.
    pub fn with_recovery_of(&self, before: &Self) -> Result<Self, RecoveryError> {
        let mut table = Table::read(self)?;
        partition::take_over(&mut table, &Table::read(before)?, self.sector)?;
        let mut head = self.clone();
        table.write(&mut head);
        Ok(head)
    }

    /// Puts this head, which starts the recovery partition, in the place of whichever is there.
    ///
    /// The backup table comes first: a firmware reads it only where the primary is not whole. Then the boot code, one sector, which needs
    /// no table; then the primary table.
    ///
    /// # Errors
    /// [`RecoveryError::Io`], [`RecoveryError::ReadBack`].
    pub fn start_recovery(&self, disk: &dyn WriteBlocks) -> Result<(), RecoveryError> {
        self.write(disk, Towards::Recovery)
    }

    /// Puts this head, which starts the machine's own system, in the place of one that starts the recovery partition. Everything
    /// else on the disk has to be durable.
    ///
    /// The boot code comes last: until then a BIOS starts the recovery partition, and UEFI either of the two.
    ///
    /// # Errors
    /// [`RecoveryError::Io`], [`RecoveryError::ReadBack`].
    pub fn start_system(&self, disk: &dyn WriteBlocks) -> Result<(), RecoveryError> {
        self.write(disk, Towards::System)
    }

    fn write(&self, disk: &dyn WriteBlocks, towards: Towards) -> Result<(), RecoveryError> {
        let (block, sector) = (ALIGNMENT as usize, self.sector as usize);
        let tail_at = Self::tail_of(self.size);
        let there = read(disk, 0, ALIGNMENT)?.to_vec();
        let (first_block, rest) = self.first.split_at(block);
        // One sector of it changes at a time, so that whichever of the others a cut tears, they are as they were.
        let step = match towards {
            Towards::Recovery => [&first_block[..sector], &there[sector..]].concat(),
            Towards::System => [&there[..sector], &first_block[sector..]].concat(),
        };
        match towards {
            Towards::Recovery => write(disk, tail_at, &self.tail)?,
            Towards::System => {
                write(disk, ALIGNMENT, rest)?;
                write(disk, tail_at, &self.tail)?;
            }
        }
        write(disk, 0, &step)?;
        if towards == Towards::Recovery {
            write(disk, ALIGNMENT, rest)?;
        }
        write(disk, 0, first_block)
    }

    /// Makes the entry of the MBR that protects the GPT reach to sector `last`.
    pub(crate) fn protect(&mut self, last: u64) {
        if self.first.get(MBR_ENTRY + 4) == Some(&PROTECTIVE) {
            let sectors = u32::try_from(last).unwrap_or(u32::MAX);
            table::put(&mut self.first, MBR_ENTRY + 12, &sectors.to_le_bytes());
        }
    }

    /// The bytes at `offset` of the disk, where they lie in one of the two ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let tail_at = Self::tail_of(self.size);
        let (part, start) = if offset < tail_at { (&self.first, offset) } else { (&self.tail, offset - tail_at) };
        let start = usize::try_from(start).ok()?;
        part.get(start..start.checked_add(length)?)
    }

    /// The bytes at `offset` of the disk, to be changed.
    pub(crate) fn bytes_mut(&mut self, offset: u64, length: usize) -> Option<&mut [u8]> {
        let tail_at = Self::tail_of(self.size);
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
        self.bytes(offset + at as u64, bytes).map_or(0, |place| table::number(place, 0, bytes))
    }
}

/// Reads a range.
pub(crate) fn read(disk: &dyn ReadBlocks, offset: u64, length: u64) -> Result<AlignedBuffer, RecoveryError> {
    let mut buffer = AlignedBuffer::new(usize::try_from(length).unwrap_or(usize::MAX));
    disk.read_at(&mut buffer, offset).map_err(|source| RecoveryError::Io { verb: "read", offset, length, source })?;
    Ok(buffer)
}

/// Writes a range, makes it durable and reads it back. What is there already is left alone.
pub(crate) fn write(disk: &dyn WriteBlocks, offset: u64, bytes: &[u8]) -> Result<(), RecoveryError> {
    let length = bytes.len() as u64;
    let error = |verb| move |source| RecoveryError::Io { verb, offset, length, source };
    if *read(disk, offset, length)? == *bytes {
        return disk.flush().map_err(error("flush"));
    }
    disk.write_at(&AlignedBuffer::from(bytes), offset).map_err(error("write"))?;
    disk.flush().map_err(error("flush"))?;
    if *read(disk, offset, length)? == *bytes { Ok(()) } else { Err(RecoveryError::ReadBack { offset, length }) }
}
