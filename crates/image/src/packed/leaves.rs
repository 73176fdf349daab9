//! Single leaves of a packed image, and parts of a disk filled with them. Must not hand out a byte that was not compared
//! with the manifest.

use cloud_machine_protocol::Extent;

use super::FrameReader;
use crate::{
    ImageError, LEAF_SIZE, Manifest, extent,
    sparse::{Cell, Sparse},
};

/// Leaves of the packed image, each compared with the manifest.
pub(crate) struct Leaves<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) frames: FrameReader<'a>,
}

impl Leaves<'_> {
    /// The leaf at `offset`; the last one of the image may be shorter.
    pub(crate) fn read(&mut self, offset: u64) -> Result<Vec<u8>, ImageError> {
        let length = LEAF_SIZE.min(self.manifest.size() - offset);
        Ok(self.frames.leaf(Extent { offset, length })?.to_vec())
    }
}

impl Sparse {
    /// Makes the cells of `range` exist, with what the image has there and zeros behind it.
    pub(crate) fn touch(&mut self, image: &mut Leaves<'_>, range: Extent) -> Result<(), ImageError> {
        for offset in (range.offset / LEAF_SIZE * LEAF_SIZE..extent::end(&range)).step_by(LEAF_SIZE as usize) {
            let slot = match self.cells.binary_search_by_key(&offset, |cell| cell.offset) {
                Ok(_) => continue,
                Err(slot) => slot,
            };
            let mut bytes = if offset < image.manifest.size() { image.read(offset)? } else { Vec::new() };
            bytes.resize(LEAF_SIZE.min(self.size - offset) as usize, 0);
            self.cells.insert(slot, Cell { offset, bytes });
        }
        Ok(())
    }
}
