//! One pass over ranges of a disk: compares every piece, puts right what is wrong, and reads back all that it touched,
//! all at the same time. Must not touch the boot head.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use cloud_machine_protocol::Extent;

use super::observed::Observed;
use crate::{
    AlignedBuffer, FRAME_SIZE, ImageError, ReadBlocks,
    blocks::{Meter, Target},
    claim, extent,
    goal::{self, Fill, Goal, Piece},
    layout::{UNIT, Units},
    packed::FrameReader,
};

/// Ranges of a disk and what they must hold.
pub(crate) struct Sweep<'a> {
    pub(crate) goal: Goal<'a>,
    /// The packed image, when the goal has one.
    pub(crate) source: Option<&'a dyn ReadBlocks>,
    pub(crate) target: Target<'a>,
    pub(crate) units: Units<'a>,
    /// Whether a range is read before it is written, and left alone when it is right.
    pub(crate) compares: bool,
    pub(crate) threads: usize,
    pub(crate) meter: &'a Meter<'a>,
    /// Called before every write; returns when writing is safe.
    pub(crate) before_write: &'a (dyn Fn() -> Result<(), ImageError> + Sync),
}

/// What a pass saw and did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) observed: Observed,
    /// Pieces that were wrong before, in no order; none when nothing was compared.
    pub(crate) changed: Vec<Extent>,
    pub(crate) compared: u64,
    pub(crate) written: u64,
    pub(crate) zeroed: u64,
    pub(crate) read_back: u64,
}

impl Swept {
    /// Adds what an earlier pass did; what it saw counts no more.
    pub(crate) fn after(mut self, earlier: Self) -> Self {
        self.changed.extend(earlier.changed);
        self.compared += earlier.compared;
        self.written += earlier.written;
        self.zeroed += earlier.zeroed;
        self.read_back += earlier.read_back;
        self
    }
}

/// What one thread keeps.
struct WorkerState<'a> {
    buffer: AlignedBuffer,
    frames: Option<FrameReader<'a>>,
}

/// A pass that is under way.
struct Pass<'a> {
    sweep: &'a Sweep<'a>,
    swept: Mutex<Swept>,
    /// Set when the device's own zeroing was found to leave something: zeros are written since.
    writes_zeros: AtomicBool,
}

impl<'a> Sweep<'a> {
    /// Makes all ranges what the goal says. Every byte of them was read and was right after the last write to it, and
    /// every write was flushed before it was read back.
    pub(crate) fn run(&'a self) -> Result<Swept, ImageError> {
        let swept = Swept { observed: Observed::new(self.goal.image), ..Swept::default() };
        let pass = Pass { sweep: self, swept: Mutex::new(swept), writes_zeros: AtomicBool::new(false) };
        claim::two_stages(
            self.threads,
            self.units.count(),
            || self.state(),
            |state, index| pass.fix(state, self.units.get(index)),
            || self.target.flush(),
            |state, range| pass.read_back(&mut state.buffer, range),
        )?;
        Ok(pass.swept.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> WorkerState<'a> {
        WorkerState {
            buffer: AlignedBuffer::new(UNIT as usize),
            frames: self.goal.image.zip(self.source).map(|(manifest, source)| FrameReader::new(manifest, source)),
        }
    }
}

impl Pass<'_> {
    fn swept(&self) -> MutexGuard<'_, Swept> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a unit right and gives the ranges of it that were written.
    fn fix(&self, state: &mut WorkerState<'_>, unit: Extent) -> Result<Vec<Extent>, ImageError> {
        let wrong = if self.sweep.compares {
            let wrong = self.wrong_pieces(&mut state.buffer, unit)?;
            let mut swept = self.swept();
            swept.compared += unit.length;
            swept.changed.extend(extent::merge(wrong.iter().map(|piece| piece.range).collect()));
            wrong
        } else {
            self.sweep.goal.pieces(unit)
        };
        if !wrong.is_empty() {
            self.put_right(&wrong, state)?;
        }
        self.sweep.meter.add(unit.length);
        Ok(extent::merge(wrong.iter().map(|piece| piece.range).collect()))
    }

    /// Reads a range within one unit, records what is right and gives what is not.
    fn wrong_pieces(&self, buffer: &mut [u8], range: Extent) -> Result<Vec<Piece>, ImageError> {
        let bytes = &mut buffer[..range.length as usize];
        self.sweep.target.read(bytes, range.offset)?;
        let mut observations = Vec::new();
        let mut wrong = Vec::new();
        for piece in self.sweep.goal.pieces(range) {
            match self.sweep.goal.look(&piece, piece.of(bytes, range.offset)) {
                Some(observation) => observations.push(observation),
                None => wrong.push(piece),
            }
        }
        let mut swept = self.swept();
        observations.iter().for_each(|observation| swept.observed.add(observation));
        Ok(wrong)
    }

    fn put_right(&self, wrong: &[Piece], state: &mut WorkerState<'_>) -> Result<(), ImageError> {
        let target = self.sweep.target;
        let runs = goal::runs(wrong);
        let frame = wrong.first().map_or(0, |piece| piece.range.offset / FRAME_SIZE);
        // The source is judged before anything is written, so a corrupt one does no harm.
        let data = match &mut state.frames {
            Some(frames) if runs.iter().any(|(_, fill)| *fill == Fill::Image) => {
                let leaves: Vec<Piece> = wrong.iter().filter(|piece| piece.is_leaf()).copied().collect();
                frames.check(frame, &leaves)?
            }
            _ => &[],
        };
        (self.sweep.before_write)()?;
        let (mut written, mut zeroed) = (0, 0);
        for (run, fill) in runs {
            match fill {
                Fill::Zero => {
                    self.zero(run)?;
                    zeroed += run.length;
                }
                Fill::Image => {
                    let start = (run.offset - frame * FRAME_SIZE) as usize;
                    target.write(&data[start..start + run.length as usize], run.offset)?;
                    written += run.length;
                }
                Fill::Computed(cell) => {
                    target.write(&AlignedBuffer::from(self.sweep.goal.computed(cell)), run.offset)?;
                    written += run.length;
                }
            }
        }
        let mut swept = self.swept();
        swept.written += written;
        swept.zeroed += zeroed;
        Ok(())
    }

    fn zero(&self, range: Extent) -> Result<(), ImageError> {
        if self.writes_zeros.load(Ordering::Relaxed) {
            self.sweep.target.write_zeros(range)
        } else {
            self.sweep.target.zero(range.offset, range.length)
        }
    }

    /// Reads a durable range again and judges it as if it had never been seen. Where a device's own zeroing left
    /// something, zeros are written there, and everywhere from then on.
    fn read_back(&self, buffer: &mut [u8], range: Extent) -> Result<(), ImageError> {
        let mut wrong = self.wrong_pieces(buffer, range)?;
        let mut read = range.length;
        if !wrong.is_empty() && wrong.iter().all(Piece::wants_zero) {
            self.writes_zeros.store(true, Ordering::Relaxed);
            let ranges = extent::merge(wrong.iter().map(|piece| piece.range).collect());
            ranges.iter().try_for_each(|range| self.sweep.target.write_zeros(*range))?;
            self.sweep.target.flush()?;
            wrong.clear();
            for range in ranges {
                wrong.extend(self.wrong_pieces(buffer, range)?);
                read += range.length;
            }
        }
        let wrong = extent::merge(wrong.iter().map(|piece| piece.range).collect());
        if let Some(&Extent { offset, length }) = wrong.first() {
            return Err(ImageError::ReadBack { offset, length });
        }
        self.swept().read_back += read;
        Ok(())
    }
}
