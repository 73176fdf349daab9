//! A recovery partition whose entry somebody changed: root of a job can.

use cloud_machine_image::WriteBlocks;

use crate::{
    BOOT_CODE, Control, Head, PLACE, RESERVED, RecoveryError, RecoveryPartition, ShieldedDisk, UNIT,
    ends::Ends,
    prepare,
    table::Table,
    tests::{Memory, SIZE, with_recovery},
};

/// The disk with a table in which an entry, from 1, has these first and last sectors. Other programs refuse to write such a one.
fn changed(disk: &Memory, number: usize, first: u64, last: u64) -> Memory {
    let mut ends = Ends::read(disk).unwrap();
    let mut table = Table::read(&ends).unwrap();
    let entry = table.entries_mut().nth(number - 1).unwrap();
    entry[32..40].copy_from_slice(&first.to_le_bytes());
    entry[40..48].copy_from_slice(&last.to_le_bytes());
    table.write(&mut ends);
    let disk = Memory::new(disk.bytes());
    Head::of(ends).start_recovery(&disk).unwrap();
    disk
}

/// Whoever uses the partition says the same of it, and writes nothing.
fn refused(disk: &Memory, expected: &str) {
    let before = disk.bytes();
    let errors = [
        RecoveryPartition::of(disk).unwrap_err(),
        prepare(disk, 64 * UNIT, [9; 16]).unwrap_err(),
        ShieldedDisk::new(disk).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(disk.bytes() == before, "something was written");
}

#[test]
fn one_that_was_enlarged_is_refused() {
    let (disk, partition) = with_recovery();
    let last = (partition.offset + partition.length) / 512 - 1;
    let large = changed(&disk, 2, (partition.offset - 2 * UNIT) / 512, last);
    let expected = format!(
        "{} bytes at byte {} in the partition table, and its own record says {} bytes at byte {}",
        partition.length + 2 * UNIT,
        partition.offset - 2 * UNIT,
        partition.length,
        partition.offset
    );
    refused(&large, &expected);
    let over = changed(&disk, 1, 8192, partition.offset / 512);
    refused(&over, "partition 1 ends at byte");
}

#[test]
fn one_without_a_record_or_with_another_one_is_refused() {
    let (disk, partition) = with_recovery();
    let at = partition.offset + partition.length - RESERVED + PLACE;
    disk.zero(at, 4096).unwrap();
    refused(&disk, "has no record of its place");
    refused(&disk, "(`sfdisk --delete DISK NUMBER`) the next start of the machine makes a new one");
    RecoveryPartition { offset: partition.offset - UNIT, length: partition.length + UNIT }.keep_place(&disk).unwrap();
    refused(&disk, "its own record says");
    // What somebody made by hand.
    partition.keep_place(&disk).unwrap();
    assert_eq!(RecoveryPartition::of(&disk).unwrap(), Some(partition));
}

#[test]
fn one_that_was_moved_counts_no_longer_and_is_made_anew_in_free_room_alone() {
    let (disk, partition) = with_recovery();
    let [first, end] = [partition.offset / 512, (partition.offset + partition.length) / 512];
    let moved = changed(&disk, 2, first - 2048, end - 2049);
    let error = RecoveryPartition::of(&moved).unwrap_err();
    assert!(matches!(error, RecoveryError::Misplaced { number: 2, .. }), "{error}");
    assert_eq!(prepare(&moved, 64 * UNIT, [9; 16]).unwrap(), (partition, true));
    assert_eq!(RecoveryPartition::of(&moved).unwrap(), Some(partition));
    let used = changed(&changed(&disk, 2, first - 2048, end - 2049), 1, 8192, first + 100);
    let error = prepare(&used, 64 * UNIT, [9; 16]).unwrap_err();
    assert!(matches!(error, RecoveryError::NoRoom { number: 1, .. }), "{error}");
}

#[test]
fn a_request_counts_only_in_the_place_that_it_was_made_for() {
    let (disk, partition) = with_recovery();
    crate::stage_tests::control().write(&disk, partition).unwrap();
    let larger = RecoveryPartition { offset: partition.offset - UNIT, length: partition.length + UNIT };
    let error = Control::read(&disk, larger).unwrap_err().to_string();
    assert!(error.contains("and the request says"), "{error}");
}

#[test]
fn heads_counts_and_places_do_not_overlap() {
    // The tail of a disk is largest one sector before it would leave room for another unit.
    let (mut bytes, size) = (with_recovery().0.bytes(), usize::try_from(SIZE + UNIT - 512).unwrap());
    bytes.resize(size, 0);
    let disk = Memory::new(bytes);
    let (partition, _) = prepare(&disk, 64 * UNIT, [9; 16]).unwrap();
    partition.count_starts_anew(&disk, false).unwrap();
    let head = Head::read(&disk).unwrap().interim(Some(&[7; BOOT_CODE])).unwrap();
    partition.keep_head(&disk, &head).unwrap();
    partition.keep_report(&disk, b"report").unwrap();
    assert!(partition.kept_head(&disk).unwrap() == head);
    assert!(partition.starts(&disk).unwrap().is_some());
    assert_eq!(RecoveryPartition::of(&disk).unwrap(), Some(partition));
}
