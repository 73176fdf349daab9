//! ISO 9660 (ECMA-119) with plain, Rock Ridge and Joliet names, as mkisofs, genisoimage and xorriso write them. Must
//! not follow what such a small volume never needs: links, files in several extents, other block sizes.
//!
//! Our own reader, since none of the crates can be given hostile bytes. hadris-iso 2.5 keeps every entry of a path table
//! of any claimed length (2 GiB of memory for a volume of 64 MiB), and reads up to 16 MiB of fields for one record; cdfs
//! 0.2 has `panic!` and `unimplemented!` on what it reads.

mod names;
mod record;
mod system_use;

use std::io;

use crate::{
    error::damaged,
    little_endian::{u16_at, u32_at},
    tree::{Entry, Kind, Tree},
};
use names::Names;
use record::{Extent, Record, Records};

/// Bytes of a sector, and of the only block size that is read.
const SECTOR: usize = 2048;
/// The sector of the first descriptor.
const FIRST: usize = 16;
/// Most descriptors; real volumes have up to four.
const MAX_DESCRIPTORS: usize = 64;

/// An ISO 9660 filesystem, for one call.
pub(crate) struct Iso<'a> {
    bytes: &'a [u8],
    label: &'a [u8],
    root: Extent,
    names: Names,
}

/// Whether there is a descriptor where the first one must be.
pub(crate) fn is_likely(bytes: &[u8]) -> bool {
    bytes.get(FIRST * SECTOR..).is_some_and(|descriptor| descriptor.get(1..6) == Some(b"CD001"))
}

impl<'a> Iso<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> io::Result<Self> {
        let (primary, joliet) = descriptors(bytes)?;
        let short = || damaged("a descriptor is too short");
        let root = root(primary)?;
        // As Linux does: Rock Ridge first, since it has the names that were given; Joliet has most of them.
        let (root, names) = match (system_use::rock_ridge(bytes, root)?, joliet) {
            (Some(skip), _) => (root, Names::RockRidge { skip }),
            (None, Some(joliet)) => (self::root(joliet)?, Names::Joliet),
            (None, None) => (root, Names::Plain),
        };
        Ok(Self { bytes, label: primary.get(40..72).ok_or_else(short)?, root, names })
    }

    /// Identifier of the volume in the primary descriptor.
    pub(crate) fn label(&self) -> String {
        String::from_utf8_lossy(self.label).trim_end_matches([' ', '\0']).to_owned()
    }

    fn entry(&self, record: Record<'a>) -> io::Result<Entry<Record<'a>>> {
        let (name, other) = match self.names {
            Names::Plain => (names::plain(record.name), None),
            Names::Joliet => (names::joliet(record.name), None),
            Names::RockRidge { skip } => {
                let said = system_use::of_entry(self.bytes, record.system_use.get(skip..).unwrap_or_default())?;
                (said.name.unwrap_or_else(|| names::plain(record.name)), said.other)
            }
        };
        let kind = match other.or(record.unreadable()) {
            Some(what) => Kind::Other(what),
            None if record.is_folder() => Kind::Folder,
            None => Kind::File(u64::from(record.extent.size)),
        };
        Ok(Entry { name, kind, node: record })
    }
}

/// The primary descriptor, and that of Joliet when there is one.
fn descriptors(bytes: &[u8]) -> io::Result<(&[u8], Option<&[u8]>)> {
    let (mut primary, mut joliet) = (None, None);
    for descriptor in bytes.get(FIRST * SECTOR..).unwrap_or_default().chunks_exact(SECTOR).take(MAX_DESCRIPTORS) {
        if descriptor.get(1..6) != Some(b"CD001") {
            return Err(damaged("a descriptor has another identifier"));
        }
        match descriptor.first() {
            Some(1) if primary.is_none() => primary = Some(descriptor),
            Some(2) if matches!(descriptor.get(88..91), Some(b"%/@" | b"%/C" | b"%/E")) => joliet = Some(descriptor),
            Some(255) => {
                return primary.map(|primary| (primary, joliet)).ok_or_else(|| damaged("no primary descriptor"));
            }
            _ => {}
        }
    }
    Err(damaged("the descriptors have no end"))
}

/// Extent of the root folder.
fn root(descriptor: &[u8]) -> io::Result<Extent> {
    if u16_at(descriptor, 128).map(usize::from) != Some(SECTOR) {
        return Err(damaged("the block size is not 2048"));
    }
    let (start, size) = (u32_at(descriptor, 158), u32_at(descriptor, 166));
    let skip = descriptor.get(157).copied();
    match (start, size, skip) {
        (Some(start), Some(size), Some(skip)) => Ok(Extent { start: u64::from(start) + u64::from(skip), size }),
        _ => Err(damaged("a descriptor is too short")),
    }
}

impl<'t, 'a: 't> Tree<'t> for Iso<'a> {
    type Node = Record<'a>;

    fn entries(
        &'t self,
        folder: Option<&Self::Node>,
    ) -> io::Result<impl Iterator<Item = io::Result<Entry<Self::Node>>>> {
        let extent = folder.map_or(self.root, |record| record.extent);
        let records = Records::of(extent.of(self.bytes).ok_or_else(|| damaged("a folder lies beyond the end"))?);
        let is_listed = |record: &io::Result<Record<'a>>| record.as_ref().map_or(true, Record::is_listed);
        Ok(records.filter(is_listed).map(|record| self.entry(record?)))
    }

    fn is_named(&self, name: &str, wanted: &str) -> bool {
        match self.names {
            Names::RockRidge { .. } => name == wanted,
            Names::Joliet => name.to_lowercase() == wanted.to_lowercase(),
            Names::Plain => names::is_plain_of(name, wanted),
        }
    }

    fn content(&self, file: &Self::Node, size: u64) -> io::Result<Vec<u8>> {
        match file.extent.of(self.bytes) {
            _ if size == 0 => Ok(Vec::new()),
            Some(content) => Ok(content.to_vec()),
            None => Err(damaged("it lies beyond the end")),
        }
    }
}
