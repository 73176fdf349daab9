//! A rewrite that is cut off or fails anywhere is continued by the next one, and boots nothing in between.

use cloud_machine_image::ImageError;

use crate::{
    disk::{Disk, Faults},
    fixture::{LEAF, MIB, Packed, has_table, image, packed, used},
};

const SIZE: usize = 6 * MIB;

/// The bytes between the two ranges of the boot head.
fn body(disk: &[u8]) -> &[u8] {
    &disk[LEAF..disk.len() - LEAF]
}

/// A table may only be found on a disk that is still as it was, or is done but for sectors that hold no table.
fn assert_boots_nothing_half_made(packed: &Packed, before: &[u8], after: &[u8], when: &str) {
    if !has_table(after) {
        return;
    }
    let expected = packed.expected(after.len());
    // The last block to be written holds the MBR and the primary table: torn or missing, the table is found whole or
    // not at all, and from its backup it is repaired.
    let done = after[4096..] == expected[4096..];
    assert!(done || body(after) == body(before), "a table over a half-made disk {when}");
}

#[test]
fn power_may_go_at_every_write() {
    let packed = packed(image(5 * MIB));
    for size in [SIZE, 5 * MIB] {
        let before = used(&packed, size, 3);
        assert!(has_table(&before));
        let rehearsal = Disk::new(before.clone());
        packed.rewrite(&rehearsal).unwrap();
        let changes = rehearsal.changes();
        assert!(changes > 20, "{changes}");
        for cut in 0..changes {
            let disk = Disk::new(before.clone());
            disk.set(Faults { cut_after: Some(cut), ..Faults::default() });
            let result = packed.rewrite(&disk);
            assert!(result.is_err(), "cut after write {cut}");
            disk.power_cycle(cut);
            assert_boots_nothing_half_made(&packed, &before, &disk.bytes(), &format!("after write {cut}"));
            packed.rewrite(&disk).unwrap();
            assert!(disk.bytes() == packed.expected(size), "cut after write {cut}");
        }
    }
}

#[test]
fn power_may_go_again_and_again() {
    let packed = packed(image(5 * MIB));
    for seed in 0..8_u64 {
        let before = used(&packed, SIZE, 2);
        let disk = Disk::new(before.clone());
        for attempt in 0..6 {
            disk.set(Faults { cut_after: Some((seed * 7 + attempt * 5) % 31), ..Faults::default() });
            if packed.rewrite(&disk).is_ok() {
                break;
            }
            disk.power_cycle(seed * 100 + attempt);
            assert_boots_nothing_half_made(&packed, &before, &disk.bytes(), &format!("seed {seed} attempt {attempt}"));
        }
        disk.set(Faults::default());
        packed.rewrite(&disk).unwrap();
        assert!(disk.bytes() == packed.expected(SIZE), "seed {seed}");
    }
}

#[test]
fn what_was_verified_survives_a_power_cut_right_after() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(used(&packed, SIZE, 3));
    packed.rewrite(&disk).unwrap();
    disk.power_cycle(0);
    assert!(disk.bytes() == packed.expected(SIZE));
}

#[test]
fn every_operation_may_fail() {
    let packed = packed(image(5 * MIB));
    let before = used(&packed, SIZE, 3);
    let rehearsal = Disk::new(before.clone());
    packed.rewrite(&rehearsal).unwrap();
    let operations = rehearsal.log().len() as u64;
    let mut verbs = std::collections::BTreeSet::new();
    for fail in 0..operations {
        let disk = Disk::new(before.clone());
        disk.set(Faults { fail: Some(fail), ..Faults::default() });
        match packed.rewrite(&disk) {
            Err(ImageError::Io { verb, source, .. }) => {
                assert_eq!(source.to_string(), "injected");
                verbs.insert(verb.to_string());
            }
            Err(ImageError::Flush { .. }) => {
                verbs.insert("flush".to_owned());
            }
            other => panic!("operation {fail} failed, and the rewrite said {other:?}"),
        }
        assert_boots_nothing_half_made(&packed, &before, &disk.bytes(), &format!("after operation {fail}"));
        disk.set(Faults::default());
        packed.rewrite(&disk).unwrap();
        assert!(disk.bytes() == packed.expected(SIZE), "operation {fail}");
    }
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), ["flush", "read", "write", "zero"]);
}

#[test]
fn errors_name_verb_range_and_device() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(used(&packed, SIZE, 3));
    // The first is a flush.
    disk.set(Faults { fail: Some(1), ..Faults::default() });
    let error = packed.rewrite(&disk).unwrap_err();
    assert_eq!(error.to_string(), "cannot read 65536 bytes at byte 0 of the target");
}
