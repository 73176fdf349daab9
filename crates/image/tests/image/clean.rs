//! What a rewrite does when nothing goes wrong.

use std::sync::Mutex;

use cloud_machine_image::{ImageError, Options, check, compare, digest_of_extents, rewrite};
use cloud_machine_protocol::{Extent, Tier};

use crate::{
    disk::{Disk, Operation},
    fixture::{LEAF, MIB, Source, image, image_of, noise, packed, used},
};

#[test]
fn a_used_disk_becomes_the_image_and_zeros() {
    let packed = packed(image(5 * MIB));
    for size in [5 * MIB, 6 * MIB, 5 * MIB + 512, 7 * MIB + 12 * 4096 + 1536] {
        let disk = Disk::new(used(&packed, size, 3));
        let done = packed.rewrite(&disk).unwrap();
        assert!(disk.bytes() == packed.expected(size), "{size}");
        assert_eq!(done.image.root().unwrap().bytes(), blake3::hash(&packed.raw).as_bytes());
        assert_eq!(done.image.table(), packed.table(size).map(|table| table.digest()));
        assert_eq!(done.image.image_size(), 5 * MIB as u64);
        assert_eq!(done.image.disk_size(), size as u64);
        assert_eq!(done.image.zero_bytes(), (size - 5 * MIB) as u64);
        assert_eq!(done.compared_bytes, size as u64);
    }
}

#[test]
fn a_clean_disk_is_flushed_and_only_read_and_each_byte_once_but_the_head() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(packed.expected(6 * MIB));
    let done = packed.rewrite(&disk).unwrap();
    let mut read = 0;
    let log = disk.log();
    assert_eq!(log[0], Operation::Flush);
    for operation in log.into_iter().skip(1) {
        match operation {
            Operation::Read { length, .. } => read += length,
            other => panic!("{other:?} on a clean disk"),
        }
    }
    assert_eq!(read, 6 * MIB as u64 + 2 * LEAF as u64);
    assert_eq!(done.image.root(), Some(packed.manifest.digest()));
    assert_eq!((done.tier, done.image.read_bytes()), (Tier::Scan, 6 * MIB as u64));
    assert_eq!((done.written_bytes, done.zeroed_bytes, done.read_back_bytes), (0, 0, 0));
    let changed = done.changed.unwrap();
    assert_eq!((changed.count, changed.bytes), (0, 0));
    assert_eq!(changed.digest, digest_of_extents(&[]));
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(noise(6 * MIB, 1));
    packed.rewrite(&disk).unwrap();
    disk.set(Default::default());
    packed.rewrite(&disk).unwrap();
    assert_eq!(disk.changes(), 0);
}

#[test]
fn changed_extents_are_whole_leaves_merged_and_sorted() {
    let packed = packed(image(5 * MIB));
    let mut bytes = packed.expected(6 * MIB);
    for at in [0, 20 * LEAF + 5, 21 * LEAF, 23 * LEAF + LEAF - 1, 6 * MIB - 1] {
        bytes[at] ^= 1;
    }
    let disk = Disk::new(bytes.clone());
    let leaf = LEAF as u64;
    let expected = [(0, 1), (20, 2), (23, 1), (95, 1)]
        .map(|(first, leaves)| Extent { offset: first * leaf, length: leaves * leaf });
    let found = compare(&packed.manifest, packed.table(6 * MIB).as_ref(), &Disk::new(bytes), 4, &|_, _| ()).unwrap();
    assert_eq!(found, expected);
    let changed = packed.rewrite(&disk).unwrap().changed.unwrap();
    assert_eq!(changed.extents, expected);
    assert_eq!(changed.count, 4);
    assert_eq!(changed.bytes, 5 * leaf);
    assert_eq!(changed.digest, digest_of_extents(&expected));
    assert_eq!(compare(&packed.manifest, packed.table(6 * MIB).as_ref(), &disk, 4, &|_, _| ()).unwrap(), []);
}

#[test]
fn a_disk_is_proved_to_be_the_image_by_a_reading_of_all_of_it() {
    let packed = packed(image(5 * MIB));
    let mut bytes = packed.raw.clone();
    let check = |bytes: &[u8]| check(&packed.manifest, &Disk::new(bytes.to_vec()), 4, &|_, _| ());
    let proof = check(&bytes).unwrap();
    assert_eq!(proof.root(), Some(packed.manifest.digest()));
    assert_eq!((proof.read_bytes(), proof.disk_size(), proof.zero_bytes()), (5 * MIB as u64, 5 * MIB as u64, 0));
    for at in [0, 5 * MIB - 1] {
        bytes[at] ^= 1;
    }
    let first = ImageError::Differs { count: 2, bytes: 2 * LEAF as u64, first: 0 };
    assert_eq!(check(&bytes).unwrap_err().to_string(), first.to_string());
    assert!(matches!(check(&bytes[..4 * MIB]), Err(ImageError::TargetTooSmall { .. })));
}

#[test]
fn adjacent_dirty_leaves_are_written_together() {
    let packed = packed(image_of(5 * MIB, &[true]));
    let mut bytes = packed.expected(5 * MIB);
    bytes[2 * MIB..3 * MIB].fill(1);
    let disk = Disk::new(bytes);
    packed.rewrite(&disk).unwrap();
    let writes: Vec<_> =
        disk.log().into_iter().filter(|operation| matches!(operation, Operation::Write { .. })).collect();
    let unit = Operation::Write { offset: 2 * MIB as u64, length: MIB as u64 };
    assert_eq!(writes.iter().filter(|write| **write == unit).count(), 1);
    // The interim head, the unit, the last leaf with the backup table, the head in two parts.
    assert_eq!(writes.len(), 5, "{writes:?}");
}

#[test]
fn the_boot_head_goes_first_and_comes_last_each_behind_a_flush() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(used(&packed, 6 * MIB, 3));
    packed.rewrite(&disk).unwrap();
    let log: Vec<Operation> =
        disk.log().into_iter().filter(|operation| !matches!(operation, Operation::Read { .. })).collect();
    let (leaf, last) = (LEAF as u64, 6 * MIB as u64 - LEAF as u64);
    let begin = [
        Operation::Flush,
        Operation::Write { offset: 0, length: leaf },
        Operation::Zero { offset: last, length: leaf },
        Operation::Flush,
    ];
    assert_eq!(log[..4], begin);
    let end = [
        Operation::Write { offset: 4096, length: leaf - 4096 },
        Operation::Flush,
        Operation::Write { offset: last, length: leaf },
        Operation::Flush,
        Operation::Write { offset: 0, length: 4096 },
        Operation::Flush,
    ];
    assert_eq!(log[log.len() - 6..], end);
}

#[test]
fn progress_grows_to_the_size_of_the_disk() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(used(&packed, 6 * MIB, 3));
    let calls = Mutex::new(Vec::new());
    rewrite(
        &packed.manifest,
        &Source(&packed.file),
        &disk,
        Options { threads: 8, ..Options::default() },
        &|done, total| calls.lock().unwrap().push((done, total)),
    )
    .unwrap();
    let calls = calls.into_inner().unwrap();
    assert!(calls.is_sorted());
    assert!(calls.iter().all(|(_, total)| *total == 6 * MIB as u64));
    assert_eq!(calls.first().unwrap().0, 0);
    assert_eq!(calls.last().unwrap().0, 6 * MIB as u64);
}

#[test]
fn the_smallest_image_on_a_disk_of_its_size_has_no_body() {
    let mut raw = vec![0; 128 * 1024 + 69_632];
    raw = crate::fixture::write_table(
        raw,
        vec![crate::fixture::entry(1, gpt::partition_types::LINUX_FS, 40, 300, "root")],
    );
    raw[40 * 512 + 1080..40 * 512 + 1082].copy_from_slice(&[0x53, 0xef]);
    let packed = packed(raw);
    let size = packed.raw.len();
    let disk = Disk::new(noise(size, 3));
    packed.rewrite(&disk).unwrap();
    assert!(disk.bytes() == packed.raw);
}

#[test]
fn disks_that_cannot_hold_the_image_are_refused_untouched() {
    let packed = packed(image(5 * MIB));
    for (size, expected) in [
        (4 * MIB, "target of 4194304 bytes is smaller than the image of 5242880 bytes"),
        (5 * MIB + 100, "target of 5242980 bytes is not a multiple of 512 bytes"),
    ] {
        let disk = Disk::new(noise(size, 1));
        assert_eq!(packed.rewrite(&disk).unwrap_err().to_string(), expected);
        let compared = compare(&packed.manifest, None, &disk, 4, &|_, _| ());
        assert_eq!(compared.unwrap_err().to_string(), expected);
        assert!(disk.log().is_empty());
    }
}
