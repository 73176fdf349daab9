//! Compares a whole disk with an image and says where they differ, or proves that they do not. Must not write.

use std::sync::{Mutex, PoisonError};

use cloud_machine_protocol::Extent;

use crate::{
    AlignedBuffer, Device, ImageError, Manifest, Progress, ReadBlocks, Table, VerifiedImage,
    blocks::{self, Meter},
    claim, extent,
    goal::{Goal, Piece},
    layout::{self, UNIT},
    manifest::check_target,
    reimage::Observed,
};

/// All ranges of `target` that are not as a rewrite would leave them, sorted, those that touch joined: the image, with
/// `table` in place of its own where it is given, and zeros behind it. `threads` below 4 count as 4.
///
/// # Errors
/// When the target cannot hold the image, or a read fails.
pub fn compare(
    manifest: &Manifest,
    table: Option<&Table>,
    target: &dyn ReadBlocks,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Vec<Extent>, ImageError> {
    check_target(manifest, target.size())?;
    look(Goal { image: Some(manifest), table }, target, threads, progress).map(|(differing, _)| differing)
}

/// Proves by a reading of all its bytes that `target` is the image. `threads` below 4 count as 4.
///
/// # Errors
/// [`ImageError::Differs`]; otherwise as [`compare`].
pub fn check(
    manifest: &Manifest,
    target: &dyn ReadBlocks,
    threads: usize,
    progress: Progress<'_>,
) -> Result<VerifiedImage, ImageError> {
    check_target(manifest, target.size())?;
    let goal = Goal { image: Some(manifest), table: None };
    let (differing, observed) = look(goal, target, threads, progress)?;
    if let Some(first) = differing.first() {
        let bytes = differing.iter().map(|extent| extent.length).sum();
        return Err(ImageError::Differs { count: differing.len(), bytes, first: first.offset });
    }
    VerifiedImage::new(goal, target.size(), target.size(), &observed)
}

/// The ranges that are not as the goal says, and what was seen of the others.
fn look(
    goal: Goal<'_>,
    target: &dyn ReadBlocks,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Vec<Extent>, Observed), ImageError> {
    let disk = Extent { offset: 0, length: target.size() };
    let meter = Meter::new(disk.length, progress);
    let found = Mutex::new((Vec::new(), Observed::new(goal.image)));
    let buffer = || AlignedBuffer::new(UNIT as usize);
    claim::each(threads, layout::unit_count(disk), buffer, |buffer, index| {
        let unit = layout::unit(disk, index);
        let bytes = &mut buffer[..unit.length as usize];
        blocks::read(target, Device::Target, bytes, unit.offset)?;
        let seen = |piece: Piece| goal.look(&piece, piece.of(bytes, unit.offset)).ok_or(piece.range);
        let pieces: Vec<_> = goal.pieces(unit).into_iter().map(seen).collect();
        let (differing, observed) = &mut *found.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            match piece {
                Ok(observation) => observed.add(&observation),
                Err(range) => differing.push(range),
            }
        }
        meter.add(unit.length);
        Ok(())
    })?;
    let (differing, observed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((extent::merge(differing), observed))
}
