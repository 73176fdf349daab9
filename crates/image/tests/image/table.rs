//! Partition tables, as they are and as an attacker or a mistake makes them.

use cloud_machine_image::{ImageError, Manifest, PackOptions, pack};
use gpt::partition_types::{EFI, LINUX_FS, LINUX_ROOT_X64, LINUX_SWAP};
use proptest::prelude::*;

use crate::{
    disk::Disk,
    fixture::{MIB, entry, image, options, write_table},
};

fn try_pack(raw: Vec<u8>, root_partition: Option<u32>) -> Result<Manifest, ImageError> {
    let options = PackOptions { root_partition, ..options() };
    pack(&Disk::new(raw), &mut Vec::new(), &options, &|_, _| ())
}

/// 2 MiB with the given partitions and ext4's magic number in each of them.
fn with_entries(entries: Vec<gpt::partition::Partition>) -> Vec<u8> {
    let starts: Vec<u64> = entries.iter().map(|entry| entry.first_lba).collect();
    let mut raw = write_table(vec![0; 2 * MIB], entries);
    for start in starts {
        let at = start as usize * 512 + 1080;
        if let Some(magic) = raw.get_mut(at..at + 2) {
            magic.copy_from_slice(&[0x53, 0xef]);
        }
    }
    raw
}

#[test]
fn the_root_is_found_by_its_type_or_taken_by_number() {
    let esp = || entry(1, EFI, 64, 127, "esp");
    let root = |number, first| entry(number, LINUX_ROOT_X64, first, first + 63, "root");
    let plain = |number, first| entry(number, LINUX_FS, first, first + 63, "data");
    let cases = [
        (vec![esp(), root(2, 128)], None, 2),
        (vec![esp(), plain(2, 128), root(3, 256)], None, 3),
        (vec![esp(), plain(2, 128)], None, 2),
        (vec![plain(1, 128), plain(2, 256)], Some(2), 2),
    ];
    for (entries, wanted, expected) in cases {
        let manifest = try_pack(with_entries(entries), wanted).unwrap();
        assert_eq!(manifest.root().number, expected);
    }
}

#[test]
fn an_unclear_root_lists_the_partitions() {
    let plain = |number, first| entry(number, LINUX_FS, first, first + 63, "da\u{202e}ta");
    let swap = entry(1, LINUX_SWAP, 128, 191, "swap");
    let cases = [
        (vec![plain(1, 128), plain(2, 256)], None, "2 partitions could be the root, so its number must be given"),
        (vec![swap.clone()], None, "no partition is of a Linux root or filesystem type"),
        (vec![plain(1, 128)], Some(5), "root partition 5 does not exist"),
    ];
    for (entries, wanted, expected) in cases {
        let error = try_pack(with_entries(entries), wanted).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("; partitions: 1 (type "), "{error}");
        assert!(!error.contains('\u{202e}'), "{error:?}");
    }
    let none = try_pack(with_entries(vec![]), None).unwrap_err().to_string();
    assert!(none.ends_with("partitions: none"), "{none}");
}

#[test]
fn a_name_that_a_terminal_would_obey_is_refused_with_the_way_out() {
    let named = |name| with_entries(vec![entry(1, LINUX_FS, 128, 191, name)]);
    for name in ["da\u{1b}[2Jta", "\u{9b}2J", "a\nb", "\u{7f}"] {
        let error = try_pack(named(name), None).unwrap_err().to_string();
        assert!(error.contains("the name of partition 1 has control characters"), "{error}");
        assert!(error.contains("sgdisk --change-name=1:NAME") && !error.contains(name), "{error}");
    }
    try_pack(named("größe"), None).unwrap();
}

#[test]
fn a_root_without_ext4_is_refused() {
    let mut raw = image(2 * MIB);
    raw[131_072 + 1080] = 0;
    let error = try_pack(raw, None).unwrap_err();
    assert_eq!(error.to_string(), "partition 1 holds no ext4 filesystem: bytes [00, ef] instead of [53, ef] at 1080");
    let tiny = write_table(vec![0; 2 * MIB], vec![entry(1, LINUX_FS, 128, 129, "tiny")]);
    assert!(matches!(try_pack(tiny, None), Err(ImageError::FilesystemUnknown { found: [0, 0], .. })));
}

#[test]
fn absent_and_invalid_tables_are_different_errors() {
    assert!(matches!(try_pack(vec![0; MIB], None), Err(ImageError::TableAbsent)));
    let mut bad_header = image(MIB);
    bad_header[512 + 40] ^= 1;
    assert!(matches!(try_pack(bad_header, None), Err(ImageError::TableHeader { .. })));
    let mut bad_entries = image(MIB);
    bad_entries[1024 + 60] ^= 1;
    assert!(matches!(try_pack(bad_entries, None), Err(ImageError::TableEntries { .. })));
}

#[test]
fn something_else_in_the_place_of_a_table_has_its_name_and_a_way_out() {
    let at = |places: &[(usize, &[u8])]| {
        let mut raw = vec![0; MIB];
        for (at, bytes) in places {
            raw[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        raw
    };
    let dos = [0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0];
    let cases: [(Vec<u8>, &str, &str); 7] = [
        (at(&[(446, &dos), (510, &[0x55, 0xaa])]), "a DOS partition table", "sgdisk --mbrtogpt FILE"),
        (at(&[(4096, b"EFI PART")]), "a GPT for sectors of 4096 bytes", "for sectors of 512 bytes"),
        (at(&[(MIB - 512, b"EFI PART")]), "only the backup of one in its last sector", "sgdisk -e FILE"),
        (
            at(&[(1080, &[0x53, 0xef])]),
            "an ext2, ext3 or ext4 filesystem without a partition table",
            "a root partition",
        ),
        (at(&[(32_769, b"CD001")]), "an ISO 9660 filesystem, as on an installation medium without", "a root partition"),
        (at(&[(65_600, b"_BHRfS_M")]), "a btrfs filesystem without a partition table", "a root partition"),
        (at(&[(0, b"XFSB")]), "an XFS filesystem without a partition table", "a root partition"),
    ];
    for (raw, found, way_out) in cases {
        let error = try_pack(raw, None).unwrap_err();
        assert!(error.to_string().starts_with(&format!("raw image has no GPT: it has {found}")), "{error}");
        assert!(error.way_out().unwrap().contains(way_out), "{error}");
    }
}

#[test]
fn a_table_that_is_not_whole_is_refused_by_the_part_that_is_wrong() {
    let whole = image(2 * MIB);
    let last = 2 * MIB - 512;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let changed = |change: Change<'_>| {
        let mut raw = whole.clone();
        change(&mut raw);
        try_pack(raw, None).unwrap_err()
    };
    let move_backup = "sfdisk --relocate gpt-bak-std FILE";
    let cases: [(Change<'_>, &str, &str); 10] = [
        (&|raw| raw[446 + 4] = 0, "before it is no protective MBR", "sgdisk -e FILE"),
        (&|raw| raw[510] = 0, "before it is no protective MBR", "sgdisk -e FILE"),
        (&|raw| raw.resize(3 * MIB, 0), "its backup is at sector 4095, and sector 6143 is the last one", move_backup),
        (&|raw| raw[last..].fill(0), "its backup at sector 4095, the last one, is missing", move_backup),
        (&|raw| raw[last + 60] ^= 1, "is damaged: its checksum does not match", move_backup),
        (
            &|raw| raw[last - 32 * 512 + 60] ^= 1,
            "is damaged: its entries are not those of the primary table",
            move_backup,
        ),
        (&|raw| raw[last - 1] ^= 1, "is damaged: its entries are not those of the primary table", move_backup),
        (
            &|raw| {
                raw[last + 56] ^= 1;
                seal(&mut raw[last..]);
            },
            "is damaged: it describes another table",
            move_backup,
        ),
        (
            &|raw| {
                raw[last + 24] ^= 1;
                seal(&mut raw[last..]);
            },
            "is damaged: it describes another table",
            move_backup,
        ),
        (
            &|raw| {
                raw[last + 72] ^= 1;
                seal(&mut raw[last..]);
            },
            "is damaged: its entries do not lie before it",
            move_backup,
        ),
    ];
    for (change, reason, way_out) in cases {
        let error = changed(change);
        assert!(matches!(error, ImageError::TableBroken { .. }) && error.to_string().contains(reason), "{error}");
        assert!(error.way_out().unwrap().contains(way_out), "{error}");
    }
    // The root ends before what is cut off.
    let mut cut = write_table(vec![0; 2 * MIB], vec![entry(1, LINUX_ROOT_X64, 128, 1023, "root")]);
    cut[128 * 512 + 1080..128 * 512 + 1082].copy_from_slice(&[0x53, 0xef]);
    cut.truncate(MIB);
    let error = try_pack(cut, None).unwrap_err();
    assert!(error.to_string().contains("backup would be at sector 4095, and sector 2047 is the last one"), "{error}");
    assert!(error.way_out().unwrap().contains("get the whole image"), "{error}");
}

#[test]
fn impossible_header_fields_are_refused_before_they_are_used() {
    let cases: [(usize, &[u8], &str); 6] = [
        (12, &[93], "header has 93 bytes instead of 92"),
        (24, &[2], "it is at sector 2 instead of 1"),
        (84, &[0, 1], "entries have 256 bytes instead of 128"),
        (80, &[0], "it has 0 entries"),
        (80, &[255, 255, 255, 255], "it has 4294967295 entries"),
        (72, &[255; 8], "lie beyond the image"),
    ];
    for (at, bytes, expected) in cases {
        let mut raw = image(MIB);
        raw[512 + at..512 + at + bytes.len()].copy_from_slice(bytes);
        let error = try_pack(raw, None).unwrap_err();
        assert!(matches!(error, ImageError::TableInvalid { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn partitions_that_cross_each_other_or_the_end_are_refused() {
    let at = |number, first, last| entry(number, LINUX_FS, first, last, "x");
    let cases = [
        (vec![at(1, 128, 255), at(2, 255, 300)], "partitions 1 and 2 overlap"),
        (vec![at(1, 128, 4096)], "partition 1 reaches beyond the image"),
        (vec![at(1, 128, u64::MAX)], "is no range"),
        (vec![at(1, u64::MAX, u64::MAX)], "is no range"),
        (vec![at(1, 200, 100)], "partition 1 from sector 200 to 100 is no range"),
    ];
    for (entries, expected) in cases {
        let raw = write_table(vec![0; 2 * MIB], entries);
        let error = try_pack(raw, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// CRC-32 as GPT uses it (ISO HDLC).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const OF_BYTE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut sum, mut bit) = (byte as u32, 0);
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
                bit += 1;
            }
            table[byte] = sum;
            byte += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum: u32, byte| sum >> 8 ^ OF_BYTE[(sum as u8 ^ byte) as usize])
}

/// Makes the checksums of the primary table right, and the backup what it has to be beside that.
pub(crate) fn repair_checksums(raw: &mut [u8]) {
    let entries = crc32(&raw[1024..1024 + 128 * 128]);
    raw[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
    seal(&mut raw[512..1024]);
    let (last, entries) = (raw.len() - 512, raw.len() - 33 * 512);
    raw.copy_within(1024..1024 + 128 * 128, entries);
    raw.copy_within(512..1024, last);
    raw.copy_within(512 + 24..512 + 32, last + 32);
    raw.copy_within(512 + 32..512 + 40, last + 24);
    let at = (entries as u64 / 512).to_le_bytes();
    raw[last + 72..last + 80].copy_from_slice(&at);
    seal(&mut raw[last..]);
}

/// Makes the checksum of a header right.
pub(crate) fn seal(header: &mut [u8]) {
    header[16..20].fill(0);
    let sum = crc32(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn the_repaired_checksums_are_the_real_ones() {
    let mut raw = image(MIB);
    raw[1024 + 56] = b'R';
    repair_checksums(&mut raw);
    assert_eq!(try_pack(raw, None).unwrap().root().name, "Root");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_table_with_right_checksums_panics(
        changes in prop::collection::vec((512_usize..512 + 92 + 420, any::<u8>()), 1..12),
    ) {
        let mut raw = image(MIB / 2);
        for (at, byte) in changes {
            raw[at] = byte;
        }
        repair_checksums(&mut raw);
        if let Ok(manifest) = try_pack(raw, None) {
            for partition in manifest.partitions() {
                prop_assert!(partition.offset + partition.length <= manifest.size());
            }
        }
    }
}
