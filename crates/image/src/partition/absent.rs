//! What a raw image without a GPT is instead, as far as its first sectors tell, and what makes an image with one of it.
//! Must not guess where nothing says what it is.

use super::whole::read;
use crate::{ImageError, ReadBlocks, SECTOR_SIZE, mbr};

/// Signatures of what fills a whole disk without a table: where, which bytes, name.
const FILLS: [(usize, &[u8], &str); 6] = [
    (1080, &[0x53, 0xef], "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (65_600, b"_BHRfS_M", "a btrfs filesystem"),
    (32_769, b"CD001", "an ISO 9660 filesystem, as on an installation medium"),
    (0, b"hsqs", "a squashfs filesystem"),
    (512, b"LABELONE", "a physical volume of LVM"),
];
/// Bytes that have all of them.
const HEAD: u64 = 68 << 10;

const DOS: &str =
    "`truncate -s +1M FILE && sgdisk --mbrtogpt FILE` (package gdisk) makes a GPT with the same partitions";
const LARGE: &str =
    "build it for sectors of 512 bytes; a machine whose disk has sectors of 4096 bytes gets a table for them";
const FILL: &str = "make a disk image with a GPT and a root partition, and put it into that";
const PRIMARY: &str = "`sgdisk -e FILE` (package gdisk) writes it again from the backup";

/// The error for an image that has no header of a GPT in sector 1.
pub(super) fn error(raw: &dyn ReadBlocks) -> Result<ImageError, ImageError> {
    let mut head = vec![0; HEAD.min(raw.size()) as usize];
    read(raw, 0, &mut head)?;
    let mut last = [0; 8];
    read(raw, (raw.size() / SECTOR_SIZE).saturating_sub(1) * SECTOR_SIZE, &mut last)?;
    let at = |offset: usize, bytes: &[u8]| head.get(offset..offset + bytes.len()) == Some(bytes);
    let (found, way_out) = if at(4096, b"EFI PART") {
        ("a GPT for sectors of 4096 bytes".to_owned(), LARGE)
    } else if last == *b"EFI PART" {
        ("only the backup of one in its last sector".to_owned(), PRIMARY)
    } else if mbr::is_dos_table(&head) {
        ("a DOS partition table".to_owned(), DOS)
    } else if let Some((.., name)) = FILLS.iter().find(|(offset, bytes, _)| at(*offset, bytes)) {
        (format!("{name} without a partition table"), FILL)
    } else {
        return Ok(ImageError::TableAbsent);
    };
    Ok(ImageError::TableForeign { found, way_out })
}
