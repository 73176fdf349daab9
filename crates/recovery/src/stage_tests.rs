//! Requests that are staged, and those that are not.

use std::io::Cursor;

use cloud_machine_image::{ReadBlocks, WriteBlocks};
use cloud_machine_protocol::{Algorithm, Digest};

use crate::{
    Area, Control, Head, OpenPartition, RESERVED, RecoveryError, RecoveryPartition, Starts, State, UNIT,
    tests::{CODE, Memory, SIZE, with_recovery},
};

const TOKEN: &str = "abababababababababababababababababababababababababababababababab";
const BOOT: u64 = 70_000;
const VOLUME: u64 = 4096;
const IMAGE: u64 = (3 << 20) + 5;

/// Makes a request another one.
type Change = fn(&mut Control);

/// The partition's own device, and the disk that it is a part of.
struct Machine {
    device: Memory,
    /// What starts the machine's own system, and what starts the partition.
    head: Head,
    interim: Head,
    partition: RecoveryPartition,
}

impl Machine {
    fn new() -> Self {
        let (disk, partition) = with_recovery();
        let bytes = disk.bytes();
        let place = |at: u64| usize::try_from(at).unwrap();
        let own = bytes[place(partition.offset)..place(partition.offset + partition.length)].to_vec();
        let head = Head::read(&disk).unwrap();
        Self { device: Memory::new(own), interim: head.interim(Some(&CODE)).unwrap(), head, partition }
    }

    fn open(&self) -> OpenPartition<'_> {
        OpenPartition { device: &self.device, partition: self.partition, disk_size: SIZE }
    }

    /// As a system does that runs from the disk.
    fn cancel(&self, token: &str) -> Result<(), RecoveryError> {
        self.open().cancel(token, &self.head)
    }

    fn stage(&self, stream: Vec<u8>) -> Result<Control, RecoveryError> {
        self.open().stage(&mut Cursor::new(stream))
    }

    fn control(&self) -> Option<Control> {
        Control::read(&self.open(), self.partition).unwrap()
    }

    /// Puts a control in place of whatever is there.
    fn set(&self, control: &Control) {
        control.write(&self.open(), self.partition).unwrap();
    }
}

pub(crate) fn control() -> Control {
    let area = |offset, length| Area { offset: offset * UNIT, length };
    Control {
        version: Control::VERSION,
        state: State::Staged,
        token: TOKEN.to_owned(),
        machine: "uuid".to_owned(),
        disk_size: SIZE,
        place: RecoveryPartition::at_end(SIZE, 64 * UNIT).unwrap().extent(),
        attempts: 0,
        failures: 0,
        used: Vec::new(),
        reason: None,
        boot_code: Some(CODE.iter().map(|byte| format!("{byte:02x}")).collect()),
        boot: area(0, BOOT),
        volume: area(1, VOLUME),
        pin: Digest::new(Algorithm::Sha256, [1; 32]),
        image: area(2, IMAGE),
        nonce: "11".repeat(32).parse().unwrap(),
        secrets: None,
    }
}

fn stream(control: &Control) -> Vec<u8> {
    let mut stream = serde_json::to_vec(control).unwrap();
    stream.push(b'\n');
    for (byte, length) in [(1, BOOT), (2, VOLUME), (3, IMAGE)] {
        stream.resize(stream.len() + usize::try_from(length).unwrap(), byte);
    }
    stream
}

#[test]
fn a_request_lies_where_it_says_and_goes_again_when_it_is_cancelled() {
    let machine = Machine::new();
    assert_eq!(machine.stage(stream(&control())).unwrap(), control());
    assert_eq!(machine.control(), Some(control()));
    let mut found = vec![0; 4096];
    for (offset, byte) in [(0, 1), (UNIT, 2), (2 * UNIT, 3), (4 * UNIT, 3)] {
        machine.open().read_at(&mut found, machine.partition.offset + offset).unwrap();
        assert_eq!(found, [byte; 4096], "{offset}");
    }
    // The last block of the image: five bytes of it, then zeros.
    machine.open().read_at(&mut found, machine.partition.offset + 5 * UNIT).unwrap();
    assert_eq!((&found[..5], found[5..].iter().all(|byte| *byte == 0)), (&[3; 5][..], true));
    let other = machine.cancel(&"cd".repeat(32)).unwrap_err().to_string();
    assert_eq!(other, "the request is not staged: none with this token waits");
    machine.cancel(TOKEN).unwrap();
    let over = machine.control().unwrap();
    assert_eq!((over.state, over.reason.as_deref()), (State::Failed, Some("it was cancelled")));
    let all = machine.device.bytes();
    assert!(all[..all.len() - usize::try_from(RESERVED).unwrap()].iter().all(|byte| *byte == 0));
}

#[test]
fn what_is_no_request_for_this_disk_is_refused_and_nothing_counts() {
    let cases: [(&str, Change); 13] = [
        ("and the request says 67108864 bytes at byte 7", |control| control.place.offset = 7),
        ("a disk of 5 bytes, and this has 104857600", |control| control.disk_size = 5),
        ("does not look like a new one", |control| control.state = State::Armed),
        ("does not look like a new one", |control| control.attempts = 1),
        ("does not look like a new one", |control| control.token = "ab".to_owned()),
        ("does not look like a new one", |control| control.token = "x".repeat(64)),
        ("its boot code is not 440 bytes", |control| control.boot_code = Some("cc".to_owned())),
        ("it has version 3", |control| control.version = 3),
        ("overlap", |control| control.volume.offset = 0),
        ("are empty", |control| control.volume.length = 0),
        ("the place of the staged image", |control| control.image.length = 60 * UNIT),
        ("the place of the staged boot files", |control| control.boot.offset = 1),
        ("the place of the staged volume", |control| control.volume.length = u64::MAX),
    ];
    for (expected, change) in cases {
        let machine = Machine::new();
        let mut changed = control();
        change(&mut changed);
        let error = machine.stage(stream(&changed)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(machine.control(), None, "{expected}");
    }
}

#[test]
fn a_stream_that_is_cut_off_or_too_long_stages_nothing() {
    let whole = stream(&control());
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for length in [0, 10, line, line + 1, line + 70_000, whole.len() - 1] {
        let machine = Machine::new();
        let error = machine.stage(whole[..length].to_vec()).unwrap_err().to_string();
        assert!(error.contains("cut off") || error.contains("does not end"), "{length}: {error}");
        assert_eq!(machine.control(), None, "{length}");
    }
    let machine = Machine::new();
    let error = machine.stage([whole.as_slice(), b"x"].concat()).unwrap_err().to_string();
    assert!(error.contains("more follows behind its image"), "{error}");
    let endless = machine.stage(vec![b' '; 2 << 20]).unwrap_err().to_string();
    assert!(endless.contains("does not end"), "{endless}");
    assert_eq!(machine.control(), None);
}

#[test]
fn a_token_counts_once_and_one_request_waits_at_a_time() {
    let machine = Machine::new();
    let other = Control { token: "cd".repeat(32), ..control() };
    machine.stage(stream(&other)).unwrap();
    machine.cancel(&other.token).unwrap();
    machine.stage(stream(&control())).unwrap();
    // One that was used two requests ago.
    machine.cancel(TOKEN).unwrap();
    let error = machine.stage(stream(&other)).unwrap_err().to_string();
    assert!(error.contains("its token is used"), "{error}");
    let other = Control { token: "ef".repeat(32), ..control() };
    machine.set(&control());
    let error = machine.stage(stream(&other)).unwrap_err().to_string();
    assert!(error.contains("another one is staged: cancel that first"), "{error}");
    for state in [State::Armed, State::Begun, State::Reported] {
        machine.set(&Control { state, ..control() });
        let error = machine.stage(stream(&other)).unwrap_err().to_string();
        assert!(error.contains("another one is under way"), "{state:?}: {error}");
        assert!(machine.open().cancel(TOKEN, &machine.interim).is_err(), "{state:?}");
        assert_eq!(machine.control().unwrap().state, state);
    }
    for state in [State::Done, State::Failed] {
        machine.set(&Control { state, ..control() });
        let error = machine.stage(stream(&control())).unwrap_err().to_string();
        assert!(error.contains("its token is used"), "{state:?}: {error}");
    }
    let staged = machine.stage(stream(&other)).unwrap();
    assert_eq!((staged.token, staged.used), (other.token, vec![TOKEN.to_owned()]));
}

#[test]
fn a_partition_shows_nothing_of_the_rest_of_its_disk() {
    let machine = Machine::new();
    let mut found = vec![0; 4096];
    for offset in [0, machine.partition.offset - 4096, machine.partition.offset + machine.partition.length] {
        assert!(machine.open().read_at(&mut found, offset).is_err(), "{offset}");
    }
    assert!(matches!(Head::read(&machine.open()), Err(RecoveryError::Io { .. })));
}

#[test]
fn one_that_is_under_way_goes_only_where_nothing_goes_on_with_it() {
    for (state, left) in [(State::Armed, State::Failed), (State::Begun, State::Failed), (State::Reported, State::Done)]
    {
        // By the boot code alone, by the table alone, and by both.
        let by_code = Control { state, ..control() };
        let by_table = Control { boot_code: None, ..by_code.clone() };
        for (control, head) in [(&by_code, true), (&by_table, true), (&by_code, false)] {
            let machine = Machine::new();
            machine.set(control);
            let interim = if head { machine.interim.clone() } else { with_code(&machine.head) };
            let error = machine.open().cancel(TOKEN, &interim).unwrap_err().to_string();
            assert!(error.contains("the next start of the machine goes on with it"), "{state:?}: {error}");
            assert_eq!(machine.control().unwrap().state, state);
            let error = machine.cancel(&"cd".repeat(32)).unwrap_err().to_string();
            assert!(error.contains("none with this token waits"), "{state:?}: {error}");
            machine.cancel(TOKEN).unwrap();
            assert_eq!(machine.control().unwrap().state, left);
            assert!(machine.cancel(TOKEN).is_err(), "{state:?}: twice");
            machine.stage(stream(&Control { token: "cd".repeat(32), ..self::control() })).unwrap();
        }
    }
}

#[test]
fn one_whose_recovery_did_not_come_up_says_how_the_boot_head_comes_back() {
    let machine = Machine::new();
    machine.set(&Control { state: State::Armed, ..control() });
    machine.partition.keep_head(&machine.open(), &machine.head).unwrap();
    // As what a BIOS starts leaves it after five starts.
    machine.open().write_at(b"CMRS\x05\0", machine.partition.starts_at()).unwrap();
    let error = machine.open().cancel(TOKEN, &machine.interim).unwrap_err().to_string();
    assert!(error.contains("started 5 times and its agent did not come up"), "{error}");
    // The bytes that it names are those of the head.
    let words: Vec<&str> = error.split(' ').collect();
    let number = |before: [&str; 2]| {
        let at = words.windows(2).position(|two| two == before).unwrap();
        words[at + 2].parse::<usize>().unwrap()
    };
    let (length, at) = (number(["Then", "the"]), number(["at", "byte"]));
    assert!(machine.device.bytes()[at..at + length] == *machine.head.bytes(0, length).unwrap());
    // With them on the disk nothing starts the partition, whatever the backup table says.
    let mut copied = machine.interim.clone();
    copied.put(0, &machine.device.bytes()[at..at + length]);
    machine.open().cancel(TOKEN, &copied).unwrap();
    // Of one that has begun there is no head of before.
    machine.set(&Control { state: State::Begun, ..control() });
    machine.open().write_at(b"CMRS\x05\x01", machine.partition.starts_at()).unwrap();
    let error = machine.open().cancel(TOKEN, &machine.interim).unwrap_err().to_string();
    assert!(error.contains("the next start of the machine goes on with it"), "{error}");
}

/// A head with the table of the system and the boot code of the recovery partition, as a cut can leave it.
fn with_code(head: &Head) -> Head {
    let mut head = head.clone();
    head.put(0, &CODE);
    head
}

#[test]
fn starts_are_counted_from_none_for_each_request() {
    let machine = Machine::new();
    let (partition, open) = (machine.partition, machine.open());
    assert_eq!(partition.starts(&open).unwrap(), None);
    partition.count_starts_anew(&open, true).unwrap();
    assert_eq!(partition.starts(&open).unwrap(), Some(Starts { count: 0, begun: true }));
    machine.stage(stream(&control())).unwrap();
    assert_eq!(partition.starts(&open).unwrap(), Some(Starts { count: 0, begun: false }));
    // As what a BIOS starts counts: one byte of one sector.
    let at = usize::try_from(partition.starts_at() - partition.offset).unwrap();
    let mut bytes = machine.device.bytes();
    assert_eq!(bytes[at..at + 6], *b"CMRS\0\0");
    bytes[at + 4] = 3;
    let counted = Memory::new(bytes);
    let open = OpenPartition { device: &counted, partition, disk_size: SIZE };
    assert_eq!(partition.starts(&open).unwrap(), Some(Starts { count: 3, begun: false }));
    assert_eq!(Control::read(&open, partition).unwrap(), Some(control()));
}
