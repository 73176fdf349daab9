//! Files in the place of disks, and folders in the place of what the kernel lists.

use std::{
    io::Write,
    os::unix::fs::{FileExt, symlink},
    process::{Command, Stdio},
};

use cloud_machine_recovery::{Control, MIN_SIZE, UNIT, prepare};
use serde_json::json;

use super::*;

const DISK: u64 = 96 * UNIT;

struct Machine {
    folder: tempfile::TempDir,
    disks: Disks,
}

impl Machine {
    /// One with a recovery partition on each of these disks.
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { disks: Disks::below(folder.path()), folder };
        ["block", "dev"].iter().for_each(|name| fs::create_dir(machine.at(name)).unwrap());
        names.iter().for_each(|name| machine.add(name));
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn add(&self, name: &str) {
        let device = self.disks.devices.join(name);
        fs::File::create(&device).unwrap().set_len(DISK).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        let mut sfdisk = sfdisk.arg("--quiet").arg(&device).stdin(Stdio::piped()).spawn().unwrap();
        sfdisk.stdin.take().unwrap().write_all(b"label: gpt\n").unwrap();
        assert!(sfdisk.wait().unwrap().success());
        let disk = Disk::open(&device, Access::Write).unwrap();
        let (partition, _) = prepare(&disk, MIN_SIZE, [9; 16]).unwrap();
        let listed = self.disks.blocks.join(name);
        let part = listed.join(format!("{name}1"));
        fs::create_dir_all(&part).unwrap();
        fs::write(listed.join("size"), (DISK / KERNEL_SECTOR).to_string()).unwrap();
        let [start, size] = [partition.offset, partition.length].map(|bytes| bytes / KERNEL_SECTOR);
        for (file, number) in [("partition", 1), ("start", start), ("size", size)] {
            fs::write(part.join(file), format!("{number}\n")).unwrap();
        }
    }

    fn refused(&self, named: Option<&str>) -> StagerError {
        self.disks.find(named).unwrap_err()
    }
}

#[test]
fn one_partition_of_a_real_disk_is_found() {
    let machine = Machine::new(&["sda"]);
    machine.add("loop0");
    machine.add("nbd0");
    let found = machine.disks.find(None).unwrap();
    assert_eq!(found.name, "sda");
    assert_eq!(machine.disks.device("sda", found.partition).unwrap(), Some(machine.at("dev/sda1")));
    assert_eq!(machine.disks.find(Some("loop0")).unwrap().name, "loop0");
    assert!(matches!(Machine::new(&["loop0"]).refused(None), StagerError::Absent));
}

#[test]
fn two_that_look_right_are_both_named() {
    let error = Machine::new(&["sda", "vdb"]).refused(None).to_string();
    assert!(error.contains("sda, vdb; `cloud-machine-recovery --disk NAME`"), "{error}");
}

#[test]
fn a_disk_that_cannot_be_looked_at_may_be_the_one() {
    let machine = Machine::new(&["sda", "sdb"]);
    let device = machine.at("dev/sdb");
    fs::remove_file(&device).unwrap();
    let error = machine.refused(None).to_string();
    assert!(error.contains("not clear: sdb: ") && error.contains("--disk NAME"), "{error}");
    assert_eq!(machine.disks.find(Some("sda")).unwrap().name, "sda");
    // A drive without a medium is none.
    fs::write(machine.at("block/sdb/size"), "0").unwrap();
    assert_eq!(machine.disks.find(None).unwrap().name, "sda");
    fs::write(machine.at("block/sdb/size"), "x").unwrap();
    assert!(causes(&machine.refused(None)).contains("no number of sectors"), "{}", causes(&machine.refused(None)));
}

#[test]
fn the_disk_with_the_root_filesystem_counts_whatever_a_job_wrote_to_others() {
    let machine = Machine::new(&["sda", "sdb"]);
    let root = |target: &str| {
        let _ = fs::remove_file(machine.at("root"));
        symlink(machine.at(target), machine.at("root")).unwrap();
    };
    root("block/sda/sda1");
    assert_eq!(machine.disks.find(None).unwrap().name, "sda");
    fs::remove_file(machine.at("dev/sdb")).unwrap();
    assert_eq!(machine.disks.find(None).unwrap().name, "sda");
    // LVM on LUKS on a partition; then on two.
    for (upper, lower) in [("dm-1", "dm-0"), ("dm-0", "sda/sda1")] {
        let below = machine.at("block").join(upper).join("slaves");
        fs::create_dir_all(&below).unwrap();
        symlink(machine.at("block").join(lower), below.join("lower")).unwrap();
        fs::write(machine.at("block").join(upper).join("size"), "0").unwrap();
    }
    root("block/dm-1");
    assert_eq!(machine.disks.find(None).unwrap().name, "sda");
    symlink(machine.at("block/sdb"), machine.at("block/dm-0/slaves/second")).unwrap();
    assert!(matches!(machine.disks.find(None), Err(StagerError::Unclear { .. })));
    // Nobody makes another disk the one that counts.
    machine.add("sdc");
    fs::write(machine.at("dev/sda"), vec![0; 8 << 20]).unwrap();
    root("block/sda/sda1");
    assert!(matches!(machine.refused(None), StagerError::Absent));
    root("block/sdb");
    assert!(causes(&machine.refused(None)).contains("sdb"), "{}", causes(&machine.refused(None)));
}

#[test]
fn a_path_to_a_disk_without_a_device_of_its_own_is_none() {
    let machine = Machine::new(&["nvme0n1"]);
    fs::create_dir(machine.at("block/nvme0c0n1")).unwrap();
    fs::write(machine.at("block/nvme0c0n1/size"), "2048\n").unwrap();
    assert!(machine.refused(None).to_string().contains("not clear: nvme0c0n1: "));
    fs::write(machine.at("block/nvme0c0n1/hidden"), "1\n").unwrap();
    assert_eq!(machine.disks.find(None).unwrap().name, "nvme0n1");
}

#[test]
fn a_request_that_nobody_understands_is_none_and_the_reason_is_told() {
    let machine = Machine::new(&["sda", "larger"]);
    let open = |name: &str| Disk::open(&machine.at("dev").join(name), Access::Write).unwrap();
    let found = machine.disks.find(Some("sda")).unwrap();
    assert!(found.not_understood().unwrap().is_none());
    // One for a partition that begins elsewhere.
    let larger = RecoveryPartition::at_end(DISK, MIN_SIZE + UNIT).unwrap();
    let area = |unit: u64| json!({"offset": unit * UNIT, "length": 1});
    let control = json!({
        "version": Control::VERSION, "state": "staged", "token": "ab".repeat(32), "machine": "a", "disk_size": DISK,
        "place": larger.extent(), "attempts": 0, "boot": area(0), "volume": area(1),
        "pin": format!("sha256:{}", "ab".repeat(32)), "image": area(2), "nonce": "ab".repeat(32),
    });
    let control: Control = serde_json::from_value(control).unwrap();
    control.write(&open("larger"), larger).unwrap();
    let mut bytes = vec![0; usize::try_from(UNIT).unwrap()];
    let at = larger.offset + larger.length - UNIT;
    let file = |name: &str| fs::OpenOptions::new().read(true).write(true).open(machine.at("dev").join(name)).unwrap();
    file("larger").read_exact_at(&mut bytes, at).unwrap();
    file("sda").write_all_at(&bytes, at).unwrap();

    let found = machine.disks.find(Some("sda")).unwrap();
    assert_eq!(found.tell().unwrap().staged, None);
    let why = found.not_understood().unwrap().expect("a reason").to_string();
    assert!(why.contains("and the request says"), "{why}");
    // One that is understood is told.
    Control { place: found.partition.extent(), ..control }.write(&open("sda"), found.partition).unwrap();
    assert!(found.not_understood().unwrap().is_none());
    assert_eq!(found.staged().unwrap().expect("a request").token, "ab".repeat(32));
}

#[test]
fn a_partition_that_is_not_where_its_record_says_is_refused() {
    let machine = Machine::new(&["sda"]);
    let found = machine.disks.find(None).unwrap();
    let end = (found.partition.offset + found.partition.length) / KERNEL_SECTOR;
    let start = found.partition.offset / KERNEL_SECTOR - 2048;
    let table = format!(
        "label: gpt\nstart={start}, size={}, type=b7f3c41e-52d8-4c06-9a6f-0d3e8b1f7a94, name=cloud-machine-recovery\n",
        end - start
    );
    let mut sfdisk = Command::new("sfdisk");
    let mut sfdisk =
        sfdisk.args(["--quiet", "--wipe=never"]).arg(machine.at("dev/sda")).stdin(Stdio::piped()).spawn().unwrap();
    sfdisk.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    for named in [None, Some("sda")] {
        let error = causes(&machine.refused(named));
        assert!(error.contains("its own record says"), "{error}");
    }
}
