//! The names below /dev/disk that lead to a disk now. They are listed and nothing else: most can be moved by whoever
//! writes a label or owns a device, so that nothing may be found by them.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::libc;

use super::types::Look;
use crate::device::DeviceNumber;

/// Folders whose names are made of hardware and place, and not of content.
const FOLDERS: [&str; 2] = ["by-id", "by-path"];

/// All such names, each with the device that it led to, or why they could not be read.
pub(super) struct Links(Result<Vec<(DeviceNumber, String)>, String>);

impl Links {
    pub(super) fn below(folder: &Path) -> Self {
        let mut links = Vec::new();
        for name in FOLDERS {
            if let Err((path, error)) = collect(&folder.join(name), &mut links) {
                return Self(Err(format!("cannot read {path}: {error}")));
            }
        }
        links.sort();
        Self(Ok(links))
    }

    /// The names of one device.
    pub(super) fn to(&self, number: DeviceNumber) -> Look<Vec<String>> {
        match &self.0 {
            Ok(links) => {
                let own = links.iter().filter(|(device, _)| *device == number);
                Look::Found { value: own.map(|(_, name)| name.clone()).collect() }
            }
            Err(reason) => Look::Unreadable { reason: reason.clone() },
        }
    }
}

fn collect(folder: &Path, links: &mut Vec<(DeviceNumber, String)>) -> Result<(), (String, io::Error)> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| (path, error)
    };
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        // Without udev, or without a disk that has such a name, there is no folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(folder)(error)),
    };
    for entry in list {
        let path = entry.map_err(failed(folder))?.path();
        match fs::metadata(&path) {
            Ok(found) if found.file_type().is_block_device() => {
                let number = (u64::from(libc::major(found.rdev())), u64::from(libc::minor(found.rdev())));
                links.push((number, path.display().to_string()));
            }
            // It leads to something else.
            Ok(_) => {}
            // It leads nowhere, or in a circle.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_that_leads_to_no_block_device_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("by-id")).unwrap();
        // The character device 1:3 is not the block device 1:3.
        symlink("/dev/null", folder.path().join("by-id/planted")).unwrap();
        symlink("/nonexistent", folder.path().join("by-id/dangling")).unwrap();
        symlink("circle", folder.path().join("by-id/circle")).unwrap();
        assert_eq!(Links::below(folder.path()).to((1, 3)), Look::Found { value: Vec::new() });
    }

    #[test]
    fn an_absent_folder_has_no_names_and_an_unreadable_one_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Links::below(folder.path()).to((1, 3)), Look::Found { value: Vec::new() });
        fs::write(folder.path().join("by-id"), "no folder").unwrap();
        assert!(matches!(Links::below(folder.path()).to((1, 3)), Look::Unreadable { .. }));
    }
}
