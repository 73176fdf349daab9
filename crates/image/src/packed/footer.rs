//! The end of a packed image: the manifest in a skippable zstd frame (RFC 8878, section 3.1.2), and a second one of
//! fixed size as footer that says where. Must not touch the frames with data.

use cloud_machine_protocol::{Digest, Extent};

use crate::{
    ALIGNMENT, AlignedBuffer, ClaimedManifest, Device, ImageError, Manifest, Progress, ReadBlocks, blocks,
    layout::is_zero, own_table,
};

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

/// [`read_manifest_unless`] for a packed image of which nothing is known.
///
/// # Errors
/// As [`read_manifest_unless`].
pub fn read_manifest(packed: &dyn ReadBlocks) -> Result<Manifest, ImageError> {
    read_manifest_unless(packed, None, &|_, _| ())
}

/// Finds and reads the manifest of a packed image, and proves that it stands for its digest and is about this image: its
/// zeros are hashed, unless its bytes are the ones of which `proved` is the [`Manifest::fingerprint`], and its
/// partitions are held against the table in the image.
///
/// # Errors
/// A `Packed…` variant of [`ImageError`] when the file is none, is truncated or has a wrong footer or a damaged
/// manifest; a `Manifest…` variant when the manifest contradicts itself or the image; a `Frame…` or `Table…` variant when
/// the image's table cannot be read; or a read error.
pub fn read_manifest_unless(
    packed: &dyn ReadBlocks,
    proved: Option<Digest>,
    progress: Progress<'_>,
) -> Result<Manifest, ImageError> {
    let claimed = find(packed)?;
    let manifest = claimed.prove_unless(proved, progress)?;
    own_table::check_packed(&manifest, packed)?;
    Ok(manifest)
}

/// Finds the manifest and holds it against the footer.
fn find(packed: &dyn ReadBlocks) -> Result<ClaimedManifest, ImageError> {
    let size = packed.size();
    let footer = Range::read(packed, Extent { offset: size.saturating_sub(FOOTER), length: FOOTER.min(size) })?;
    let head = [&skippable(FOOTER_CONTENT)[..], MAGIC].concat();
    let Some(fields) = footer.bytes().strip_prefix(&head[..]) else {
        return Err(without_footer(packed)?);
    };
    let invalid = |reason: String| ImageError::PackedFooter { reason };
    let (numbers, digest) = fields.split_at(16);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (offset, length) = (number(&numbers[..8]), number(&numbers[8..]));
    if !size.is_multiple_of(ALIGNMENT) {
        return Err(invalid(format!("it ends at byte {size}, which is not a multiple of {ALIGNMENT}")));
    }
    if length > MAX_MANIFEST {
        return Err(invalid(format!("the manifest would have {length} bytes, at most {MAX_MANIFEST} are possible")));
    }
    let end = offset.checked_add(length).filter(|end| offset >= FRAME_HEADER && *end <= size - FOOTER);
    let Some(end) = end else {
        return Err(invalid(format!("the manifest would be at byte {offset}, {length} bytes, beyond the end")));
    };
    let padding = size - FOOTER - end;
    if padding >= ALIGNMENT {
        return Err(invalid(format!("{padding} bytes stand between the manifest and the footer")));
    }
    let frame =
        Range::read(packed, Extent { offset: offset - FRAME_HEADER, length: size - FOOTER - offset + FRAME_HEADER })?;
    let (header, content) = frame.bytes().split_at(FRAME_HEADER as usize);
    let (bytes, zeros) = content.split_at(length as usize);
    if blake3::hash(bytes).as_bytes() != digest {
        return Err(ImageError::PackedManifest);
    }
    // Plain zstd goes by what stands around the manifest, and must find nothing there that gives a byte.
    if header != skippable(length + padding) || !is_zero(zeros) {
        return Err(invalid("the manifest is not in the skippable frame in which it must be".to_owned()));
    }
    let claimed = ClaimedManifest::parse(bytes)?;
    if claimed.packed_bytes() + FRAME_HEADER != offset {
        return Err(invalid(format!(
            "the manifest is at byte {offset}, but the frames end at {}",
            claimed.packed_bytes()
        )));
    }
    Ok(claimed)
}

/// What a file is that has no footer.
fn without_footer(packed: &dyn ReadBlocks) -> Result<ImageError, ImageError> {
    let size = packed.size();
    let start = Range::read(packed, Extent { offset: 0, length: size.min(4) })?;
    let is_frame = start.bytes().starts_with(&ZSTD_FRAME);
    Ok(if is_frame { ImageError::PackedTruncated { size } } else { ImageError::PackedForeign })
}

/// Bytes of the file, in the whole blocks by which they were read.
struct Range {
    buffer: AlignedBuffer,
    skip: usize,
    length: usize,
}

impl Range {
    /// Reads a range that lies in the file.
    fn read(packed: &dyn ReadBlocks, range: Extent) -> Result<Self, ImageError> {
        let start = range.offset - range.offset % ALIGNMENT;
        let end = (range.offset + range.length).next_multiple_of(ALIGNMENT).min(packed.size());
        let mut buffer = AlignedBuffer::new((end - start) as usize);
        if !buffer.is_empty() {
            blocks::read(packed, Device::Packed, &mut buffer, start)?;
        }
        Ok(Self { buffer, skip: (range.offset - start) as usize, length: range.length as usize })
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.skip..self.skip + self.length]
    }
}
