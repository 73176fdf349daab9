//! The inventory: whole disks from sysfs, each with what a probe found. Must not follow links below /dev/disk, which
//! a label planted on any disk can move.

use std::{fs, io, path::Path};

use cloud_machine_protocol::{Disk, Inventory};

use crate::{SystemError, probe};

pub(crate) const SYSFS: &str = "/sys/class/block";
/// sysfs counts sizes in these units whatever the device's sector size (Documentation/ABI/stable/sysfs-block).
pub(crate) const SYSFS_SECTOR: u64 = 512;

/// Lists and probes all whole disks, sorted by name.
///
/// # Errors
/// [`SystemError`] when sysfs cannot be read. A device that cannot be probed is in the list and says so.
pub fn inventory() -> Result<Inventory, SystemError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(SYSFS).map_err(SystemError::io("list", SYSFS))? {
        let entry = entry.map_err(SystemError::io("list", SYSFS))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut disks = Vec::new();
    for name in names {
        if let Some(disk) = disk(&name)? {
            disks.push(disk);
        }
    }
    Ok(Inventory { disks })
}

fn disk(name: &str) -> Result<Option<Disk>, SystemError> {
    let folder = Path::new(SYSFS).join(name);
    let is_partition = attribute(&folder, "partition")?.is_some();
    if is_partition || name.starts_with("loop") || name.starts_with("ram") {
        return Ok(None);
    }
    let size = number(&folder, "size")?.saturating_mul(SYSFS_SECTOR);
    if size == 0 {
        // A drive without medium.
        return Ok(None);
    }
    Ok(Some(Disk {
        name: name.to_owned(),
        serial: first_attribute(&folder, &["serial", "device/serial"])?,
        wwn: first_attribute(&folder, &["wwid", "device/wwid"])?,
        size,
        sector_size: u32::try_from(number(&folder, "queue/logical_block_size")?).unwrap_or(u32::MAX),
        read_only: number(&folder, "ro")? != 0,
        // Absent where the kernel or the device knows no discard at all.
        discard: attribute(&folder, "queue/discard_max_bytes")?.is_some_and(|bytes| bytes != "0"),
        probe: probe::probe(name),
    }))
}

/// The text of an attribute without surrounding white space, its control characters escaped; `None` where the
/// kernel offers no such attribute.
pub(crate) fn attribute(folder: &Path, name: &str) -> Result<Option<String>, SystemError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.trim_matches(['\0', '\n', ' ', '\t']).escape_default().take(256).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SystemError::io("read", path.display().to_string())(error)),
    }
}

pub(crate) fn first_attribute(folder: &Path, names: &[&str]) -> Result<Option<String>, SystemError> {
    for name in names {
        if let Some(text) = attribute(folder, name)?
            && !text.is_empty()
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

pub(crate) fn number(folder: &Path, name: &str) -> Result<u64, SystemError> {
    let object = folder.join(name).display().to_string();
    match attribute(folder, name)? {
        Some(text) => text.parse().map_err(|_| SystemError::unexpected(object, &text, "a number")),
        None => Err(SystemError::unexpected(object, "", "a number, but the file is absent")),
    }
}
