//! How much room the state folder's file system has, and how much of it is promised to disks. Must not decide what is too
//! little.

use std::{io, os::unix::fs::MetadataExt, path::Path};

use super::{DiskBacking, DiskRecord, MachineFolder, MachineLock, MachineRecord, Store, StoreError, file, free::free};

/// Room on the file system of a state folder, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What is free for this user.
    pub free: u64,
    /// What the sparse disks of all machines may still take.
    pub growth: u64,
}

impl Store {
    /// Room, and what is promised of it. A machine whose record cannot be read counts for nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Escapes`].
    pub fn room(&self) -> Result<Room, StoreError> {
        let mut growth: u64 = 0;
        for record in self.list()?.into_iter().filter_map(|row| row.record.ok()) {
            growth = growth.saturating_add(self.machine(&record.name).growth(&record)?);
        }
        Ok(Room { free: self.free()?, growth })
    }

    /// Bytes of the state folder's file system that are free for this user.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn free(&self) -> Result<u64, StoreError> {
        free(&self.root)
    }
}

impl MachineFolder {
    /// What the disks of the machine may still take of the file system.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Escapes`].
    pub fn growth(&self, record: &MachineRecord) -> Result<u64, StoreError> {
        let mut growth: u64 = 0;
        for disk in record.disks.iter().filter(|disk| disk.medium.is_none() && disk.file.is_some()) {
            growth = growth.saturating_add(self.growth_of(record, disk)?);
        }
        Ok(growth)
    }

    /// What one disk of the machine may still take.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Escapes`].
    pub fn growth_of(&self, record: &MachineRecord, disk: &DiskRecord) -> Result<u64, StoreError> {
        let overlaid = disk.boot && matches!(record.system.backing, DiskBacking::Overlay { .. });
        let path = if overlaid { self.overlay(disk)? } else { self.file_of(disk)? };
        Ok(disk.size.saturating_sub(allocated(&path)?))
    }

    /// What the files of a system disk take of the file system, whatever it is made of.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Escapes`].
    pub fn taken(&self, disk: &DiskRecord) -> Result<u64, StoreError> {
        Ok(allocated(&self.file_of(disk)?)?
            .saturating_add(allocated(&self.map(disk)?)?)
            .saturating_add(allocated(&self.overlay(disk)?)?))
    }

    /// Removes all files of a system disk that is going to be made new; the process of the machine must be gone.
    ///
    /// # Errors
    /// [`StoreError::Escapes`], [`StoreError::WrongLock`] or [`StoreError::Io`].
    pub fn discard(&self, lock: &MachineLock, disk: &DiskRecord) -> Result<(), StoreError> {
        self.check(lock)?;
        for path in [self.file_of(disk)?, self.map(disk)?, self.overlay(disk)?] {
            file::remove_file(&path)?;
        }
        Ok(())
    }
}

/// Bytes that a file takes of its file system; 0 of one that is not there.
fn allocated(path: &Path) -> Result<u64, StoreError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.blocks().saturating_mul(512)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::io("read the size of", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;
    use crate::machine_record;

    #[test]
    fn sparse_disks_are_counted_by_what_they_may_still_take() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let record = machine_record("demo");
        let lock = store.lock(&record.name).unwrap();
        let machine = store.create(&lock, &record).unwrap();
        let disk = record.disks.first().unwrap();
        assert_eq!(store.room().unwrap().growth, disk.size, "its file is not there yet");
        let path = machine.make_disk(disk).unwrap();
        assert_eq!(store.room().unwrap().growth, disk.size);
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all(&[7; 1 << 19]).unwrap();
        file.sync_all().unwrap();
        let taken = machine.taken(disk).unwrap();
        assert!(taken >= 1 << 19, "{taken}");
        assert_eq!(store.room().unwrap().growth, disk.size - taken);
        std::fs::write(machine.overlay(disk).unwrap(), [7; 4096]).unwrap();
        assert!(machine.taken(disk).unwrap() > taken);
        machine.discard(&lock, disk).unwrap();
        machine.discard(&lock, disk).unwrap();
        assert_eq!((machine.taken(disk).unwrap(), store.room().unwrap().growth), (0, disk.size));
        assert!(store.room().unwrap().free > 0);
    }
}
