//! Filesystems on data disks of a real Debian machine, over its whole life: made, mounted by the booted system, kept,
//! wiped at a boot, made again at a reimage, and refused when they are not what was described.

use cloud_machine_tests::{artifacts::Artifacts, program::Program};
use serde_json::Value;

const MACHINE: &str = "disks";
const CONFIGURATION: &str = "\
cloud-machine:
  image: debian-12
  resources:
    disks:
      system: {boot-partition: true}
      data: {allocation: 320MiB, filesystem: {type: xfs, label: data}, mountpoint: /srv/the-data}
      scratch: {allocation: 64MiB, filesystem: ext4, wipe-on-boot: true}
      cache: {allocation: 128MiB, filesystem: {type: btrfs, label: cache}, on-reimage: keep}
      share: {allocation: 64MiB, filesystem: {type: vfat, label: share}}
      swap: {allocation: 64MiB, filesystem: swap}
";
/// What a person sees in the machine: mountpoint, device, type and label.
const MOUNTED: [&str; 4] = [
    "/mnt/cache /dev/vdb btrfs cache",
    "/mnt/scratch /dev/vdd ext4 ",
    "/mnt/share /dev/vde vfat SHARE",
    "/srv/the-data /dev/vdc xfs data",
];
const FOLDERS: [&str; 4] = ["/mnt/cache", "/mnt/scratch", "/mnt/share", "/srv/the-data"];

#[test]
fn data_disks_are_what_was_described_at_every_boot() {
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts);
    program.pack(&artifacts, "debian-12").unwrap();
    let file = program.state().parent().unwrap().join("disks.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let file = file.to_string_lossy().into_owned();

    let created = done(&program, &["create", MACHINE, "--config", &file, "--output", "json"]);
    for (disk, method) in [
        ("cache", "create btrfs"),
        ("data", "wipe zero, create xfs"),
        ("scratch", "wipe zero, create ext4"),
        ("share", "wipe zero, create vfat"),
        ("swap", "wipe zero, create swap"),
    ] {
        assert_eq!(methods(&created, disk), method);
    }
    everything_is_mounted(&program);
    leave_marks(&program);

    // A boot: what every boot wipes is new, the rest is as it was.
    done(&program, &["stop", MACHINE]);
    done(&program, &["start", MACHINE]);
    everything_is_mounted(&program);
    assert_eq!(marks(&program), ["/mnt/cache", "/mnt/share", "/srv/the-data"]);

    // A job may make of its disks what it likes; a kept disk keeps what it holds.
    leave_marks(&program);
    inside(
        &program,
        "umount /srv/the-data; mkfs.vfat -I -n CLOUD-INIT /dev/vdc; swapoff -a; dd if=/dev/urandom of=/dev/vdf bs=1M \
         count=8 conv=fsync; sync",
    );
    let reimaged = done(&program, &["reimage", MACHINE, "--output", "json"]);
    assert_eq!(methods(&reimaged, "cache"), "reuse btrfs");
    assert_eq!(methods(&reimaged, "data"), "wipe zero, create xfs");
    everything_is_mounted(&program);
    assert_eq!(marks(&program), ["/mnt/cache"]);
    done(&program, &["verify", MACHINE]);

    // A kept disk with something else on it is not the machine that was described.
    inside(&program, "umount /mnt/cache; mkfs.vfat -I -n CIDATA /dev/vdb; sync");
    let refused = program.call(["reimage", MACHINE], b"");
    assert_eq!(refused.code, 1, "{}", refused.errors);
    let told = "the disk `cache` on vdb shall hold btrfs labelled `cache` and holds vfat labelled `CIDATA`; \
        `overwrite: true` would let it be replaced";
    assert!(refused.errors.contains(told), "{}", refused.errors);
    done(&program, &["delete", MACHINE, "--yes"]);
}

/// The output of a call that has to succeed.
fn done(program: &Program, arguments: &[&str]) -> String {
    let called = program.call(arguments, b"");
    assert_eq!(called.code, 0, "{arguments:?}: {}", called.errors);
    called.output
}

fn inside(program: &Program, script: &str) -> String {
    done(program, &["exec", MACHINE, "--", "sh", "-ec", script])
}

/// What the report of a result says that was done with a disk.
fn methods(result: &str, disk: &str) -> String {
    let result: Value = serde_json::from_str(result).unwrap();
    let result = result["value"].get("machines").map_or(&result["value"], |machines| &machines[0]["result"]);
    let path = result["report"].as_str().unwrap_or_else(|| panic!("no report: {result}"));
    let evidence: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let devices = evidence["report"]["devices"].as_array().expect("devices").clone();
    let device = devices.iter().find(|device| device["role"]["name"] == disk).expect("the disk");
    device["method"].as_str().expect("its method").to_owned()
}

fn everything_is_mounted(program: &Program) {
    let found = inside(program, "findmnt -rn -o TARGET,SOURCE,FSTYPE,LABEL | grep ' /dev/vd[b-z]' | sort");
    let found: Vec<&str> = found.lines().map(str::trim_end).collect();
    assert_eq!(found, MOUNTED.map(str::trim_end));
    assert_eq!(inside(program, "swapon --noheadings --raw --show=NAME,SIZE").trim(), "/dev/vdf 64M");
    let units = "systemctl is-active srv-the\\\\x2ddata.mount mnt-cache.mount dev-vdf.swap local-fs.target";
    assert_eq!(inside(program, units).trim(), ["active"; 4].join("\n"));
}

fn leave_marks(program: &Program) {
    let touch: Vec<String> = FOLDERS.iter().map(|folder| format!("echo mark > {folder}/mark")).collect();
    inside(program, &format!("{}; sync", touch.join("; ")));
}

/// The folders in which there still is a mark.
fn marks(program: &Program) -> Vec<String> {
    let look: Vec<String> = FOLDERS.iter().map(|folder| format!("test -e {folder}/mark && echo {folder}")).collect();
    let found = inside(program, &format!("{}; true", look.join("; ")));
    found.lines().map(str::to_owned).collect()
}
