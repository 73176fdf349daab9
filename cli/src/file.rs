//! A regular file as blocks, for packed and raw images on the host. Only reads.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use cloud_machine_image::ReadBlocks;

use crate::failure::{Failure, Kind};

/// An open file.
pub(crate) struct FileBlocks {
    file: File,
    size: u64,
}

impl FileBlocks {
    /// Opens `path` for reading.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
            Failure::during(kind, format!("open {}", path.display()))(error)
        };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
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
