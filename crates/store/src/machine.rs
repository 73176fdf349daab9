//! The machines of the store: their folders and records, changed only under the machine's lock. Must not hold a
//! record that it has not read again.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use cloud_machine_protocol::{Digest, MachineName};

use super::{
    AttemptFolder, DiskBacking, DiskRecord, MachineLock, MachineRecord, Store, StoreError, attempt, file, lock,
    read_record, record, reserve, sweep, write_record,
};

/// Attempts whose folders are kept, the running one included: enough to see why a reimage failed three times.
const KEPT_ATTEMPTS: usize = 5;

/// A line of the list of machines; a broken record is a row with its error.
#[derive(Debug)]
pub struct MachineRow {
    /// Name of the folder; a machine's name unless `record` says otherwise.
    pub name: String,
    /// What the record says, or why it could not be read.
    pub record: Result<MachineRecord, StoreError>,
}

impl Store {
    /// The folder of a machine, whether it is there or not.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> MachineFolder {
        MachineFolder { name: name.clone(), path: self.machines().join(name.as_str()), root: self.root.clone() }
    }

    /// Takes the machine's lock, also of a machine that does not exist yet, without waiting for another operation.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another operation holds it; [`StoreError::NoMachine`] where nothing was ever stored;
    /// [`StoreError::Io`].
    pub fn lock(&self, name: &MachineName) -> Result<MachineLock, StoreError> {
        let path = self.root.join("locks/machines").join(name.as_str());
        let file = lock::lock(&path).map_err(|error| match error {
            // Locks stay when machines go: without a folder of locks there never was one.
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                StoreError::NoMachine { name: name.clone() }
            }
            error => error,
        })?;
        let file = file.ok_or_else(|| StoreError::Locked { name: name.clone() })?;
        let folder = self.machine(name);
        sweep::sweep_machine(folder.path(), [&folder.reports(), &folder.ssh()]);
        Ok(MachineLock::new(name.clone(), file))
    }

    /// Whether an operation works on the machine.
    pub(super) fn is_locked(&self, name: &MachineName) -> bool {
        lock::is_locked(&self.root.join("locks/machines").join(name.as_str()))
    }

    /// All machines, sorted by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder itself cannot be listed; whatever concerns one machine is in its row.
    pub fn list(&self) -> Result<Vec<MachineRow>, StoreError> {
        let mut rows = Vec::new();
        for name in self.machine_folders()? {
            let invalid = |source| StoreError::InvalidName { path: self.machines().join(&name), source };
            let record = name.parse().map_err(invalid).and_then(|name| self.read(&name));
            rows.push(MachineRow { name, record });
        }
        rows.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(rows)
    }

    /// Reads the record of a machine.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`], [`StoreError::NoRecord`], [`StoreError::UnknownVersion`],
    /// [`StoreError::InvalidJson`], [`StoreError::InvalidRecord`] or [`StoreError::Io`].
    pub fn read(&self, name: &MachineName) -> Result<MachineRecord, StoreError> {
        let folder = self.machine(name);
        let path = folder.record();
        let Some(record) = read_record::<MachineRecord>(&path)? else {
            let there = folder.path.try_exists().map_err(StoreError::io("look for", &folder.path))?;
            return Err(if there {
                StoreError::NoRecord { path }
            } else {
                StoreError::NoMachine { name: name.clone() }
            });
        };
        let reason = if record.name == *name {
            record.contradiction()
        } else {
            Some(format!("it is of machine {}", record.name))
        };
        match reason {
            Some(reason) => Err(StoreError::InvalidRecord { path, reason }),
            None => Ok(record),
        }
    }

    /// Makes the folder of a machine with its record, in one step.
    ///
    /// # Errors
    /// [`StoreError::MachineExists`], [`StoreError::WrongLock`], [`StoreError::InvalidRecord`] or [`StoreError::Io`].
    pub fn create(&self, lock: &MachineLock, record: &MachineRecord) -> Result<MachineFolder, StoreError> {
        let folder = self.machine(lock.name());
        check(lock, record, &folder.record())?;
        if folder.path.try_exists().map_err(StoreError::io("look for", &folder.path))? {
            return Err(StoreError::MachineExists { name: lock.name().clone() });
        }
        let new = MachineFolder { path: file::prepare_folder(&folder.path)?, ..folder.clone() };
        for part in [new.disks(), new.ssh(), new.run(), new.reports()] {
            file::make_folder(&part)?;
        }
        write_record(&new.record(), "the record of a machine", record)?;
        fs::rename(&new.path, &folder.path).map_err(StoreError::io("put in place", &folder.path))?;
        file::flush_folder(&self.machines())?;
        Ok(folder)
    }

    /// Replaces the record of an existing machine; it is on stable storage when this returns.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`], [`StoreError::WrongLock`], [`StoreError::InvalidRecord`] or [`StoreError::Io`].
    pub fn write(&self, lock: &MachineLock, record: &MachineRecord) -> Result<(), StoreError> {
        let folder = self.machine(lock.name());
        check(lock, record, &folder.record())?;
        if !folder.path.try_exists().map_err(StoreError::io("look for", &folder.path))? {
            return Err(StoreError::NoMachine { name: lock.name().clone() });
        }
        reserve::with(&self.root, || write_record(&folder.record(), "the record of a machine", record))
    }

    /// Removes a machine's folder with its disks. The process of the machine must be gone. A machine that does not
    /// exist is no error, so an interrupted deletion can be repeated.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete(&self, lock: &MachineLock) -> Result<(), StoreError> {
        file::remove_folder(&self.machine(lock.name()).path)
    }
}

fn check(lock: &MachineLock, record: &MachineRecord, path: &Path) -> Result<(), StoreError> {
    if record.name != *lock.name() {
        return Err(StoreError::WrongLock { held: lock.name().clone(), wanted: record.name.clone() });
    }
    match record.contradiction() {
        Some(reason) => Err(StoreError::InvalidRecord { path: path.to_owned(), reason }),
        None => Ok(()),
    }
}

/// Where the files of one machine lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFolder {
    name: MachineName,
    path: PathBuf,
    /// The state folder.
    root: PathBuf,
}

impl MachineFolder {
    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `machine.json`.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.path.join("machine.json")
    }

    /// The folder of the disks.
    #[must_use]
    pub fn disks(&self) -> PathBuf {
        self.path.join("disks")
    }

    /// The folder of the host's own SSH key for this machine.
    #[must_use]
    pub fn ssh(&self) -> PathBuf {
        self.path.join("ssh")
    }

    /// The host's private key for this machine.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.path.join("ssh/id_ed25519")
    }

    /// The machine's own private host key, when it keeps the same one over its reimages.
    #[must_use]
    pub fn kept_host_key(&self) -> PathBuf {
        self.path.join("ssh/host_ed25519")
    }

    /// The pinned host key of the machine.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.path.join("known_hosts")
    }

    /// The folder of the attempts.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// The folder of the reports.
    #[must_use]
    pub fn reports(&self) -> PathBuf {
        self.path.join("reports")
    }

    /// The file that a relative path of the record means.
    ///
    /// # Errors
    /// [`StoreError::Escapes`] when it would lead out of the folder.
    pub fn resolve(&self, relative: &str) -> Result<PathBuf, StoreError> {
        if record::stays_inside(relative) {
            Ok(self.path.join(relative))
        } else {
            Err(StoreError::Escapes { path: relative.to_owned() })
        }
    }

    /// The file of a disk.
    ///
    /// # Errors
    /// [`StoreError::NoFile`] for a disk that is elsewhere, or [`StoreError::Escapes`].
    pub fn file_of(&self, disk: &DiskRecord) -> Result<PathBuf, StoreError> {
        let file = disk.file.as_ref().ok_or_else(|| StoreError::NoFile { disk: disk.name.clone() })?;
        self.resolve(file)
    }

    /// The overlay of a system disk on a golden disk, whether it is there or not.
    ///
    /// # Errors
    /// Those of [`MachineFolder::file_of`].
    pub fn overlay(&self, disk: &DiskRecord) -> Result<PathBuf, StoreError> {
        Ok(self.file_of(disk)?.with_extension("overlay.qcow2"))
    }

    /// The dirty map of a system disk, whether it is there or not.
    ///
    /// # Errors
    /// Those of [`MachineFolder::file_of`].
    pub fn map(&self, disk: &DiskRecord) -> Result<PathBuf, StoreError> {
        Ok(self.file_of(disk)?.with_extension("map.qcow2"))
    }

    /// Removes the files of a system disk that `backing` does not use; the process of the machine must be gone. Those that
    /// are not there are no error.
    ///
    /// # Errors
    /// [`StoreError::Escapes`], [`StoreError::WrongLock`] or [`StoreError::Io`].
    pub fn remove_other_backings(
        &self,
        lock: &MachineLock,
        disk: &DiskRecord,
        backing: &DiskBacking,
    ) -> Result<(), StoreError> {
        self.check(lock)?;
        let (raw, map, overlay) = (self.file_of(disk)?, self.map(disk)?, self.overlay(disk)?);
        let others = match backing {
            DiskBacking::Raw => vec![map, overlay],
            DiskBacking::Mapped => vec![overlay],
            DiskBacking::Overlay { .. } => vec![raw, map],
        };
        for path in others {
            file::remove_file(&path)?;
        }
        Ok(())
    }

    /// Copies the content of a disk that is never written from its source; one that is there already is left as it is.
    /// Other disks have none.
    ///
    /// # Errors
    /// [`StoreError::MediumChanged`] when the source is no longer what the record says; [`StoreError::Escapes`],
    /// [`StoreError::WrongLock`] or [`StoreError::Io`].
    pub fn store_medium(&self, lock: &MachineLock, disk: &DiskRecord) -> Result<(), StoreError> {
        self.check(lock)?;
        let Some(medium) = &disk.medium else { return Ok(()) };
        let path = self.file_of(disk)?;
        let folder = file::parent(&path)?;
        file::make_folder(folder)?;
        if path.exists() {
            return Ok(());
        }
        let new = path.with_extension("new");
        // Of a copy that was cut off.
        file::remove_file(&new)?;
        let copied = file::copy(file::Content::File(Path::new(&medium.source)), &new)?;
        if copied != medium.digest {
            file::remove_file(&new)?;
            return Err(StoreError::MediumChanged { path: medium.source.clone().into() });
        }
        fs::rename(&new, &path).map_err(StoreError::io("name", &path))?;
        file::flush_folder(folder)
    }

    /// Makes the file of a disk, sparse and full of zeros. A file of the right size is left as it is.
    ///
    /// # Errors
    /// [`StoreError::DiskSize`] when the file is there with another size, [`StoreError::MediumAbsent`] when it should have
    /// been copied; [`StoreError::Escapes`]; [`StoreError::Io`].
    pub fn make_disk(&self, disk: &DiskRecord) -> Result<PathBuf, StoreError> {
        let path = self.file_of(disk)?;
        if disk.medium.is_some() && !path.exists() {
            return Err(StoreError::MediumAbsent { path });
        }
        let (expected, folder) = (disk.size, file::parent(&path)?);
        file::make_folder(folder)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(new) => {
                new.set_len(expected).map_err(StoreError::io("set the size of", &path))?;
                new.sync_all().map_err(StoreError::io("flush", &path))?;
                file::flush_folder(folder)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::metadata(&path).map_err(StoreError::io("read the size of", &path))?.len();
                // A cut between making the file and setting its size leaves an empty one.
                if found == 0 && expected != 0 {
                    fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                    return self.make_disk(disk);
                }
                if found != expected {
                    return Err(StoreError::DiskSize { path, found, expected });
                }
            }
            Err(error) => return Err(StoreError::io("make", path)(error)),
        }
        Ok(path)
    }

    /// Stores a volume as `drives/SHA-256.img` and says its path relative to the folder.
    ///
    /// # Errors
    /// [`StoreError::WrongLock`] or [`StoreError::Io`].
    pub fn store_drive(&self, lock: &MachineLock, digest: &Digest, bytes: &[u8]) -> Result<String, StoreError> {
        self.check(lock)?;
        file::make_folder(&self.path.join("drives"))?;
        let relative = format!("drives/{}.img", digest.hex());
        file::replace(&self.path.join(&relative), bytes)?;
        Ok(relative)
    }

    /// Makes the folder of the next attempt and removes the oldest ones. The process of the attempt before must be
    /// gone.
    ///
    /// # Errors
    /// [`StoreError::WrongLock`] or [`StoreError::Io`].
    pub fn new_attempt(&self, lock: &MachineLock) -> Result<AttemptFolder, StoreError> {
        self.check(lock)?;
        attempt::next(&self.run(), KEPT_ATTEMPTS)
    }

    /// The newest attempt, if there was one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn last_attempt(&self) -> Result<Option<AttemptFolder>, StoreError> {
        Ok(attempt::list(&self.run())?.pop())
    }

    /// All attempts whose folders are there, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn attempts(&self) -> Result<Vec<AttemptFolder>, StoreError> {
        attempt::list(&self.run())
    }

    /// Stores a report as `reports/REQUEST-ID.json` and says its path relative to the folder.
    ///
    /// # Errors
    /// [`StoreError::Escapes`] for an id that is not 1 to 64 ASCII letters and digits; [`StoreError::WrongLock`];
    /// [`StoreError::Io`].
    pub fn store_report(&self, lock: &MachineLock, request_id: &str, report: &[u8]) -> Result<String, StoreError> {
        self.check(lock)?;
        let plain = request_id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || request_id.is_empty() || request_id.len() > 64 {
            return Err(StoreError::Escapes { path: request_id.to_owned() });
        }
        let relative = format!("reports/{request_id}.json");
        reserve::with(&self.root, || file::replace(&self.path.join(&relative), report))?;
        Ok(relative)
    }

    pub(super) fn check(&self, lock: &MachineLock) -> Result<(), StoreError> {
        if *lock.name() == self.name {
            return Ok(());
        }
        Err(StoreError::WrongLock { held: lock.name().clone(), wanted: self.name.clone() })
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
pub(super) mod tests;
