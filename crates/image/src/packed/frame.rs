//! Reads one frame of a packed image, decompresses it and compares its leaves with the manifest. Must hand out no byte
//! that a caller could write before [`FrameReader::check`] has seen it.

use std::io;

use cloud_machine_protocol::Extent;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::{
    ALIGNMENT, AlignedBuffer, Device, FRAME_SIZE, ImageError, Manifest, ReadBlocks, blocks, extent,
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
    /// For frames of which only the front is needed.
    front: Option<Decoder<'static>>,
    buffers: Option<Buffers>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(manifest: &'a Manifest, source: &'a dyn ReadBlocks) -> Self {
        Self { manifest, source, decompressor: zstd::bulk::Decompressor::default(), front: None, buffers: None }
    }

    /// The raw bytes of frame number `frame` up to byte `end` of the image at least, not yet compared with anything. The
    /// first lies on an aligned address.
    fn read(&mut self, frame: u64, end: u64) -> Result<&[u8], ImageError> {
        check_source(self.manifest, self.source)?;
        let (offset, length) = self.manifest.frame(frame);
        let whole = FRAME_SIZE.min(self.manifest.size() - frame * FRAME_SIZE);
        let expected = whole.min(end.saturating_sub(frame * FRAME_SIZE));
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
        let raw = &mut buffers.raw[..expected as usize];
        // Most of the work of a few leaves that differ is decompressing what lies around them.
        let decoded = if expected == whole {
            self.decompressor.decompress_to_buffer(packed, raw)
        } else {
            decompress_front(&mut self.front, packed, raw)
        };
        let found = decoded.map_err(|source| ImageError::FrameUndecodable { frame, offset, source })? as u64;
        if found != expected {
            return Err(ImageError::FrameLength { frame, offset, expected, found });
        }
        Ok(raw)
    }

    /// The raw bytes of frame number `frame` up to the end of the last of `pieces` at least, refused unless every one of
    /// `pieces`, all in this frame, is what it must be.
    pub(crate) fn check(&mut self, frame: u64, pieces: &[Piece]) -> Result<&[u8], ImageError> {
        let goal = Goal::image(self.manifest);
        let (offset, _) = self.manifest.frame(frame);
        let end = pieces.iter().map(|piece| extent::end(&piece.range)).max().unwrap_or(0);
        let raw = self.read(frame, end)?;
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

/// Decompresses a frame until `raw` is full, and says how many bytes of it are there.
fn decompress_front(decoder: &mut Option<Decoder<'static>>, packed: &[u8], raw: &mut [u8]) -> io::Result<usize> {
    let decoder = match decoder {
        Some(decoder) => {
            decoder.reinit()?;
            decoder
        }
        None => decoder.insert(Decoder::new()?),
    };
    let (length, mut input, mut output) = (raw.len(), InBuffer::around(packed), OutBuffer::around(raw));
    while output.pos() < length {
        let before = (input.pos(), output.pos());
        // 0 is the end of the frame.
        if decoder.run(&mut input, &mut output)? == 0 || before == (input.pos(), output.pos()) {
            break;
        }
    }
    Ok(output.pos())
}
