//! The ways to make a disk right: which of it is read before it is written, and what is proved afterwards.

use cloud_machine_image::{CompareMode, Options, Rewritten, rewrite};
use cloud_machine_protocol::{Extent, Tier};

use crate::{
    disk::{Disk, Faults, Operation},
    fixture::{LEAF, MIB, Packed, Source, image_of, noise, packed},
};

const SIZE: usize = 40 * MIB;

fn big() -> Packed {
    packed(image_of(32 * MIB, &[true, true, true, false]))
}

fn run(packed: &Packed, disk: &Disk, compare_mode: CompareMode<'_>) -> Rewritten {
    let options = Options { compare_mode, ..Options::default() };
    rewrite(&packed.manifest, &Source(&packed.file), disk, options, &|_, _| ()).unwrap()
}

/// The right disk with every nth leaf spoilt.
fn spoilt(packed: &Packed, every: usize) -> Vec<u8> {
    let mut bytes = packed.expected(SIZE);
    bytes.chunks_mut(LEAF).step_by(every).for_each(|leaf| leaf[7] ^= 1);
    bytes
}

fn read_bytes(disk: &Disk) -> u64 {
    let length = |operation: Operation| if let Operation::Read { length, .. } = operation { length } else { 0 };
    disk.log().into_iter().map(length).sum()
}

#[test]
fn a_disk_that_is_mostly_wrong_is_streamed_and_any_other_compared() {
    let packed = big();
    for (bytes, expected) in [
        (packed.expected(SIZE), Tier::Scan),
        (spoilt(&packed, 10), Tier::Scan),
        (spoilt(&packed, 2), Tier::Stream),
        (noise(SIZE, 3), Tier::Stream),
        (vec![0; SIZE], Tier::Stream),
    ] {
        let disk = Disk::new(bytes);
        let done = run(&packed, &disk, CompareMode::Auto);
        assert_eq!(done.tier, expected);
        assert_eq!(done.changed.is_some(), expected == Tier::Scan);
        assert_eq!(done.image.root(), Some(packed.manifest.digest()));
        assert_eq!(done.image.read_bytes(), SIZE as u64);
        assert!(disk.bytes() == packed.expected(SIZE));
    }
}

#[test]
fn a_stream_reads_the_body_only_back() {
    let packed = big();
    let disk = Disk::new(noise(SIZE, 3));
    let done = run(&packed, &disk, CompareMode::Stream);
    // The head is looked at whatever follows.
    assert_eq!((done.tier, done.compared_bytes), (Tier::Stream, 2 * LEAF as u64));
    let body = (SIZE - 2 * LEAF) as u64;
    assert_eq!(done.read_back_bytes, body + 2 * LEAF as u64);
    // The head is looked at, seen to be gone when it was taken away, and read back; its first leaf before, too.
    assert_eq!(read_bytes(&disk), body + 7 * LEAF as u64);
    assert!(disk.bytes() == packed.expected(SIZE));
}

#[test]
fn a_hint_reads_and_puts_right_what_it_names_and_a_sample() {
    let packed = big();
    let mut bytes = packed.expected(SIZE);
    let dirty = [(3 * MIB + 100, 5), (9 * MIB - 10, 20), (SIZE - 3 * LEAF, 1)];
    for (offset, length) in dirty {
        bytes[offset..offset + length].fill(b'#');
    }
    let dirty = dirty.map(|(offset, length)| Extent { offset: offset as u64, length: length as u64 });
    let disk = Disk::new(bytes);
    let done = run(&packed, &disk, CompareMode::Hinted { dirty: &dirty, seed: 5 });
    assert_eq!(done.tier, Tier::Hinted);
    assert_eq!(done.image.root(), None);
    assert!(done.image.read_bytes() < SIZE as u64 / 10, "{}", done.image.read_bytes());
    assert_eq!(done.changed.unwrap().bytes, 4 * LEAF as u64);
    assert!(disk.bytes() == packed.expected(SIZE));
}

#[test]
fn a_map_that_a_sample_contradicts_is_not_believed() {
    let packed = big();
    let disk = Disk::new(spoilt(&packed, 3));
    let done = run(&packed, &disk, CompareMode::Hinted { dirty: &[], seed: 6 });
    assert_eq!(done.tier, Tier::Scan);
    assert_eq!(done.image.root(), Some(packed.manifest.digest()));
    assert!(disk.bytes() == packed.expected(SIZE));
    // What the sample had put right before counts as changed, too.
    assert_eq!(done.changed.unwrap().bytes, (SIZE / LEAF).div_ceil(3) as u64 * LEAF as u64);
}

#[test]
fn a_hint_over_everything_is_a_scan_with_a_root() {
    let packed = big();
    let disk = Disk::new(spoilt(&packed, 3));
    let all = [Extent { offset: 0, length: u64::MAX }];
    let done = run(&packed, &disk, CompareMode::Hinted { dirty: &all, seed: 5 });
    assert_eq!((done.tier, done.image.root()), (Tier::Hinted, Some(packed.manifest.digest())));
}

#[test]
fn what_every_tier_wrote_is_read_back() {
    let packed = packed(image_of(20 * MIB, &[true]));
    let size = 21 * MIB;
    let all = [Extent { offset: 0, length: size as u64 }];
    for compare_mode in [CompareMode::Scan, CompareMode::Stream, CompareMode::Hinted { dirty: &all, seed: 1 }] {
        for lose in [3, 9, 17] {
            let disk = Disk::new(noise(size, 3));
            disk.set(Faults { lose: Some(lose), ..Faults::default() });
            let options = Options { compare_mode, ..Options::default() };
            let result = rewrite(&packed.manifest, &Source(&packed.file), &disk, options, &|_, _| ());
            // A lost zeroing is made good, a lost write is an error: never a proof of other bytes.
            if result.is_ok() {
                assert!(disk.bytes() == packed.expected(size), "{compare_mode:?} {lose}");
            }
            disk.set(Faults::default());
            run(&packed, &disk, compare_mode);
            assert!(disk.bytes() == packed.expected(size), "{compare_mode:?} {lose}");
        }
    }
}
