//! Where the partitions of a table lie: concrete bytes from the size of a disk and what is wanted of each. Must not
//! look at a disk, and must give the same for the same.

use cloud_machine_config::PartitionSize;
use cloud_machine_protocol::{ByteSize, Extent};

/// Partitions begin and end at multiples of this, whatever the disk is made of.
const GRAIN: u64 = ByteSize::MIB;
/// Bytes of the entries of a table: 128 of 128 bytes (UEFI 2.10, section 5.3.2).
const ENTRIES: u64 = 128 * 128;

/// Why partitions cannot be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// A GPT counts in sectors of 512 or 4096 bytes here.
    Sectors(u32),
    /// They do not fit.
    Room {
        /// Bytes that they need at least.
        needed: u64,
        /// Bytes between the tables.
        available: u64,
    },
}

/// What lies between the tables of a disk, in whole grains.
///
/// # Errors
/// Sectors that no table counts in.
fn room(size: u64, sector_size: u32) -> Result<Extent, LayoutError> {
    let sector = match sector_size {
        512 | 4096 => u64::from(sector_size),
        other => return Err(LayoutError::Sectors(other)),
    };
    // Behind MBR, header and entries; before entries and header of the backup.
    let start = (2 * sector + ENTRIES).next_multiple_of(GRAIN);
    let end = (size - size % sector).saturating_sub(sector + ENTRIES) / GRAIN * GRAIN;
    Ok(Extent { offset: start, length: end.saturating_sub(start) })
}

/// The place of each of `sizes` on a disk, one behind the other in their order.
///
/// Bytes are rounded up to whole MiB and shares of the room down, so that shares of 100% together fit, but to no less
/// than one; the rest gets what remains.
///
/// # Errors
/// A disk that is too small, or has other sectors than 512 or 4096 bytes.
pub(crate) fn layout(size: u64, sector_size: u32, sizes: &[PartitionSize]) -> Result<Vec<Extent>, LayoutError> {
    let room = room(size, sector_size)?;
    // In grains, so that nothing overflows.
    let share = |percent: u8| (room.length / GRAIN).saturating_mul(u64::from(percent)) / 100;
    let stated = |size: &PartitionSize| match size {
        PartitionSize::Bytes(bytes) => Some(bytes.bytes().checked_next_multiple_of(GRAIN).unwrap_or(u64::MAX)),
        PartitionSize::Percent(percent) => Some(share(*percent).max(1) * GRAIN),
        PartitionSize::Rest => None,
    };
    let needed = sizes.iter().map(|size| stated(size).unwrap_or(GRAIN)).fold(0, u64::saturating_add);
    if needed > room.length {
        return Err(LayoutError::Room { needed, available: room.length });
    }
    let taken: u64 = sizes.iter().filter_map(stated).sum();
    let mut offset = room.offset;
    let mut places = Vec::new();
    for size in sizes {
        let length = stated(size).unwrap_or(room.length - taken);
        places.push(Extent { offset, length });
        offset += length;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = GRAIN;

    fn bytes(mib: u64) -> PartitionSize {
        PartitionSize::Bytes(ByteSize(mib * MIB))
    }

    fn mebibytes(places: &[Extent]) -> Vec<(u64, u64)> {
        places.iter().map(|place| (place.offset / MIB, place.length / MIB)).collect()
    }

    #[test]
    fn partitions_lie_one_behind_the_other_between_the_tables() {
        let sizes = [bytes(64), PartitionSize::Percent(50), PartitionSize::Rest];
        let places = layout(256 * MIB, 512, &sizes).unwrap();
        assert_eq!(mebibytes(&places), [(1, 64), (65, 127), (192, 63)]);
        let odd = [PartitionSize::Bytes(ByteSize(1)), PartitionSize::Percent(33), PartitionSize::Percent(67)];
        let error = layout(16 * MIB, 4096, &odd).unwrap();
        assert_eq!(mebibytes(&error), [(1, 1), (2, 4), (6, 9)]);
    }

    #[test]
    fn a_disk_that_is_too_small_says_what_is_missing() {
        let error = |size, sizes: &[PartitionSize]| layout(size, 512, sizes).unwrap_err();
        assert_eq!(
            error(8 * MIB, &[bytes(6), PartitionSize::Percent(20)]),
            LayoutError::Room { needed: 7 * MIB, available: 6 * MIB }
        );
        assert_eq!(
            error(8 * MIB, &[bytes(6), PartitionSize::Rest]),
            LayoutError::Room { needed: 7 * MIB, available: 6 * MIB }
        );
        assert_eq!(error(0, &[PartitionSize::Rest]), LayoutError::Room { needed: MIB, available: 0 });
        let endless = PartitionSize::Bytes(ByteSize(u64::MAX));
        assert_eq!(error(8 * MIB, &[endless, endless]), LayoutError::Room { needed: u64::MAX, available: 6 * MIB });
        assert_eq!(layout(8 * MIB, 520, &[]).unwrap_err(), LayoutError::Sectors(520));
    }

    fn sizes() -> impl Strategy<Value = Vec<PartitionSize>> {
        let one = prop_oneof![
            (1_u64..1 << 34).prop_map(|bytes| PartitionSize::Bytes(ByteSize(bytes))),
            (1_u8..=100).prop_map(PartitionSize::Percent),
        ];
        (prop::collection::vec(one, 0..8), any::<bool>()).prop_map(|(mut sizes, rest)| {
            if rest {
                sizes.push(PartitionSize::Rest);
            }
            sizes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn places_are_aligned_apart_and_leave_room_for_both_tables(
            size in prop_oneof![0_u64..1 << 36, any::<u64>()], large in any::<bool>(), sizes in sizes(),
        ) {
            let sector = if large { 4096 } else { 512 };
            let places = match layout(size, sector, &sizes) {
                Ok(places) => places,
                Err(LayoutError::Room { needed, available }) => {
                    prop_assert!(needed > available && available <= size);
                    return Ok(());
                }
                Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(places.len(), sizes.len());
            let head = 2 * u64::from(sector) + ENTRIES;
            let tail = u64::from(sector) + ENTRIES;
            let mut end = head;
            for (place, wanted) in places.iter().zip(&sizes) {
                prop_assert!(place.offset.is_multiple_of(MIB) && place.length.is_multiple_of(MIB) && place.length > 0);
                prop_assert!(place.offset >= end);
                end = place.offset + place.length;
                if let PartitionSize::Bytes(bytes) = wanted {
                    prop_assert!(place.length >= bytes.bytes() && place.length - bytes.bytes() < MIB);
                }
            }
            prop_assert!(end <= size - size % u64::from(sector) - tail || places.is_empty());
            if sizes.contains(&PartitionSize::Rest) {
                prop_assert!(size - end < 2 * MIB + tail);
            }
            prop_assert_eq!(layout(size, sector, &sizes).unwrap(), places);
        }

        /// Shares that are not more than everything always fit a disk that has a MiB for each.
        #[test]
        fn shares_of_all_of_the_disk_fit(size in 128 * MIB..1 << 40, shares in prop::collection::vec(1_u8..=25, 1..=4)) {
            let sizes: Vec<PartitionSize> = shares.into_iter().map(PartitionSize::Percent).collect();
            prop_assert!(layout(size, 512, &sizes).is_ok());
        }
    }
}
