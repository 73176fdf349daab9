//! The two ends of a system disk with all that a firmware looks at before it starts anything: boot code, both copies of the partition
//! table. Owns the order in which one head takes the place of another, so that after a power cut at any write, torn or not, the
//! firmware finds the one or the other.

use cloud_machine_image::{ALIGNMENT, ReadBlocks, WriteBlocks};

use crate::{
    BOOT_CODE, RecoveryError,
    blocks::{read, write},
    ends::{Ends, tail_of},
    partition::{self, RecoveryPartition},
    put,
    table::Table,
};

/// The boot head of one disk.
#[derive(Clone, PartialEq, Eq)]
pub struct Head(Ends);

/// Which head takes the place of which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    /// From here on the firmware starts the recovery partition.
    Recovery,
    /// From here on it starts the machine's own system.
    System,
}

impl Head {
    /// Reads both ends.
    ///
    /// # Errors
    /// [`RecoveryError::Io`], or [`RecoveryError::DiskTooSmall`] for a disk on which they would touch.
    pub fn read(disk: &dyn ReadBlocks) -> Result<Self, RecoveryError> {
        Ends::read(disk).map(Self)
    }

    /// The head that is made of both ends.
    pub(crate) fn of(ends: Ends) -> Self {
        Self(ends)
    }

    /// The head of a disk of the same kind whose bytes are `bytes`, as [`Head::to_bytes`] gave them.
    #[must_use]
    pub(crate) fn with_bytes(&self, bytes: &[u8]) -> Option<Self> {
        let (first, tail) = bytes.split_at_checked(self.0.first.len())?;
        let tail = tail.get(..self.0.tail.len())?;
        Some(Self(Ends { first: first.to_vec(), tail: tail.to_vec(), ..self.0 }))
    }

    /// Both ends, one behind the other.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.0.first.as_slice(), &self.0.tail].concat()
    }

    /// The recovery partition that the table has, wherever the agent made it: [`RecoveryPartition::of`] looks at that, too.
    pub(crate) fn recovery(&self) -> Result<Option<RecoveryPartition>, RecoveryError> {
        partition::find(&Table::read(&self.0)?, &self.0)
    }

    /// Whether a BIOS or UEFI that finds this head starts the recovery partition, whose boot code for a BIOS is `boot_code`.
    ///
    /// # Errors
    /// [`RecoveryError::Table`] when there is no usable table.
    pub fn starts_recovery(&self, boot_code: Option<&[u8; BOOT_CODE]>) -> Result<bool, RecoveryError> {
        let by_code = boot_code.is_some_and(|code| self.0.first.starts_with(code));
        Ok(by_code || partition::is_started(&Table::read(&self.0)?, &self.0))
    }

    /// This head as it is while the disk is rewritten: boot code of the recovery partition, if it has any, and a table in which that
    /// partition is the one that UEFI starts. The image's own EFI system partition is not listed: firmware would find it by its
    /// identity, whatever its type is.
    ///
    /// # Errors
    /// [`RecoveryError::Table`], or [`RecoveryError::Absent`] without a recovery partition.
    pub fn interim(&self, boot_code: Option<&[u8; BOOT_CODE]>) -> Result<Self, RecoveryError> {
        let mut table = Table::read(&self.0)?;
        partition::let_it_start(&mut table, &self.0)?;
        let mut head = self.clone();
        table.write(&mut head.0);
        if let Some(code) = boot_code {
            put(&mut head.0.first, 0, code);
        }
        Ok(head)
    }

    /// This head with the recovery partition that `before` has.
    ///
    /// # Errors
    /// [`RecoveryError::Table`]; [`RecoveryError::Absent`] when `before` has none; [`RecoveryError::NoRoom`] when a partition is in
    /// its place.
    pub fn with_recovery_of(&self, before: &Self) -> Result<Self, RecoveryError> {
        let mut table = Table::read(&self.0)?;
        partition::take_over(&mut table, &Table::read(&before.0)?, &before.0)?;
        let mut head = self.clone();
        table.write(&mut head.0);
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
        let (block, sector) = (ALIGNMENT as usize, self.0.sector as usize);
        let tail_at = tail_of(self.0.size);
        let there = read(disk, 0, ALIGNMENT)?.to_vec();
        let (first_block, rest) = self.0.first.split_at(block);
        // One sector of it changes at a time, so that whichever of the others a cut tears, they are as they were.
        let step = match towards {
            Towards::Recovery => [&first_block[..sector], &there[sector..]].concat(),
            Towards::System => [&there[..sector], &first_block[sector..]].concat(),
        };
        match towards {
            Towards::Recovery => write(disk, tail_at, &self.0.tail)?,
            // The backup first: an entry behind the first block ends the primary copy.
            Towards::System => {
                write(disk, tail_at, &self.0.tail)?;
                write(disk, ALIGNMENT, rest)?;
            }
        }
        write(disk, 0, &step)?;
        if towards == Towards::Recovery {
            write(disk, ALIGNMENT, rest)?;
        }
        write(disk, 0, first_block)
    }

    /// The bytes at `offset` of the disk, where they lie in one of the two ends.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Option<&[u8]> {
        self.0.bytes(offset, length)
    }

    /// Puts `bytes` at `offset` of the disk.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.0.put(offset, bytes);
    }
}
