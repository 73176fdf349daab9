//! Wiping a range.

use cloud_machine_image::{ImageError, discard, remove_signatures, wipe};
use cloud_machine_protocol::Extent;

use crate::{
    disk::{Disk, Faults, Kind, Operation},
    epoch::Survival,
    fixture::{LEAF, MIB, noise},
};

const SIZE: usize = 3 * MIB + 1536;

#[test]
fn a_dirty_disk_becomes_zero_and_only_what_was_dirty_is_zeroed() {
    let mut bytes = vec![0; SIZE];
    bytes[LEAF * 5 + 3] = 1;
    bytes[LEAF * 6] = 1;
    bytes[SIZE - 1] = 1;
    let disk = Disk::new(bytes);
    let wiped = wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap();
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
    assert!(wiped.changed);
    assert_eq!(wiped.zeroed_bytes, 2 * LEAF as u64 + 1536);
    assert_eq!(wiped.read_back_bytes, wiped.zeroed_bytes);
    disk.power_cycle(1);
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_zero_disk_is_flushed_and_only_read() {
    let disk = Disk::new(vec![0; SIZE]);
    let wiped = wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap();
    assert!(!wiped.changed);
    assert_eq!((wiped.zeroed_bytes, wiped.read_back_bytes), (0, 0));
    let log = disk.log();
    assert_eq!(log[0], Operation::Flush);
    assert!(log[1..].iter().all(|operation| matches!(operation, Operation::Read { .. })));
}

#[test]
fn nothing_outside_the_range_is_touched() {
    let before = noise(SIZE, 1);
    for (offset, length) in [(4096, 4096), (LEAF + 8192, MIB), (MIB, 0), (2 * MIB, MIB + 1536)] {
        let disk = Disk::new(before.clone());
        wipe(&disk, offset as u64, length as u64, &|_, _| ()).unwrap();
        let mut expected = before.clone();
        expected[offset..offset + length].fill(0);
        assert!(disk.bytes() == expected, "{length} at {offset}");
    }
}

#[test]
fn a_range_that_is_not_on_the_disk_is_refused() {
    let disk = Disk::new(noise(SIZE, 1));
    for (offset, length) in [(0, SIZE as u64 + 512), (u64::MAX - 511, 1024), (100, 512), (0, 100), (SIZE as u64, 512)] {
        let error = wipe(&disk, offset, length, &|_, _| ()).unwrap_err();
        assert!(matches!(error, ImageError::RangeInvalid { .. }), "{error}");
    }
    assert!(disk.log().is_empty());
}

#[test]
fn a_zeroing_that_did_nothing_is_made_good_by_writing() {
    let rehearsal = Disk::new(noise(SIZE, 1));
    wipe(&rehearsal, 0, SIZE as u64, &|_, _| ()).unwrap();
    for lose in 0..rehearsal.changes() {
        let disk = Disk::new(noise(SIZE, 1));
        disk.set(Faults { lose: Some(lose), ..Faults::default() });
        wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap();
        assert!(disk.bytes().iter().all(|byte| *byte == 0), "{lose}");
        assert!(disk.log().iter().any(|operation| matches!(operation, Operation::Write { .. })));
    }
    for fail in 0..rehearsal.log().len() as u64 {
        let disk = Disk::new(noise(SIZE, 1));
        disk.set(Faults { fail: Some(fail), ..Faults::default() });
        assert!(wipe(&disk, 0, SIZE as u64, &|_, _| ()).is_err(), "operation {fail}");
    }
}

#[test]
fn a_device_without_a_way_to_zero_is_written() {
    let disk = Disk::new(noise(SIZE, 1));
    disk.set(Faults { no_zeroing: true, ..Faults::default() });
    let wiped = wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap();
    assert_eq!((wiped.zeroed_bytes, wiped.read_back_bytes), (SIZE as u64, SIZE as u64));
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_takes_neither_zeroing_nor_zeros_is_found() {
    let disk = Disk::new(noise(SIZE, 1));
    disk.set(Faults { lose_from: Some(0), ..Faults::default() });
    let error = wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::ReadBack { .. }), "{error}");
}

/// The process ends before what it zeroed is durable; the next one sees zeros and must not be the last that does.
#[test]
fn zeros_of_a_run_that_was_ended_are_made_durable_by_the_next() {
    let disk = Disk::new(noise(SIZE, 1));
    disk.set(Faults { broken_from: Some((Some(Kind::Flush), 1)), ..Faults::default() });
    wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap_err();
    disk.set(Faults::default());
    assert!(!wipe(&disk, 0, SIZE as u64, &|_, _| ()).unwrap().changed);
    disk.lose_power(Survival::Nothing);
    assert!(disk.bytes().iter().all(|byte| *byte == 0), "what was proved to be zero is not");
}

#[test]
fn what_a_discard_left_is_made_zero() {
    let disk = Disk::new(noise(SIZE, 1));
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |done, total| told.lock().unwrap().push((done, total));
    let wiped = discard(&disk, 0, SIZE as u64, &tell).unwrap();
    assert!(wiped.changed && wiped.zeroed_bytes > 0 && wiped.zeroed_bytes == wiped.read_back_bytes);
    assert_eq!(disk.log()[0], Operation::Discard { offset: 0, length: SIZE as u64 });
    disk.power_cycle(1);
    assert!(disk.bytes().iter().all(|byte| *byte == 0));
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted() && told.last() == Some(&(2 * SIZE as u64, 2 * SIZE as u64)), "{told:?}");
}

#[test]
fn a_device_that_takes_no_discard_fails_before_anything_is_done() {
    let disk = Disk::new(noise(SIZE, 1));
    disk.set(Faults { no_zeroing: true, ..Faults::default() });
    let error = discard(&disk, 0, SIZE as u64, &|_, _| ()).unwrap_err();
    assert!(error.to_string().contains("discard"), "{error}");
    assert!(disk.bytes() == noise(SIZE, 1));
}

#[test]
fn a_discard_that_is_cut_off_anywhere_ends_in_zeros_the_next_time() {
    let rehearsal = Disk::new(noise(SIZE, 1));
    discard(&rehearsal, 0, SIZE as u64, &|_, _| ()).unwrap();
    for cut in 0..rehearsal.changes() {
        let disk = Disk::new(noise(SIZE, 1));
        disk.set(Faults { cut_after: Some(cut), ..Faults::default() });
        discard(&disk, 0, SIZE as u64, &|_, _| ()).unwrap_err();
        disk.power_cycle(cut);
        discard(&disk, 0, SIZE as u64, &|_, _| ()).unwrap();
        disk.lose_power(Survival::Nothing);
        assert!(disk.bytes().iter().all(|byte| *byte == 0), "{cut}");
    }
}

/// A disk with a table in its first sector that tells of one partition, with signatures at its front and at its end.
const TABLE: [u8; 512] = [0x55; 512];
const PARTITION: Extent = Extent { offset: 12 * MIB as u64, length: 20 * MIB as u64 };
const SIGNATURES: [usize; 2] = [12 * MIB + 1080, 32 * MIB - 4096];
const DISK: usize = 48 * MIB;

fn partitioned() -> Disk {
    let mut bytes = vec![0xa5; DISK];
    bytes[..512].copy_from_slice(&TABLE);
    Disk::new(bytes)
}

/// What a look at the disk tells: nothing without the table.
fn partitions(disk: &Disk) -> Vec<Extent> {
    if disk.bytes()[..512] == TABLE { vec![PARTITION] } else { Vec::new() }
}

fn assert_removed(disk: &Disk, case: &str) {
    let bytes = disk.bytes();
    for at in SIGNATURES.into_iter().chain([0, 8 * MIB - 1, DISK - 8 * MIB, DISK - 1]) {
        assert_eq!(bytes[at], 0, "{case}: byte {at}");
    }
}

#[test]
fn signatures_go_and_the_data_between_stays() {
    let disk = partitioned();
    let told = std::sync::Mutex::new((0, 0));
    let tell = |done, total| *told.lock().unwrap() = (done, total);
    let (wiped, ranges) = remove_signatures(&disk, &partitions(&disk), &tell).unwrap();
    assert_removed(&disk, "once");
    let bytes = disk.bytes();
    let sum: u64 = ranges.iter().map(|range| range.length).sum();
    assert_eq!((wiped.zeroed_bytes, wiped.read_back_bytes, wiped.changed), (sum, sum, true));
    assert_eq!(told.into_inner().unwrap(), (sum, sum));
    let named =
        |at: usize| ranges.iter().any(|range| (range.offset..range.offset + range.length).contains(&(at as u64)));
    for at in (0..DISK).step_by(4096) {
        assert_eq!(bytes[at], if named(at) { 0 } else { 0xa5 }, "byte {at}");
    }
    assert!(!named(22 * MIB) && !named(10 * MIB));
    let (again, _) = remove_signatures(&disk, &[], &|_, _| ()).unwrap();
    assert!(!again.changed);
}

/// What a table alone knows of must be gone before the table.
#[test]
fn a_removal_that_is_cut_off_anywhere_forgets_no_partition() {
    let rehearsal = partitioned();
    remove_signatures(&rehearsal, &[PARTITION], &|_, _| ()).unwrap();
    for cut in 0..rehearsal.changes() {
        for survival in [Survival::Nothing, Survival::Reordered(cut)] {
            let disk = partitioned();
            disk.set(Faults { cut_after: Some(cut), ..Faults::default() });
            remove_signatures(&disk, &[PARTITION], &|_, _| ()).unwrap_err();
            disk.lose_power(survival);
            remove_signatures(&disk, &partitions(&disk), &|_, _| ()).unwrap();
            disk.lose_power(Survival::Nothing);
            assert_removed(&disk, &format!("cut {cut}"));
        }
    }
}
