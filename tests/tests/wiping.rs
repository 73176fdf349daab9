//! Every method of wiping on real loop devices, with sectors of 512 and of 4096 bytes, and killed at many moments. This
//! program is its own child, as the agent is: `/proc/self/exe` is started again to look at a device, and to be killed.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use cloud_machine_protocol::{Extent, WipeMethod};
use cloud_machine_system::{survey, wipe_disk};
use cloud_machine_tests::loop_device::{LoopDevice, run};

const MIB: u64 = 1 << 20;
const SECTORS: [u64; 2] = [512, 4096];
/// Argument that makes this program wipe a device until it is killed: name, size and method follow.
const WIPE: &str = "wipe";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [survey::DETAILS_ARGUMENT, offset, length] => survey::child(offset, length).expect("an answer"),
        [WIPE, name, size, method] => {
            wiped(name, size.parse().expect("a size"), method_of(method));
        }
        _ => tests(words.first().copied().unwrap_or_default()),
    }
    ExitCode::SUCCESS
}

/// Runs all tests whose names contain `wanted`; one that fails panics.
fn tests(wanted: &str) {
    let all: [(&str, fn()); 2] = [
        ("every_byte_of_a_wiped_disk_is_zero", every_byte_of_a_wiped_disk_is_zero),
        ("a_killed_wipe_is_finished_by_the_next", a_killed_wipe_is_finished_by_the_next),
    ];
    for (name, test) in all.into_iter().filter(|(name, _)| name.contains(wanted)) {
        test();
        println!("test {name} ... ok");
    }
}

fn method_of(word: &str) -> WipeMethod {
    let all = [WipeMethod::Zero, WipeMethod::Discard];
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
            run(Command::new("sync").arg(folder.path().join("disk.raw")));
            let mut child = Command::new("/proc/self/exe")
                .args([WIPE, &device.name(), &size.to_string(), method.as_str()])
                .stdout(Stdio::null())
                .spawn()
                .expect("a child");
            thread::sleep(Duration::from_millis(step * step * 10));
            child.kill().expect("a signal");
            child.wait().expect("an end");
            wiped(&device.name(), size, method);
            drop(device);
            let found = fs::read(folder.path().join("disk.raw")).expect("the disk");
            assert!(found.iter().all(|byte| *byte == 0), "{method} after step {step}");
        }
    }
}
