//! The disk as whoever rewrites it sees it: the recovery partition reads as zeros and cannot be changed, and both ends are held in
//! memory until the disk is right. Owns that the firmware finds the recovery partition as long as it is not.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cloud_machine_image::{LEAF_SIZE, ReadBlocks, WriteBlocks};

use crate::{BOOT_CODE, Head, RecoveryError, RecoveryPartition};

/// A system disk with a recovery partition that the firmware starts.
pub struct ShieldedDisk<'a> {
    disk: &'a dyn WriteBlocks,
    partition: RecoveryPartition,
    /// As it is on the disk.
    interim: Head,
    /// As whoever rewrites the disk wants it.
    wanted: Mutex<Head>,
}

/// A part of a range, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Held,
    Disk,
    Recovery,
}

impl<'a> ShieldedDisk<'a> {
    /// The disk, on which the interim head is.
    ///
    /// # Errors
    /// [`RecoveryError::Absent`] when it has no recovery partition, and those of [`RecoveryPartition::of`].
    pub fn new(disk: &'a dyn WriteBlocks) -> Result<Self, RecoveryError> {
        let interim = Head::read(disk as &dyn ReadBlocks)?;
        let partition = RecoveryPartition::of(disk as &dyn ReadBlocks)?.ok_or(RecoveryError::Absent)?;
        let wanted = Mutex::new(interim.clone());
        Ok(Self { disk, partition, interim, wanted })
    }

    /// The head that the new system starts with, with the recovery partition in its table. On the disk there is one with the same
    /// partitions that starts the recovery partition still.
    ///
    /// # Errors
    /// Those of [`Head::with_recovery_of`] and of the disk.
    pub fn prepared(self, boot_code: Option<&[u8; BOOT_CODE]>) -> Result<Head, RecoveryError> {
        let wanted = self.wanted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let system = wanted.with_recovery_of(&self.interim)?;
        system.interim(boot_code)?.start_recovery(self.disk)?;
        Ok(system)
    }

    fn wanted(&self) -> MutexGuard<'_, Head> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part at `offset`, and where it ends.
    fn part(&self, offset: u64) -> (Part, u64) {
        let end = self.partition.end();
        if offset < LEAF_SIZE {
            (Part::Held, LEAF_SIZE)
        } else if offset < self.partition.offset {
            (Part::Disk, self.partition.offset)
        } else if offset < end {
            (Part::Recovery, end)
        } else {
            (Part::Held, self.disk.size())
        }
    }

    /// Calls `each` with every part of a range.
    fn each(
        &self,
        offset: u64,
        length: u64,
        mut each: impl FnMut(Part, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let (part, end) = self.part(offset + done);
            let count = (end - offset - done).min(length - done);
            let range =
                usize::try_from(done).unwrap_or(usize::MAX)..usize::try_from(done + count).unwrap_or(usize::MAX);
            each(part, offset + done, range)?;
            done += count;
        }
        Ok(())
    }
}

impl ReadBlocks for ShieldedDisk<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u64 {
        self.disk.sector_size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.each(offset, buffer.len() as u64, |part, at, range| {
            let length = range.len();
            let place = buffer.get_mut(range).ok_or(io::ErrorKind::InvalidInput)?;
            match part {
                Part::Disk => self.disk.read_at(place, at)?,
                Part::Recovery => place.fill(0),
                Part::Held => {
                    place.copy_from_slice(self.wanted().bytes(at, length).ok_or(io::ErrorKind::UnexpectedEof)?);
                }
            }
            Ok(())
        })
    }
}

impl WriteBlocks for ShieldedDisk<'_> {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.each(offset, buffer.len() as u64, |part, at, range| {
            let bytes = buffer.get(range).ok_or(io::ErrorKind::InvalidInput)?;
            match part {
                Part::Disk => self.disk.write_at(bytes, at)?,
                // Zeros are what is read there; the image reaches as far when it is anything else.
                Part::Recovery if bytes.iter().all(|byte| *byte == 0) => {}
                Part::Recovery => return Err(io::Error::other("the image reaches into the recovery partition")),
                Part::Held => self.wanted().put(at, bytes),
            }
            Ok(())
        })
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.each(offset, length, |part, at, range| {
            match part {
                Part::Disk => self.disk.zero(at, range.len() as u64)?,
                Part::Recovery => {}
                Part::Held => self.wanted().put(at, &vec![0; range.len()]),
            }
            Ok(())
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}
