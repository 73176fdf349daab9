//! What of the system disk had differed before it was rewritten: that the ranges in a report can be, and say what they sum
//! up to. Must not judge whether a change was harmless.

use cloud_machine_image::digest_of_extents;
use cloud_machine_protocol::{ChangedExtents, Extent, MAX_CHANGED_EXTENTS, Report, Tier};

use crate::rejection::Rejection;

/// What was not recorded, for people; nothing when the tier records it.
pub const fn not_recorded(tier: Tier) -> Option<&'static str> {
    match tier {
        Tier::Stream => Some(
            "what had changed on the system disk: not recorded, since the disk was written without being read (tier stream)",
        ),
        Tier::Overlay => Some(
            "what had changed on the system disk: not recorded, since the file with the changes was discarded unread (tier overlay)",
        ),
        Tier::Clone | Tier::Receive => Some(
            "what had changed on the system disk: not recorded, since its files were not compared with those before (a root in a pool)",
        ),
        Tier::Scan | Tier::Hinted => None,
    }
}

/// Checks the changes that `report` lists. `system` is the system disk with its size and how it was rewritten; `None` when
/// it was not.
///
/// # Errors
/// Changes of another disk, more or less than one list of them, ranges that cannot be.
pub(crate) fn changes(report: &Report, system: Option<(&str, u64, Tier)>) -> Result<(), Rejection> {
    // Of an overlay the list says what the new one held, which must be nothing; `verify` holds it against that.
    let listed = system.filter(|(_, _, tier)| matches!(tier, Tier::Scan | Tier::Hinted | Tier::Overlay));
    match (listed, report.changed.as_slice()) {
        (None, []) => Ok(()),
        (Some((device, size, _)), [changes]) if changes.device == device => {
            valid(changes, size).map_err(|reason| Rejection::Changes { device: device.to_owned(), reason })
        }
        (Some((device, ..)), []) => {
            Err(Rejection::Changes { device: device.to_owned(), reason: "there is no list of them" })
        }
        (_, [first, ..]) => {
            Err(Rejection::Changes { device: first.device.clone(), reason: "nobody looked for any there" })
        }
    }
}

fn valid(changes: &ChangedExtents, size: u64) -> Result<(), &'static str> {
    let ChangedExtents { count, bytes, digest, extents, .. } = changes;
    let most = usize::try_from(*count).unwrap_or(usize::MAX).min(MAX_CHANGED_EXTENTS);
    if extents.len() != most {
        return Err("their number is not that of the ranges");
    }
    let sum = apart(extents, size).ok_or("the ranges overlap, touch or are not on the disk")?;
    let all = extents.len() as u64 == *count;
    if all && *digest != digest_of_extents(extents) {
        return Err("their digest is not that of the ranges");
    }
    if all && sum != *bytes {
        return Err("the ranges are not as many bytes");
    }
    // Those that are not listed lie behind the others, apart from them.
    let last = extents.last().map_or(0, |last| last.offset.saturating_add(last.length));
    let rest = bytes.checked_sub(sum).ok_or("the ranges are more bytes")?;
    let fits = rest <= size.saturating_sub(last) && rest >= count.saturating_sub(extents.len() as u64);
    if fits { Ok(()) } else { Err("the ranges that are not listed cannot have so many bytes") }
}

/// The sum of ranges that are sorted, apart from each other and on the disk.
fn apart(extents: &[Extent], size: u64) -> Option<u64> {
    let mut last: Option<u64> = None;
    let mut sum: u64 = 0;
    for extent in extents {
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= size && extent.length > 0)?;
        if last.is_some_and(|last| extent.offset <= last) {
            return None;
        }
        last = Some(end);
        sum = sum.checked_add(extent.length)?;
    }
    Some(sum)
}
