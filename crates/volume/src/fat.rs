//! FAT volumes, by the crate fatfs, kept from what a hostile volume can do to it: folders without an end, and claims
//! beyond the volume. Must not write.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use fatfs::{DirEntry, FileSystem, FsOptions};

use crate::{
    error::damaged,
    little_endian::{u16_at, u32_at},
    tree::{Entry, Kind, Tree},
};

/// Most reads and seeks of one call. The largest file in the smallest clusters takes 140,000, the longest list that is
/// allowed about as many.
const MAX_STEPS: u32 = 1 << 20;
/// What `mkfs.vfat` writes into the boot sector of a volume without a label.
const NO_LABEL: &str = "NO NAME";

/// A FAT filesystem, for one call.
pub(crate) struct Fat<'a>(FileSystem<Metered<'a>>);

/// Whether the first sector is a boot sector of FAT.
pub(crate) fn is_likely(bytes: &[u8]) -> bool {
    Claims::of(bytes).is_some()
}

/// What a boot sector says of the sizes of its filesystem.
struct Claims {
    sector: u64,
    sectors: u64,
    tables: u64,
}

impl Claims {
    /// `None` when it is no boot sector of FAT.
    fn of(bytes: &[u8]) -> Option<Self> {
        let sector = u16_at(bytes, 11)?;
        let cluster = *bytes.get(13)?;
        let reserved = u16_at(bytes, 14)?;
        let tables = *bytes.get(16)?;
        let is_fat = bytes.get(510..512)? == [0x55, 0xaa]
            && (512..=4096).contains(&sector)
            && sector.is_power_of_two()
            && cluster.is_power_of_two()
            && reserved > 0
            && tables > 0;
        let or = |small: u16, large: u32| if small == 0 { u64::from(large) } else { u64::from(small) };
        is_fat.then_some(Self {
            sector: u64::from(sector),
            sectors: or(u16_at(bytes, 19)?, u32_at(bytes, 32)?),
            tables: u64::from(tables) * or(u16_at(bytes, 22)?, u32_at(bytes, 36)?),
        })
    }

    fn are_within(&self, size: usize) -> bool {
        self.sectors * self.sector <= size as u64 && self.tables < self.sectors
    }
}

impl<'a> Fat<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> io::Result<Self> {
        // fatfs multiplies these numbers without a check.
        if !Claims::of(bytes).is_some_and(|claims| claims.are_within(bytes.len())) {
            return Err(damaged("the boot sector claims more than the volume has"));
        }
        let disk = Metered { bytes: Cursor::new(bytes), steps: 0 };
        FileSystem::new(disk, FsOptions::new()).map(Self)
    }

    /// The root folder's entry counts (mlabel and fatlabel change it), the boot sector's copy only without one.
    pub(crate) fn label(&self) -> io::Result<String> {
        let entry = self.0.read_volume_label_from_root_dir()?;
        let label = entry.unwrap_or_else(|| self.0.volume_label());
        let label = label.trim_end_matches([' ', '\0']);
        Ok(if label == NO_LABEL { String::new() } else { label.to_owned() })
    }
}

impl<'t, 'a: 't> Tree<'t> for Fat<'a> {
    type Node = DirEntry<'t, Metered<'a>>;

    fn entries(
        &'t self,
        folder: Option<&Self::Node>,
    ) -> io::Result<impl Iterator<Item = io::Result<Entry<Self::Node>>>> {
        let folder = match folder {
            None => self.0.root_dir(),
            Some(entry) if entry.is_dir() => entry.to_dir(),
            Some(_) => return Err(damaged("a folder is a file")),
        };
        let is_real = |entry: &io::Result<Self::Node>| {
            entry.as_ref().map_or(true, |entry| !matches!(entry.short_file_name_as_bytes(), b"." | b".."))
        };
        Ok(folder.iter().filter(is_real).map(|node| {
            let node = node?;
            let kind = if node.is_dir() { Kind::Folder } else { Kind::File(node.len()) };
            Ok(Entry { name: node.file_name(), kind, node })
        }))
    }

    fn is_named(&self, name: &str, wanted: &str) -> bool {
        name.to_lowercase() == wanted.to_lowercase()
    }

    fn content(&self, file: &Self::Node, size: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        if file.is_dir() {
            return Err(damaged("it is a folder"));
        }
        file.to_file().take(size).read_to_end(&mut content)?;
        if content.len() as u64 == size { Ok(content) } else { Err(damaged("its clusters end before it does")) }
    }
}

/// Bytes that can be read and not written, and only for so many steps: clusters can form a ring, and fatfs follows it.
pub(crate) struct Metered<'a> {
    bytes: Cursor<&'a [u8]>,
    steps: u32,
}

impl Metered<'_> {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(damaged("its folders or files have no end")) } else { Ok(()) }
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step()?;
        self.bytes.read(buffer)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.step()?;
        self.bytes.seek(position)
    }
}

/// fatfs asks for this, and writes nothing unless told to.
impl Write for Metered<'_> {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
