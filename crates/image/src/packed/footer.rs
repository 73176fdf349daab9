//! The end of a packed image: the manifest in a skippable zstd frame (RFC 8878, section 3.1.2), and a second one of
//! fixed size as footer that says where. Must not touch the frames with data.

use cloud_machine_protocol::Extent;

use crate::{ALIGNMENT, AlignedBuffer, Device, ImageError, Manifest, ReadBlocks, blocks};

// Both are skippable frames: magic, length of the content (u32), content. All numbers are little-endian.
//   manifest  the manifest, then zeros up to where the footer's end is a multiple of 4096: the file is attached to
//             machines as a block device
//   footer    24 bytes magic, u64 offset and u64 length of the manifest, its BLAKE3
const SKIPPABLE: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
const ZSTD_FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const FRAME_HEADER: u64 = 8;
const MAGIC: &[u8; 24] = b"cloud-machine image end\n";
const FOOTER_CONTENT: u64 = 24 + 8 + 8 + 32;
const FOOTER: u64 = FRAME_HEADER + FOOTER_CONTENT;
/// Bounds the memory of a reader; half a terabyte of data needs no more.
const MAX_MANIFEST: u64 = 256 << 20;

fn skippable(content: u64) -> Vec<u8> {
    let mut bytes = SKIPPABLE.to_vec();
    bytes.extend((content as u32).to_le_bytes());
    bytes
}

/// Everything that follows the frames with data, which end at `offset`.
pub(super) fn tail(manifest: &[u8], offset: u64) -> Result<Vec<u8>, ImageError> {
    let length = manifest.len() as u64;
    if length > MAX_MANIFEST {
        return Err(ImageError::ManifestInvalid {
            reason: format!("it has {length} bytes, at most {MAX_MANIFEST} are possible"),
        });
    }
    let used = offset + FRAME_HEADER + length + FOOTER;
    let padding = used.next_multiple_of(ALIGNMENT) - used;
    let mut bytes = skippable(length + padding);
    bytes.extend(manifest);
    bytes.resize(bytes.len() + padding as usize, 0);
    bytes.extend(skippable(FOOTER_CONTENT));
    bytes.extend(MAGIC);
    bytes.extend((offset + FRAME_HEADER).to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(blake3::hash(manifest).as_bytes());
    Ok(bytes)
}

/// Finds and reads the manifest of a packed image.
///
/// # Errors
/// A `Packed…` variant of [`ImageError`] when the file is none, is truncated or has a wrong footer or a damaged
/// manifest; a `Manifest…` variant when the manifest contradicts itself; or a read error.
pub fn read_manifest(packed: &dyn ReadBlocks) -> Result<Manifest, ImageError> {
    let size = packed.size();
    let footer = read_range(packed, Extent { offset: size.saturating_sub(FOOTER), length: FOOTER.min(size) })?;
    let head = [&skippable(FOOTER_CONTENT)[..], MAGIC].concat();
    let Some(fields) = footer.strip_prefix(&head[..]) else {
        return Err(without_footer(packed)?);
    };
    let invalid = |reason: String| ImageError::PackedFooter { reason };
    let (numbers, digest) = fields.split_at(16);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (offset, length) = (number(&numbers[..8]), number(&numbers[8..]));
    if !size.is_multiple_of(ALIGNMENT) {
        return Err(invalid(format!("it ends at byte {size}, which is no multiple of {ALIGNMENT}")));
    }
    if length > MAX_MANIFEST {
        return Err(invalid(format!("the manifest would have {length} bytes, at most {MAX_MANIFEST} are possible")));
    }
    if offset.checked_add(length).is_none_or(|end| end > size - FOOTER) {
        return Err(invalid(format!("the manifest would be at byte {offset}, {length} bytes, beyond the end")));
    }
    let bytes = read_range(packed, Extent { offset, length })?;
    if blake3::hash(&bytes).as_bytes() != digest {
        return Err(ImageError::PackedManifest);
    }
    let manifest = Manifest::parse(&bytes)?;
    if manifest.packed_bytes() + FRAME_HEADER != offset {
        return Err(invalid(format!(
            "the manifest is at byte {offset}, but the frames end at {}",
            manifest.packed_bytes()
        )));
    }
    Ok(manifest)
}

/// What a file is that has no footer.
fn without_footer(packed: &dyn ReadBlocks) -> Result<ImageError, ImageError> {
    let size = packed.size();
    let start = read_range(packed, Extent { offset: 0, length: size.min(4) })?;
    Ok(if start.starts_with(&ZSTD_FRAME) { ImageError::PackedTruncated { size } } else { ImageError::PackedForeign })
}

/// Reads any range by whole blocks. The range lies in the file.
fn read_range(packed: &dyn ReadBlocks, range: Extent) -> Result<Vec<u8>, ImageError> {
    let start = range.offset - range.offset % ALIGNMENT;
    let end = (range.offset + range.length).next_multiple_of(ALIGNMENT).min(packed.size());
    let mut buffer = AlignedBuffer::new((end - start) as usize);
    if !buffer.is_empty() {
        blocks::read(packed, Device::Packed, &mut buffer, start)?;
    }
    let skip = (range.offset - start) as usize;
    Ok(buffer[skip..skip + range.length as usize].to_vec())
}
