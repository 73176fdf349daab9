use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use cloud_machine_protocol::{HostKeySeed, ImageRequest, ImageSource, Nonce, Request};
use cloud_machine_recovery::{Control, Firmware, RESERVED, UNIT};
use cloud_machine_volume::write::{build, pin};

use super::{super::request::can_start, *};
use crate::channel::AgentChannel;

const UUID: &str = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
const DISK: u64 = 1 << 30;
/// More than one message.
const IMAGE: usize = (5 << 20) + 3;

/// What the machine does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It reimages itself, and answers with its kept key alone from then on.
    Reimages,
    /// Its agent gives the request up, and the old system answers.
    GivesUp,
    /// It starts again, and no agent looks.
    Ignores,
    /// It cannot be started again.
    StaysOn,
    /// It is full.
    TakesNothing,
    /// It reimages itself, a cut comes before the token is used, and the new system has no agent.
    StaysReported,
    /// As that, and the connection is lost when the new system is to settle it and when it is asked for the report, once each.
    DropsTwice,
    /// It reimages itself, and its report cannot be had.
    KeepsReport,
    /// It never answers again.
    IsLost,
}

#[derive(Debug)]
struct Shared {
    does: Does,
    staged: Vec<u8>,
    state: Option<State>,
    restarted: bool,
    /// How often an answer was lost.
    lost: usize,
    report: Vec<u8>,
    cancelled: Vec<String>,
}

impl Does {
    fn reimages(self) -> bool {
        matches!(self, Self::Reimages | Self::StaysReported | Self::DropsTwice | Self::KeepsReport)
    }
}

impl Shared {
    /// Loses the answer of number `index` that is to be lost.
    fn loses(&mut self, index: usize) -> Result<(), DriverError> {
        if self.does != Does::DropsTwice || self.lost != index {
            return Ok(());
        }
        self.lost += 1;
        Err(failed("cannot log in to machine x as root: connection reset"))
    }
}

#[derive(Clone, Debug)]
struct Fake(Arc<Mutex<Shared>>);

impl Fake {
    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn told(&self) -> Told {
        self.with(|shared| {
            let request = |state| ToldRequest {
                state,
                token: token(),
                attempts: 1,
                reason: (state == State::Failed).then(|| "it is for a disk of 7 bytes".to_owned()),
            };
            let boot_id = if shared.restarted { "second" } else { "first" }.to_owned();
            Told { boot_id, staged: shared.state.map(request), ..told() }
        })
    }
}

impl Machine for Fake {
    fn tell(&self, _: Instant) -> Result<Told, DriverError> {
        match self.with(|shared| (shared.does, shared.restarted)) {
            (does, true) if does.reimages() || does == Does::IsLost => Err(failed("another host key")),
            _ => Ok(self.told()),
        }
    }

    fn stage(&self, fill: super::super::machine::Fill<'_>, _: Instant) -> Result<(), DriverError> {
        let mut staged = Vec::new();
        fill(&mut staged)?;
        if self.with(|shared| shared.does) == Does::TakesNothing {
            return Err(failed("another one is under way"));
        }
        self.with(|shared| (shared.staged, shared.state) = (staged, Some(State::Staged)));
        Ok(())
    }

    fn cancel(&self, token: &str, _: Instant) -> Result<(), DriverError> {
        self.with(|shared| {
            shared.state = None;
            shared.cancelled.push(token.to_owned());
        });
        Ok(())
    }

    fn settle(&self, token: &str, _: Instant) -> Result<(), DriverError> {
        self.with(|shared| {
            assert_eq!((token, shared.state), (self::token().as_str(), Some(State::Reported)));
            shared.loses(0)?;
            shared.state = Some(State::Done);
            Ok(())
        })
    }

    fn restart(&self, _: Instant) -> Result<(), DriverError> {
        self.with(|shared| {
            if shared.does == Does::StaysOn {
                return Err(failed("no systemctl"));
            }
            shared.restarted = true;
            match shared.does {
                Does::Reimages | Does::KeepsReport => shared.state = Some(State::Done),
                Does::StaysReported | Does::DropsTwice => shared.state = Some(State::Reported),
                Does::GivesUp => shared.state = Some(State::Failed),
                _ => {}
            }
            Ok(())
        })
    }

    fn tell_after(&self, _: Instant) -> Result<Told, DriverError> {
        match self.with(|shared| (shared.does, shared.restarted)) {
            (does, true) if does.reimages() => Ok(self.told()),
            _ => Err(failed("another host key")),
        }
    }

    fn report(&self, token: &str, _: Instant) -> Result<Vec<u8>, DriverError> {
        assert_eq!(token, self::token());
        self.with(|shared| {
            if shared.does == Does::KeepsReport {
                return Err(failed("there is no report of this request: it is not whole"));
            }
            shared.loses(1)?;
            Ok(shared.report.clone())
        })
    }
}

fn token() -> String {
    "ab".repeat(32)
}

fn told() -> Told {
    Told {
        version: Control::VERSION,
        boot_id: "first".to_owned(),
        disk: "vda".to_owned(),
        disk_size: DISK,
        sector_size: 512,
        offset: DISK - 65 * UNIT,
        length: 64 * UNIT,
        firmware: Firmware::Bios,
        secure_boot: Some(false),
        machine: Some(UUID.to_owned()),
        consoles: vec!["ttyS0".to_owned()],
        staged: None,
    }
}

fn nonce() -> Nonce {
    "11".repeat(32).parse().unwrap()
}

fn volume() -> Vec<u8> {
    let request = Request {
        version: FORMAT_VERSION,
        id: "01JD3QV8W0ABCDEFGHJKMNPQRS".to_owned(),
        attempt: 1,
        nonce: nonce(),
        machine_uuid: UUID.to_owned(),
        action: Action::Reimage,
        image: ImageRequest {
            name: "x".to_owned(),
            digest: Digest::new(Algorithm::Blake3, [3; 32]),
            size: 4096,
            source: ImageSource::Connection { size: IMAGE as u64 },
            minimum_generation: 0,
            exceptions: Vec::new(),
        },
        tier: None,
        drives: Vec::new(),
        histories: Default::default(),
        kept: Default::default(),
        unsupported: Vec::new(),
        deadline_seconds: 1,
    };
    build(&[(volume::REQUEST, &serde_json::to_vec(&request).unwrap())]).unwrap()
}

/// The header of a bzImage, and an initramfs.
fn files(folder: &std::path::Path) -> (PathBuf, PathBuf) {
    let mut kernel = vec![7; 1300];
    for (at, part) in [(0x202, &b"HdrS"[..]), (0x206, &[0x0f, 2]), (0x238, &[0xff, 7, 0, 0])] {
        kernel[at..at + part.len()].copy_from_slice(part);
    }
    let paths = (folder.join("kernel"), folder.join("initramfs"));
    fs::write(&paths.0, kernel).unwrap();
    fs::write(&paths.1, [&b"070701"[..], &[b'0'; 1000]].concat()).unwrap();
    paths
}

/// What an attempt leaves.
struct Left {
    report: Report,
    steps: Vec<String>,
    fake: Fake,
}

fn image() -> Vec<u8> {
    (0..IMAGE).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// An attempt whose host does what it does for every agent.
fn attempt(does: Does, told: Told, host_key: Option<HostKeySeed>) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let (kernel, initramfs) = files(folder.path());
    let kept =
        Report { result: ReportResult::Done, nonce: Some(nonce()), boot_id: "third".to_owned(), ..not_done(vec![]) };
    let report = [serde_json::to_vec(&kept).unwrap(), b"\n".to_vec()].concat();
    let shared =
        Shared { does, staged: Vec::new(), state: None, restarted: false, lost: 0, report, cancelled: Vec::new() };
    let fake = Fake(Arc::new(Mutex::new(shared)));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let staging = Staging {
        machine: Box::new(fake.clone()),
        told,
        kernel,
        initramfs,
        command_line: "panic=-1".to_owned(),
        token: token(),
        // For one that never answers no pause fits into the time that is left, however busy this host is.
        pause: if does == Does::IsLost { LONG } else { Duration::from_millis(5) },
        until: Instant::now() + LONG,
    };
    let agent = thread::spawn(move || staging.serve(theirs));
    let until = Instant::now() + Duration::from_secs(20);
    let (mut channel, mut steps, image) = (AgentChannel::new(ours), Vec::new(), image());
    let report = loop {
        match channel.next(until).unwrap() {
            AgentMessage::Hello(hello) => {
                assert_eq!(hello.boot_id, "", "nothing has started yet");
                let volume = volume();
                channel.send_with(&HostMessage::Volume { bytes: volume.len() as u64 }, &volume, until).unwrap();
                channel
                    .send(&HostMessage::Secrets(Secrets { host_key: host_key.clone(), ..Secrets::default() }), until)
                    .unwrap();
            }
            AgentMessage::Event(event) => steps.push(event.step.unwrap().0),
            AgentMessage::Read(Read { offset, length }) => {
                let start = usize::try_from(offset).unwrap();
                let bytes = &image[start..start + usize::try_from(length).unwrap()];
                channel.send_with(&HostMessage::Data { bytes: length }, bytes, until).unwrap();
            }
            AgentMessage::Report(report) => break *report,
        }
    };
    drop(channel);
    agent.join().unwrap();
    steps.dedup();
    Left { report, steps, fake }
}

fn seed() -> Option<HostKeySeed> {
    Some(HostKeySeed::new([0xcd; 32]))
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_request_arrives_whole_and_its_report_comes_back() {
    let Left { report, steps, fake } = attempt(Does::Reimages, told(), seed());
    assert_eq!((report.result, report.boot_id.as_str(), report.nonce), (ReportResult::Done, "third", Some(nonce())));
    assert_eq!(steps[..2], ["stage", "restart"]);
    let staged = fake.with(|shared| std::mem::take(&mut shared.staged));
    let end = staged.iter().position(|byte| *byte == b'\n').unwrap();
    let control: Control = serde_json::from_slice(&staged[..end]).unwrap();
    assert_eq!((control.state, control.token, control.attempts), (State::Staged, token(), 0));
    assert_eq!((control.machine.as_str(), control.disk_size, control.nonce), (UUID, DISK, nonce()));
    assert_eq!(control.boot_code.unwrap().len(), 880);
    assert!(control.secrets.unwrap().host_key.is_some());
    let volume = volume();
    assert_eq!(control.pin, pin(&volume));
    let rest = &staged[end + 1..];
    let [boot, of_volume, of_image] = [control.boot, control.volume, control.image];
    assert_eq!((of_volume.length, of_image.length), (volume.len() as u64, IMAGE as u64));
    assert!(boot.offset + boot.length <= of_volume.offset && of_volume.offset + of_volume.length <= of_image.offset);
    let (boot, rest) = rest.split_at(usize::try_from(boot.length).unwrap());
    assert!(boot.starts_with(b"070701"), "initramfs, kernel and GRUB");
    assert!(rest == [volume, image()].concat());
}

#[test]
fn a_reimage_whose_end_nobody_wrote_down_is_settled() {
    let Left { report, fake, .. } = attempt(Does::StaysReported, told(), seed());
    assert_eq!(report.result, ReportResult::Done);
    assert_eq!(fake.with(|shared| shared.state), Some(State::Done));
}

#[test]
fn an_answer_that_is_lost_on_its_way_does_not_make_a_finished_reimage_a_failed_one() {
    let Left { report, fake, .. } = attempt(Does::DropsTwice, told(), seed());
    assert_eq!(report.result, ReportResult::Done);
    assert_eq!(fake.with(|shared| (shared.state, shared.lost)), (Some(State::Done), 2));
}

#[test]
fn a_request_that_waits_from_before_is_taken_away_first() {
    for (state, taken) in [
        (State::Staged, true),
        (State::Armed, true),
        (State::Begun, true),
        (State::Reported, true),
        (State::Done, false),
        (State::Failed, false),
    ] {
        let before = ToldRequest { state, token: "cd".repeat(32), attempts: 0, reason: None };
        let Left { report, fake, .. } = attempt(Does::Reimages, Told { staged: Some(before), ..told() }, seed());
        assert_eq!(report.result, ReportResult::Done);
        assert_eq!(fake.with(|shared| shared.cancelled.clone()) == ["cd".repeat(32)], taken, "{state:?}");
    }
}

#[test]
fn what_ends_in_no_report_is_told_and_leaves_no_request_that_waits() {
    for (does, expected, waits) in [
        (Does::GivesUp, "the machine gave the reimage up: it is for a disk of 7 bytes", false),
        (Does::Ignores, "nothing of it began with the staged request", false),
        (Does::StaysOn, "no systemctl", false),
        (Does::TakesNothing, "another one is under way", false),
        (
            Does::KeepsReport,
            "the machine has reimaged itself, and its report cannot be had: there is no report of this request: it is not whole",
            false,
        ),
        // It may still be reimaging itself.
        (Does::IsLost, "its report did not come in time", true),
    ] {
        let Left { report, fake, .. } = attempt(does, told(), seed());
        let ReportResult::Failed { causes, .. } = report.result else { panic!("{does:?}") };
        assert!(causes[0].contains(expected), "{causes:?}");
        let state = fake.with(|shared| shared.state);
        assert_eq!(state == Some(State::Staged), waits, "{does:?}");
        let cancelled = fake.with(|shared| shared.cancelled.clone());
        assert!(cancelled.iter().all(|cancelled| *cancelled == token()), "{cancelled:?}");
    }
}

#[test]
fn a_request_that_would_lead_nowhere_is_not_staged() {
    let small = Told { length: 7 * UNIT + RESERVED, ..told() };
    let other = Told { machine: Some("another".to_owned()), ..told() };
    let early = Told { offset: 512, ..told() };
    for (told, host_key, expected) in [
        (told(), None, "change its host key"),
        (small, seed(), "the recovery partition has 11534336 bytes, and the request needs 12582912"),
        (other, seed(), "and this one has another"),
        (early, seed(), "and the machine's recovery partition begins at byte 512"),
    ] {
        let Left { report, fake, .. } = attempt(Does::Reimages, told, host_key);
        let ReportResult::Failed { causes, .. } = report.result else { panic!("{expected}") };
        assert!(causes[0].contains(expected), "{causes:?}");
        assert!(fake.with(|shared| shared.staged.is_empty() && !shared.restarted));
    }
}

#[test]
fn a_machine_whose_firmware_would_not_start_it_is_refused() {
    can_start(&told()).unwrap();
    for (told, expected) in [
        (Told { secure_boot: Some(true), ..told() }, "secure boot is on"),
        (Told { secure_boot: None, ..told() }, "secure boot may be on"),
        (Told { version: 1, ..told() }, "knows version 1"),
        (Told { sector_size: 4096, ..told() }, "sectors of 4096 bytes"),
        (Told { offset: u64::MAX, ..told() }, "is not on its disk"),
        (Told { length: UNIT, ..told() }, "is not on its disk"),
    ] {
        let error = can_start(&told).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.way_out.is_some(), "{error}");
    }
}
