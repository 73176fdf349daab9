//! A regular file of the host as blocks, for packed and raw images. Only reads.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use cloud_machine_image::ReadBlocks;

use cloud_machine_store::{StoreError, open_elsewhere};

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
    /// The system's error, or [`io::ErrorKind::InvalidInput`] for what is no ordinary file; the caller names the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_elsewhere(path).map_err(StoreError::into_io)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
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
