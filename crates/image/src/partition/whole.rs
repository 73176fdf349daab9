//! Whether the table of a raw image is all there: a protective MBR before it, and its backup in the last sector. Owns
//! these reasons and what mends each; must not mend it.

use std::io::{Read, Seek, SeekFrom};

use gpt::{
    disk::LogicalBlockSize,
    header::{Header, read_header_from_arbitrary_device},
};

use super::{Cursor, ENTRY_BYTES};
use crate::{ImageError, ReadBlocks, SECTOR_SIZE, mbr};

const REWRITE: &str = "`sfdisk --relocate gpt-bak-std FILE` writes the backup anew, from the primary table";
const MOVE: &str = "something was appended, or the disk has grown; `sfdisk --relocate gpt-bak-std FILE` puts the backup at the \
                    end, if all of the file belongs to the disk";
const CUT: &str = "get the whole image; what is missing may be more than the backup";
const PROTECT: &str = "`sgdisk -e FILE` (package gdisk) writes one";

fn broken(reason: String, way_out: &'static str) -> ImageError {
    ImageError::TableBroken { reason, way_out }
}

/// Refuses an image of which one of the three parts of a partition table is missing or is not like the others. The
/// primary table was checked.
pub(super) fn check(raw: &dyn ReadBlocks, header: &Header) -> Result<(), ImageError> {
    let mut first = [0; SECTOR_SIZE as usize];
    read(raw, 0, &mut first)?;
    if !mbr::is_protective(&first) {
        let reason = "before it is no protective MBR, without which no kernel looks for it";
        return Err(broken(reason.to_owned(), PROTECT));
    }
    let (backup, last) = (header.backup_lba, raw.size() / SECTOR_SIZE - 1);
    if backup > last {
        let reason =
            format!("its backup would be at sector {backup}, and sector {last} is the last one: the image is cut off");
        return Err(broken(reason, CUT));
    }
    if backup != last {
        let reason = format!("its backup is at sector {backup}, and sector {last} is the last one, where it has to be");
        return Err(broken(reason, MOVE));
    }
    check_backup(raw, header, last)
}

/// Compares the backup in the sector `last` with the primary table.
fn check_backup(raw: &dyn ReadBlocks, header: &Header, last: u64) -> Result<(), ImageError> {
    let mut magic = [0; 8];
    read(raw, last * SECTOR_SIZE, &mut magic)?;
    if magic != *b"EFI PART" {
        return Err(broken(format!("its backup at sector {last}, the last one, is missing"), REWRITE));
    }
    let damaged = |what: &str| broken(format!("its backup at sector {last} is damaged: {what}"), REWRITE);
    let cursor = Cursor { raw, position: 0 };
    let backup = read_header_from_arbitrary_device(&mut Shifted { cursor, by: last - 1 }, LogicalBlockSize::Lb512)
        .map_err(|_| damaged("its checksum does not match"))?;
    let length = u64::from(header.num_parts) * u64::from(ENTRY_BYTES);
    let fields = |header: &Header| {
        (header.disk_guid, header.first_usable, header.last_usable, header.num_parts, header.part_size)
    };
    if fields(&backup) != fields(header) || backup.current_lba != last || backup.backup_lba != header.current_lba {
        return Err(damaged("it describes another table"));
    }
    if backup.part_start != last.saturating_sub(length.div_ceil(SECTOR_SIZE)) {
        return Err(damaged("its entries do not lie before it"));
    }
    let mut entries = [vec![0; length as usize], vec![0; length as usize]];
    for (entries, table) in entries.iter_mut().zip([header, &backup]) {
        read(raw, table.part_start * SECTOR_SIZE, entries)?;
    }
    let [own, others] = entries;
    if own != others || backup.crc32_parts != header.crc32_parts {
        return Err(damaged("its entries are not those of the primary table"));
    }
    Ok(())
}

pub(super) fn read(raw: &dyn ReadBlocks, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
    let length = buffer.len() as u64;
    Cursor { raw, position: offset }.read_exact(buffer).map_err(|source| ImageError::Io {
        verb: crate::Verb::Read,
        device: crate::Device::Raw,
        offset,
        length,
        source,
    })
}

/// A disk that begins with so many sectors fewer, for a reader that looks for a header in sector 1 only.
struct Shifted<'a> {
    cursor: Cursor<'a>,
    by: u64,
}

impl Read for Shifted<'_> {
    fn read(&mut self, output: &mut [u8]) -> std::io::Result<usize> {
        self.cursor.read(output)
    }
}

impl Seek for Shifted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => SeekFrom::Start(offset.saturating_add(self.by * SECTOR_SIZE)),
            other => other,
        };
        self.cursor.seek(to)
    }
}
