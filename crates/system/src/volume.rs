//! Reading a small volume: the whole device once into memory, then files out of that copy. So what was hashed is
//! what is parsed, and no kernel filesystem ever sees it.

use std::io::{Cursor, ErrorKind, Read};

use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{Algorithm, Digest, volume};
use fatfs::{FileSystem, FsOptions};
use sha2::{Digest as _, Sha256};

use crate::{BlockReader, SystemError};

/// SHA-256 of bytes in memory.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, Sha256::digest(bytes).into())
}

/// Reads all of `/dev/<name>`.
///
/// # Errors
/// [`SystemError::TooLarge`] above [`volume::MAX_SIZE`], [`SystemError::Io`] when it cannot be read.
pub fn read_device(name: &str) -> Result<Vec<u8>, SystemError> {
    let device = BlockReader::open(name)?;
    let size = device.size();
    let too_large = || SystemError::TooLarge { device: name.to_owned(), size, limit: volume::MAX_SIZE };
    if size > volume::MAX_SIZE {
        return Err(too_large());
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| too_large())?];
    device.read_at(&mut bytes, 0).map_err(SystemError::io("read", format!("/dev/{name}")))?;
    Ok(bytes)
}

/// The files of a FAT volume that is held in memory.
pub struct VolumeFiles {
    filesystem: FileSystem<Cursor<Vec<u8>>>,
}

impl VolumeFiles {
    /// Opens the filesystem.
    ///
    /// # Errors
    /// [`SystemError::VolumeUnreadable`] when it is no FAT filesystem.
    pub fn open(bytes: Vec<u8>) -> Result<Self, SystemError> {
        FileSystem::new(Cursor::new(bytes), FsOptions::new())
            .map(|filesystem| Self { filesystem })
            .map_err(SystemError::VolumeUnreadable)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`SystemError::VolumeFileAbsent`], [`SystemError::VolumeFileTooLarge`] or [`SystemError::VolumeFile`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, SystemError> {
        let failed = |source: std::io::Error| {
            if source.kind() == ErrorKind::NotFound {
                SystemError::VolumeFileAbsent { path: path.to_owned() }
            } else {
                SystemError::VolumeFile { path: path.to_owned(), source }
            }
        };
        let file = self.filesystem.root_dir().open_file(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(volume::MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > volume::MAX_FILE {
            return Err(SystemError::VolumeFileTooLarge { path: path.to_owned(), limit: volume::MAX_FILE });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_and_foreign_volumes_are_unreadable_and_not_absent() {
        for bytes in [Vec::new(), vec![0; 512], vec![0xff; 1 << 20]] {
            assert!(matches!(VolumeFiles::open(bytes), Err(SystemError::VolumeUnreadable(_))));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_absent() {
        let mut disk = Cursor::new(vec![0; 1 << 20]);
        fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
        let files = VolumeFiles::open(disk.into_inner()).unwrap();
        assert!(matches!(files.read("user-data"), Err(SystemError::VolumeFileAbsent { .. })));
    }
}
