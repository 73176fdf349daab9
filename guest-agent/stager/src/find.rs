//! Which disk of a machine has its recovery partition: one rule for every program that stages a request. Must not say what is staged.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_protocol::causes;
use cloud_machine_recovery::{RecoveryError, RecoveryPartition};
use cloud_machine_system::SystemError;
use rustix::fs::{major, minor};

use crate::{Found, StagerError};

/// Kinds of devices that no machine starts from: what lies on them was made by somebody who uses this system. They count only where
/// one is named.
const OTHERS: [&str; 7] = ["loop", "ram", "zram", "nbd", "zd", "sr", "fd"];
/// Devices that lie above each other, such as LVM on LUKS on a partition, at most.
const MOST_LAYERS: usize = 16;
/// Bytes of the unit in which the kernel gives places (sysfs-block of the kernel's Documentation/ABI).
const KERNEL_SECTOR: u64 = 512;

/// The disks of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    /// Where the kernel lists them.
    blocks: PathBuf,
    /// Where they can be opened.
    devices: PathBuf,
    /// What sysfs has of the device with the root filesystem; without one, as for filesystems of several devices, nothing is there.
    root: PathBuf,
}

impl Default for Disks {
    /// Those of this machine.
    fn default() -> Self {
        // A number that no device has where `/` cannot be looked at.
        let number = fs::metadata("/").map_or(0, |root| root.dev());
        let root = PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)));
        Self { blocks: PathBuf::from("/sys/block"), devices: PathBuf::from("/dev"), root }
    }
}

impl Disks {
    /// Those that `block` and `dev` in `folder` have in place of `/sys/block` and `/dev`, for tests; the root filesystem is on what `root` is a
    /// link to.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { blocks: folder.join("block"), devices: folder.join("dev"), root: folder.join("root") }
    }

    /// Finds the recovery partition of the disk with the kernel name `named`; without a name that of the disk with the root filesystem, as
    /// the agent does, and where that is not one real disk the only one of the machine.
    ///
    /// # Errors
    /// [`StagerError::Absent`] and [`StagerError::NotThere`] where there is none; [`StagerError::Several`] with all that look like it,
    /// for which of them the firmware starts nobody can tell; [`StagerError::Unclear`] when a disk cannot be looked at.
    pub fn find(&self, named: Option<&str>) -> Result<Found, StagerError> {
        if let Some(name) = named {
            return self.on(name)?.ok_or_else(|| StagerError::NotThere { disk: name.to_owned() });
        }
        // What a job writes to another disk is nothing to this one.
        if let Some(name) = self.with_root() {
            return self.on(&name)?.ok_or(StagerError::Absent);
        }
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for name in entries(&self.blocks)? {
            if is_other(&name) || self.is_hidden(&name) || self.is_empty(&name)? {
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

    /// The real disk on which the root filesystem is, or all that it is made of.
    fn with_root(&self) -> Option<String> {
        let mut device = fs::canonicalize(&self.root).ok()?;
        for _ in 0..MOST_LAYERS {
            if device.join("partition").exists() {
                device.pop();
            }
            let below = device.join("slaves");
            let names = if below.is_dir() { entries(&below).ok()? } else { Vec::new() };
            match names.as_slice() {
                [] => {
                    let name = device.file_name()?.to_str()?.to_owned();
                    return (!is_other(&name) && self.blocks.join(&name).exists()).then_some(name);
                }
                [one] => device = fs::canonicalize(below.join(one)).ok()?,
                _ => return None,
            }
        }
        None
    }

    /// Whether it is one path of several to a disk, without a device of its own (NVMe multipath).
    fn is_hidden(&self, name: &str) -> bool {
        fs::read_to_string(self.blocks.join(name).join("hidden")).is_ok_and(|text| text.trim() == "1")
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

fn is_other(name: &str) -> bool {
    OTHERS.iter().any(|other| name.starts_with(other))
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
