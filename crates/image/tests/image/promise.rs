//! What a digest promises: whoever changes a packed image and seals it again is refused, or the disk that it gives has the
//! digest that was promised, by a count of its bytes that shares nothing with the engine's.

use cloud_machine_image::{
    CompareMode, ImageError, Manifest, Options, check, compare, read_manifest, read_manifest_unless, rewrite,
    verify_packed,
};

use crate::{
    disk::Disk,
    fixture::{LEAF, MIB, Packed, Source, image_of, noise, packed},
    forge::{Forged, frame},
};

/// Two frames, the second a short one, with zeros alone and in runs.
fn small() -> Packed {
    packed(image_of(MIB + 4 * LEAF, &[true, false, false, false, true, false, true]))
}

/// Writes the image of a packed file to a dirty disk and gives the digest that was promised and the disk's own.
fn promised_and_found(file: &[u8], compare_mode: CompareMode<'_>) -> Result<(blake3::Hash, blake3::Hash), ImageError> {
    let manifest = read_manifest(&Source(file))?;
    let disk = Disk::new(noise(manifest.size() as usize, 3));
    let options = Options { compare_mode, ..Options::default() };
    let done = rewrite(&manifest, &Source(file), &disk, options, &|_, _| ())?;
    assert_eq!(done.image.root(), Some(manifest.digest()));
    Ok((blake3::Hash::from_bytes(*manifest.digest().bytes()), blake3::hash(&disk.bytes())))
}

#[test]
fn a_forger_who_changes_nothing_gives_the_same_file() {
    let packed = small();
    assert!(Forged::new(&packed).file() == packed.file);
    assert!(Forged::new(&packed).manifest() == packed.manifest.to_bytes());
}

#[test]
fn no_changed_byte_of_a_manifest_gives_another_disk_than_was_promised() {
    let packed = small();
    let forged = Forged::new(&packed);
    let honest = blake3::hash(&packed.raw);
    let (mut refused, mut taken) = (0, 0);
    for at in 0..forged.covered() {
        let changes = (0..8).map(|bit| 1 << bit).chain([0xff]);
        for change in changes {
            let file = forged.file_with(|manifest| manifest[at] ^= change);
            match promised_and_found(&file, CompareMode::Auto) {
                Ok((promised, found)) => {
                    assert_eq!(promised, honest, "byte {at} by {change:#x}");
                    assert_eq!(found, promised, "byte {at} by {change:#x}");
                    taken += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    // Name, generation and kernel release are facts beside the digest.
    assert!(taken > 0 && refused > 20 * taken);
}

#[test]
fn a_leaf_with_data_that_is_called_zero_is_refused_before_anything_can_be_done_with_it() {
    let packed = small();
    let honest = Forged::new(&packed);
    let mut lies = 0;
    for index in 0..honest.entries.len() {
        if honest.entries[index][0] != 0 {
            continue;
        }
        let mut forged = honest.clone();
        forged.entries[index][0] = 1;
        let errors = [
            read_manifest(&Source(&forged.file())).unwrap_err(),
            Manifest::parse(&forged.manifest()).unwrap_err(),
            // That another manifest was proved before says nothing of this one.
            read_manifest_unless(&Source(&forged.file()), Some(packed.manifest.fingerprint()), &|_, _| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, ImageError::ManifestZeros { .. }), "{error}");
        }
        lies += 1;
    }
    assert!(lies > 5);
}

#[test]
fn a_manifest_that_was_proved_once_is_known_by_its_bytes() {
    let packed = small();
    let hashed = std::sync::atomic::AtomicU64::new(0);
    let note = |done: u64, _| hashed.store(done, std::sync::atomic::Ordering::Relaxed);
    let source = Source(&packed.file);
    read_manifest_unless(&source, Some(packed.manifest.fingerprint()), &note).unwrap();
    assert_eq!(hashed.load(std::sync::atomic::Ordering::Relaxed), 0);
    read_manifest_unless(&source, None, &note).unwrap();
    assert_eq!(hashed.into_inner(), packed.manifest.size() - packed.manifest.data_bytes());
}

/// Frames in place of the first that give its bytes, as far as anybody looks who needs only its first leaves.
fn malformed(raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let whole = frame(Some(MIB), raw);
    let longer = [raw, b"x"].concat();
    let half = MIB / 2;
    vec![
        ("too few bytes", frame(Some(MIB), &raw[..MIB - 1])),
        ("too many bytes", frame(Some(MIB), &longer)),
        ("too few bytes, as it states", frame(Some(MIB - 1), &raw[..MIB - 1])),
        ("too many bytes, as it states", frame(Some(MIB + 1), &longer)),
        ("another size stated", frame(Some(MIB + 1), raw)),
        ("no size stated", frame(None, raw)),
        ("two frames", [frame(Some(half), &raw[..half]), frame(Some(half), &raw[half..])].concat()),
        ("something skippable behind it", [&whole[..], &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7]].concat()),
        ("bytes behind it", [&whole[..], b"more"].concat()),
        ("cut off", whole[..whole.len() - 1].to_vec()),
    ]
}

#[test]
fn a_frame_that_is_not_one_frame_of_as_many_bytes_is_refused_by_all_who_read_it() {
    let packed = packed(image_of(3 * MIB, &[true, false, true]));
    let honest = Forged::new(&packed);
    let raw = &packed.raw[MIB..2 * MIB];
    let mut good = honest.clone();
    good.frames[1] = frame(Some(MIB), raw);
    let (promised, found) = promised_and_found(&good.file(), CompareMode::Auto).unwrap();
    assert_eq!(found, promised);
    for (what, bytes) in malformed(raw) {
        let mut forged = honest.clone();
        forged.frames[1] = bytes;
        let file = forged.file();
        let manifest = read_manifest(&Source(&file)).unwrap();
        // Only the first leaf with data of the frame is wrong.
        let mut dirty = packed.raw.clone();
        dirty[MIB + LEAF + 7] ^= 1;
        let disk = Disk::new(dirty);
        let error = rewrite(&manifest, &Source(&file), &disk, Options::default(), &|_, _| ()).unwrap_err();
        assert!(is_about_frame(&error, 1), "{what}: {error}");
        assert_eq!(disk.changes(), 0, "{what}");
        let error = verify_packed(&manifest, &Source(&file), &|_, _| ()).unwrap_err();
        assert!(is_about_frame(&error, 1), "{what}: {error}");
    }
    // The first frame has the image's table, which is read with the manifest.
    for (what, bytes) in malformed(&packed.raw[..MIB]) {
        let mut forged = honest.clone();
        forged.frames[0] = bytes;
        let error = read_manifest(&Source(&forged.file())).unwrap_err();
        assert!(is_about_frame(&error, 0), "{what}: {error}");
    }
}

fn is_about_frame(error: &ImageError, expected: u64) -> bool {
    match error {
        ImageError::FrameStates { frame, .. }
        | ImageError::FrameEnds { frame, .. }
        | ImageError::FrameLength { frame, .. }
        | ImageError::FrameUndecodable { frame, .. } => *frame == expected,
        _ => false,
    }
}

#[test]
fn partitions_that_are_not_those_of_the_image_are_refused() {
    let packed = small();
    let header = Forged::new(&packed).header;
    let value = |name: &str| header.split(&format!("\"{name}\":")).nth(1).unwrap().split([',', '}']).next().unwrap();
    let offset = format!("\"offset\":{}", value("offset"));
    let length = format!("\"length\":{}", value("length"));
    let root = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    let cases = [
        (offset.clone(), "\"offset\":65536".to_owned(), "partition 1 is not as the image's own table has it"),
        (length, "\"length\":4096".to_owned(), "partition 1 is not as the image's own table has it"),
        (root.to_owned(), root.replace('4', "5"), "partition 1 is not as the image's own table has it"),
        (root.to_owned(), "swap".to_owned(), "partition 1 has \"swap\" for a GUID"),
        (root.to_owned(), root.to_uppercase(), "for a GUID"),
        ("\"name\":\"root\"".to_owned(), "\"name\":\"boot\"".to_owned(), "is not as the image's own table has it"),
        (
            "\"name\":\"root\"".to_owned(),
            "\"name\":\"\\u001b[2J\"".to_owned(),
            "has control characters, \"\\u{1b}[2J\"",
        ),
        ("\"name\":\"root\"".to_owned(), "\"name\":\"\\u009b2J\"".to_owned(), "has control characters"),
        ("\"name\":\"root\"".to_owned(), format!("\"name\":\"{}\"", "x".repeat(37)), "longer than 36"),
        ("\"number\":1".to_owned(), "\"number\":0".to_owned(), "has no number from 1 to 128"),
        ("}]".to_owned(), format!("}},{}]", extra(root)), "lists 2 partitions"),
    ];
    for (from, to, expected) in cases {
        let mut forged = Forged::new(&packed);
        forged.header = header.replace(&from, &to);
        assert_ne!(forged.header, header, "{from}");
        let error = read_manifest(&Source(&forged.file())).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

/// One more partition.
fn extra(guid: &str) -> String {
    format!(
        "{{\"number\":2,\"name\":\"\",\"type-guid\":\"{guid}\",\"unique-guid\":\"{guid}\",\"offset\":65536,\"length\":512}}"
    )
}

#[test]
fn nothing_hides_around_the_manifest_that_plain_zstd_would_unpack() {
    let packed = small();
    let at = packed.manifest.packed_bytes() as usize;
    let (manifest, footer) = (at + 8 + packed.manifest.to_bytes().len(), packed.file.len() - 80);
    assert!(footer > manifest + 20);
    for byte in (at..at + 8).chain([manifest, manifest + 9, footer - 1]) {
        for bit in 0..8 {
            let mut file = packed.file.clone();
            file[byte] ^= 1 << bit;
            let error = read_manifest(&Source(&file)).unwrap_err();
            assert!(matches!(error, ImageError::PackedFooter { .. }), "byte {byte} bit {bit}: {error}");
        }
    }
    // More room than the padding needs, with a frame of its own in it.
    let mut file = packed.file.clone();
    file.splice(footer..footer, [0; 4096]);
    let error = read_manifest(&Source(&file)).unwrap_err();
    assert!(matches!(error, ImageError::PackedFooter { .. }), "{error}");
}

#[test]
fn a_disk_is_compared_with_what_was_proved() {
    let packed = small();
    let manifest = read_manifest(&Source(&packed.file)).unwrap();
    let disk = Disk::new(packed.raw.clone());
    assert_eq!(compare(&manifest, None, &disk, 4, &|_, _| ()).unwrap(), []);
    let image = check(&manifest, &disk, 4, &|_, _| ()).unwrap();
    assert_eq!(image.root().unwrap().bytes(), blake3::hash(&packed.raw).as_bytes());
}
