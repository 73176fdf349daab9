//! Disks that do not do what they say, and sources that are not what they should be.

use cloud_machine_image::{ImageError, Options, read_manifest, rewrite, verify_packed};

use crate::{
    disk::{Disk, Faults, Operation},
    fixture::{LEAF, MIB, Source, image, image_of, noise, packed, used},
    forge::{Forged, frame},
};

const SIZE: usize = 6 * MIB;

#[test]
fn every_lost_write_and_zeroing_is_found() {
    let packed = packed(image(5 * MIB));
    let before = used(&packed, SIZE, 3);
    let rehearsal = Disk::new(before.clone());
    packed.rewrite(&rehearsal).unwrap();
    for lose in 0..rehearsal.changes() {
        let disk = Disk::new(before.clone());
        disk.set(Faults { lose: Some(lose), ..Faults::default() });
        match packed.rewrite(&disk) {
            Err(error) => assert!(matches!(error, ImageError::ReadBack { .. }), "write {lose}: {error}"),
            // A zeroing that did nothing is made good by writing zeros.
            Ok(_) => assert!(disk.bytes() == packed.expected(SIZE), "write {lose}"),
        }
        disk.set(Faults::default());
        packed.rewrite(&disk).unwrap();
        assert!(disk.bytes() == packed.expected(SIZE));
    }
}

#[test]
fn a_lost_write_is_named_by_its_range() {
    let packed = packed(image_of(5 * MIB, &[true]));
    let mut bytes = packed.expected(5 * MIB);
    bytes[2 * MIB + LEAF] ^= 1;
    let disk = Disk::new(bytes);
    // The first two are the interim head and the zeroed backup.
    disk.set(Faults { lose: Some(2), ..Faults::default() });
    let error = packed.rewrite(&disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "target does not hold what was written: 65536 bytes at byte 2162688 read back differently"
    );
}

#[test]
fn a_corrupt_source_is_found_before_a_byte_of_it_is_written() {
    let packed = packed(image_of(5 * MIB, &[true, false, true]));
    let mut bytes = packed.expected(5 * MIB);
    // Every data leaf of the third MiB is dirty, so all of frame 2 is used.
    bytes[2 * MIB..3 * MIB].copy_from_slice(&noise(MIB, 5));
    let start = frame_start(&packed.file, 2);
    let end = frame_start(&packed.file, 3);
    assert!(end - start > 10_000);
    let mut found = 0;
    for at in (start..start + 32).chain((start + 32..end).step_by(997)).chain(end - 8..end) {
        let mut file = packed.file.clone();
        file[at] ^= 0x10;
        let disk = Disk::new(bytes.clone());
        let result = rewrite(&packed.manifest, &Source(&file), &disk, Options::default(), &|_, _| ());
        let Err(error) = result else {
            // A byte of the frame that changes nothing of what it decodes to harms nobody.
            assert!(disk.bytes() == packed.raw);
            continue;
        };
        found += 1;
        let text = error.to_string();
        assert!(text.contains(&format!("frame 2 at byte {start} of the packed image")), "{text}");
        assert_eq!(disk.changes(), 0, "byte {at} was written");
        assert!(verify_packed(&packed.manifest, &Source(&file), &|_, _| ()).is_err());
    }
    assert!(found > 40, "only {found} corruptions were found");
}

/// First byte of the nth zstd frame, told by the content size that each states.
fn frame_start(file: &[u8], frame: usize) -> usize {
    let mut start = 0;
    for _ in 0..frame {
        start += zstd::zstd_safe::find_frame_compressed_size(&file[start..]).unwrap();
    }
    start
}

#[test]
fn a_frame_of_another_image_is_refused_though_it_decodes() {
    let packed = packed(image_of(5 * MIB, &[true, false, true]));
    let mut other = packed.raw[2 * MIB..3 * MIB].to_vec();
    other[LEAF * 4..][..9].copy_from_slice(b"backdoor!");
    let mut forged = Forged::new(&packed);
    forged.frames[2] = frame(Some(MIB), &other);
    let file = forged.file();
    let manifest = read_manifest(&Source(&file)).unwrap();
    assert_eq!(manifest.digest(), packed.manifest.digest());
    let disk = Disk::new(noise(5 * MIB, 9));
    let error = rewrite(&manifest, &Source(&file), &disk, Options::default(), &|_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::FrameDigest { frame: 2, .. }), "{error}");
    let verified = verify_packed(&manifest, &Source(&file), &|_, _| ());
    assert!(matches!(verified, Err(ImageError::FrameDigest { frame: 2, .. })));
}

#[test]
fn a_truncated_source_is_refused_before_the_disk_is_touched() {
    let packed = packed(image(5 * MIB));
    let length = packed.manifest.packed_bytes() as usize - 1;
    let disk = Disk::new(used(&packed, SIZE, 3));
    let error =
        rewrite(&packed.manifest, &Source(&packed.file[..length]), &disk, Options::default(), &|_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::SourceTruncated { .. }), "{error}");
    assert!(disk.log().is_empty());
}

#[test]
fn a_single_byte_changed_behind_the_back_is_found_and_put_right() {
    let packed = packed(image(5 * MIB));
    let disk = Disk::new(packed.expected(SIZE));
    disk.mutate(3 * MIB + 17, b"x");
    let done = packed.rewrite(&disk).unwrap();
    let changed = done.changed.unwrap();
    assert_eq!(changed.count, 1);
    assert_eq!(changed.extents[0].offset, 3 * MIB as u64);
    assert!(disk.log().contains(&Operation::Flush));
    assert!(disk.bytes() == packed.expected(SIZE));
}
