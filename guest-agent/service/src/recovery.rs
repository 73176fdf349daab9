//! The recovery partition of the machine's disk as a place for a request, found anew at each call. Must not judge a request:
//! `cloud-machine-recovery` does.

use std::{
    fs, io,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use cloud_machine_disk::{Access, Disk, DiskError};
use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{causes, escaped};
use cloud_machine_recovery::{Control, Head, OpenPartition, RecoveryError, RecoveryPartition, State};

use crate::staging::{Staging, StagingError};

/// Bytes of the unit in which the kernel gives places (sysfs-block of the kernel's Documentation/ABI).
const KERNEL_SECTOR: u64 = 512;

/// The disks of a machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Where the kernel lists them.
    blocks: PathBuf,
    /// Where they can be opened.
    devices: PathBuf,
}

/// A partition, and what of its disk is to be known.
struct Found {
    disk_size: u64,
    partition: RecoveryPartition,
    device: PathBuf,
}

impl Default for Recovery {
    /// Those of this machine.
    fn default() -> Self {
        Self { blocks: PathBuf::from("/sys/block"), devices: PathBuf::from("/dev") }
    }
}

impl Recovery {
    /// Those of the folder `folder`, for tests.
    pub(crate) fn below(folder: &Path) -> Self {
        Self { blocks: folder.join("block"), devices: folder.join("dev") }
    }
}

impl Staging for Recovery {
    fn stage(&self, stream: &mut dyn Read) -> Result<String, StagingError> {
        let staged = self.find()?.with(Access::Write, |open| open.stage(&mut BufReader::new(stream)))?;
        Ok(staged.token)
    }

    fn cancel(&self, token: &str) -> Result<(), StagingError> {
        self.find()?.with(Access::Write, |open| open.cancel(token))
    }

    /// Without a recovery partition nothing waits.
    fn staged(&self) -> Result<Option<String>, StagingError> {
        let found = match self.find() {
            Err(StagingError::NoRecovery(_)) => return Ok(None),
            other => other?,
        };
        let control = found.with(Access::Read, |open| Control::read(open, open.partition))?;
        Ok(control.filter(|control| control.state == State::Staged).map(|control| control.token))
    }
}

impl Found {
    /// What `work` makes of the open partition. Its own device: the disk's is in use by the system that runs.
    fn with<T>(
        &self,
        access: Access,
        work: impl FnOnce(&OpenPartition<'_>) -> Result<T, RecoveryError>,
    ) -> Result<T, StagingError> {
        let device = Disk::open(&self.device, access).map_err(failed)?;
        work(&OpenPartition { device: &device, partition: self.partition, disk_size: self.disk_size })
            .map_err(of_recovery)
    }
}

impl Recovery {
    /// The one partition. Two are one too many: which of them the firmware starts, nobody can tell.
    fn find(&self) -> Result<Found, StagingError> {
        let mut found = Vec::new();
        for name in entries(&self.blocks)? {
            found.extend(self.on(&name)?);
        }
        match (found.pop(), found.pop()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(StagingError::NoRecovery("no disk of this machine has a recovery partition".to_owned())),
            (Some(one), Some(two)) => {
                let [one, two] = [one, two].map(|found| found.device.display().to_string());
                Err(StagingError::Refused(format!("both {one} and {two} are recovery partitions")))
            }
        }
    }

    /// That of one disk.
    fn on(&self, name: &str) -> Result<Option<Found>, StagingError> {
        let listed = self.blocks.join(name);
        // What has none, such as a drive without medium, is not opened.
        if partitions(&listed)?.is_empty() {
            return Ok(None);
        }
        let disk = Disk::open(&self.devices.join(name), Access::Read).map_err(failed)?;
        let partition = match Head::read(&disk).and_then(|head| head.recovery()) {
            Ok(Some(partition)) => partition,
            // Another kind of table, or a disk that is too small for it.
            Ok(None) | Err(RecoveryError::Table { .. } | RecoveryError::DiskTooSmall { .. }) => return Ok(None),
            Err(error) => return Err(of_recovery(error)),
        };
        let unknown = || {
            StagingError::Failed(format!("the kernel does not have the recovery partition of {name}: a reboot helps"))
        };
        let device = self.devices.join(named(&listed, partition)?.ok_or_else(unknown)?);
        Ok(Some(Found { disk_size: disk.size(), partition, device }))
    }
}

/// The partition that the kernel has in that very place.
fn named(disk: &Path, partition: RecoveryPartition) -> Result<Option<String>, StagingError> {
    for name in partitions(disk)? {
        let place = [number(&disk.join(&name).join("start"))?, number(&disk.join(&name).join("size"))?];
        if place.map(|sectors| sectors.checked_mul(KERNEL_SECTOR)) == [Some(partition.offset), Some(partition.length)] {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Names of the partitions that the kernel has of a disk, which lies at `disk` in /sys.
fn partitions(disk: &Path) -> Result<Vec<String>, StagingError> {
    Ok(entries(disk)?.into_iter().filter(|name| disk.join(name).join("partition").exists()).collect())
}

fn number(file: &Path) -> Result<u64, StagingError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    text.trim().parse().map_err(|_| StagingError::Failed(format!("{} holds no number", file.display())))
}

fn unreadable(path: &Path, error: &io::Error) -> StagingError {
    StagingError::Failed(format!("cannot read {}: {error}", path.display()))
}

fn entries(folder: &Path) -> Result<Vec<String>, StagingError> {
    let read = |folder: &Path| -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    read(folder).map_err(|error| unreadable(folder, &error))
}

fn failed(error: DiskError) -> StagingError {
    StagingError::Failed(escaped(&causes(&error)))
}

fn of_recovery(error: RecoveryError) -> StagingError {
    let text = escaped(&causes(&error));
    match error {
        RecoveryError::Refused { .. } => StagingError::Refused(text),
        _ => StagingError::Failed(text),
    }
}

#[cfg(test)]
mod tests;
