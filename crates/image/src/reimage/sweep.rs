//! One pass over a range of a disk: compares every piece, puts right what is wrong, and afterwards reads back all that
//! it touched. Must not touch the boot head.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cloud_machine_protocol::Extent;

use super::observed::Observed;
use crate::{
    AlignedBuffer, FRAME_SIZE, ImageError, Manifest, ReadBlocks,
    blocks::{Meter, Target},
    claim, extent,
    layout::{self, Piece, UNIT},
    packed::FrameReader,
};

/// A range of a disk and what it must hold.
pub(crate) struct Sweep<'a> {
    /// The image and its packed source; `None` when all of the range must be zero.
    pub(crate) image: Option<(&'a Manifest, &'a dyn ReadBlocks)>,
    pub(crate) target: Target<'a>,
    pub(crate) range: Extent,
    pub(crate) threads: usize,
    pub(crate) meter: &'a Meter<'a>,
    /// Called before every write; returns when writing is safe.
    pub(crate) before_write: &'a (dyn Fn() -> Result<(), ImageError> + Sync),
}

/// What a pass saw and did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) observed: Observed,
    /// Pieces that were wrong before, in no order.
    pub(crate) changed: Vec<Extent>,
    /// Ranges that were written or made zero, each within one unit.
    touched: Vec<Extent>,
    pub(crate) compared: u64,
    pub(crate) written: u64,
    pub(crate) zeroed: u64,
    pub(crate) read_back: u64,
}

/// What one thread keeps.
struct Desk<'a> {
    buffer: AlignedBuffer,
    frames: Option<FrameReader<'a>>,
}

impl<'a> Sweep<'a> {
    fn manifest(&self) -> Option<&'a Manifest> {
        self.image.map(|(manifest, _)| manifest)
    }

    fn desk(&self) -> Desk<'a> {
        Desk {
            buffer: AlignedBuffer::new(UNIT as usize),
            frames: self.image.map(|(manifest, source)| FrameReader::new(manifest, source)),
        }
    }

    /// Compares the whole range and puts right what is wrong; nothing is flushed or read back yet.
    pub(crate) fn fix(&self) -> Result<Swept, ImageError> {
        let swept = Mutex::new(Swept { observed: Observed::new(self.manifest()), ..Swept::default() });
        claim::each(
            self.threads,
            layout::unit_count(self.range),
            || self.desk(),
            |desk, index| {
                let unit = layout::unit(self.range, index);
                let wrong = self.compare(unit, &mut desk.buffer, &swept)?;
                if !wrong.is_empty() {
                    self.put_right(&wrong, desk, &swept)?;
                }
                self.meter.add(unit.length);
                Ok(())
            },
        )?;
        Ok(swept.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a range within one unit and gives its wrong pieces.
    fn compare(&self, range: Extent, buffer: &mut [u8], swept: &Mutex<Swept>) -> Result<Vec<Piece>, ImageError> {
        let bytes = &mut buffer[..range.length as usize];
        self.target.read(bytes, range.offset)?;
        let mut sightings = Vec::new();
        let mut wrong = Vec::new();
        for piece in layout::pieces(self.manifest(), range) {
            match piece.look(piece.of(bytes, range.offset), self.manifest()) {
                Some(sighting) => sightings.push(sighting),
                None => wrong.push(piece),
            }
        }
        let mut swept = lock(swept);
        sightings.iter().for_each(|sighting| swept.observed.add(sighting));
        swept.compared += range.length;
        Ok(wrong)
    }

    fn put_right(&self, wrong: &[Piece], desk: &mut Desk<'_>, swept: &Mutex<Swept>) -> Result<(), ImageError> {
        let leaves: Vec<Piece> = wrong.iter().filter(|piece| !piece.wants_zero()).copied().collect();
        let frame = wrong.first().map_or(0, |piece| piece.range.offset / FRAME_SIZE);
        // The source is judged before anything is written, so a corrupt one does no harm.
        let data = match &mut desk.frames {
            Some(frames) if !leaves.is_empty() => frames.check(frame, &leaves)?,
            _ => &[],
        };
        (self.before_write)()?;
        let (mut written, mut zeroed) = (0, 0);
        for (run, zero) in layout::runs(wrong) {
            if zero {
                self.target.zero(run.offset, run.length)?;
                zeroed += run.length;
            } else {
                let start = (run.offset - frame * FRAME_SIZE) as usize;
                self.target.write(&data[start..start + run.length as usize], run.offset)?;
                written += run.length;
            }
        }
        let mut swept = lock(swept);
        swept.written += written;
        swept.zeroed += zeroed;
        let ranges = extent::merge(wrong.iter().map(|piece| piece.range).collect());
        swept.changed.extend(&ranges);
        swept.touched.extend(ranges);
        Ok(())
    }

    /// Makes what [`Sweep::fix`] wrote durable, reads it again and judges it as if it had never been seen.
    pub(crate) fn read_back(&self, swept: &mut Swept) -> Result<(), ImageError> {
        let touched = std::mem::take(&mut swept.touched);
        if touched.is_empty() {
            return Ok(());
        }
        self.target.flush()?;
        let shared = Mutex::new(std::mem::take(swept));
        let compared = lock(&shared).compared;
        let buffer = || AlignedBuffer::new(UNIT as usize);
        claim::each(self.threads, touched.len() as u64, buffer, |buffer, index| {
            let range = touched[index as usize];
            let wrong = self.compare(range, buffer, &shared)?;
            let ranges = extent::merge(wrong.iter().map(|piece| piece.range).collect());
            match ranges.first() {
                Some(&Extent { offset, length }) => Err(ImageError::ReadBack { offset, length }),
                None => Ok(()),
            }
        })?;
        *swept = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        // What `compare` counted here was a reading back.
        swept.read_back += swept.compared - compared;
        swept.compared = compared;
        Ok(())
    }
}

fn lock(swept: &Mutex<Swept>) -> MutexGuard<'_, Swept> {
    swept.lock().unwrap_or_else(PoisonError::into_inner)
}
