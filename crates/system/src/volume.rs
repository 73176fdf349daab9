//! Reading a small volume: the whole device once into memory, then files out of that copy. So what was hashed is
//! what is parsed, and no kernel filesystem ever sees it; must not parse one that nobody vouches for (`reader.rs`).

use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{Algorithm, Digest, volume};
use cloud_machine_volume::Volume;
use ring::digest::{SHA256, digest};

use crate::{BlockReader, SystemError};

/// SHA-256 of bytes in memory.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest::new(Algorithm::Sha256, found)
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

/// The files of a volume that is held in memory, and whose bytes are known to be the host's.
pub struct VolumeFiles(Volume<Vec<u8>>);

impl VolumeFiles {
    /// Opens the filesystem.
    ///
    /// # Errors
    /// [`SystemError::Volume`] when it holds no filesystem that can be read.
    pub fn open(bytes: Vec<u8>) -> Result<Self, SystemError> {
        Ok(Self(Volume::open(bytes)?))
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`SystemError::Volume`], which tells absent, unreadable and too large apart.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, SystemError> {
        Ok(self.0.read(path)?)
    }
}
