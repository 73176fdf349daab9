//! `image write` and `image verify --disk` on real disk files and loop devices: what they leave, and what they refuse.

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use cloud_machine_tests::{
    fixture::{Fixture, IMAGE, dirty, fixture},
    loop_device::{LoopDevice, run},
    program::{Called, Program},
};

const MIB: u64 = 1 << 20;

/// A folder and, in it, a disk file full of another tenant's bytes.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0xa5; size as usize];
        // Tables of another disk, as a tenant of this one may have left them.
        for at in [512, bytes.len().saturating_sub(512)] {
            if let Some(place) = bytes.get_mut(at..at + 8) {
                place.copy_from_slice(b"EFI PART");
            }
        }
        fs::write(folder.path().join("disk.raw"), bytes).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }
}

fn call(program: &Program, words: &[&str], disk: &Path) -> Called {
    let mut arguments = words.to_vec();
    let disk = disk.to_string_lossy();
    arguments.extend(["--disk", &disk]);
    program.call(arguments, b"")
}

fn succeed(program: &Program, words: &[&str], disk: &Path) -> String {
    let called = call(program, words, disk);
    assert_eq!(called.code, 0, "{words:?}: {}\n{}", called.output, called.errors);
    called.output
}

fn refused(program: &Program, words: &[&str], disk: &Path, code: i32, texts: &[&str]) {
    let called = call(program, words, disk);
    assert_eq!(called.code, code, "{words:?}: {}\n{}", called.output, called.errors);
    for text in texts {
        assert!(called.errors.contains(text), "expected {text:?} in\n{}", called.errors);
    }
}

const WRITE: [&str; 4] = ["image", "write", IMAGE, "--yes"];
const VERIFY: [&str; 3] = ["image", "verify", IMAGE];

#[test]
fn every_tier_leaves_exactly_the_image_on_a_disk_full_of_old_data() {
    let (fixture, _turn) = fixture();
    let raw = fixture.raw();
    for tier in ["auto", "scan", "stream"] {
        let scene = Scene::new(raw.len() as u64);
        let output = succeed(fixture.program(), &[&WRITE[..], &["--tier", tier]].concat(), &scene.file());
        let expected = if tier == "scan" { "scan" } else { "stream" };
        assert!(output.contains(&format!("tier         {expected}")) || tier == "auto", "{output}");
        assert!(fs::read(scene.file()).unwrap() == raw, "{tier}");
        succeed(fixture.program(), &VERIFY, &scene.file());
    }
}

#[test]
fn only_what_differs_is_written_and_told() {
    let (fixture, _turn) = fixture();
    let scene = Scene::new(0);
    fs::write(scene.file(), dirty(&fixture.raw())).unwrap();
    let written = json(&fixture, &WRITE, &scene.file(), 0);
    assert_eq!(written["tier"], "scan");
    let changed = written["changed"]["bytes"].as_u64().unwrap();
    assert!((90 * 65_536..200 * 65_536).contains(&changed), "{written}");
    assert!(fs::read(scene.file()).unwrap() == fixture.raw());
    let again = json(&fixture, &WRITE, &scene.file(), 0);
    assert_eq!((again["written_bytes"].as_u64(), again["zeroed_bytes"].as_u64()), (Some(0), Some(0)));
    assert_eq!(again["changed"]["ranges"], 0);
}

fn json(fixture: &Fixture, words: &[&str], disk: &Path, code: i32) -> serde_json::Value {
    let called = call(fixture.program(), &[words, &["--output", "json"]].concat(), disk);
    assert_eq!(called.code, code, "{}\n{}", called.output, called.errors);
    let document: serde_json::Value = serde_json::from_str(&called.output).unwrap();
    document["value"].clone()
}

#[test]
fn a_difference_is_told_with_its_partition_and_nothing_is_written() {
    let (fixture, _turn) = fixture();
    let scene = Scene::new(0);
    let size = 30 * MIB;
    fs::write(scene.file(), vec![1; size as usize]).unwrap();
    succeed(fixture.program(), &WRITE, &scene.file());
    let file = fs::OpenOptions::new().write(true).open(scene.file()).unwrap();
    for at in [600, 40_000, 5 * MIB + 3, 22 * MIB, 27 * MIB, size - 512] {
        file.write_all_at(b"changed!", at).unwrap();
    }
    let before = fs::read(scene.file()).unwrap();
    let compared = json(&fixture, &VERIFY, &scene.file(), 5);
    assert!(fs::read(scene.file()).unwrap() == before);
    assert_eq!(compared["equal"], false);
    let found: Vec<(u64, u64, &str, Option<u64>)> = compared["differing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| {
            let number = |key: &str| range[key].as_u64();
            (
                number("offset").unwrap(),
                number("length").unwrap(),
                range["place"].as_str().unwrap(),
                number("partition_offset"),
            )
        })
        .collect();
    let expected = [
        (0, 65_536, "boot sector and partition table", None),
        (5 * MIB, 65_536, "partition 1 ", Some(4 * MIB)),
        (22 * MIB, 65_536, "between partitions", None),
        (27 * MIB, 65_536, "behind the image", None),
        (size - 65_536, 65_536, "backup partition table", None),
    ];
    assert_eq!(found, expected);
    refused(fixture.program(), &VERIFY, &scene.file(), 5, &["differs from image small in 327680 bytes", "image write"]);
}

#[test]
fn other_tools_find_the_partitions_whatever_size_and_sectors_the_disk_has() {
    let (fixture, _turn) = fixture();
    let root = fixture.raw()[MIB as usize..21 * MIB as usize].to_vec();
    for (sector, size) in [(512, 24 * MIB), (512, 100 * MIB + 512 * 8), (4096, 24 * MIB), (4096, 64 * MIB + 4096)] {
        let scene = Scene::new(size);
        let device = LoopDevice::new(&scene.file(), sector);
        succeed(fixture.program(), &WRITE, device.path());
        succeed(fixture.program(), &VERIFY, device.path());
        let dumped = run(Command::new("sfdisk").arg("--json").arg(device.path()));
        let dumped: serde_json::Value = serde_json::from_slice(&dumped.stdout).unwrap();
        let table = &dumped["partitiontable"];
        let (first, number) = (&table["partitions"][0], |value: &serde_json::Value| value.as_u64().unwrap() * sector);
        assert_eq!(table["sectorsize"], sector, "{size}");
        assert_eq!((number(&first["start"]), number(&first["size"])), (MIB, 20 * MIB), "{sector} {size}");
        // All of the disk can be used, but for the backup behind the last usable sector.
        let usable = number(&table["lastlba"]) + sector;
        assert_eq!(size - usable, sector + 16_384, "{sector} {size}");
        let told = run(Command::new("sfdisk").arg("--verify").arg(device.path()));
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("No errors detected"), "{told}");
        drop(device);
        assert!(fs::read(scene.file()).unwrap()[MIB as usize..21 * MIB as usize] == root, "{sector} {size}");
    }
}

#[test]
fn a_disk_in_use_is_refused_with_the_name_of_its_holder() {
    let (fixture, _turn) = fixture();
    let program = fixture.program();
    let scene = Scene::new(32 * MIB);
    let device = LoopDevice::new(&scene.file(), 512);
    let name = device.name();
    refused(program, &WRITE, &scene.file(), 8, &["is in use: loop device", &name, "stands on it"]);
    // Who stands on it may be written instead, unless it is used in turn.
    assert!(fs::read(scene.file()).unwrap().starts_with(&[0xa5; 512]), "it was written");
    run(Command::new("mkswap").arg(device.path()));
    run(Command::new("swapon").arg(device.path()));
    let called = call(program, &WRITE, device.path());
    run(Command::new("swapoff").arg(device.path()));
    assert_eq!(called.code, 8, "{}", called.errors);
    assert!(called.errors.contains(&format!("{name} is a swap area")), "{}", called.errors);
    run(Command::new("mke2fs").args(["-q", "-F"]).arg(device.path()));
    let mount = scene.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    run(Command::new("mount").args(["-t", "ext4"]).arg(device.path()).arg(&mount));
    let called = call(program, &WRITE, device.path());
    run(Command::new("umount").arg(&mount));
    assert_eq!(called.code, 8, "{}", called.errors);
    assert!(called.errors.contains(&format!("{name} is mounted at {}", mount.display())), "{}", called.errors);
    drop(device);
    succeed(program, &WRITE, &scene.file());
}

#[test]
fn a_mounted_partition_holds_its_disk() {
    let (fixture, _turn) = fixture();
    let scene = Scene::new(24 * MIB);
    let device = LoopDevice::new(&scene.file(), 512);
    succeed(fixture.program(), &WRITE, device.path());
    let mount = scene.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let partition = format!("{}p1", device.path().display());
    // Told and not read: a kernel need not understand the table for this.
    run(Command::new("addpart").arg(device.path()).args(["1", "2048", "40960"]));
    run(Command::new("mount").args(["-t", "ext4", "-o", "ro"]).arg(&partition).arg(&mount));
    let called = call(fixture.program(), &WRITE, device.path());
    run(Command::new("umount").arg(&mount));
    assert_eq!(called.code, 8, "{}", called.errors);
    assert!(called.errors.contains(&format!("{}p1 is mounted at", device.name())), "{}", called.errors);
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_disk_file_of_a_running_virtual_machine_is_refused() {
    let (fixture, _turn) = fixture();
    let scene = Scene::new(24 * MIB);
    let drive = format!("file={},format=raw,if=none,id=d", scene.file().display());
    let machine = Command::new("qemu-system-x86_64")
        .args(["-S", "-display", "none", "-monitor", "none", "-nodefaults", "-machine", "q35,accel=tcg", "-m", "64"])
        .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let machine = Running(machine);
    // It takes its locks when it opens the file; proc_locks(5) names a file by its inode.
    let inode = format!(":{} ", fs::metadata(scene.file()).unwrap().ino());
    let locked = || fs::read_to_string("/proc/locks").unwrap().contains(&inode);
    for _ in 0..600 {
        if locked() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(locked(), "the machine did not open its disk");
    refused(fixture.program(), &WRITE, &scene.file(), 8, &["is in use: another process has locked it"]);
    drop(machine);
    succeed(fixture.program(), &WRITE, &scene.file());
}

#[test]
fn disks_that_cannot_be_are_refused_untouched() {
    let (fixture, _turn) = fixture();
    let program = fixture.program();
    let scene = Scene::new(23 * MIB);
    let cases: [(u64, i32, &[&str]); 4] = [
        (23 * MIB, 1, &["target of 24117248 bytes is smaller than the image of 25165824 bytes"]),
        (24 * MIB + 100, 1, &["target of 25165924 bytes is not a multiple of 512 bytes"]),
        (24 * MIB + 512, 0, &[]),
        (0, 1, &["target of 0 bytes is smaller"]),
    ];
    for (size, code, texts) in cases {
        fs::write(scene.file(), vec![0xa5; size as usize]).unwrap();
        for words in [&WRITE[..], &VERIFY[..]] {
            refused(program, words, &scene.file(), code, texts);
        }
        if code != 0 {
            assert!(fs::read(scene.file()).unwrap().iter().all(|byte| *byte == 0xa5), "{size}");
        }
    }
    fs::write(scene.file(), vec![0xa5; 23 * MIB as usize]).unwrap();
    let small = call(program, &WRITE, &scene.file());
    assert!(small.errors.contains("hint: nothing was written: the disk is as it was"), "{}", small.errors);
    assert!(!small.errors.contains("boots nothing"), "{}", small.errors);
    let absent = scene.folder.path().join("absent");
    refused(program, &WRITE, &absent, 4, &["there is no", "truncate -s"]);
    assert!(!absent.exists());
    refused(program, &WRITE, scene.folder.path(), 1, &["is a folder, neither a block device nor a file"]);
    refused(program, &WRITE, Path::new("/dev/null"), 1, &["is a character device"]);
    refused(program, &["image", "write", "nothing", "--yes"], &scene.file(), 4, &["no image nothing"]);

    fs::write(scene.file(), vec![0xa5; 24 * MIB as usize]).unwrap();
    refused(program, &["image", "write", IMAGE], &scene.file(), 2, &["would be overwritten", "--yes"]);
    let device = LoopDevice::read_only(&scene.file());
    refused(program, &WRITE, device.path(), 1, &["is read-only", "blockdev --setrw"]);
    // Reading asks for no more than reading.
    refused(program, &VERIFY, device.path(), 5, &["differs from image small"]);
    drop(device);
    assert!(fs::read(scene.file()).unwrap().iter().all(|byte| *byte == 0xa5));
}

/// The program itself is killed at many moments; what it leaves boots nothing, and the next call finishes it.
#[test]
fn a_killed_write_leaves_no_partition_table_and_the_next_finishes_it() {
    let (fixture, _turn) = fixture();
    let raw = fixture.raw();
    let scene = Scene::new(raw.len() as u64);
    let (mut ended, mut cut) = (0, 0);
    for step in 0..30 {
        fs::write(scene.file(), vec![0xa5; raw.len()]).unwrap();
        let mut child = fixture
            .program()
            .command()
            .args(WRITE)
            .arg("--disk")
            .arg(scene.file())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(3 * step));
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        let found = fs::read(scene.file()).unwrap();
        let tables = [&found[512..520], &found[found.len() - 512..found.len() - 504]];
        if found == raw || finished {
            ended += 1;
            assert!(found == raw, "it said that it was done after {step}");
        } else {
            let untouched = found.iter().all(|byte| *byte == 0xa5);
            cut += usize::from(!untouched);
            assert!(tables[0] != b"EFI PART", "half a disk has a partition table after {step}");
        }
        succeed(fixture.program(), &WRITE, &scene.file());
        assert!(fs::read(scene.file()).unwrap() == raw, "{step}");
    }
    eprintln!("{cut} of 30 were killed while they wrote, {ended} had ended");
    assert!(cut > 0, "no call was killed while it wrote");
}

#[test]
fn a_dirty_map_names_what_is_compared_and_a_wrong_one_is_not_believed() {
    let (fixture, _turn) = fixture();
    let scene = Scene::new(0);
    let map = scene.folder.path().join("dirty.json");
    let words = [&WRITE[..], &["--dirty", map.to_str().unwrap()]].concat();
    let mut bytes = fixture.raw();
    bytes[5 * MIB as usize..5 * MIB as usize + 100].fill(7);
    fs::write(scene.file(), &bytes).unwrap();
    fs::write(&map, format!("[{{\"offset\": {}, \"length\": 100}}]", 5 * MIB)).unwrap();
    let written = json(&fixture, &words, &scene.file(), 0);
    assert_eq!(written["tier"], "hinted");
    assert_eq!(written["changed"]["bytes"], 65_536);
    assert!(written["verified_bytes"].as_u64().unwrap() < 3 * MIB, "{written}");
    assert!(fs::read(scene.file()).unwrap() == fixture.raw());
    // Everything differs and the map says nothing: the sample finds it, and all of the disk is compared.
    fs::write(scene.file(), vec![3; bytes.len()]).unwrap();
    fs::write(&map, "[]").unwrap();
    let written = json(&fixture, &words, &scene.file(), 0);
    assert_eq!(written["tier"], "scan");
    assert!(fs::read(scene.file()).unwrap() == fixture.raw());

    fs::write(&map, "{}").unwrap();
    refused(fixture.program(), &words, &scene.file(), 3, &["understand the dirty map", "it is a JSON list"]);
    fs::remove_file(&map).unwrap();
    refused(fixture.program(), &words, &scene.file(), 4, &["read the dirty map"]);
}
