//! Whole block devices as readers and writers of blocks. Owns how bytes reach the device and no idea of what they
//! mean.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use cloud_machine_image::{ReadBlocks, WriteBlocks};
use nix::libc::{O_CLOEXEC, O_DIRECT, O_EXCL};

use crate::{SystemError, ioctl};

/// A block device that is only read, through the page cache: any offset and length will do.
#[derive(Debug)]
pub struct BlockReader {
    file: File,
    size: u64,
}

/// A block device that is read and written past the page cache (`O_DIRECT`): a read-back asks the device and not
/// the memory. Offsets, lengths and buffers must be multiples of [`cloud_machine_image::ALIGNMENT`].
#[derive(Debug)]
pub struct BlockWriter {
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

    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

impl BlockWriter {
    /// Opens `/dev/<name>` for reading and writing. `O_EXCL` makes the kernel refuse a device that is in use, for
    /// example mounted (open(2)).
    ///
    /// # Errors
    /// [`SystemError::Io`] when the device cannot be opened or says no size.
    pub fn open(name: &str) -> Result<Self, SystemError> {
        let path = format!("/dev/{name}");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_DIRECT | O_EXCL | O_CLOEXEC)
            .open(&path)
            .map_err(SystemError::io("open for writing", &path))?;
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

impl ReadBlocks for BlockWriter {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl WriteBlocks for BlockWriter {
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buffer, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        ioctl::zero_out(&self.file, offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        // fsync on the device's own descriptor: sync(2) sends no cache flush to a raw block device.
        self.file.sync_all()
    }
}
