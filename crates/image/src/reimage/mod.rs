//! Makes a disk equal to an image by one engine that compares, resumes and verifies at once: body first, boot head
//! last, everything that was written read back. Must not believe any mark on the disk about work done before.

mod choice;
mod head;
mod observed;
mod sweep;
mod verified;

use cloud_machine_protocol::{Digest, Extent, MAX_CHANGED_EXTENTS, Tier};

use crate::{
    ImageError, Manifest, Progress, ReadBlocks, Table, WriteBlocks,
    blocks::{Meter, Target},
    extent::{self, digest_of_extents},
    goal::Goal,
    layout::Units,
    manifest::check_target,
    packed::check_source,
};

use choice::ResolvedMode;
use head::Head;
use verified::VerifiedBody;

pub use choice::{CompareMode, sampled_bytes};
pub use head::boot_head;
pub use verified::VerifiedImage;

pub(crate) use observed::Observed;
pub(crate) use sweep::{Sweep, Swept};

/// How a rewrite goes about its work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Threads that compare and write; below 4 counts as 4. Each keeps 3 MiB of buffers.
    pub threads: usize,
    /// What is read before it is written.
    pub compare_mode: CompareMode<'a>,
}

/// A disk that was made equal to an image, and what that took. All numbers are bytes unless they say otherwise.
#[derive(Debug)]
pub struct Rewritten {
    /// Proof that it is right.
    pub image: VerifiedImage,
    /// How it was done.
    pub tier: Tier,
    /// Read and compared before anything was written there.
    pub compared_bytes: u64,
    /// Written with data, the interim boot head included.
    pub written_bytes: u64,
    /// Made zero.
    pub zeroed_bytes: u64,
    /// Read again after they were written or made zero.
    pub read_back_bytes: u64,
    /// What had differed before; `None` when the disk was not compared.
    pub changed: Option<Changed>,
}

/// What of a disk had differed from the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Sorted, whole leaves, those that touch joined; at most [`MAX_CHANGED_EXTENTS`].
    pub extents: Vec<Extent>,
    /// How many extents had differed.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// [`digest_of_extents`] of all of them.
    pub digest: Digest,
}

/// Makes `target` equal to the image: rewrites what differs from the packed image `source`, makes everything behind the
/// image zero, gives the disk a partition table of its own size and sectors, and reads back all that it touched.
///
/// A disk that is right already is flushed once and only read. After any error or power cut the disk has no valid partition table,
/// unless nothing of it was written; running again continues.
///
/// # Errors
/// When the target cannot hold the image, the source is truncated or corrupt, a read, write, zeroing or flush fails, or
/// the target gives back other bytes than it was given. No [`VerifiedImage`] exists then.
pub fn rewrite(
    manifest: &Manifest,
    source: &dyn ReadBlocks,
    target: &dyn WriteBlocks,
    options: Options<'_>,
    progress: Progress<'_>,
) -> Result<Rewritten, ImageError> {
    let target = Target(target);
    check_target(manifest, target.size())?;
    check_source(manifest, source)?;
    let table = Table::for_disk(manifest, source, target.size(), target.sector_size())?;
    // What an earlier run wrote before it was ended may be seen and not be durable yet: from here on, what is seen is.
    target.flush()?;
    let goal = Goal { image: Some(manifest), table: table.as_ref() };
    let head = Head::look(manifest, table.as_ref(), source, target)?;
    let body = head.body();
    let mode = ResolvedMode::choose(options, goal, target, body)?;
    let units = mode.units(body);
    let meter = Meter::new(units.bytes() + head.length(), progress);
    let before_write = || head.invalidate();
    let pass = |units| Sweep {
        goal,
        source: Some(source),
        target,
        units,
        compares: mode.compares(),
        threads: options.threads,
        meter: &meter,
        before_write: &before_write,
    };

    let mut sweep = pass(units);
    let mut swept = sweep.run()?;
    let mut tier = mode.tier();
    if mode.is_contradicted_by(&swept.changed) {
        meter.extend(body.length);
        sweep = pass(Units::All(body));
        swept = sweep.run()?.after(swept);
        tier = Tier::Scan;
    }
    let verified = VerifiedBody::new(&sweep, &mut swept)?;
    let image = head.write(verified, &mut swept)?;
    meter.add(head.length());
    Ok(rewritten(image, tier, swept))
}

fn rewritten(image: VerifiedImage, tier: Tier, swept: Swept) -> Rewritten {
    Rewritten {
        image,
        tier,
        compared_bytes: swept.compared,
        written_bytes: swept.written,
        zeroed_bytes: swept.zeroed,
        read_back_bytes: swept.read_back,
        changed: (tier != Tier::Stream).then(|| changed(swept.changed)),
    }
}

fn changed(extents: Vec<Extent>) -> Changed {
    let mut extents = extent::merge(extents);
    let count = extents.len() as u64;
    let bytes = extents.iter().map(|extent| extent.length).sum();
    let digest = digest_of_extents(&extents);
    extents.truncate(MAX_CHANGED_EXTENTS);
    Changed { extents, count, bytes, digest }
}
