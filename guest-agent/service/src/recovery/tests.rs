//! Files in the place of disks, and folders in the place of what the kernel lists.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_recovery::{Control, MIN_SIZE, RecoveryPartition, UNIT, prepare};
use serde_json::json;

use super::*;

const DISK: u64 = 96 << 20;
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Machine {
    folder: tempfile::TempDir,
    disks: Disks,
}

impl Machine {
    /// One with disks of these names.
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disks = Disks::below(folder.path());
        let [blocks, devices] = ["block", "dev"].map(|name| folder.path().join(name));
        [&blocks, &devices].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
        names.iter().for_each(|name| add_disk(&blocks.join(name), &devices.join(name)));
        Self { folder, disks }
    }

    fn list(&self, disk: &str, file: &str, text: &str) {
        fs::write(self.folder.path().join("block").join(disk).join(file), text).unwrap();
    }

    /// Stages `stream`, and whether what waits is what was staged.
    fn stage(&self, stream: &[u8]) -> Result<String, StagingError> {
        let result = self.disks.stage(&mut &*stream);
        assert_eq!(self.waiting().unwrap(), result.clone().ok());
        result
    }

    /// What waits, once the disk has what was written to its partition's device: here they are two files.
    fn waiting(&self) -> Result<Option<String>, StagingError> {
        let device = |name: &str| self.folder.path().join("dev").join(name);
        if let Ok(part) = fs::read(device("sda1")) {
            let disk = OpenOptions::new().write(true).open(device("sda")).unwrap();
            disk.write_all_at(&part, offset()).unwrap();
        }
        self.disks.staged()
    }
}

fn offset() -> u64 {
    RecoveryPartition::at_end(DISK, MIN_SIZE).unwrap().offset
}

/// A disk with a recovery partition alone.
fn add_disk(listed: &Path, device: &Path) {
    File::create(device).unwrap().set_len(DISK).unwrap();
    let mut sfdisk = Command::new("sfdisk");
    let mut sfdisk = sfdisk.arg("--quiet").arg(device).stdin(Stdio::piped()).spawn().unwrap();
    sfdisk.stdin.take().unwrap().write_all(b"label: gpt\n").unwrap();
    assert!(sfdisk.wait().unwrap().success());
    let disk = Disk::open(device, Access::Write).unwrap();
    let (RecoveryPartition { offset, length }, _) = prepare(&disk, MIN_SIZE, [9; 16]).unwrap();
    let name = format!("{}1", device.file_name().unwrap().to_str().unwrap());
    let bytes = fs::read(device).unwrap();
    fs::write(
        device.with_file_name(&name),
        &bytes[usize::try_from(offset).unwrap()..][..usize::try_from(length).unwrap()],
    )
    .unwrap();
    fs::create_dir_all(listed.join(&name)).unwrap();
    fs::write(listed.join("size"), (DISK / 512).to_string()).unwrap();
    for (file, number) in [("partition", 1), ("start", offset / 512), ("size", length / 512)] {
        fs::write(listed.join(&name).join(file), format!("{number}\n")).unwrap();
    }
}

/// A request with one byte in each of its three files.
fn request() -> Vec<u8> {
    let area = |unit: u64| json!({"offset": unit * UNIT, "length": 1});
    let control = json!({
        "version": Control::VERSION, "state": "staged", "token": TOKEN, "machine": "a", "disk_size": DISK,
        "place": {"offset": offset(), "length": MIN_SIZE}, "attempts": 0,
        "boot": area(0), "volume": area(1), "pin": format!("sha256:{TOKEN}"), "image": area(2), "nonce": TOKEN,
    });
    format!("{control}\nabc").into_bytes()
}

#[test]
fn a_request_waits_until_its_token_takes_it_away() {
    let machine = Machine::new(&["sda"]);
    assert_eq!(machine.waiting(), Ok(None));
    assert_eq!(machine.stage(&request()), Ok(TOKEN.to_owned()));
    let refused = |result: Result<(), StagingError>, words: &str| {
        assert!(matches!(&result, Err(StagingError::Refused(text)) if text.contains(words)), "{result:?}");
    };
    refused(machine.disks.stage(&mut request().as_slice()).map(drop), "another one is staged");
    refused(machine.disks.cancel("another"), "none with this token waits");
    assert_eq!(machine.waiting(), Ok(Some(TOKEN.to_owned())));
    assert_eq!(machine.disks.cancel(TOKEN), Ok(()));
    assert_eq!(machine.waiting(), Ok(None));
    refused(machine.disks.cancel(TOKEN), "none with this token waits");
}

#[test]
fn a_request_that_is_cut_off_or_none_is_not_staged() {
    let machine = Machine::new(&["sda"]);
    let whole = request();
    for (stream, words) in [
        (&b""[..], "its first line does not end"),
        (b"{}\n", "missing field"),
        (&whole[..whole.len() - 1], "it is cut off"),
        (&[&whole[..], b"d"].concat(), "more follows"),
    ] {
        let result = machine.stage(stream);
        assert!(matches!(&result, Err(StagingError::Refused(text)) if text.contains(words)), "{result:?}");
    }
}

#[test]
fn no_partition_two_and_one_that_the_kernel_does_not_have_are_different() {
    let none = Machine::new(&[]);
    assert!(matches!(none.stage(&request()), Err(StagingError::NoRecovery(_))));
    // A table of another kind.
    let machine = Machine::new(&["sda"]);
    fs::write(machine.folder.path().join("dev/sda"), vec![0; 8 << 20]).unwrap();
    assert!(matches!(machine.stage(&request()), Err(StagingError::NoRecovery(_))));

    let two = Machine::new(&["sda", "sdb"]);
    let result = two.disks.stage(&mut request().as_slice());
    assert!(matches!(&result, Err(StagingError::Refused(text)) if text.contains("sda, sdb")), "{result:?}");
    // One rule for both programs: what lies on a loop device is nobody's.
    let virtual_one = Machine::new(&["loop0"]);
    assert!(matches!(virtual_one.disks.stage(&mut request().as_slice()), Err(StagingError::NoRecovery(_))));

    for (file, text, words) in [("start", "1", "`partprobe /dev/sda`"), ("size", "x", "no number of sectors")] {
        let machine = Machine::new(&["sda"]);
        machine.list("sda/sda1", file, text);
        let result = machine.disks.stage(&mut request().as_slice());
        assert!(matches!(&result, Err(StagingError::Failed(found)) if found.contains(words)), "{result:?}");
    }
    // A disk that cannot be read is not one without the partition.
    let machine = Machine::new(&["sda"]);
    let device = machine.folder.path().join("dev/sda");
    fs::remove_file(&device).unwrap();
    symlink("sda", &device).unwrap();
    assert!(matches!(machine.disks.staged(), Err(StagingError::Failed(_))));
}
