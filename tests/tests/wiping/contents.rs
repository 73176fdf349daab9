//! What lies on the disks of these tests: filesystems and other signatures, alone or in partitions, and what libblkid
//! finds of them.

use std::{
    env,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_tests::loop_device::{LoopDevice, run};

use crate::MIB;

/// Everything that is made.
pub(crate) const CONTENTS: [&str; 7] = ["ext4", "xfs", "btrfs", "vfat", "swap", "zfs_member", "linux_raid_member"];
/// Room for the largest of them.
pub(crate) const ROOM: u64 = 320 * MIB;

/// An empty file of `size` bytes.
fn file(folder: &Path, name: &str, size: u64) -> PathBuf {
    let path = folder.join(name);
    File::create(&path).and_then(|file| file.set_len(size)).expect("a file");
    path
}

pub(crate) fn put(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).expect("a file").write_all_at(bytes, at).expect("a write");
}

pub(crate) fn get(path: &Path, at: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).expect("a length")];
    File::open(path).expect("a file").read_exact_at(&mut bytes, at).expect("a read");
    bytes
}

pub(crate) fn size_of(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

/// What libblkid finds on a range, nothing for `None`.
pub(crate) fn found(path: &Path, at: u64, length: u64) -> Option<String> {
    let output = Command::new("blkid")
        .args(["-p", "-o", "export", "-O", &at.to_string(), "-S", &length.to_string()])
        .arg(path)
        .output()
        .expect("blkid");
    match output.status.code() {
        // As blkid(8) says that there is nothing, and that it cannot tell which.
        Some(2) => None,
        Some(8) => Some("ambivalent".to_owned()),
        _ => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// Makes one of [`CONTENTS`] in a new file. Its program is that of the image, as in a machine.
pub(crate) fn made(folder: &Path, kind: &str) -> PathBuf {
    let path = file(folder, kind, ROOM);
    match kind {
        "zfs_member" => pool(&path),
        "linux_raid_member" => array(&path),
        "swap" => program("mkswap", &path),
        kind => program(&format!("mkfs.{kind}"), &path),
    }
    path
}

fn program(name: &str, path: &Path) {
    let image =
        env::var_os("CLOUD_MACHINE_TEST_IMAGE").expect("CLOUD_MACHINE_TEST_IMAGE is not set; `make test` sets it");
    let programs = Path::new(&image).join("programs");
    let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    let libraries = libraries.map(|folder| programs.join(folder).display().to_string()).join(":");
    let mut command = Command::new(programs.join("lib64/ld-linux-x86-64.so.2"));
    run(command.arg("--library-path").arg(libraries).arg(programs.join("usr/sbin").join(name)).arg(path));
}

/// Uberblocks in all four labels of ZFS.
fn pool(path: &Path) {
    for label in [0, 256 << 10, ROOM - (512 << 10), ROOM - (256 << 10)] {
        for uberblock in 0..128 {
            let bytes = [0x00ba_b10c_u64.to_le_bytes(), 5000_u64.to_le_bytes()].concat();
            put(path, label + (128 << 10) + uberblock * 1024, &bytes);
        }
    }
}

/// The superblock of md 1.0.
fn array(path: &Path) {
    let at = (ROOM - 8192) & !4095;
    put(path, at, &[0xa92b_4efc_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    put(path, at + 16, b"an-identity-here");
    put(path, at + 144, &(at / 512).to_le_bytes());
}

/// A disk with a partition for each of [`CONTENTS`].
pub(crate) struct Partitioned {
    pub(crate) path: PathBuf,
    /// Offset and length of each, in the order of [`CONTENTS`].
    pub(crate) places: Vec<(u64, u64)>,
    /// Everything that tells where partitions are, as it was: offset and bytes.
    tables: Vec<(u64, Vec<u8>)>,
}

impl Partitioned {
    /// With a table of the type `table`, `gpt` or `dos`, in sectors of `sector` bytes.
    pub(crate) fn new(folder: &Path, table: &str, sector: u64) -> Self {
        let count = CONTENTS.len() as u64;
        let path = file(folder, "disk.raw", 2 * MIB + count * (ROOM + 2 * MIB) + 40 * MIB);
        // A logical partition has its own table in front of it, 1 MiB before it as all programs align it.
        let place = |index: u64| (3 * MIB + index * (ROOM + 2 * MIB), ROOM);
        let places: Vec<(u64, u64)> = (0..count).map(place).collect();
        let told = folder.join("script");
        fs::write(&told, script(table, size_of(&path), &places, sector)).expect("a script");
        let device = LoopDevice::new(&path, sector);
        let mut sfdisk = Command::new("sfdisk");
        let told = File::open(&told).expect("a script");
        run(sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(device.path()).stdin(told));
        drop(device);
        for (kind, (at, length)) in CONTENTS.iter().zip(&places) {
            let inner = made(folder, kind);
            for offset in (0..*length).step_by(4 << 20) {
                let bytes = get(&inner, offset, 4 * MIB);
                if bytes.iter().any(|byte| *byte != 0) {
                    put(&path, at + offset, &bytes);
                }
            }
            fs::remove_file(inner).expect("a file");
            assert!(
                found(&path, *at, *length).is_some_and(|found| found.contains(kind)),
                "{table}: {kind} is not made"
            );
        }
        let (size, length) = (size_of(&path), 34 * sector);
        let mut tables = vec![(0, get(&path, 0, length)), (size - length, get(&path, size - length, length))];
        tables.extend(places.iter().map(|(at, _)| (at - MIB, get(&path, at - MIB, sector))));
        Self { path, places, tables }
    }

    /// Puts all tables back on `path`, a copy of the disk, and looks into each partition.
    pub(crate) fn assert_nothing_comes_back(&self, path: &Path, case: &str) {
        for (at, bytes) in &self.tables {
            put(path, *at, bytes);
        }
        for (kind, (at, length)) in CONTENTS.iter().zip(&self.places) {
            assert_eq!(found(path, *at, *length), None, "{case}: the partition with {kind}");
        }
    }
}

/// The words of sfdisk(8).
fn script(table: &str, size: u64, places: &[(u64, u64)], sector: u64) -> String {
    let line = |(at, length): &(u64, u64)| format!("start={}, size={}", at / sector, length / sector);
    if table == "gpt" {
        return format!("label: gpt\n{}\n", places.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    let extended = format!("1 : {}, type=5", line(&(2 * MIB, size - 4 * MIB)));
    let logical = places.iter().enumerate().map(|(index, place)| format!("{} : {}", index + 5, line(place)));
    format!("label: dos\nunit: sectors\n{extended}\n{}\n", logical.collect::<Vec<_>>().join("\n"))
}
