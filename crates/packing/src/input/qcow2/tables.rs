//! Tables of a qcow2 image that end inside their last cluster, where the file may end, too. Owns which these are
//! (docs/interop/qcow2.txt of QEMU); must not judge the image.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Type of the header extension about bitmaps, and the bit of the autoclear features by which it is valid.
const BITMAPS: u64 = 0x2385_2875;
const BITMAPS_VALID: u64 = 1;
/// Most bytes of the list of bitmaps that are read: thousands of bitmaps.
const MAX_DIRECTORY: u64 = 1 << 20;
/// Bytes of the header and of each extension's type and length.
const HEADER_3: usize = 104;
const EXTENSION: usize = 8;
/// Bytes of an entry of the list of bitmaps, before its extra data and its name.
const ENTRY: usize = 24;

/// First byte of a table and the first behind it.
pub(super) type ByteRange = (u64, u64);

/// All tables of the image that are written to their own end and no further: the first level of the disk's map, the list of
/// bitmaps, and each bitmap's own. `head` is the first cluster, or what there is of it.
pub(super) fn exact(image: &File, head: &[u8]) -> io::Result<Vec<ByteRange>> {
    let mut ranges = vec![range(number(head, 40, 8), number(head, 36, 4) * 8)];
    if let Some((offset, length)) = directory(head) {
        ranges.push(range(offset, length));
        let mut list = vec![0; length.min(MAX_DIRECTORY) as usize];
        match image.read_exact_at(&mut list, offset) {
            Ok(()) => ranges.extend(tables(&list)),
            // The list itself is cut off.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ranges)
}

fn range(offset: u64, length: u64) -> ByteRange {
    (offset, offset.saturating_add(length))
}

/// Offset and length of the list of bitmaps, from its header extension.
fn directory(head: &[u8]) -> Option<ByteRange> {
    if number(head, 4, 4) < 3 || number(head, 88, 8) & BITMAPS_VALID == 0 {
        return None;
    }
    let mut at = (number(head, 100, 4) as usize).max(HEADER_3);
    loop {
        let (kind, length) = (number(head, at, 4), number(head, at + 4, 4) as usize);
        // Type 0 ends them, and so does the end of what is there.
        if kind == 0 || at + EXTENSION + length > head.len() {
            return None;
        }
        if kind == BITMAPS {
            return Some((number(head, at + EXTENSION + 16, 8), number(head, at + EXTENSION + 8, 8)));
        }
        at += EXTENSION + length.next_multiple_of(8);
    }
}

/// The table of each bitmap in the list.
fn tables(list: &[u8]) -> Vec<ByteRange> {
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at + ENTRY <= list.len() {
        ranges.push(range(number(list, at, 8), number(list, at + 8, 4) * 8));
        let more = number(list, at + 18, 2) + number(list, at + 20, 4);
        at += (ENTRY + more as usize).next_multiple_of(8);
    }
    ranges
}

/// A big-endian number; zeros stand for bytes that are not there.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let byte = |index| u64::from(bytes.get(at + index).copied().unwrap_or_default());
    (0..length).fold(0, |sum, index| sum << 8 | byte(index))
}
