//! Every method of wiping on real loop devices, with sectors of 512 and of 4096 bytes, and killed at many moments. This
//! program is its own child, as the agent is: `/proc/self/exe` is started again to look at a device, and to be killed.

mod contents;

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use cloud_machine_protocol::{Extent, WipeMethod};
use cloud_machine_system::{survey, wipe_disk};
use cloud_machine_tests::loop_device::{LoopDevice, run};
use libtest_mimic::{Arguments, Trial};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use contents::{CONTENTS, Partitioned, ROOM, found, get, made, put, size_of};

const MIB: u64 = 1 << 20;
const SECTORS: [u64; 2] = [512, 4096];
/// Argument that makes this program wipe a device until it is killed: name, size and method follow.
const WIPE: &str = "wipe";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [survey::DETAILS_ARGUMENT, ref rest @ ..] => {
            survey::child(rest.iter().map(ToString::to_string)).expect("an answer");
        }
        [WIPE, name, size, method] => {
            wiped(name, size.parse().expect("a size"), method_of(method));
        }
        _ => return tests(),
    }
    ExitCode::SUCCESS
}

/// Runs the tests that the arguments name, one after the other: each kills and counts its own children.
fn tests() -> ExitCode {
    let all: [(&str, fn()); 6] = [
        ("every_byte_of_a_wiped_disk_is_zero", every_byte_of_a_wiped_disk_is_zero),
        ("a_killed_wipe_is_finished_by_the_next", a_killed_wipe_is_finished_by_the_next),
        ("no_signature_is_left_on_a_recreated_disk", no_signature_is_left_on_a_recreated_disk),
        ("an_old_table_brings_nothing_back", an_old_table_brings_nothing_back),
        ("a_killed_removal_forgets_no_partition", a_killed_removal_forgets_no_partition),
        ("signatures_that_contradict_each_other_cost_the_whole_disk", signatures_that_contradict_each_other),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, all.into_iter().map(trial).collect()).exit_code()
}

fn method_of(word: &str) -> WipeMethod {
    let all = [WipeMethod::Zero, WipeMethod::Discard, WipeMethod::Recreate];
    all.into_iter().find(|method| method.as_str() == word).expect("a method")
}

/// A file of `size` bytes of another tenant, and a device over it.
fn device(folder: &Path, size: u64, sector: u64) -> LoopDevice {
    let file = folder.join("disk.raw");
    fs::write(&file, vec![0xa5; usize::try_from(size).expect("a size")]).expect("a disk");
    LoopDevice::new(&file, sector)
}

fn wiped(name: &str, size: u64, method: WipeMethod) -> cloud_machine_protocol::DiskEvidence {
    let range = Extent { offset: 0, length: size };
    wipe_disk(name, range, method, &|_, _| ()).unwrap_or_else(|error| panic!("{method}: {error:?}")).1
}

fn every_byte_of_a_wiped_disk_is_zero() {
    let folder = tempfile::tempdir().expect("a folder");
    let size = 24 * MIB + 4096;
    for sector in SECTORS {
        for method in [WipeMethod::Zero, WipeMethod::Discard] {
            let device = device(folder.path(), size, sector);
            let evidence = wiped(&device.name(), size, method);
            assert_eq!((evidence.disk_size, evidence.read_bytes, evidence.zero_bytes), (size, size, size), "{method}");
            assert!(evidence.tier.is_none() && evidence.image_root.is_none() && evidence.image_size == 0);
            let again =
                wipe_disk(&device.name(), Extent { offset: 0, length: size }, method, &|_, _| ()).expect("again");
            assert_eq!((again.0.zeroed_bytes, again.1), (0, evidence), "{method} {sector}");
            drop(device);
            let found = fs::read(folder.path().join("disk.raw")).expect("the disk");
            assert!(found.len() as u64 == size && found.iter().all(|byte| *byte == 0), "{method} {sector}");
        }
    }
}

fn a_killed_wipe_is_finished_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let size = 192 * MIB;
    for method in [WipeMethod::Zero, WipeMethod::Discard] {
        for step in 0..6 {
            let device = device(folder.path(), size, 512);
            kill_after(step * step * 10, &device, size, method);
            wiped(&device.name(), size, method);
            drop(device);
            let found = fs::read(folder.path().join("disk.raw")).expect("the disk");
            assert!(found.iter().all(|byte| *byte == 0), "{method} after step {step}");
        }
    }
}

fn no_signature_is_left_on_a_recreated_disk() {
    for kind in CONTENTS {
        let folder = tempfile::tempdir().expect("a folder");
        for sector in SECTORS {
            let path = made(folder.path(), kind);
            assert!(found(&path, 0, ROOM).is_some_and(|found| found.contains(kind)), "{kind} is not made");
            let device = LoopDevice::new(&path, sector);
            let evidence = wiped(&device.name(), ROOM, WipeMethod::Recreate);
            assert!(!evidence.ranges.is_empty() && evidence.zero_bytes < 17 * MIB, "{kind}: {evidence:?}");
            drop(device);
            assert_eq!(found(&path, 0, ROOM), None, "{kind}");
        }
    }
}

fn an_old_table_brings_nothing_back() {
    for table in ["gpt", "dos"] {
        for sector in SECTORS {
            let case = format!("{table} with sectors of {sector} bytes");
            let folder = tempfile::tempdir().expect("a folder");
            let disk = Partitioned::new(folder.path(), table, sector);
            let size = size_of(&disk.path);
            let device = LoopDevice::new(&disk.path, sector);
            let evidence = wiped(&device.name(), size, WipeMethod::Recreate);
            assert!(!evidence.ranges.is_empty() && evidence.zero_bytes < size / 4, "{case}: {}", evidence.zero_bytes);
            drop(device);
            assert_eq!(found(&disk.path, 0, size), None, "{case}");
            disk.assert_nothing_comes_back(&disk.path, &case);
        }
    }
}

fn a_killed_removal_forgets_no_partition() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Partitioned::new(folder.path(), "dos", 512);
    let copy = folder.path().join("copy.raw");
    for step in 0..8 {
        run(Command::new("cp").arg("--sparse=always").arg(&disk.path).arg(&copy));
        let (device, size) = (LoopDevice::new(&copy, 512), size_of(&copy));
        kill_after(step * 15, &device, size, WipeMethod::Recreate);
        wiped(&device.name(), size, WipeMethod::Recreate);
        drop(device);
        disk.assert_nothing_comes_back(&copy, &format!("killed at step {step}"));
    }
}

/// Where the partitions cannot be told, what lies in them cannot be left either.
fn signatures_that_contradict_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, other) = (made(folder.path(), "swap"), made(folder.path(), "vfat"));
    put(&path, 0, &get(&other, 0, 512));
    put(&path, 100 * MIB, &[1; 512]);
    assert_eq!(found(&path, 0, ROOM).as_deref(), Some("ambivalent"));
    let device = LoopDevice::new(&path, 512);
    let evidence = wiped(&device.name(), ROOM, WipeMethod::Recreate);
    assert!(evidence.ranges.is_empty() && evidence.zero_bytes == ROOM, "{evidence:?}");
    drop(device);
    assert!(fs::read(&path).expect("the disk").iter().all(|byte| *byte == 0));
}

/// Begins a wipe in another process and ends that after a time.
fn kill_after(milliseconds: u64, device: &LoopDevice, size: u64, method: WipeMethod) {
    // A process that it is just starting has all its files, the device too, until it is another program: this one it keeps.
    let (mut end, held) = io::pipe().expect("a pipe");
    fcntl(&held, FcntlArg::F_SETFD(FdFlag::empty())).expect("a file that is inherited");
    let mut child = Command::new("/proc/self/exe")
        .args([WIPE, &device.name(), &size.to_string(), method.as_str()])
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    drop(held);
    thread::sleep(Duration::from_millis(milliseconds));
    child.kill().expect("a signal");
    child.wait().expect("an end");
    end.read_to_end(&mut Vec::new()).expect("the end of all that it started");
}
