//! A file of a test as blocks to read.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use cloud_machine_image::ReadBlocks;

/// An open file.
#[derive(Debug)]
pub struct FileBlocks(File, u64);

impl FileBlocks {
    /// Opens `path`.
    ///
    /// # Errors
    /// The I/O error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self(file, size))
    }
}

impl ReadBlocks for FileBlocks {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
