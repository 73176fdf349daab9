//! A recovery partition on a loop device, whose disk the kernel has in use as it has that of a machine that runs: the program that
//! stages a request there, and the crate that the agent reads it with.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stderr)]

// Not by their package, which would compile the host's part, too.
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../tests/src/loop_device.rs"]
mod tests;

use std::{
    fs::OpenOptions,
    io::Cursor,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_protocol::{Algorithm, Digest, HostKeySeed, Secrets};
use cloud_machine_recovery::{Area, Control, RecoveryPartition, State, UNIT, prepare};
use cloud_machine_stager::{Found, StagerError};
use tests::{LoopDevice, run};

const SIZE: u64 = 100 * UNIT;

/// A disk with one partition for a system and one for recovery.
struct Scene {
    device: LoopDevice,
    partition: RecoveryPartition,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One test at a time: a child that another one starts has each open device, too, until it is the program that it becomes, and a disk
/// that is still open so cannot be opened alone.
static TURN: Mutex<()> = Mutex::new(());

impl Scene {
    fn new(recovery: bool) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(SIZE).unwrap();
        let mut gpt = gptman::GPT::new_from(&mut file, 512, [7; 16]).unwrap();
        gpt[3] = gptman::GPTPartitionEntry {
            partition_type_guid: [1; 16],
            unique_partition_guid: [2; 16],
            starting_lba: 2048,
            ending_lba: 8191,
            attribute_bits: 0,
            partition_name: "root".into(),
        };
        gpt.write_into(&mut file).unwrap();
        gptman::GPT::write_protective_mbr_into(&mut file, 512).unwrap();
        drop(file);
        let mut partition = RecoveryPartition { offset: 0, length: 0 };
        if recovery {
            let disk = Disk::open(&path, Access::Write).unwrap();
            partition = prepare(&disk, 64 * UNIT, [9; 16]).unwrap().0;
        }
        let scene = Self { device: LoopDevice::new(&path, 512), partition, _folder: folder, _turn: turn };
        scene.add(3, 2048 * 512, 6144 * 512);
        if recovery {
            scene.add(1, partition.offset, partition.length);
        }
        scene
    }

    /// Not every kernel reads the table by itself.
    fn add(&self, number: u32, offset: u64, length: u64) {
        let path = self.device.path().display().to_string();
        if !Path::new(&format!("{path}p{number}")).exists() {
            let numbers = [u64::from(number), offset / 512, length / 512].map(|number| number.to_string());
            run(Command::new("addpart").arg(&path).args(numbers));
        }
    }

    fn find(&self) -> Result<Found, StagerError> {
        Found::find(Some(&self.device.name()))
    }

    /// As the agent changes it when no system runs from the disk.
    fn agent(&self, act: impl FnOnce(&Disk, Control)) {
        let disk = Disk::open(self.device.path(), Access::Write).unwrap();
        let control = Control::read(&disk, self.partition).unwrap().unwrap();
        act(&disk, control);
    }
}

/// A request whose files are filled with their own numbers.
fn request(token: &str) -> (Control, Vec<u8>) {
    let area = |offset: u64, length| Area { offset: offset * UNIT, length };
    let control = Control {
        version: Control::VERSION,
        state: State::Staged,
        token: token.repeat(32),
        machine: "uuid".to_owned(),
        disk_size: SIZE,
        place: RecoveryPartition::at_end(SIZE, 64 * UNIT).unwrap().extent(),
        attempts: 0,
        failures: 0,
        used: Vec::new(),
        reason: None,
        boot_code: None,
        boot: area(0, 3 * UNIT),
        volume: area(3, 5),
        pin: Digest::new(Algorithm::Sha256, [1; 32]),
        image: area(4, UNIT + 7),
        nonce: "11".repeat(32).parse().unwrap(),
        secrets: Some(Secrets { host_key: Some(HostKeySeed::new([0xab; 32])), ..Secrets::default() }),
    };
    let mut stream = serde_json::to_vec(&control).unwrap();
    stream.push(b'\n');
    for (byte, Area { length, .. }) in (1..).zip([control.boot, control.volume, control.image]) {
        stream.resize(stream.len() + usize::try_from(length).unwrap(), byte);
    }
    (control, stream)
}

#[test]
fn a_request_is_staged_while_the_disk_is_in_use_and_told_without_its_secrets() {
    let scene = Scene::new(true);
    // As a mounted root has it.
    let root = format!("{}p3", scene.device.path().display());
    let _in_use = Disk::open(root.as_ref(), Access::Write).unwrap();
    let found = scene.find().unwrap();
    let told = found.tell().unwrap();
    assert_eq!((told.disk_size, told.offset, told.length), (SIZE, scene.partition.offset, 64 * UNIT));
    assert_eq!((told.version, told.sector_size, told.staged), (Control::VERSION, 512, None));

    let (control, stream) = request("ab");
    let staged = found.stage(&mut Cursor::new(&stream)).unwrap();
    assert_eq!((staged.state, staged.token.as_str()), (State::Staged, control.token.as_str()));
    let text = serde_json::to_string(&found.tell().unwrap()).unwrap();
    assert!(
        text.contains(&control.token) && !text.contains("abababababababab\"}") && !text.contains("secrets"),
        "{text}"
    );
    let disk = Disk::open(scene.device.path(), Access::Read).unwrap();
    assert_eq!(Control::read(&disk, scene.partition).unwrap(), Some(control));

    let error = found.stage(&mut Cursor::new(request("cd").1)).unwrap_err().to_string();
    assert!(error.contains("another one is staged"), "{error}");
    let error = found.cancel(&"cd".repeat(32)).unwrap_err().to_string();
    assert!(error.contains("none with this token waits"), "{error}");
    found.cancel(&"ab".repeat(32)).unwrap();
    let over = found.tell().unwrap().staged.unwrap();
    assert_eq!((over.state, over.reason.as_deref()), (State::Failed, Some("it was cancelled")));
}

#[test]
fn a_request_that_is_cut_off_counts_for_nothing() {
    let scene = Scene::new(true);
    let (_, stream) = request("ab");
    let error = scene.find().unwrap().stage(&mut Cursor::new(&stream[..stream.len() - 1])).unwrap_err().to_string();
    assert!(error.contains("it is cut off"), "{error}");
    assert_eq!(scene.find().unwrap().tell().unwrap().staged, None);
}

#[test]
fn a_report_is_that_of_the_token_and_of_no_other_request() {
    let scene = Scene::new(true);
    let found = scene.find().unwrap();
    let refused = |token: &str, expected: &str| {
        let error = found.report(&token.repeat(32)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused("ab", "nothing with this token");
    found.stage(&mut Cursor::new(request("ab").1)).unwrap();
    refused("ab", "it waits for the next start");
    scene.agent(|disk, control| {
        scene.partition.keep_report(disk, b"{\"of\":\"ab\"}").unwrap();
        Control { state: State::Done, secrets: None, ..control }.write_over(disk, scene.partition).unwrap();
    });
    assert_eq!(found.report(&"ab".repeat(32)).unwrap(), b"{\"of\":\"ab\"}");
    let error = found.stage(&mut Cursor::new(request("ab").1)).unwrap_err().to_string();
    assert!(error.contains("its token is used"), "{error}");
    // That of the first is still in its place.
    found.stage(&mut Cursor::new(request("cd").1)).unwrap();
    refused("ab", "nothing with this token");
    scene.agent(|disk, control| {
        let failed = Control { state: State::Failed, reason: Some("no power".to_owned()), ..control };
        failed.write_over(disk, scene.partition).unwrap();
    });
    refused("cd", "it was given up");
    let staged = found.tell().unwrap().staged.unwrap();
    assert_eq!((staged.state, staged.reason.as_deref()), (State::Failed, Some("no power")));
}

#[test]
fn a_disk_without_a_recovery_partition_is_told() {
    let scene = Scene::new(false);
    let error = scene.find().unwrap_err();
    assert!(matches!(error, StagerError::NotThere { .. }), "{error}");
    let error = Found::find(Some("none")).unwrap_err().to_string();
    assert!(error.contains("there is no /dev/none"), "{error}");
}
