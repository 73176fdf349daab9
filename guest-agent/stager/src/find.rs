//! Which disk of a machine has its recovery partition: one rule for every program that stages a request. Must not say what is staged.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_protocol::causes;
use cloud_machine_recovery::{RecoveryError, RecoveryPartition};
use cloud_machine_system::SystemError;

use crate::{Found, StagerError};

/// Kinds of devices that no machine starts from: what lies on them was made by somebody who uses this system. They count only where
/// one is named.
const OTHERS: [&str; 7] = ["loop", "ram", "zram", "nbd", "zd", "sr", "fd"];
/// Bytes of the unit in which the kernel gives places (sysfs-block of the kernel's Documentation/ABI).
const KERNEL_SECTOR: u64 = 512;

/// The disks of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    /// Where the kernel lists them.
    blocks: PathBuf,
    /// Where they can be opened.
    devices: PathBuf,
}

impl Default for Disks {
    /// Those of this machine.
    fn default() -> Self {
        Self { blocks: PathBuf::from("/sys/block"), devices: PathBuf::from("/dev") }
    }
}

impl Disks {
    /// Those that `block` and `dev` in `folder` have in place of `/sys/block` and `/dev`, for tests.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { blocks: folder.join("block"), devices: folder.join("dev") }
    }

    /// Finds the recovery partition of the machine, or of the disk with the kernel name `named`.
    ///
    /// # Errors
    /// [`StagerError::Absent`] and [`StagerError::NotThere`] where there is none; [`StagerError::Several`] with all that look like it,
    /// for which of them the firmware starts nobody can tell; [`StagerError::Unclear`] when a disk cannot be looked at.
    pub fn find(&self, named: Option<&str>) -> Result<Found, StagerError> {
        if let Some(name) = named {
            return self.on(name)?.ok_or_else(|| StagerError::NotThere { disk: name.to_owned() });
        }
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for name in entries(&self.blocks)? {
            if OTHERS.iter().any(|other| name.starts_with(other)) || self.is_empty(&name)? {
                continue;
            }
            match self.on(&name) {
                Ok(one) => found.extend(one),
                Err(error) => unreadable.push(format!("{name}: {}", causes(&error))),
            }
        }
        match (found.pop(), found.is_empty()) {
            _ if !unreadable.is_empty() => Err(StagerError::Unclear { unreadable }),
            (Some(one), true) => Ok(one),
            (None, _) => Err(StagerError::Absent),
            (Some(last), false) => {
                Err(StagerError::Several { disks: found.into_iter().chain([last]).map(|one| one.name).collect() })
            }
        }
    }

    /// Whether a drive has no medium.
    fn is_empty(&self, name: &str) -> Result<bool, StagerError> {
        Ok(number(&self.blocks.join(name).join("size"))? == 0)
    }

    fn on(&self, name: &str) -> Result<Option<Found>, StagerError> {
        let disk = Disk::open(&self.devices.join(name), Access::Read)?;
        match RecoveryPartition::of(&disk) {
            Ok(found) => {
                Ok(found.map(|partition| Found { name: name.to_owned(), disk, partition, disks: self.clone() }))
            }
            // No table, and no room for a recovery partition.
            Err(RecoveryError::Table { .. } | RecoveryError::DiskTooSmall { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The device of the partition that the kernel has in that very place of disk `name`, if it has one.
    pub(crate) fn device(&self, name: &str, partition: RecoveryPartition) -> Result<Option<PathBuf>, StagerError> {
        let disk = self.blocks.join(name);
        for part in entries(&disk)?.into_iter().filter(|part| disk.join(part).join("partition").exists()) {
            let place = [number(&disk.join(&part).join("start"))?, number(&disk.join(&part).join("size"))?];
            let wanted = [partition.offset, partition.length].map(Some);
            if place.map(|sectors| sectors.checked_mul(KERNEL_SECTOR)) == wanted {
                return Ok(Some(self.devices.join(part)));
            }
        }
        Ok(None)
    }
}

/// The names in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<String>, StagerError> {
    let read = |folder: &Path| -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    };
    let mut names = read(folder).map_err(SystemError::io("read", folder.display().to_string()))?;
    names.sort();
    Ok(names)
}

fn number(file: &Path) -> Result<u64, StagerError> {
    let object = file.display().to_string();
    let text = fs::read_to_string(file).map_err(SystemError::io("read", &object))?;
    let none = |_| io::Error::new(io::ErrorKind::InvalidData, "it holds no number of sectors");
    Ok(text.trim().parse().map_err(none).map_err(SystemError::io("read", object))?)
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
