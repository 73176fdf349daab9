//! Where signatures of filesystems, arrays, pools, volume managers and partition tables lie, and their removal. Must not
//! be taken for erasure: the data between stays.

use cloud_machine_protocol::Extent;

use crate::{
    ALIGNMENT, ImageError, Progress, WriteBlocks,
    blocks::{Meter, Target},
    extent::end,
    goal::Goal,
    layout::{Units, unit, unit_count},
    reimage::Sweep,
    wipe::Wiped,
};

/// Bytes at the front and at the end of a disk or partition. In front lie both headers of LUKS2, the second one at most at
/// 4 MiB (LUKS2 on-disk format, 2.1), and everything that libblkid looks for but the copies below; at the end the backup of a GPT,
/// two of the four labels of ZFS, the superblocks of md 0.90 and 1.0 and of most other RAIDs, the copy of nilfs2.
const EDGE: u64 = 8 << 20;
/// Copies of the superblock of btrfs beyond the front (BTRFS_SUPER_MIRROR_SHIFT), 4 KiB each.
const COPIES: [u64; 2] = [64 << 20, 256 << 30];
const COPY: u64 = 64 << 10;

/// The ranges in which a disk or partition that lies at `range` may have a signature: sorted, apart from each other,
/// beginning and ending at multiples of [`ALIGNMENT`] and so a little outside of `range` where it does not.
#[must_use]
pub fn signature_places(range: Extent) -> Vec<Extent> {
    let last = range.offset.saturating_add(range.length);
    let mut places = vec![(range.offset, EDGE), (last.saturating_sub(EDGE).max(range.offset), EDGE)];
    places.extend(COPIES.map(|at| (range.offset.saturating_add(at), COPY)));
    let place = |(offset, length): (u64, u64)| {
        let start = offset / ALIGNMENT * ALIGNMENT;
        let stop = offset.saturating_add(length).min(last).checked_next_multiple_of(ALIGNMENT).unwrap_or(last);
        (offset < last).then(|| Extent { offset: start, length: stop - start })
    };
    union(places.into_iter().filter_map(place).collect())
}

/// Makes zero every place of a signature on a disk with `partitions`, reads it back, and gives the ranges: sorted, and
/// each byte of them was read as zero after the last write to it.
///
/// What lies inside partitions goes first, what says where they are goes last: after a cut at any point, the next call
/// still finds in the table what is left to do.
///
/// # Errors
/// A read, zeroing or flush fails, or the disk gives back other bytes than zeros.
pub fn remove_signatures(
    target: &dyn WriteBlocks,
    partitions: &[Extent],
    progress: Progress<'_>,
) -> Result<(Wiped, Vec<Extent>), ImageError> {
    let stages = stages(target.size(), partitions);
    let total = |ranges: &[Extent]| ranges.iter().map(|range| range.length).sum::<u64>();
    let meter = Meter::new(stages.iter().map(|stage| total(stage)).sum(), progress);
    // Zeros of an earlier run that was ended may be seen and not be durable yet: from here on, what is seen is.
    Target(target).flush()?;
    let mut wiped = Wiped { zeroed_bytes: 0, read_back_bytes: 0, changed: false };
    for stage in &stages {
        let units: Vec<Extent> =
            stage.iter().flat_map(|range| (0..unit_count(*range)).map(|index| unit(*range, index))).collect();
        let sweep = Sweep {
            goal: Goal::ZERO,
            source: None,
            target: Target(target),
            units: Units::Listed(&units),
            compares: true,
            threads: 0,
            meter: &meter,
            before_write: &|| Ok(()),
        };
        let swept = sweep.run()?;
        if swept.observed.seen() != total(stage) {
            return Err(ImageError::Unverified { seen: swept.observed.seen(), expected: total(stage) });
        }
        wiped.zeroed_bytes += swept.zeroed;
        wiped.read_back_bytes += swept.read_back;
        wiped.changed |= !swept.changed.is_empty();
    }
    Ok((wiped, union(stages.concat())))
}

/// What is made zero, one list after the other: inside partitions that hold no others, inside those that do, and on the
/// disk itself, which is never touched before.
fn stages(size: u64, partitions: &[Extent]) -> [Vec<Extent>; 3] {
    let disk = signature_places(Extent { offset: 0, length: size });
    let on_disk = |partition: &Extent| {
        let stop = partition.offset.saturating_add(partition.length).min(size);
        (partition.offset < stop).then(|| Extent { offset: partition.offset, length: stop - partition.offset })
    };
    let partitions: Vec<Extent> = partitions.iter().filter_map(on_disk).collect();
    let holds = |outer: &Extent, inner: &Extent| {
        outer != inner && outer.offset <= inner.offset && inner.offset < end(outer) && inner.length < outer.length
    };
    let (outer, inner): (Vec<Extent>, Vec<Extent>) =
        partitions.iter().partition(|one| partitions.iter().any(|other| holds(one, other)));
    let clipped = |place: Extent| Extent { length: end(&place).min(size) - place.offset, ..place };
    let places = |partitions: &[Extent]| {
        let places = partitions.iter().flat_map(|partition| signature_places(*partition)).map(clipped).collect();
        without(union(places), &disk)
    };
    let of_disk = disk.iter().copied().map(clipped).collect();
    [places(&inner), places(&outer), of_disk]
}

/// Sorts, and joins those that touch or overlap.
fn union(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable();
    let mut joined: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match joined.last_mut() {
            Some(last) if extent.offset <= end(last) => {
                last.length = end(last).max(end(&extent)) - last.offset;
            }
            _ => joined.push(extent),
        }
    }
    joined
}

/// The parts of `extents` that are in none of `holes`; both are sorted and apart from each other.
fn without(extents: Vec<Extent>, holes: &[Extent]) -> Vec<Extent> {
    let mut parts = Vec::new();
    for extent in extents {
        let mut offset = extent.offset;
        for hole in holes.iter().filter(|hole| end(hole) > extent.offset && hole.offset < end(&extent)) {
            if hole.offset > offset {
                parts.push(Extent { offset, length: hole.offset - offset });
            }
            offset = offset.max(end(hole));
        }
        if offset < end(&extent) {
            parts.push(Extent { offset, length: end(&extent) - offset });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn the_places_are_both_ends_and_the_copies_of_btrfs() {
        let gib = 1 << 30;
        let (front, copy) = (extent(0, 8 * MIB), extent(64 * MIB, 64 << 10));
        assert_eq!(signature_places(extent(0, gib)), [front, copy, extent(gib - 8 * MIB, 8 * MIB)]);
        let far = extent(256 * gib, 64 << 10);
        assert_eq!(signature_places(extent(0, 300 * gib)), [front, copy, far, extent(300 * gib - 8 * MIB, 8 * MIB)]);
        assert_eq!(signature_places(extent(0, 9 * MIB)), [extent(0, 9 * MIB)]);
        // An old partition that began at sector 63.
        assert_eq!(signature_places(extent(63 * 512, MIB)), [extent(7 * 4096, MIB + 4096)]);
        assert_eq!(signature_places(extent(5, 0)), []);
    }

    #[test]
    fn tables_go_last_and_extended_partitions_after_what_they_hold() {
        let disk = 400 * MIB;
        let (primary, extended, logical) =
            (extent(MIB, 99 * MIB), extent(100 * MIB, 200 * MIB), extent(101 * MIB, 50 * MIB));
        let [inner, outer, table] = stages(disk, &[primary, extended, logical]);
        let holds = |list: &[Extent], at: u64| list.iter().any(|one| one.offset <= at && at < end(one));
        // The end of the first partition and the front of the logical one; the front of the first is the disk's own.
        assert!(
            holds(&inner, 99 * MIB) && holds(&inner, 101 * MIB) && !holds(&inner, MIB) && !holds(&inner, 100 * MIB)
        );
        assert!(holds(&outer, 100 * MIB) && holds(&table, 0) && holds(&table, disk - 512));
    }

    proptest! {
        #[test]
        fn whatever_a_table_says_stays_on_the_disk_and_nothing_is_left_out(
            size in 1_u64..2_000_000,
            partitions in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u64..3), 0..6),
        ) {
            let size = size * 512;
            let partitions: Vec<Extent> = partitions
                .into_iter()
                .map(|(offset, length, kind)| if kind == 0 { extent(offset, length) } else { extent(offset % size, length % size) })
                .collect();
            let stages = stages(size, &partitions);
            let all = union(stages.concat());
            for list in stages.iter().chain([&all]) {
                for range in list {
                    prop_assert!(range.length > 0 && end(range) <= size);
                    prop_assert!(range.offset.is_multiple_of(ALIGNMENT));
                    prop_assert!(end(range).is_multiple_of(ALIGNMENT) || end(range) == size);
                }
                prop_assert!(list.windows(2).all(|pair| end(&pair[0]) < pair[1].offset));
            }
            let covered = |at: u64| all.iter().any(|range| range.offset <= at && at < end(range));
            prop_assert!(covered(0) && covered(size - 1));
            for partition in partitions.iter().filter(|one| one.offset < size && one.length > 0) {
                prop_assert!(covered(partition.offset));
                let last = partition.offset.saturating_add(partition.length);
                prop_assert!(last > size || covered(last - 1));
            }
        }
    }
}
