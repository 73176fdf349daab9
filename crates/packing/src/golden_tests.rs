use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use cloud_machine_image::{PackOptions, pack, read_manifest};

use super::*;

const MIB: u64 = 1 << 20;
/// Of the disk: larger than the image.
const SIZE: u64 = 24 * MIB;

struct Setting {
    folder: tempfile::TempDir,
    store: Store,
    manifest: Manifest,
    work: AtomicU64,
}

/// A packed image of 8 MiB with a table and something that looks like an ext4.
fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    let file = File::create_new(&raw).unwrap();
    file.set_len(8 * MIB).unwrap();
    let mut sfdisk = Command::new("sfdisk").args(["-q"]).arg(&raw).stdin(Stdio::piped()).spawn().unwrap();
    let table = b"label: gpt\nstart=2048, size=8192, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\n";
    std::io::Write::write_all(&mut sfdisk.stdin.take().unwrap(), table).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    file.write_all_at(&[0x53, 0xef], MIB + 1080).unwrap();
    file.write_all_at(&vec![0x5a; 300_000], 2 * MIB).unwrap();
    let options = PackOptions { name: "x".into(), generation: 1, kernel_release: "6".into(), root_partition: None };
    let mut packed = File::create_new(folder.path().join("packed")).unwrap();
    pack(&FileBlocks::open(&raw).unwrap(), &mut packed, &options, &|_, _| {}).unwrap();
    let manifest = read_manifest(&FileBlocks::open(&folder.path().join("packed")).unwrap()).unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    Setting { folder, store, manifest, work: AtomicU64::new(0) }
}

impl Setting {
    fn golden(&self) -> GoldenFolder {
        self.store.golden(&self.manifest.digest(), SIZE)
    }

    fn ensure(&self, when: Compare) -> Result<Checked, GoldenError> {
        self.work.store(0, Ordering::Relaxed);
        let packed = self.folder.path().join("packed");
        let tell = |_, total| self.work.store(total, Ordering::Relaxed);
        ensure(&self.store, &self.golden(), SIZE, &self.manifest, &packed, when, &tell)
    }

    /// Bytes that the last call worked on.
    fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// Writes to the golden disk as somebody who must not.
    fn tamper(&self, bytes: &[u8], offset: u64) {
        // Times of files count in ticks of the kernel's clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let path = self.golden().disk();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(bytes, offset).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    }
}

#[test]
fn it_is_made_once_whole_sparse_and_read_only() {
    let setting = setting();
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Made);
    assert!(setting.work() >= SIZE, "all of it was compared");
    let found = fs::metadata(setting.golden().disk()).unwrap();
    assert_eq!((found.len(), found.mode() & 0o777), (SIZE, 0o444));
    assert!(found.blocks() * 512 < 2 * MIB, "{} bytes are allocated", found.blocks() * 512);
    let mut bytes = [0; 4];
    File::open(setting.golden().disk()).unwrap().read_exact_at(&mut bytes, 2 * MIB).unwrap();
    assert_eq!(bytes, [0x5a; 4]);

    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Unchanged);
    assert_eq!(setting.work(), 0, "nothing was read");
    assert_eq!(setting.ensure(Compare::Always).unwrap(), Checked::Compared);
    assert_eq!(setting.work(), SIZE);
}

#[test]
fn a_byte_that_somebody_changed_is_found_and_left_as_it_is() {
    let setting = setting();
    setting.ensure(Compare::IfChanged).unwrap();
    setting.tamper(b"evil", 20 * MIB + 5);
    for when in [Compare::IfChanged, Compare::Always, Compare::IfChanged] {
        let error = setting.ensure(when).unwrap_err();
        assert!(matches!(error, GoldenError::Differs { count: 1, first, .. } if first <= 20 * MIB + 5), "{error:?}");
        let stderr = error.to_string();
        assert!(
            stderr.contains("disk.raw differs from its image in 1 ranges, ") && stderr.contains("the first at "),
            "{stderr}"
        );
    }
    setting.tamper(&[0; 4], 20 * MIB + 5);
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Compared, "right again, and compared to know it");
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Unchanged);
}

#[test]
fn a_copy_in_its_place_and_one_without_a_record_are_compared_again() {
    let setting = setting();
    setting.ensure(Compare::IfChanged).unwrap();
    let (disk, aside) = (setting.golden().disk(), setting.folder.path().join("aside"));
    fs::copy(&disk, &aside).unwrap();
    fs::remove_file(&disk).unwrap();
    fs::rename(&aside, &disk).unwrap();
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Compared);
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Unchanged);
    let record = setting.golden().path().join("golden.json");
    fs::remove_file(&record).unwrap();
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Compared);
    // A record of before manifests were proved.
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!(old.as_object_mut().unwrap().remove("proved"), Some(true.into()));
    fs::write(&record, old.to_string()).unwrap();
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Compared);
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Unchanged);
}

#[test]
fn one_of_another_size_or_no_file_is_an_error() {
    let setting = setting();
    setting.ensure(Compare::IfChanged).unwrap();
    fs::remove_file(setting.golden().disk()).unwrap();
    for size in [0, SIZE - 512, SIZE + MIB] {
        File::create(setting.golden().disk()).unwrap().set_len(size).unwrap();
        let error = setting.ensure(Compare::Always).unwrap_err().to_string();
        assert!(error.ends_with(&format!("disk.raw has {size} bytes instead of {SIZE}")), "{error}");
    }
    fs::remove_file(setting.golden().disk()).unwrap();
    fs::create_dir(setting.golden().disk()).unwrap();
    assert!(setting.ensure(Compare::IfChanged).is_err());
}

#[test]
fn without_its_image_none_is_made_and_nothing_is_left_that_could_be_taken_for_one() {
    let setting = setting();
    let packed = setting.folder.path().join("packed");
    let bytes = fs::read(&packed).unwrap();
    // One byte in the middle of a frame with data.
    let mut corrupt = bytes.clone();
    corrupt[100] ^= 1;
    fs::write(&packed, corrupt).unwrap();
    let error = setting.ensure(Compare::IfChanged).unwrap_err();
    assert!(error.to_string().starts_with("cannot make the golden disk "), "{error}");
    assert!(!setting.golden().exists().unwrap());
    fs::remove_file(&packed).unwrap();
    let error = setting.ensure(Compare::IfChanged).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}", packed.display()));
    fs::write(&packed, bytes).unwrap();
    assert_eq!(setting.ensure(Compare::IfChanged).unwrap(), Checked::Made);
    let left: Vec<_> = fs::read_dir(setting.store.root().join("golden")).unwrap().collect();
    assert_eq!(left.len(), 1, "what was half made is gone: {left:?}");
}
