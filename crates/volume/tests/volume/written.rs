//! The volume of an attempt, as the reader and programs of others see it.

use std::process::Command;

use cloud_machine_protocol::volume;
use cloud_machine_volume::{Volume, write::*};
use proptest::prelude::*;

fn read(image: &[u8], path: &str) -> Vec<u8> {
    let image = Volume::open(image).unwrap();
    assert_eq!(image.label(), volume::LABEL);
    image.read(path).unwrap()
}

/// Runs a program of the host; a missing one is a failure that names its package.
fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}): install the package {package}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    said
}

#[test]
fn the_files_come_back_and_the_same_content_gives_the_same_bytes() {
    let files: [(&str, &[u8]); 4] = [
        (volume::USER_DATA, b"#cloud-config\n"),
        (volume::IDENTITY, b"{}"),
        (volume::REQUEST, &[7; 100_000]),
        (volume::META_DATA, b""),
    ];
    let image = build(&files).unwrap();
    assert!(image.len().is_multiple_of(128 << 10) && image.len() < 1 << 20, "{}", image.len());
    for (path, content) in files {
        assert_eq!(read(&image, path), content, "{path}");
    }
    let mut reversed = files;
    reversed.reverse();
    assert_eq!(build(&reversed).unwrap(), image);
    assert_eq!(pin(&image), pin(&build(&files).unwrap()));
    assert_ne!(pin(&image), pin(&build(&files[..3]).unwrap()));
    assert!(pin(b"abc").to_string().starts_with("sha256:ba7816bf"));
}

#[test]
fn other_programs_find_the_label_and_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![1; 15 << 20];
    let many: Vec<(String, Vec<u8>)> = (0..volume::MAX_FILES)
        .map(|index| (format!("folder/a-rather-long-file-name-number-{index}.yaml"), vec![0; index]))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    for files in [&[(volume::USER_DATA, &b"x"[..])][..], &[("a", &large), ("b/c", &large), ("d", &large)], &many] {
        let path = folder.path().join("volume");
        std::fs::write(&path, build(files).unwrap()).unwrap();
        let path = path.to_str().unwrap();
        run("fsck.vfat", "dosfstools", &["-n", path]);
        let said = run("blkid", "util-linux", &["-p", "-o", "export", path]);
        assert!(said.contains("\nLABEL=CLOUD-INIT\n"), "{said}");
        assert!(said.contains("LABEL_FATBOOT=CLOUD-INIT\n") && said.contains("TYPE=vfat\n"), "{said}");
    }
}

#[test]
fn a_system_partition_is_fat32_without_a_fault_whatever_its_size() {
    let folder = tempfile::tempdir().unwrap();
    for size in [1, 33 << 20, 50 << 20] {
        let content = vec![7; size];
        let image = system_partition(&[("EFI/BOOT/BOOTX64.EFI", &content)]).unwrap();
        assert!(image.len() < (content.len() + (2 << 20)).max((35 << 20) + 1), "{} for {size}", image.len());
        let path = folder.path().join("partition");
        std::fs::write(&path, &image).unwrap();
        let path = path.to_str().unwrap();
        run("fsck.vfat", "dosfstools", &["-n", path]);
        let said = run("blkid", "util-linux", &["-p", "-o", "export", path]);
        assert!(said.contains("VERSION=FAT32\n") && said.contains("\nLABEL=RECOVERY\n"), "{said}");
        let copy = folder.path().join("copy");
        run("mcopy", "mtools", &["-n", "-o", "-i", path, "::/EFI/BOOT/BOOTX64.EFI", copy.to_str().unwrap()]);
        assert!(std::fs::read(copy).unwrap() == content, "{size}");
    }
}

#[test]
fn many_files_in_the_root_folder_fit() {
    let names: Vec<String> = (0..volume::MAX_FILES).map(|index| format!("{index:03}{}", "x".repeat(200))).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"y"[..])).collect();
    let image = build(&files).unwrap();
    for name in &names {
        assert_eq!(read(&image, name), b"y");
    }
}

#[test]
fn what_the_reader_would_refuse_is_refused_before() {
    let message = |files: &[(&str, &[u8])]| build(files).unwrap_err().to_string();
    for path in [
        "",
        "/a",
        "a//b",
        "a/",
        "..",
        "a/../b",
        ".a",
        "a.",
        "a b",
        "a\\b",
        "ä",
        "a:b",
        &"x".repeat(256),
        "1/2/3/4/5/6/7/8/9",
    ] {
        assert!(message(&[(path, b"")]).contains("is invalid: expected up to 8 parts"), "{path:?}");
    }
    assert_eq!(message(&[("a", b"1"), ("A", b"2")]), "path \"A\" is twice on the volume");
    assert_eq!(message(&[("a/b", b"1"), ("A", b"2")]), "path \"a\" is twice on the volume");
    let large = vec![0; volume::MAX_FILE as usize + 1];
    assert_eq!(message(&[("a", &large)]), "file \"a\" on the volume has 16777217 bytes, at most 16777216 are allowed");
    let full = &large[1..];
    assert_eq!(
        message(&[("a", full), ("b", full), ("c", full), ("d", full)]),
        "the volume's files need more than 67108864 bytes"
    );
    let many = vec![("a", &b""[..]); volume::MAX_FILES + 1];
    assert_eq!(message(&many), "the volume would have 257 files, at most 256 are allowed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_content_comes_back(files in proptest::collection::btree_map("[a-z]{1,12}(/[a-z-]{1,20}){0,3}", proptest::collection::vec(any::<u8>(), 0..5000), 0..12)) {
        let list: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        match build(&list) {
            Ok(image) => for (path, content) in list {
                prop_assert_eq!(read(&image, path), content);
            },
            Err(error) => prop_assert!(matches!(error, VolumeError::Duplicate { .. }), "{:?}", error),
        }
    }
}
