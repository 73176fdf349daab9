//! Reads one frame of a packed image, decompresses it and compares its leaves with the manifest. Must hand out no byte
//! that a caller could write before [`FrameReader::check`] has seen it.

use cloud_machine_protocol::Extent;
use zstd::zstd_safe;

use crate::{
    ALIGNMENT, AlignedBuffer, Device, FRAME_SIZE, ImageError, Manifest, ReadBlocks, blocks,
    goal::{Goal, Piece},
    manifest::max_frame_length,
};

/// Refuses a source that ends before its last frame does, so that nothing is begun that cannot be finished.
pub(crate) fn check_source(manifest: &Manifest, source: &dyn ReadBlocks) -> Result<(), ImageError> {
    if source.size() < manifest.packed_bytes() {
        return Err(ImageError::SourceTruncated { expected: manifest.packed_bytes(), found: source.size() });
    }
    Ok(())
}

struct Buffers {
    packed: AlignedBuffer,
    raw: AlignedBuffer,
}

/// Reads frames into buffers that it keeps. They are made at the first frame, since on a clean disk none is read.
pub(crate) struct FrameReader<'a> {
    manifest: &'a Manifest,
    source: &'a dyn ReadBlocks,
    decompressor: zstd::bulk::Decompressor<'static>,
    buffers: Option<Buffers>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(manifest: &'a Manifest, source: &'a dyn ReadBlocks) -> Self {
        Self { manifest, source, decompressor: zstd::bulk::Decompressor::default(), buffers: None }
    }

    /// The raw bytes of frame number `frame`, not yet compared with anything. The first lies on an aligned address. All
    /// of the frame is decompressed, though less may be needed: only then is it known that it has as many bytes as it
    /// must.
    fn read(&mut self, frame: u64) -> Result<&[u8], ImageError> {
        check_source(self.manifest, self.source)?;
        let (offset, length) = self.manifest.frame(frame);
        let expected = FRAME_SIZE.min(self.manifest.size() - frame * FRAME_SIZE);
        let buffers = self.buffers.get_or_insert_with(|| Buffers {
            packed: AlignedBuffer::new((max_frame_length() + 2 * ALIGNMENT) as usize),
            raw: AlignedBuffer::new(FRAME_SIZE as usize),
        });
        // Whole blocks are read, because the source may be a device that is read past the cache.
        let start = offset - offset % ALIGNMENT;
        let stop = (offset + length).next_multiple_of(ALIGNMENT).min(self.source.size());
        let packed = &mut buffers.packed[..(stop - start) as usize];
        blocks::read(self.source, Device::Packed, packed, start)?;
        let packed = &packed[(offset - start) as usize..(offset - start + length) as usize];
        check_frame(packed, frame, offset, expected)?;
        let raw = &mut buffers.raw[..expected as usize];
        let decoded = self.decompressor.decompress_to_buffer(packed, raw);
        let found = decoded.map_err(|source| ImageError::FrameUndecodable { frame, offset, source })? as u64;
        if found != expected {
            return Err(ImageError::FrameLength { frame, offset, expected, found });
        }
        Ok(raw)
    }

    /// The raw bytes of frame number `frame`, refused unless every one of `pieces`, all in this frame, is what it must
    /// be.
    pub(crate) fn check(&mut self, frame: u64, pieces: &[Piece]) -> Result<&[u8], ImageError> {
        let goal = Goal::image(self.manifest);
        let (offset, _) = self.manifest.frame(frame);
        let raw = self.read(frame)?;
        for piece in pieces {
            if goal.look(piece, piece.of(raw, frame * FRAME_SIZE)).is_none() {
                return Err(ImageError::FrameDigest { frame, offset, leaf: piece.range.offset });
            }
        }
        Ok(raw)
    }

    /// The bytes of one leaf, compared with the manifest.
    pub(crate) fn leaf(&mut self, leaf: Extent) -> Result<&[u8], ImageError> {
        let frame = leaf.offset / FRAME_SIZE;
        let raw = self.check(frame, &Goal::image(self.manifest).pieces(leaf))?;
        let start = (leaf.offset - frame * FRAME_SIZE) as usize;
        Ok(&raw[start..start + leaf.length as usize])
    }
}

/// Holds what a frame says of itself against what it must be: one frame, as long as its place, that states its content.
/// Every other reader of the file would go by it.
fn check_frame(packed: &[u8], frame: u64, offset: u64, expected: u64) -> Result<(), ImageError> {
    let undecodable = |code| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, zstd_safe::get_error_name(code));
        ImageError::FrameUndecodable { frame, offset, source }
    };
    let found = zstd_safe::find_frame_compressed_size(packed).map_err(undecodable)? as u64;
    let length = packed.len() as u64;
    if found != length {
        return Err(ImageError::FrameEnds { frame, offset, length, found });
    }
    let stated = zstd_safe::get_frame_content_size(packed).ok().flatten();
    if stated != Some(expected) {
        return Err(ImageError::FrameStates { frame, offset, expected, stated });
    }
    Ok(())
}
