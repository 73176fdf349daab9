//! Files in the place of disks, and folders in the place of what the kernel lists.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use cloud_machine_recovery::{MIN_SIZE, UNIT};
use serde_json::json;

use super::*;

const DISK: u64 = 96 << 20;
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Machine {
    folder: tempfile::TempDir,
    recovery: Recovery,
}

impl Machine {
    /// One with disks of these names.
    fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recovery = Recovery::below(folder.path());
        [&recovery.blocks, &recovery.devices].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
        for name in names {
            add_disk(&recovery.blocks.join(name), &recovery.devices.join(name));
        }
        Self { folder, recovery }
    }

    fn list(&self, disk: &str, file: &str, text: &str) {
        fs::write(self.folder.path().join("block").join(disk).join(file), text).unwrap();
    }

    /// Stages `stream`, and whether what waits is what was staged.
    fn stage(&self, stream: &[u8]) -> Result<String, StagingError> {
        let result = self.recovery.stage(&mut &*stream);
        assert_eq!(self.recovery.staged().unwrap(), result.clone().ok());
        result
    }
}

/// A disk with a recovery partition alone, which the kernel has as the second.
fn add_disk(listed: &Path, device: &Path) {
    let RecoveryPartition { offset, length } = RecoveryPartition::at_end(DISK, MIN_SIZE).unwrap();
    File::create(device).unwrap().set_len(DISK).unwrap();
    let [start, size] = [offset, length].map(|bytes| bytes / KERNEL_SECTOR);
    let table = format!(
        "label: gpt\nstart={start}, size={size}, type=b7f3c41e-52d8-4c06-9a6f-0d3e8b1f7a94, name=cloud-machine-recovery\n"
    );
    let mut sfdisk = Command::new("sfdisk");
    let mut sfdisk = sfdisk.arg("--quiet").arg(device).stdin(Stdio::piped()).spawn().unwrap();
    sfdisk.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    let name = format!("{}2", device.file_name().unwrap().to_str().unwrap());
    File::create(device.with_file_name(&name)).unwrap().set_len(length).unwrap();
    fs::create_dir_all(listed.join(&name)).unwrap();
    for (file, text) in [("partition", 2), ("start", start), ("size", size)] {
        fs::write(listed.join(&name).join(file), format!("{text}\n")).unwrap();
    }
}

/// A request with one byte in each of its three files.
fn request() -> Vec<u8> {
    let area = |unit: u64| json!({"offset": unit * UNIT, "length": 1});
    let control = json!({
        "version": Control::VERSION, "state": "staged", "token": TOKEN, "machine": "a", "disk_size": DISK, "attempts": 0,
        "boot": area(0), "volume": area(1), "pin": format!("sha256:{TOKEN}"), "image": area(2), "nonce": TOKEN,
    });
    format!("{control}\nabc").into_bytes()
}

#[test]
fn a_request_waits_until_its_token_takes_it_away() {
    let machine = Machine::new(&["sda"]);
    assert_eq!(machine.recovery.staged(), Ok(None));
    assert_eq!(machine.stage(&request()), Ok(TOKEN.to_owned()));
    let refused = |result: Result<(), StagingError>, words: &str| {
        assert!(matches!(&result, Err(StagingError::Refused(text)) if text.contains(words)), "{result:?}");
    };
    refused(machine.recovery.stage(&mut request().as_slice()).map(drop), "another one is staged");
    refused(machine.recovery.cancel("another"), "none with this token waits");
    assert_eq!(machine.recovery.staged(), Ok(Some(TOKEN.to_owned())));
    assert_eq!(machine.recovery.cancel(TOKEN), Ok(()));
    assert_eq!(machine.recovery.staged(), Ok(None));
    refused(machine.recovery.cancel(TOKEN), "none with this token waits");
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
    let result = two.recovery.stage(&mut request().as_slice());
    assert!(matches!(&result, Err(StagingError::Refused(text)) if text.starts_with("both ")), "{result:?}");

    for (file, text, words) in [("start", "1", "a reboot helps"), ("size", "x", "holds no number")] {
        let machine = Machine::new(&["sda"]);
        machine.list("sda/sda2", file, text);
        let result = machine.recovery.staged();
        assert!(matches!(&result, Err(StagingError::Failed(found)) if found.contains(words)), "{result:?}");
    }
    // A disk that cannot be read is not one without the partition.
    let machine = Machine::new(&["sda"]);
    let device = machine.folder.path().join("dev/sda");
    fs::remove_file(&device).unwrap();
    symlink("sda", &device).unwrap();
    assert!(matches!(machine.recovery.staged(), Err(StagingError::Failed(_))));
}
