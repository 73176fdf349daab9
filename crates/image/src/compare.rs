//! Compares a whole disk with an image and says where they differ. Must not write.

use std::sync::{Mutex, PoisonError};

use cloud_machine_protocol::Extent;

use crate::{
    AlignedBuffer, Device, ImageError, Manifest, Progress, ReadBlocks, Table,
    blocks::{self, Meter},
    claim, extent,
    goal::Goal,
    layout::{self, UNIT},
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
    let goal = Goal { image: Some(manifest), table };
    let disk = Extent { offset: 0, length: target.size() };
    let meter = Meter::new(disk.length, progress);
    let differing = Mutex::new(Vec::new());
    let buffer = || AlignedBuffer::new(UNIT as usize);
    claim::each(threads, layout::unit_count(disk), buffer, |buffer, index| {
        let unit = layout::unit(disk, index);
        let bytes = &mut buffer[..unit.length as usize];
        blocks::read(target, Device::Target, bytes, unit.offset)?;
        for piece in goal.pieces(unit) {
            if goal.look(&piece, piece.of(bytes, unit.offset)).is_none() {
                differing.lock().unwrap_or_else(PoisonError::into_inner).push(piece.range);
            }
        }
        meter.add(unit.length);
        Ok(())
    })?;
    Ok(extent::merge(differing.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Refuses a disk that cannot hold the image.
pub(crate) fn check_target(manifest: &Manifest, size: u64) -> Result<(), ImageError> {
    if size < manifest.size() {
        return Err(ImageError::TargetTooSmall { image: manifest.size(), target: size });
    }
    if !size.is_multiple_of(crate::SECTOR_SIZE) {
        return Err(ImageError::TargetUnaligned { size });
    }
    Ok(())
}
