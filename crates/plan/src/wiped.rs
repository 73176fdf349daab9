//! By which method a disk has to be wiped, and what a report must prove of it. Must not take a method's name
//! for a proof.

use cloud_machine_image::signature_places;
use cloud_machine_protocol::{Disk, DiskEvidence, Extent, Report, Step, WipeMethod};

use crate::{
    expected::{Disposition, ExpectedDisk},
    rejection::Rejection,
};

/// What was checked of zeros, for people.
const ZEROS: &str = "wiped disks: every byte read back as zero";
/// What was checked where only signatures were removed.
const SIGNATURES: &str = "recreated disks: every place of a signature on the disk read back as zero; the data between was \
                          not erased, and which partitions were looked into is the report's word";

/// How the report says that a disk was wiped.
pub(crate) fn stated(report: &Report, name: &str) -> Option<WipeMethod> {
    report.steps.iter().find_map(|record| match &record.step {
        // One that begins behind the start of the disk is of a partition.
        Step::Wipe { device, offset: 0, method, .. } if device == name => Some(*method),
        _ => None,
    })
}

/// How a disk has to be wiped: as the host expects, or as the machine says (`stated`) that a document of its own made
/// it, where that leaves no more.
pub(crate) fn demanded(attached: &ExpectedDisk, disk: &Disk, stated: Option<WipeMethod>) -> Option<WipeMethod> {
    let host = (attached.disposition == Disposition::Wipe).then(|| attached.wiping.method(disk));
    match (attached.disposition, host, stated) {
        (Disposition::System, ..) => None,
        (_, Some(host), Some(stated)) if stated.leaves_no_more_than(host) => Some(stated),
        (_, Some(host), _) => Some(host),
        (_, None, stated) => stated,
    }
}

/// Checks `evidence` of `disk`.
pub(crate) fn check(evidence: &DiskEvidence, disk: &Disk, method: WipeMethod) -> Result<(), Rejection> {
    let plain = evidence.image_root.is_none()
        && evidence.image_size == 0
        && evidence.tier.is_none()
        && evidence.table.is_none();
    let read = evidence.read_bytes == evidence.zero_bytes && evidence.disk_size == disk.size;
    let whole = evidence.zero_bytes == disk.size && evidence.ranges.is_empty();
    match method {
        _ if plain && read && whole => Ok(()),
        WipeMethod::Recreate if plain && read => places(&evidence.ranges, evidence.zero_bytes, disk),
        WipeMethod::Recreate | WipeMethod::Zero | WipeMethod::Discard => {
            Err(Rejection::NotWiped { device: disk.name.clone(), zero: evidence.zero_bytes, size: disk.size })
        }
    }
}

/// Checks that `ranges` are `bytes` in all, lie on the disk, and have in them every place of a signature of the disk itself.
fn places(ranges: &[Extent], bytes: u64, disk: &Disk) -> Result<(), Rejection> {
    let end = |range: &Extent| range.offset.checked_add(range.length).filter(|end| *end <= disk.size);
    let mut next = 0;
    let mut sum: u64 = 0;
    for range in ranges {
        let Some(end) = end(range).filter(|_| range.offset >= next) else {
            return Err(Rejection::RangesInvalid { device: disk.name.clone() });
        };
        next = end;
        sum = sum.saturating_add(range.length);
    }
    if sum != bytes {
        return Err(Rejection::RangesInvalid { device: disk.name.clone() });
    }
    for place in signature_places(Extent { offset: 0, length: disk.size }) {
        let stop = (place.offset + place.length).min(disk.size);
        let inside = |range: &Extent| range.offset <= place.offset && end(range).is_some_and(|end| end >= stop);
        if !ranges.iter().any(inside) {
            return Err(Rejection::SignaturesLeft { device: disk.name.clone(), offset: place.offset });
        }
    }
    Ok(())
}

/// What was checked when disks were wiped by `methods`, for people.
pub(crate) fn checked(methods: &[WipeMethod]) -> Vec<&'static str> {
    let recreated = methods.contains(&WipeMethod::Recreate);
    let zero = methods.iter().any(|method| *method != WipeMethod::Recreate);
    let mut lines = Vec::new();
    if zero || !recreated {
        lines.push(ZEROS);
    }
    if recreated {
        lines.push(SIGNATURES);
    }
    lines
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::Probe;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk() -> Disk {
        let (name, sector_size) = ("vdb".to_owned(), 512);
        let probe = Probe::Empty;
        Disk {
            name,
            serial: None,
            wwn: None,
            size: 100 * MIB,
            sector_size,
            read_only: false,
            discard: false,
            probe,
            partitions: None,
        }
    }

    fn evidence(ranges: &[(u64, u64)]) -> DiskEvidence {
        let ranges: Vec<Extent> = ranges.iter().map(|&(offset, length)| Extent { offset, length }).collect();
        let bytes = ranges.iter().map(|range| range.length).sum();
        DiskEvidence {
            device: "vdb".to_owned(),
            disk_size: 100 * MIB,
            tier: None,
            read_bytes: bytes,
            image_root: None,
            table: None,
            image_size: 0,
            zero_bytes: bytes,
            ranges,
        }
    }

    const PLACES: [(u64, u64); 3] = [(0, 8 * MIB), (64 * MIB, 64 << 10), (92 * MIB, 8 * MIB)];

    #[test]
    fn ranges_prove_a_removal_and_never_zeros() {
        let good = evidence(&PLACES);
        check(&good, &disk(), WipeMethod::Recreate).unwrap();
        check(&evidence(&[(0, 65 * MIB), (92 * MIB, 8 * MIB)]), &disk(), WipeMethod::Recreate).unwrap();
        for method in [WipeMethod::Zero, WipeMethod::Discard] {
            assert!(matches!(check(&good, &disk(), method), Err(Rejection::NotWiped { .. })));
            assert!(check(&evidence(&[(0, 100 * MIB)]), &disk(), method).is_err(), "ranges are no whole disk");
        }
        let whole = DiskEvidence { ranges: Vec::new(), ..evidence(&[(0, 100 * MIB)]) };
        for method in [WipeMethod::Recreate, WipeMethod::Zero, WipeMethod::Discard] {
            check(&whole, &disk(), method).unwrap();
        }
    }

    #[test]
    fn a_place_that_was_left_out_is_found() {
        for left in 0..PLACES.len() {
            let mut some = PLACES.to_vec();
            let (offset, length) = some[left];
            some[left] = (offset, length - 512);
            let rejection = check(&evidence(&some), &disk(), WipeMethod::Recreate).unwrap_err();
            assert_eq!(rejection, Rejection::SignaturesLeft { device: "vdb".to_owned(), offset });
        }
    }

    #[test]
    fn ranges_that_cannot_be_prove_nothing() {
        let mut other = vec![
            evidence(&[PLACES[1], PLACES[0], PLACES[2]]),
            evidence(&[PLACES[0], PLACES[0], PLACES[1], PLACES[2]]),
            evidence(&[PLACES[0], PLACES[1], (92 * MIB, 9 * MIB)]),
        ];
        other.push(DiskEvidence { zero_bytes: 1, read_bytes: 1, ..evidence(&PLACES) });
        other[0].ranges[0].offset = u64::MAX;
        for evidence in other {
            let rejection = check(&evidence, &disk(), WipeMethod::Recreate).unwrap_err();
            assert_eq!(rejection, Rejection::RangesInvalid { device: "vdb".to_owned() });
        }
        let unread = DiskEvidence { read_bytes: 512, ..evidence(&PLACES) };
        assert!(matches!(check(&unread, &disk(), WipeMethod::Recreate), Err(Rejection::NotWiped { .. })));
    }

    #[test]
    fn what_was_checked_never_says_more_than_the_weakest_method() {
        use WipeMethod::{Discard, Recreate, Zero};
        assert_eq!(checked(&[Zero, Discard]), [ZEROS]);
        assert_eq!(checked(&[Recreate]), [SIGNATURES]);
        assert_eq!(checked(&[Recreate, Zero]), [ZEROS, SIGNATURES]);
    }
}
