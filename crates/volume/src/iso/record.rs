//! Records of a folder (ECMA-119, 9.1): one file or folder each, none across the end of a sector. Must not interpret
//! names.

use std::io;

use super::SECTOR;
use crate::{error::damaged, little_endian::u32_at};

const FOLDER: u8 = 1 << 1;
const ASSOCIATED: u8 = 1 << 2;
const NOT_FINAL: u8 = 1 << 7;
/// Bytes of a record before its name.
const FIXED: usize = 33;

/// A range of the volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// First block.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u32,
}

impl Extent {
    /// Its bytes; `None` when they are not all there.
    pub(crate) fn of(self, volume: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.start).ok()?.checked_mul(SECTOR)?;
        volume.get(start..start.checked_add(usize::try_from(self.size).ok()?)?)
    }
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) extent: Extent,
    pub(crate) name: &'a [u8],
    /// What Rock Ridge says of it.
    pub(crate) system_use: &'a [u8],
    flags: u8,
    interleaved: bool,
}

impl<'a> Record<'a> {
    /// `None` when its name ends beyond it.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let after = bytes.get(FIXED..)?;
        let length = usize::from(*bytes.get(32)?);
        let name = after.get(..length)?;
        // A name of even length is followed by one byte more.
        let system_use = after.get(length + usize::from(length % 2 == 0)..).unwrap_or_default();
        Some(Self {
            extent: Extent {
                start: u64::from(u32_at(bytes, 2)?) + u64::from(*bytes.get(1)?),
                size: u32_at(bytes, 10)?,
            },
            name,
            system_use,
            flags: *bytes.get(25)?,
            interleaved: bytes.get(26..28)? != [0, 0],
        })
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.flags & FOLDER != 0
    }

    /// Whether it is neither the folder itself, nor the one above, nor an attachment of another file.
    pub(crate) fn is_listed(&self) -> bool {
        !matches!(self.name, [0 | 1]) && self.flags & ASSOCIATED == 0
    }

    /// Why its content cannot be read, which only volumes of gigabytes or other machines have.
    pub(crate) fn unreadable(&self) -> Option<&'static str> {
        if self.flags & NOT_FINAL != 0 {
            Some("it is stored in several extents")
        } else if self.interleaved {
            Some("it is stored interleaved")
        } else {
            None
        }
    }
}

/// The records of a folder, up to the first that is damaged.
pub(crate) struct Records<'a> {
    folder: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn of(folder: &'a [u8]) -> Self {
        Self { folder, at: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = io::Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let length = usize::from(*self.folder.get(self.at)?);
            let left = SECTOR - self.at % SECTOR;
            if length == 0 {
                self.at += left;
                continue;
            }
            let bytes = self.folder.get(self.at..self.at + length).filter(|_| length <= left);
            let record = bytes.and_then(Record::parse).ok_or_else(|| damaged("an entry of a folder is damaged"));
            self.at = if record.is_ok() { self.at + length } else { self.folder.len() };
            return Some(record);
        }
    }
}
