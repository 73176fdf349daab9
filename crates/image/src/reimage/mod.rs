//! Makes a disk equal to an image by one engine that compares, resumes and verifies at once: body first, boot head
//! last, everything that was written read back. Must not believe any mark on the disk about work done before.

mod head;
mod observed;
mod sweep;
mod verified;

use cloud_machine_protocol::{Digest, Extent, MAX_CHANGED_EXTENTS};

use crate::{
    ImageError, Manifest, Progress, ReadBlocks, WriteBlocks,
    blocks::{Meter, Target},
    compare::check_target,
    extent::{self, digest_of_extents},
    packed::check_source,
};

use head::Head;
use verified::VerifiedBody;

pub use verified::VerifiedImage;

pub(crate) use sweep::{Sweep, Swept};

/// A disk that was made equal to an image, and what that took. All numbers are bytes unless they say otherwise.
#[derive(Debug)]
pub struct Rewritten {
    /// Proof that every byte was seen to be right.
    pub image: VerifiedImage,
    /// Read and compared: the whole disk.
    pub compared_bytes: u64,
    /// Written with data, the interim boot head included.
    pub written_bytes: u64,
    /// Made zero.
    pub zeroed_bytes: u64,
    /// Read again after they were written or made zero.
    pub read_back_bytes: u64,
    /// What had differed before, sorted, whole leaves, those that touch joined; at most [`MAX_CHANGED_EXTENTS`].
    pub changed: Vec<Extent>,
    /// How many extents had differed.
    pub changed_count: u64,
    /// Their bytes.
    pub changed_bytes: u64,
    /// [`digest_of_extents`] of all of them.
    pub changed_digest: Digest,
}

/// Compares all of `target` with the image, rewrites what differs from the packed image `source`, makes everything
/// behind the image zero, and reads back all that it touched.
///
/// A disk that is right already is only read. After any error or power cut the disk has no valid partition table,
/// unless nothing of it was written; running again continues. `threads` below 4 count as 4.
///
/// # Errors
/// When the target cannot hold the image, the source is truncated or corrupt, a read, write, zeroing or flush fails, or
/// the target gives back other bytes than it was given. No [`VerifiedImage`] exists then.
pub fn rewrite(
    manifest: &Manifest,
    source: &dyn ReadBlocks,
    target: &dyn WriteBlocks,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Rewritten, ImageError> {
    let target = Target(target);
    check_target(manifest, target.size())?;
    check_source(manifest, source)?;
    let meter = Meter::new(target.size(), progress);
    let head = Head::look(manifest, source, target)?;
    let sweep = Sweep {
        image: Some((manifest, source)),
        target,
        range: head.body(),
        threads,
        meter: &meter,
        before_write: &|| head.invalidate(),
    };
    let mut swept = sweep.fix()?;
    sweep.read_back(&mut swept)?;
    let body = VerifiedBody::new(&sweep, &mut swept)?;
    let image = head.write(body, &mut swept)?;
    meter.add(head.length());
    Ok(rewritten(image, swept))
}

fn rewritten(image: VerifiedImage, swept: Swept) -> Rewritten {
    let mut changed = extent::merge(swept.changed);
    let changed_count = changed.len() as u64;
    let changed_bytes = changed.iter().map(|extent| extent.length).sum();
    let changed_digest = digest_of_extents(&changed);
    changed.truncate(MAX_CHANGED_EXTENTS);
    Rewritten {
        image,
        compared_bytes: swept.compared,
        written_bytes: swept.written,
        zeroed_bytes: swept.zeroed,
        read_back_bytes: swept.read_back,
        changed,
        changed_count,
        changed_bytes,
        changed_digest,
    }
}
