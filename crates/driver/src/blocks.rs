//! A regular file of the host as blocks, for packed and raw images. Only reads.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use cloud_machine_image::ReadBlocks;

/// An open file.
#[derive(Debug)]
pub struct FileBlocks {
    file: File,
    size: u64,
}

impl FileBlocks {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// The system's error, or that it is something else than a regular file; the caller names the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe that nobody writes to waits for somebody; a regular file does not know the flag.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { file, size: found.len() })
    }
}

impl ReadBlocks for FileBlocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
