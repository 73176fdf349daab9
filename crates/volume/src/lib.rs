//! Reading a small volume, FAT or ISO 9660, whose bytes are in memory and may be hostile: label, files, list. Must
//! not touch a device or know what the files mean; every loop and every allocation here has a bound.

mod error;
mod fat;
mod iso;
mod little_endian;
mod tree;
pub mod write;

pub use error::VolumeError;

use fat::Fat;
use iso::Iso;

/// The filesystem of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// ISO 9660: plain, with Rock Ridge or with Joliet names.
    Iso9660,
}

/// A volume that holds one filesystem. It owns `bytes`, or borrows them when `B` is a reference, and never copies
/// them.
#[derive(Debug)]
pub struct Volume<B> {
    bytes: B,
    format: Format,
    label: String,
}

impl<B: AsRef<[u8]>> Volume<B> {
    /// Finds out which filesystem the bytes hold, and reads its label.
    ///
    /// # Errors
    /// [`VolumeError::Unknown`], [`VolumeError::Ambivalent`], or [`VolumeError::Filesystem`] when it is damaged.
    pub fn open(bytes: B) -> Result<Self, VolumeError> {
        let all = bytes.as_ref();
        let format = match (fat::is_likely(all), iso::is_likely(all)) {
            (false, false) => return Err(VolumeError::Unknown),
            (true, true) => return Err(VolumeError::Ambivalent),
            (true, false) => Format::Vfat,
            (false, true) => Format::Iso9660,
        };
        let label = match format {
            Format::Vfat => Fat::open(all).and_then(|fat| fat.label()),
            Format::Iso9660 => Iso::open(all).map(|iso| iso.label()),
        };
        let label = label.map_err(VolumeError::Filesystem)?;
        Ok(Self { bytes, format, label })
    }

    /// The filesystem.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The label without trailing blanks, empty when there is none. To be compared without case.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Content of the file at `path`, with `/` between its parts.
    ///
    /// # Errors
    /// [`VolumeError::NoFile`] also for a folder, [`VolumeError::FileTooLarge`], [`VolumeError::File`] when it cannot
    /// be read, [`VolumeError::Filesystem`] and [`VolumeError::TooManyFiles`] when a folder on the way cannot.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, VolumeError> {
        let bytes = self.bytes.as_ref();
        match self.format {
            Format::Vfat => tree::read(&Fat::open(bytes).map_err(VolumeError::Filesystem)?, path),
            Format::Iso9660 => tree::read(&Iso::open(bytes).map_err(VolumeError::Filesystem)?, path),
        }
    }

    /// Paths and bytes of all files, sorted by path. The names are as hostile as the volume: escape them to show them.
    ///
    /// # Errors
    /// [`VolumeError::TooManyFiles`] and [`VolumeError::Filesystem`].
    pub fn list(&self) -> Result<Vec<(String, u64)>, VolumeError> {
        let bytes = self.bytes.as_ref();
        match self.format {
            Format::Vfat => tree::list(&Fat::open(bytes).map_err(VolumeError::Filesystem)?),
            Format::Iso9660 => tree::list(&Iso::open(bytes).map_err(VolumeError::Filesystem)?),
        }
    }
}
