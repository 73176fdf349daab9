//! Makes a range of a disk zero and proves it by reading. Must not believe that a device's zeroing worked.

use cloud_machine_protocol::Extent;

use crate::{
    ImageError, Progress, SECTOR_SIZE, WriteBlocks,
    blocks::{Meter, Target},
    goal::Goal,
    layout::Units,
    reimage::Sweep,
};

/// Bytes that are discarded at once: a device may take minutes for a large range, and progress is told between two.
const DISCARD: u64 = 1 << 30;

/// What a wipe did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wiped {
    /// Bytes that were made zero.
    pub zeroed_bytes: u64,
    /// Bytes that were read again after that.
    pub read_back_bytes: u64,
    /// Whether anything was not zero before.
    pub changed: bool,
}

/// Flushes the disk, reads `length` bytes at `offset`, makes zero what is not, and reads that back. When it returns `Wiped`, every byte of
/// the range was read as zero after the last write to it.
///
/// # Errors
/// When the range is not made of sectors of the disk, a read, zeroing or flush fails, or the disk gives back other bytes
/// than zeros.
pub fn wipe(target: &dyn WriteBlocks, offset: u64, length: u64, progress: Progress<'_>) -> Result<Wiped, ImageError> {
    check(target, offset, length)?;
    let meter = Meter::new(length, progress);
    // Zeros of an earlier run that was ended may be seen and not be durable yet: from here on, what is seen is.
    Target(target).flush()?;
    let sweep = Sweep {
        goal: Goal::ZERO,
        source: None,
        target: Target(target),
        units: Units::All(Extent { offset, length }),
        compares: true,
        threads: 0,
        meter: &meter,
        before_write: &|| Ok(()),
    };
    let swept = sweep.run()?;
    if swept.observed.seen() != length {
        return Err(ImageError::Unverified { seen: swept.observed.seen(), expected: length });
    }
    Ok(Wiped { zeroed_bytes: swept.zeroed, read_back_bytes: swept.read_back, changed: !swept.changed.is_empty() })
}

/// Discards `length` bytes at `offset`, then does what [`wipe`] does: a discard may be ignored and still succeed, so what
/// it left is made zero. `changed` says no more than that something was left.
///
/// # Errors
/// As [`wipe`], and when the disk does not take the discard.
pub fn discard(
    target: &dyn WriteBlocks,
    offset: u64,
    length: u64,
    progress: Progress<'_>,
) -> Result<Wiped, ImageError> {
    check(target, offset, length)?;
    let total = length.saturating_mul(2);
    let mut done = 0;
    while done < length {
        let piece = (length - done).min(DISCARD);
        Target(target).discard(offset + done, piece)?;
        done += piece;
        progress(done, total);
    }
    wipe(target, offset, length, &|read, _| progress(length.saturating_add(read), total))
}

fn check(target: &dyn WriteBlocks, offset: u64, length: u64) -> Result<(), ImageError> {
    let size = target.size();
    let inside = offset.checked_add(length).is_some_and(|end| end <= size);
    if !inside || !(offset | length).is_multiple_of(SECTOR_SIZE) {
        return Err(ImageError::RangeInvalid { offset, length, size });
    }
    Ok(())
}
