//! Wiping a disk by each method, and what is known of it afterwards. Must not choose the disk or the method, and must not
//! believe the device.

use std::path::Path;

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{Progress, ReadBlocks, Wiped, discard, remove_signatures, wipe};
use cloud_machine_protocol::{DiskEvidence, Extent, WipeMethod};

use crate::{SystemError, survey::extents};

/// Wipes `range` of `/dev/<name>` by `method`; by [`WipeMethod::Recreate`] only a whole disk. The same call after it was
/// cut off anywhere reaches the same end.
///
/// # Errors
/// [`SystemError::Disk`] when the disk cannot be opened or somebody uses it, [`SystemError::Wipe`] when it cannot be
/// wiped or does not read as it should.
pub fn wipe_disk(
    name: &str,
    range: Extent,
    method: WipeMethod,
    progress: Progress<'_>,
) -> Result<(Wiped, DiskEvidence), SystemError> {
    let target = Disk::open(&Path::new("/dev").join(name), Access::Write)?;
    let Extent { offset, length } = range;
    let failed = |source| SystemError::Wipe { device: name.to_owned(), source };
    let (wiped, ranges) = match method {
        WipeMethod::Zero => (wipe(&target, offset, length, progress).map_err(failed)?, Vec::new()),
        WipeMethod::Discard => (discard(&target, offset, length, progress).map_err(failed)?, Vec::new()),
        WipeMethod::Recreate => recreate(name, &target, progress)?,
    };
    // The kernel still has the partitions that it found when the disk appeared.
    target.reread_partition_table()?;
    let bytes = if ranges.is_empty() { length } else { ranges.iter().map(|range| range.length).sum() };
    let evidence = DiskEvidence {
        device: name.to_owned(),
        disk_size: target.size(),
        tier: None,
        read_bytes: bytes,
        image_root: None,
        table: None,
        image_size: 0,
        zero_bytes: bytes,
        ranges,
    };
    Ok((wiped, evidence))
}

/// Removes the signatures of a disk and of its partitions, and gives the ranges that were made zero. Where it cannot be
/// told which partitions there are, or something is still found afterwards, all of the disk is made zero, and there are no
/// ranges: a table that nobody can read must not save what lies behind it.
fn recreate(name: &str, target: &Disk, progress: Progress<'_>) -> Result<(Wiped, Vec<Extent>), SystemError> {
    let failed = |source| SystemError::Wipe { device: name.to_owned(), source };
    if let Some(partitions) = extents::partitions(name)? {
        let (wiped, ranges) = remove_signatures(target, &partitions, progress).map_err(failed)?;
        if extents::is_unsigned(name)? {
            return Ok((wiped, ranges));
        }
    }
    Ok((wipe(target, 0, target.size(), progress).map_err(failed)?, Vec::new()))
}
