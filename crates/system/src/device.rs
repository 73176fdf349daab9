//! A device that a confined child looks at. Must open only the device that the kernel means by the name, and is only for a
//! child: an open waits for a device that recovers as long as that likes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
};

use nix::libc;

/// Major and minor number.
pub(crate) type DeviceNumber = (u64, u64);

/// Path of a device node: the kernel writes `!` for a slash in a name of /sys.
pub(crate) fn path(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

/// Opens the node at `path` for reading, when it is the device with this number.
pub(crate) fn open(path: &str, number: DeviceNumber) -> io::Result<File> {
    // Without O_NONBLOCK a drive would close its tray, and a pipe in the place of a device would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    let own = (u64::from(libc::major(found.rdev())), u64::from(libc::minor(found.rdev())));
    if found.file_type().is_block_device() && own == number {
        Ok(file)
    } else {
        Err(io::Error::other("it is not the device of that name in /sys"))
    }
}

/// Bytes of an open device.
pub(crate) fn size(mut device: &File) -> io::Result<u64> {
    device.seek(SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_name_is_one_in_the_path() {
        assert_eq!(path("cciss!c0d0"), "/dev/cciss/c0d0");
    }

    #[test]
    fn only_the_device_with_the_number_is_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_str().unwrap(), "/dev/null"] {
            let error = open(path, (1, 3)).unwrap_err().to_string();
            assert_eq!(error, "it is not the device of that name in /sys", "{path}");
        }
    }
}
