//! What a report must prove of a root in a pool. Must not believe what a pool says of itself.

use cloud_machine_protocol::{Disk, DiskEvidence, Report, RootEvidence, Tier};

use crate::{expected::Expected, rejection::Rejection, root_pool::RootPool};

/// Checks that the image was read from a disk that is equal to it, and that the root has the same files.
pub(crate) fn check(
    pool: &RootPool,
    expected: &Expected,
    report: &Report,
    system: &Disk,
    image: &DiskEvidence,
) -> Result<Tier, Rejection> {
    let request = &expected.request;
    let asked = &request.image;
    if image.image_root != Some(asked.digest) {
        return Err(Rejection::Image { expected: asked.digest, found: image.image_root });
    }
    let sizes = [image.disk_size, image.image_size, image.read_bytes];
    if sizes != [asked.size; 3] || image.zero_bytes != 0 || image.table.is_some() {
        let covered = image.read_bytes.min(image.image_size);
        return Err(Rejection::Coverage { device: image.device.clone(), covered, size: asked.size });
    }
    let root = report.root.as_ref().ok_or(Rejection::RootAbsent)?;
    let RootEvidence { tier, dataset, image, files, entries, .. } = root;
    let wanted = pool.tier(request, system);
    if *tier != wanted {
        return Err(Rejection::Tier { device: system.name.clone(), asked: Some(wanted), found: Some(*tier) });
    }
    if *dataset != pool.dataset(request) || image != files || *entries == 0 {
        return Err(Rejection::RootDiffers { dataset: dataset.clone(), image: *image, files: *files });
    }
    Ok(wanted)
}
