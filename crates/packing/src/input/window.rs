//! How far back a compressed stream refers, which its reader has to keep in memory. Owns the limits and reads what a
//! stream asks for; must not decompress.

use std::io;

use super::Format;

/// Largest window of zstd, that of `zstd -d`.
const ZSTD_WINDOW: u64 = 128 << 20;
/// Memory of the xz decoder: four times what `xz -9` needs.
pub(super) const XZ_MEMORY: u64 = 256 << 20;
/// Bytes of a stream in which its window is found, unless something that decoders skip stands before it.
pub(super) const HEAD: usize = 64;

/// A stream that asks for more than is allowed.
pub(super) struct Beyond {
    /// Bytes that it asks for; `None` where only its decoder knows.
    pub(super) window: Option<u64>,
    /// Most bytes that are allowed.
    pub(super) limit: u64,
}

/// Whether a decoder of a stream that begins with `head` failed because of what it would have to keep.
pub(super) fn beyond(format: Format, head: &[u8], error: &io::Error) -> Option<Beyond> {
    let (asked, limit) = match format {
        // ZSTD_error_frameParameter_windowTooLarge; the crate hands on the text alone.
        Format::Zstd if error.to_string().contains("too much memory") => (zstd_window(head), ZSTD_WINDOW),
        Format::Xz if is_memory_limit(error) => (xz_dictionary(head), XZ_MEMORY),
        _ => return None,
    };
    Some(Beyond { window: asked.filter(|asked| *asked > limit), limit })
}

fn is_memory_limit(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|source| source.downcast_ref::<liblzma::stream::Error>());
    matches!(source, Some(liblzma::stream::Error::MemLimit))
}

/// The window of a first frame (RFC 8878, 3.1.1.1).
fn zstd_window(head: &[u8]) -> Option<u64> {
    let (descriptor, fields) = head.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?.split_first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let window = fields.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // All of the content is the window; its size follows the id of a dictionary.
    let at = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (length, more) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    number(fields.get(at..at + length)?).checked_add(more)
}

/// The dictionary of a first block (the .xz file format, 3.1 and 5.3.1).
fn xz_dictionary(head: &[u8]) -> Option<u64> {
    const LZMA2: u64 = 0x21;
    let mut rest = head.get(13..)?;
    let (flags, after) = rest.split_first()?;
    rest = after;
    // The sizes of the block, where they are stated.
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            multibyte(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (id, length) = (multibyte(&mut rest)?, usize::try_from(multibyte(&mut rest)?).ok()?);
        let properties = rest.get(..length)?;
        if id == LZMA2 {
            let bits = u64::from(properties.first()? & 0x3f);
            return Some((2 | bits & 1) << (bits / 2 + 11));
        }
        rest = rest.get(length..)?;
    }
    None
}

/// A number of seven bits a byte, the lowest first.
fn multibyte(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The little-endian number in at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_zstd_are_read_from_every_form_of_its_header() {
        let magic = [0x28, 0xb5, 0x2f, 0xfd];
        let cases: [(&[u8], Option<u64>); 7] = [
            (&[0, 21 << 3], Some(2 << 30)),
            (&[0, 17 << 3 | 3], Some((128 << 20) + (48 << 20))),
            (&[0x20, 9], Some(9)),
            (&[0x60, 0, 1], Some(512)),
            (&[0xa0, 0, 0, 0, 16], Some(256 << 20)),
            (&[0xe3, 1, 2, 3, 4, 0, 0, 0, 0, 2, 0, 0, 0], Some(8 << 30)),
            (&[0xe3, 1, 2, 3, 4, 0, 0, 0, 0], None),
        ];
        for (header, expected) in cases {
            assert_eq!(zstd_window(&[&magic[..], header].concat()), expected, "{header:x?}");
        }
        assert_eq!(zstd_window(b"\x50\x2a\x4d\x18\x01\0\0\0x"), None);
    }

    #[test]
    fn dictionaries_of_xz_are_read_behind_sizes_and_other_filters() {
        let block = |rest: &[u8]| [&[0; 12][..], &[4], rest, &[0; 8]].concat();
        assert_eq!(xz_dictionary(&block(&[0, 0x21, 1, 37])), Some(3 << 29));
        assert_eq!(xz_dictionary(&block(&[0xc0, 0x80, 1, 0x80, 0x80, 1, 0x21, 1, 22])), Some(8 << 20));
        assert_eq!(xz_dictionary(&block(&[1, 4, 0, 0x21, 1, 22])), Some(8 << 20));
        assert_eq!(xz_dictionary(&[0; 13]), None);
    }
}
