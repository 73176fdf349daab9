//! The inventory: whole disks from sysfs, each with what a probe found. Must not follow links below /dev/disk, which
//! a label planted on any disk can move.

use std::{fs, io, path::Path, thread};

use cloud_machine_protocol::{Disk, Inventory, Probe};
use nix::libc;

use crate::{SystemError, probe};

pub(crate) const SYSFS: &str = "/sys/class/block";
/// sysfs counts sizes in these units whatever the device's sector size (Documentation/ABI/stable/sysfs-block).
pub(crate) const SYSFS_SECTOR: u64 = 512;
/// Disks that are probed at the same time: each is a process of its own.
const AT_ONCE: usize = 8;

/// Lists and probes all whole disks, sorted by name.
///
/// # Errors
/// [`SystemError`] when sysfs cannot be read. A device that cannot be probed is in the list and says so.
pub fn inventory() -> Result<Inventory, SystemError> {
    list(false)
}

/// As [`inventory`], with the loop devices that have a file.
///
/// # Errors
/// As [`inventory`].
pub fn inventory_with_loops() -> Result<Inventory, SystemError> {
    list(true)
}

fn list(loops: bool) -> Result<Inventory, SystemError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(SYSFS).map_err(SystemError::io("list", SYSFS))? {
        let entry = entry.map_err(SystemError::io("list", SYSFS))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut disks = Vec::new();
    for name in names {
        if let Some(disk) = disk(&name, loops)? {
            disks.push(disk);
        }
    }
    for some in disks.chunks_mut(AT_ONCE) {
        probe_all(some);
    }
    Ok(Inventory { disks })
}

/// Several that do not answer take together as long as one.
fn probe_all(disks: &mut [Disk]) {
    thread::scope(|scope| {
        for disk in disks {
            scope.spawn(|| disk.probe = probe::probe(&disk.name));
        }
    });
}

fn disk(name: &str, loops: bool) -> Result<Option<Disk>, SystemError> {
    let folder = Path::new(SYSFS).join(name);
    let is_partition = attribute(&folder, "partition")?.is_some();
    if is_partition || (name.starts_with("loop") && !loops) || name.starts_with("ram") {
        return Ok(None);
    }
    let size = number(&folder, "size")?.saturating_mul(SYSFS_SECTOR);
    if size == 0 {
        // A drive without medium.
        return Ok(None);
    }
    Ok(Some(Disk {
        name: name.to_owned(),
        serial: serial(&folder)?,
        wwn: first_attribute(&folder, &["wwid", "device/wwid"])?,
        size,
        sector_size: u32::try_from(number(&folder, "queue/logical_block_size")?).unwrap_or(u32::MAX),
        read_only: number(&folder, "ro")? != 0,
        // Absent where the kernel or the device knows no discard at all.
        discard: attribute(&folder, "queue/discard_max_bytes")?.is_some_and(|bytes| bytes != "0"),
        probe: Probe::Unreadable { reason: "nobody has looked at it".to_owned() },
        partitions: None,
    }))
}

/// What the device says of itself: a virtio disk, a controller of NVMe, or a disk on a SCSI bus, which has its number in
/// a page of vital product data: four bytes, then text (SPC, page 80h).
pub(crate) fn serial(folder: &Path) -> Result<Option<String>, SystemError> {
    if let Some(serial) = first_attribute(folder, &["serial", "device/serial"])? {
        return Ok(Some(serial));
    }
    let path = folder.join("device/vpd_pg80");
    match fs::read(&path) {
        Ok(page) => {
            let text = String::from_utf8_lossy(page.get(4..).unwrap_or_default()).trim_matches(['\0', ' ']).to_owned();
            Ok(Some(text.escape_default().take(256).collect()).filter(|text: &String| !text.is_empty()))
        }
        Err(error) if says_nothing(&error) => Ok(None),
        Err(error) => Err(SystemError::io("read", path.display().to_string())(error)),
    }
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
        Err(error) if says_nothing(&error) => Ok(None),
        Err(error) => Err(SystemError::io("read", path.display().to_string())(error)),
    }
}

/// Whether an attribute is not there. A SCSI disk has the file `wwid` in any case: without pages of vital product data
/// it gives EINVAL, without a name in them ENXIO (drivers/scsi/scsi_lib.c, `scsi_vpd_lun_id`).
fn says_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENXIO))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found on a machine with a SCSI disk and an optical drive.
    #[test]
    fn a_disk_without_a_world_wide_name_says_nothing_and_a_failing_one_is_an_error() {
        for (number, nothing) in [(libc::ENOENT, true), (libc::EINVAL, true), (libc::ENXIO, true), (libc::EIO, false)] {
            assert_eq!(says_nothing(&io::Error::from_raw_os_error(number)), nothing, "{number}");
        }
    }

    #[test]
    fn the_serial_of_a_scsi_disk_is_in_its_page() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(serial(folder.path()).unwrap(), None);
        fs::create_dir(folder.path().join("device")).unwrap();
        fs::write(folder.path().join("device/vpd_pg80"), b"\0\x80\0\x07volume1").unwrap();
        assert_eq!(serial(folder.path()).unwrap().as_deref(), Some("volume1"));
        fs::write(folder.path().join("serial"), b"other\n").unwrap();
        assert_eq!(serial(folder.path()).unwrap().as_deref(), Some("other"));
    }
}
