//! Partitions of a raw image: reads its GPT (UEFI 2.10, section 5.3) and finds the root among them. Bounds everything
//! before the `gpt` crate sees it, since that panics on entries of another size; must not repair a table.

use std::io::{self, Read, Seek, SeekFrom};

use cloud_machine_protocol::Extent;
use gpt::{
    disk::LogicalBlockSize,
    header::{Header, read_header_from_arbitrary_device},
    partition::file_read_partitions,
};
use serde::{Deserialize, Serialize};

mod absent;
mod whole;

use crate::{ALIGNMENT, AlignedBuffer, Device, ImageError, ReadBlocks, SECTOR_SIZE, blocks};

const ROOT_X86_64: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const LINUX_FILESYSTEM: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const HEADER_BYTES: u32 = 92;
/// Bytes of an entry of the table.
pub(crate) const ENTRY_BYTES: u32 = 128;
const MAX_ENTRIES: u32 = 128;
/// UTF-16 units of a partition's name.
const MAX_NAME: usize = 36;

/// A partition of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Name in the table, without control characters; other text may still reorder a line, so escape it before it
    /// reaches a terminal.
    pub name: String,
    /// Type, in lower-case hexadecimal digits with hyphens.
    pub type_guid: String,
    /// Identity of this one partition, likewise.
    pub unique_guid: String,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The partitions of a raw image, and the number of the one with the root, as [`crate::pack`] finds them.
///
/// # Errors
/// A `Table…` variant of [`ImageError`], [`ImageError::RootUnclear`], [`ImageError::FilesystemUnknown`].
pub fn find_partitions(raw: &dyn ReadBlocks, root: Option<u32>) -> Result<(Vec<Partition>, u32), ImageError> {
    let partitions = read_table(raw)?;
    let root = find_root(raw, &partitions, root)?.number;
    Ok((partitions, root))
}

/// Reads and checks the partition table of a raw image.
pub(crate) fn read_table(raw: &dyn ReadBlocks) -> Result<Vec<Partition>, ImageError> {
    check_raw_header(raw)?;
    let (header, entries) = parse_table(Cursor { raw, position: 0 })?;
    let partitions = partitions(&entries)?;
    check(&partitions, raw.size()).map_err(|reason| ImageError::TableInvalid { reason })?;
    whole::check(raw, &header)?;
    Ok(partitions)
}

/// The used entries of a table, as an image has them.
pub(crate) fn partitions(entries: &[(u32, gpt::partition::Partition)]) -> Result<Vec<Partition>, ImageError> {
    entries.iter().map(|(number, entry)| partition(*number, entry)).collect()
}

/// The header and the used entries, with their numbers, of a table whose header was seen by [`check_header`].
pub(crate) fn parse_table(
    mut reader: impl Read + Seek,
) -> Result<(Header, Vec<(u32, gpt::partition::Partition)>), ImageError> {
    let sector = LogicalBlockSize::Lb512;
    let header =
        read_header_from_arbitrary_device(&mut reader, sector).map_err(|source| ImageError::TableHeader { source })?;
    let entries =
        file_read_partitions(&mut reader, &header, sector).map_err(|source| ImageError::TableEntries { source })?;
    Ok((header, entries.into_iter().filter(|(_, entry)| entry.is_used()).collect()))
}

fn partition(number: u32, entry: &gpt::partition::Partition) -> Result<Partition, ImageError> {
    let sector = LogicalBlockSize::Lb512;
    let invalid = |_| ImageError::TableInvalid {
        reason: format!("partition {number} from sector {} to {} is no range", entry.first_lba, entry.last_lba),
    };
    Ok(Partition {
        number,
        name: entry.name.clone(),
        type_guid: entry.part_type_guid.guid.to_string(),
        unique_guid: entry.part_guid.to_string(),
        offset: entry.bytes_start(sector).map_err(invalid)?,
        length: entry.bytes_len(sector).map_err(invalid)?,
    })
}

/// Checks a list of partitions against an image of `size` bytes; the error is the reason.
pub(crate) fn check(partitions: &[Partition], size: u64) -> Result<(), String> {
    if partitions.len() > MAX_ENTRIES as usize {
        return Err(format!("it has {} partitions, at most {MAX_ENTRIES} are possible", partitions.len()));
    }
    for partition in partitions {
        check_texts(partition)?;
    }
    let mut ordered: Vec<&Partition> = partitions.iter().collect();
    ordered.sort_unstable_by_key(|partition| partition.offset);
    let mut previous: Option<&Partition> = None;
    for partition in ordered {
        let number = partition.number;
        let end = partition.offset.checked_add(partition.length);
        if end.is_none_or(|end| end > size) {
            return Err(format!("partition {number} reaches beyond the image"));
        }
        if partition.length == 0 || !(partition.offset | partition.length).is_multiple_of(SECTOR_SIZE) {
            return Err(format!("partition {number} is not made of sectors"));
        }
        if let Some(previous) = previous.filter(|previous| previous.offset + previous.length > partition.offset) {
            return Err(format!("partitions {} and {number} overlap", previous.number));
        }
        previous = Some(partition);
    }
    let mut numbers: Vec<u32> = partitions.iter().map(|partition| partition.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != partitions.len() {
        return Err("two partitions have the same number".to_owned());
    }
    Ok(())
}

/// Checks what a table could not hold, or nobody should be shown.
fn check_texts(partition: &Partition) -> Result<(), String> {
    let Partition { number, name, type_guid, unique_guid, .. } = partition;
    if !(1..=MAX_ENTRIES).contains(number) {
        return Err(format!("partition {number} has no number from 1 to {MAX_ENTRIES}"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!(
            "the name of partition {number} has control characters, {:?}; `sgdisk --change-name={number}:NAME` on the raw \
             image gives it another",
            shortened(name)
        ));
    }
    if name.encode_utf16().count() > MAX_NAME {
        return Err(format!("the name of partition {number} is longer than {MAX_NAME} UTF-16 units"));
    }
    for guid in [type_guid, unique_guid] {
        if !is_guid(guid) {
            return Err(format!("partition {number} has {:?} for a GUID", shortened(guid)));
        }
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether a text is a GUID in lower case, as every table gives it.
fn is_guid(text: &str) -> bool {
    let fits = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// Checks the header of a raw image.
fn check_raw_header(raw: &dyn ReadBlocks) -> Result<(), ImageError> {
    let mut buffer = AlignedBuffer::new(ALIGNMENT as usize);
    blocks::read(raw, Device::Raw, &mut buffer, 0)?;
    let header = &buffer[SECTOR_SIZE as usize..];
    if !header.starts_with(b"EFI PART") {
        return Err(absent::error(raw)?);
    }
    check_header(&buffer, raw.size()).map(drop)
}

/// Checks the fields of the header that say where and how much is to be read, before anything acts on them. `start` are
/// the first bytes of an image of `size` bytes, [`ALIGNMENT`] at least. Gives where the entries are.
pub(crate) fn check_header(start: &[u8], size: u64) -> Result<Extent, ImageError> {
    let header = &start[SECTOR_SIZE as usize..ALIGNMENT as usize];
    if !header.starts_with(b"EFI PART") {
        return Err(ImageError::TableAbsent);
    }
    let number =
        |at: usize, bytes: usize| header[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (entries_at, entries) = (number(72, 8), number(80, 4));
    let length = entries * u64::from(ENTRY_BYTES);
    let offset = entries_at.checked_mul(SECTOR_SIZE).filter(|at| at.checked_add(length).is_some_and(|end| end <= size));
    let reason = if number(12, 4) != u64::from(HEADER_BYTES) {
        format!("its header has {} bytes instead of {HEADER_BYTES}", number(12, 4))
    } else if number(24, 8) != 1 {
        format!("its header says that it is at sector {} instead of 1", number(24, 8))
    } else if number(84, 4) != u64::from(ENTRY_BYTES) {
        format!("its entries have {} bytes instead of {ENTRY_BYTES}", number(84, 4))
    } else if !(1..=u64::from(MAX_ENTRIES)).contains(&entries) {
        format!("it has {entries} entries instead of 1 to {MAX_ENTRIES}")
    } else if let Some(offset) = offset {
        return Ok(Extent { offset, length });
    } else {
        format!("its entries at sector {entries_at} lie beyond the image")
    };
    Err(ImageError::TableInvalid { reason })
}

/// Finds the root partition: the one with number `wanted`, or else the only one of type "Linux root (x86-64)", or else
/// the only one of type "Linux filesystem"; and checks that it holds a filesystem that can be mounted.
pub(crate) fn find_root<'a>(
    raw: &dyn ReadBlocks,
    partitions: &'a [Partition],
    wanted: Option<u32>,
) -> Result<&'a Partition, ImageError> {
    let unclear = |reason: String| ImageError::RootUnclear { reason, partitions: listing(partitions) };
    let of_type = |guid: &str| partitions.iter().filter(|partition| partition.type_guid == guid).collect::<Vec<_>>();
    let mut candidates = match wanted {
        Some(number) => partitions.iter().filter(|partition| partition.number == number).collect(),
        None => of_type(ROOT_X86_64),
    };
    if candidates.is_empty() && wanted.is_none() {
        candidates = of_type(LINUX_FILESYSTEM);
    }
    match (&candidates[..], wanted) {
        ([root], _) => check_filesystem(raw, root).map(|()| *root),
        (_, Some(number)) => Err(unclear(format!("root partition {number} does not exist"))),
        ([], None) => Err(unclear("no partition is of a Linux root or filesystem type".to_owned())),
        (several, None) => {
            Err(unclear(format!("{} partitions could be the root, so its number must be given", several.len())))
        }
    }
}

fn listing(partitions: &[Partition]) -> String {
    if partitions.is_empty() {
        return "none".to_owned();
    }
    let line = |partition: &Partition| {
        format!(
            "{} (type {}, name {:?}, {} bytes)",
            partition.number, partition.type_guid, partition.name, partition.length
        )
    };
    partitions.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// Looks for ext4's magic number, 0xEF53, 56 bytes into the superblock at byte 1024.
fn check_filesystem(raw: &dyn ReadBlocks, root: &Partition) -> Result<(), ImageError> {
    const MAGIC_AT: u64 = 1080;
    let mut found = [0; 2];
    if root.length >= MAGIC_AT + 2 {
        let mut cursor = Cursor { raw, position: root.offset + MAGIC_AT };
        let length = found.len() as u64;
        let offset = cursor.position;
        cursor.read_exact(&mut found).map_err(|source| ImageError::Io {
            verb: crate::Verb::Read,
            device: Device::Raw,
            offset,
            length,
            source,
        })?;
    }
    if found != [0x53, 0xef] {
        return Err(ImageError::FilesystemUnknown { partition: root.number, found });
    }
    Ok(())
}

/// A reader over blocks that only ever asks for whole aligned blocks.
struct Cursor<'a> {
    raw: &'a dyn ReadBlocks,
    position: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let start = self.position - self.position % ALIGNMENT;
        let available = self.raw.size().saturating_sub(start).min(ALIGNMENT) as usize;
        let mut buffer = AlignedBuffer::new(available);
        self.raw.read_at(&mut buffer, start)?;
        let rest = buffer.get((self.position - start) as usize..).unwrap_or_default();
        let count = rest.len().min(output.len());
        output[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.raw.size().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
