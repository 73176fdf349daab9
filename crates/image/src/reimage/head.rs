//! The boot head: the first leaf of the disk, with protective MBR and primary GPT, and the last, where firmware looks
//! for the backup GPT. Owns that no firmware finds a partition table while the body may be half written.

use std::sync::{Mutex, PoisonError};

use cloud_machine_protocol::Extent;

use super::{Swept, VerifiedBody, VerifiedImage};
use crate::{
    ALIGNMENT, AlignedBuffer, ImageError, LEAF_SIZE, Manifest, ReadBlocks, SECTOR_SIZE, Table,
    blocks::Target,
    extent,
    goal::{Goal, Piece, Want},
    layout::is_zero,
    packed::FrameReader,
};

/// Both ranges, as they were found, and whether they were taken away since.
pub(super) struct Head<'a> {
    goal: Goal<'a>,
    manifest: &'a Manifest,
    source: &'a dyn ReadBlocks,
    target: Target<'a>,
    last: Extent,
    /// Pieces that were wrong when the disk was first looked at.
    wrong: Vec<Extent>,
    last_is_zero: bool,
    invalidated: Mutex<Invalidated>,
}

#[derive(Clone, Copy, Default)]
struct Invalidated {
    done: bool,
    written: u64,
    zeroed: u64,
}

const FIRST: Extent = Extent { offset: 0, length: LEAF_SIZE };

/// The ranges of the boot head on a disk of `size` bytes, which is larger than one leaf: its first leaf, and its last one,
/// which may be shorter.
#[must_use]
pub fn boot_head(size: u64) -> [Extent; 2] {
    let offset = size.saturating_sub(1) / LEAF_SIZE * LEAF_SIZE;
    [FIRST, Extent { offset, length: size - offset }]
}

impl<'a> Head<'a> {
    /// Reads both ranges. The disk is larger than one leaf, as every image is.
    pub(super) fn look(
        manifest: &'a Manifest,
        table: Option<&'a Table>,
        source: &'a dyn ReadBlocks,
        target: Target<'a>,
    ) -> Result<Self, ImageError> {
        let [_, last] = boot_head(target.size());
        let mut head = Self {
            goal: Goal { image: Some(manifest), table },
            manifest,
            source,
            target,
            last,
            wrong: Vec::new(),
            last_is_zero: false,
            invalidated: Mutex::default(),
        };
        for range in [FIRST, head.last] {
            let bytes = head.read(range)?;
            let wrong = head.wrong_pieces(range, &bytes);
            head.wrong.extend(wrong.iter().map(|piece| piece.range));
            head.last_is_zero = is_zero(&bytes);
        }
        Ok(head)
    }

    /// What lies between the two ranges.
    pub(super) fn body(&self) -> Extent {
        Extent { offset: FIRST.length, length: self.last.offset - FIRST.length }
    }

    /// Bytes of both ranges.
    pub(super) fn length(&self) -> u64 {
        FIRST.length + self.last.length
    }

    fn read(&self, range: Extent) -> Result<AlignedBuffer, ImageError> {
        let mut buffer = AlignedBuffer::new(range.length as usize);
        self.target.read(&mut buffer, range.offset)?;
        Ok(buffer)
    }

    fn wrong_pieces(&self, range: Extent, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = self.goal.pieces(range);
        pieces.retain(|piece| self.goal.look(piece, piece.of(bytes, range.offset)).is_none());
        pieces
    }

    /// Takes the partition tables away, once: whoever comes while that happens waits. A protective MBR stays, so that no
    /// tool takes the disk for empty.
    pub(super) fn invalidate(&self) -> Result<(), ImageError> {
        let mut invalidated = self.invalidated.lock().unwrap_or_else(PoisonError::into_inner);
        if invalidated.done {
            return Ok(());
        }
        let mut interim = AlignedBuffer::new(FIRST.length as usize);
        interim[..SECTOR_SIZE as usize]
            .copy_from_slice(&protective_mbr(self.target.size() / self.target.sector_size()));
        self.target.write(&interim, FIRST.offset)?;
        invalidated.written += FIRST.length;
        if !self.last_is_zero {
            self.target.zero(self.last.offset, self.last.length)?;
            invalidated.zeroed += self.last.length;
        }
        self.target.flush()?;
        if *self.read(FIRST)? != *interim {
            return Err(read_back_error(FIRST));
        }
        if !is_zero(&self.read(self.last)?) {
            return Err(read_back_error(self.last));
        }
        invalidated.done = true;
        Ok(())
    }

    /// Writes both ranges, the first last, reads them back and completes the proof.
    pub(super) fn write(&self, body: VerifiedBody, swept: &mut Swept) -> Result<VerifiedImage, ImageError> {
        let expected = body.bytes() + self.length();
        if !self.wrong.is_empty() {
            self.invalidate()?;
        }
        let invalidated = *self.invalidated.lock().unwrap_or_else(PoisonError::into_inner);
        let mut observed = body.into_observed();
        if invalidated.done {
            self.put_back(swept)?;
        }
        for range in [self.last, FIRST] {
            let bytes = self.read(range)?;
            for piece in self.goal.pieces(range) {
                let observation = self.goal.look(&piece, piece.of(&bytes, range.offset));
                observed.add(&observation.ok_or_else(|| read_back_error(piece.range))?);
            }
            if invalidated.done {
                swept.read_back += range.length;
            }
        }
        swept.compared += self.length();
        swept.changed.extend(&self.wrong);
        swept.written += invalidated.written;
        swept.zeroed += invalidated.zeroed;
        VerifiedImage::new(self.goal, self.target.size(), expected, &observed)
    }

    /// Writes what [`Head::invalidate`] took away. The block with the GPT's header comes when everything else on the
    /// disk is durable, and the last leaf before it, since a table found in either of them makes the disk bootable; a
    /// write that is cut off in its middle may leave any of its sectors.
    fn put_back(&self, swept: &mut Swept) -> Result<(), ImageError> {
        let block = ALIGNMENT as usize;
        let first = self.content(FIRST)?;
        self.target.write(&first[block..], ALIGNMENT)?;
        self.target.flush()?;
        // From the next write on the disk may be bootable, so what it boots must be there.
        if self.read(FIRST)?[block..] != first[block..] {
            return Err(read_back_error(FIRST));
        }
        // It was seen to be zero when it was taken away.
        let last = self.content(self.last)?;
        if !is_zero(&last) {
            self.target.write(&last, self.last.offset)?;
            swept.written += self.last.length;
        }
        self.target.flush()?;
        self.target.write(&first[..block], FIRST.offset)?;
        self.target.flush()?;
        swept.written += FIRST.length;
        Ok(())
    }

    /// What a range of the head must hold.
    fn content(&self, range: Extent) -> Result<AlignedBuffer, ImageError> {
        let mut bytes = AlignedBuffer::new(range.length as usize);
        let mut frames = FrameReader::new(self.manifest, self.source);
        for piece in self.goal.pieces(range) {
            let start = (piece.range.offset - range.offset) as usize;
            let place = &mut bytes[start..(extent::end(&piece.range) - range.offset) as usize];
            match piece.want {
                Want::Leaf(_) => place.copy_from_slice(frames.leaf(piece.range)?),
                Want::Computed(cell) => place.copy_from_slice(self.goal.computed(cell)),
                Want::ZeroLeaf(_) | Want::Beyond => {}
            }
        }
        Ok(bytes)
    }
}

fn read_back_error(range: Extent) -> ImageError {
    ImageError::ReadBack { offset: range.offset, length: range.length }
}

/// A protective MBR (UEFI 2.10, section 5.2.3) over a disk of `sectors`, whose boot code asks the BIOS for the next device.
fn protective_mbr(sectors: u64) -> [u8; SECTOR_SIZE as usize] {
    let mut sector = [0; SECTOR_SIZE as usize];
    // int 18h; hlt; jmp to the hlt
    sector[..5].copy_from_slice(&[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
    let sectors = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    // From CHS 0/0/2 to the largest CHS, type EE, first sector 1.
    sector[446..458].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    sector[458..462].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interim_mbr_is_a_protective_one_for_any_size() {
        for (size, sectors) in [(16_384, 16_383), (1 << 31, 0x7fff_ffff), (1 << 33, u32::MAX)] {
            let bytes = protective_mbr(size);
            let mbr = gpt::mbr::ProtectiveMBR::from_bytes(&bytes, gpt::disk::LogicalBlockSize::Lb512).unwrap();
            let partition = mbr.partition(0).unwrap();
            assert_eq!((partition.os_type, partition.lb_start, partition.lb_size), (0xee, 1, sectors), "{size}");
        }
    }
}
