//! Wiping a disk by each method, and what is known of it afterwards. Must not choose the disk or the method, and must not
//! believe the device.

use std::path::Path;

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{Progress, Wiped, discard, wipe};
use cloud_machine_protocol::{DiskEvidence, Extent, WipeMethod};

use crate::SystemError;

/// Wipes `range` of `/dev/<name>` by `method`. The same call after it was cut off anywhere reaches the same end.
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
    let done = match method {
        WipeMethod::Zero => wipe(&target, offset, length, progress),
        WipeMethod::Discard => discard(&target, offset, length, progress),
    };
    let wiped = done.map_err(|source| SystemError::Wipe { device: name.to_owned(), source })?;
    // The kernel still has the partitions that it found when the disk appeared.
    target.reread_partition_table()?;
    let evidence = DiskEvidence {
        device: name.to_owned(),
        disk_size: length,
        tier: None,
        read_bytes: length,
        image_root: None,
        table: None,
        image_size: 0,
        zero_bytes: length,
    };
    Ok((wiped, evidence))
}
