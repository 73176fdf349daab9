//! Disks of other sizes and sectors than the image: the table that is computed for them, as independent readers see it.

use cloud_machine_image::{Options, Table, compare, rewrite};
use gpt::{GptConfig, disk::LogicalBlockSize, partition_types::LINUX_ROOT_X64};

use crate::{
    disk::Disk,
    fixture::{LEAF, MIB, Source, entry, image, noise, packed, used, write_table},
};

const SECTORS: [(u64, LogicalBlockSize); 2] = [(512, LogicalBlockSize::Lb512), (4096, LogicalBlockSize::Lb4096)];

#[test]
fn a_disk_of_any_size_and_sector_has_both_tables_where_its_readers_look() {
    let packed = packed(image(5 * MIB));
    for (sector, block) in SECTORS {
        // Larger sectors need a larger backup table, for which the image's last partition leaves no room.
        let smallest = if sector == 512 { 5 * MIB } else { 5 * MIB + 4096 };
        for size in [smallest, 5 * MIB + 8192, 6 * MIB, 5 * MIB + 17 * 4096, 9 * MIB + 3 * 4096] {
            let disk = Disk::with_sectors(used(&packed, size, 3), sector);
            let done = rewrite(&packed.manifest, &Source(&packed.file), &disk, Options::default(), &|_, _| ()).unwrap();
            assert_eq!(done.image.table().is_some(), size > 5 * MIB || sector == 4096);
            let bytes = disk.bytes();
            for keep in [0..bytes.len(), 0..size - sector as usize, sector as usize * 2..bytes.len()] {
                // Whole, without the backup's header, and without the primary.
                let mut part = vec![0; size];
                part[keep.clone()].copy_from_slice(&bytes[keep.clone()]);
                part[..512].copy_from_slice(&bytes[..512]);
                let table = GptConfig::new().logical_block_size(block).open_from_device(std::io::Cursor::new(part));
                let table = table.unwrap_or_else(|error| panic!("{sector} {size} {keep:?}: {error}"));
                let root = &table.partitions()[&1];
                assert_eq!((root.name.as_str(), &root.part_type_guid), ("root", &LINUX_ROOT_X64));
                assert_eq!(root.bytes_start(block).unwrap(), 2 * LEAF as u64);
                let last = size as u64 / sector - 1;
                let header = table.header();
                assert_eq!(header.current_lba.max(header.backup_lba), last, "{sector} {size}");
                assert!(header.last_usable < last - 16384 / sector && header.last_usable > last - 16384 / sector - 3);
            }
            assert_eq!(&bytes[..5], b"\xeb\x63\x90AB");
            assert_eq!(&bytes[40_000..40_004], b"gap!");
            let mbr = gpt::mbr::ProtectiveMBR::from_bytes(&bytes[..sector as usize], block).unwrap();
            assert_eq!(u64::from(mbr.partition(0).unwrap().lb_size), size as u64 / sector - 1);
            // Nothing of the image's own backup is left where it was.
            let own = packed.raw.len() - 512;
            if size > packed.raw.len() + 40 * 4096 {
                assert!(bytes[own..own + 512].iter().all(|byte| *byte == 0));
            }
        }
    }
}

/// The MBR of an image with these entries: flag, type, first sector, sectors.
fn with_mbr(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
    let mut raw = image(5 * MIB);
    raw[440..444].copy_from_slice(b"disk");
    raw[446..510].fill(0);
    for (index, (flag, kind, first, sectors)) in entries.iter().enumerate() {
        let at = 446 + 16 * index;
        raw[at] = *flag;
        raw[at + 4] = *kind;
        raw[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        raw[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    }
    raw
}

#[test]
fn boot_flag_and_hybrid_entries_are_on_a_disk_of_another_size_as_in_the_image() {
    let all = 5 * MIB as u32 / 512 - 1;
    for (entries, sectors) in [
        (vec![(0x80, 0xee, 1, all)], 6 * MIB as u32 / 512 - 1),
        (vec![(0, 0xee, 1, 255), (0x80, 0x83, 256, 9000)], 255),
        (vec![(0, 0xee, 1, all), (0x80, 0x83, 256, 9000)], 6 * MIB as u32 / 512 - 1),
    ] {
        let packed = packed(with_mbr(&entries));
        let disk = Disk::new(used(&packed, 6 * MIB, 3));
        packed.rewrite(&disk).unwrap();
        let mut expected = packed.raw[..512].to_vec();
        expected[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
        assert_eq!(disk.bytes()[..512], expected, "{entries:?}");
        let same = Disk::new(used(&packed, 5 * MIB, 3));
        packed.rewrite(&same).unwrap();
        assert_eq!(same.bytes()[..512], packed.raw[..512], "{entries:?}");
    }
}

#[test]
fn a_hybrid_mbr_has_no_place_on_sectors_of_another_size() {
    let packed = packed(with_mbr(&[(0, 0xee, 1, 255), (0x80, 0x83, 256, 9000)]));
    let table = |size: usize, sector| Table::for_disk(&packed.manifest, &Source(&packed.file), size as u64, sector);
    let error = table(6 * MIB, 4096).unwrap_err().to_string();
    assert!(error.contains("the image has a hybrid MBR") && error.contains("sectors of 4096 bytes"), "{error}");
    assert!(table(6 * MIB, 512).unwrap().is_some());
}

#[test]
fn entries_are_on_a_disk_of_another_size_byte_for_byte() {
    let mut raw = image(5 * MIB);
    // An attribute, half of a surrogate pair in the name, text behind its end, and an entry that is not in use.
    raw[1024 + 48] = 4;
    raw[1024 + 56 + 8..1024 + 56 + 10].copy_from_slice(&[0, 0xd8]);
    raw[1024 + 100] = b'x';
    raw[1024 + 5 * 128 + 60] = b'y';
    crate::table::repair_checksums(&mut raw);
    let packed = packed(raw);
    let disk = Disk::new(used(&packed, 6 * MIB, 3));
    packed.rewrite(&disk).unwrap();
    let bytes = disk.bytes();
    let entries = &packed.raw[1024..1024 + 128 * 128];
    assert!(bytes[1024..].starts_with(entries) && bytes[6 * MIB - 33 * 512..].starts_with(entries));
}

#[test]
fn the_bytes_of_the_table_are_verified_and_have_a_digest() {
    let packed = packed(image(5 * MIB));
    let size = 6 * MIB;
    let disk = Disk::new(used(&packed, size, 3));
    let done = packed.rewrite(&disk).unwrap();
    let table = packed.table(size).unwrap();
    assert_eq!(done.image.table(), Some(table.digest()));
    assert_eq!(done.image.root(), Some(packed.manifest.digest()));
    assert_ne!(packed.table(7 * MIB).unwrap().digest(), table.digest());
    for at in [512 + 32, 1024 + 60, 5 * MIB - 512, size - 512 + 60, size - 33 * 512 + 4] {
        disk.mutate(at, b"?");
        let found = compare(&packed.manifest, Some(&table), &disk, 4, &|_, _| ()).unwrap();
        assert_eq!(found.len(), 1, "{at}");
        assert_eq!(found[0].offset, (at / LEAF * LEAF) as u64, "{at}");
        assert_eq!(packed.rewrite(&disk).unwrap().changed.unwrap().extents, found, "{at}");
        assert!(disk.bytes() == packed.expected(size), "{at}");
    }
}

#[test]
fn the_images_own_table_is_kept_on_a_disk_of_its_size() {
    let packed = packed(image(5 * MIB));
    assert!(packed.table(5 * MIB).is_none());
    let disk = Disk::new(noise(5 * MIB, 4));
    assert_eq!(packed.rewrite(&disk).unwrap().image.table(), None);
    assert!(disk.bytes() == packed.raw);
}

#[test]
fn tables_that_cannot_be_are_refused_before_a_write() {
    let from = |first, last| {
        let mut raw = write_table(vec![0; 2 * MIB], vec![entry(1, LINUX_ROOT_X64, first, last, "root")]);
        let at = first as usize * 512 + 1080;
        raw[at..at + 2].copy_from_slice(&[0x53, 0xef]);
        packed(raw)
    };
    let cases = [
        (from(40, 100), 4096, "partition 1 from byte 20480 to 53248 leaves no room"),
        (from(129, 136), 4096, "partition 1 is not made of the disk's sectors of 4096 bytes"),
        (from(128, 135), 520, "sectors of 520 bytes are neither of 512 nor of 4096"),
    ];
    for (packed, sector, expected) in cases {
        let disk = Disk::with_sectors(noise(3 * MIB, 1), sector);
        let result = rewrite(&packed.manifest, &Source(&packed.file), &disk, Options::default(), &|_, _| ());
        let error = result.unwrap_err().to_string();
        let whole = format!("no partition table of the image is possible on the target: {expected}");
        assert!(error.starts_with(&whole), "{error}");
        assert_eq!(disk.changes(), 0);
        let table = Table::for_disk(&packed.manifest, &Source(&packed.file), 3 * MIB as u64, sector);
        assert_eq!(table.unwrap_err().to_string(), error);
    }
}
