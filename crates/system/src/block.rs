//! Whole block devices as readers of blocks, through the page cache. Has no idea of what the bytes mean.

use std::{fs::File, io, os::unix::fs::FileExt};

use cloud_machine_disk::ioctl;
use cloud_machine_image::ReadBlocks;

use crate::SystemError;

/// A block device that is only read, through the page cache: any offset and length will do.
#[derive(Debug)]
pub struct BlockReader {
    file: File,
    size: u64,
}

impl BlockReader {
    /// Opens `/dev/<name>` for reading.
    ///
    /// # Errors
    /// [`SystemError::Io`] when the device cannot be opened or says no size.
    pub fn open(name: &str) -> Result<Self, SystemError> {
        let path = format!("/dev/{name}");
        let file = File::open(&path).map_err(SystemError::io("open", &path))?;
        let size = ioctl::size(&file).map_err(SystemError::io("read the size of", &path))?;
        Ok(Self { file, size })
    }
}

impl ReadBlocks for BlockReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Makes durable what was written to `/dev/<name>`.
pub(crate) fn flush(name: &str) -> Result<(), SystemError> {
    let device = format!("/dev/{name}");
    File::open(&device).and_then(|disk| disk.sync_all()).map_err(SystemError::io("flush", &device))
}

/// Whether nobody can write to `/dev/<name>`. An optical drive does not say so before somebody tries to: then the kernel looks at
/// the medium (`cdrom_open_write` in drivers/cdrom/cdrom.c).
///
/// # Errors
/// [`SystemError::Io`] when that cannot be told.
pub fn refuses_writes(name: &str) -> Result<bool, SystemError> {
    let path = format!("/dev/{name}");
    match File::options().write(true).open(&path) {
        Ok(file) => ioctl::is_read_only(&file).map_err(SystemError::io("ask whether writes are refused to", path)),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(true),
        Err(error) => Err(SystemError::io("open", path)(error)),
    }
}

/// Makes the kernel refuse writes to `/dev/<name>`; gives whether it did not before.
///
/// # Errors
/// [`SystemError::Io`] when the device cannot be opened or the kernel will not, and [`SystemError::Unexpected`] when the
/// kernel goes on taking writes.
pub fn set_read_only(name: &str) -> Result<bool, SystemError> {
    let path = format!("/dev/{name}");
    let file = File::open(&path).map_err(SystemError::io("open", &path))?;
    let read_only = || ioctl::is_read_only(&file).map_err(SystemError::io("ask whether writes are refused to", &path));
    if read_only()? {
        return Ok(false);
    }
    ioctl::set_read_only(&file).map_err(SystemError::io("refuse writes to", &path))?;
    if read_only()? { Ok(true) } else { Err(SystemError::unexpected(path, "a writable disk", "one that is read-only")) }
}
