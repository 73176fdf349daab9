//! What the kernel says of a device in /sys, one attribute at a time. Must not open the device.

use std::{fs, io, path::Path};

use nix::libc;

use crate::{SystemError, device::DeviceNumber};

/// A folder for each block device.
pub(crate) const SYSFS: &str = "/sys/class/block";
/// sysfs counts sizes in these units whatever the device's sector size (Documentation/ABI/stable/sysfs-block).
pub(crate) const SYSFS_SECTOR: u64 = 512;

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

pub(crate) fn is_there(path: &Path) -> Result<bool, SystemError> {
    path.try_exists().map_err(SystemError::io("look at", path.display().to_string()))
}

/// Names in a folder of /sys, sorted, because the kernel's order is none.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, SystemError> {
    let failed = || SystemError::io("list", folder.display().to_string());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn number(folder: &Path, name: &str) -> Result<u64, SystemError> {
    let object = folder.join(name).display().to_string();
    match attribute(folder, name)? {
        Some(text) => text.parse().map_err(|_| SystemError::unexpected(object, &text, "a number")),
        None => Err(SystemError::unexpected(object, "", "a number, but the file is absent")),
    }
}

/// Major and minor number of the device of a folder of /sys.
pub(crate) fn device_number(folder: &Path) -> Result<DeviceNumber, SystemError> {
    let text = attribute(folder, "dev")?.unwrap_or_default();
    let numbers = text.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| SystemError::unexpected(folder.join("dev").display().to_string(), &text, "two numbers"))
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
