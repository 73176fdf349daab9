//! The order in which the host does an attempt, with a driver whose faults are planted: the real operations, a real store and a
//! real packed image, and no machine.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_driver::{
    fake::{Agent, Call, Fake, Faults},
    machine::{Boot, Drivers},
};
use cloud_machine_operation::{
    Creation, Described, ErrorKind, Exceptions, Hint, OperationError, Operations, Reimage, ReimageOptions,
};
use cloud_machine_protocol::{AgentMessage, Assurance, HostMessage, MachineName, Report, Tier};
use cloud_machine_store::{MachineRecord, MachineState, Store, Strategy, Wanted};
use cloud_machine_tests::{
    fixture::{self, Fixture, IMAGE},
    honest_agent,
};

/// How long an attempt may take; a machine that is none ends when its agent does.
const TIME: Duration = Duration::from_secs(60);

/// What the agent was told and saw.
#[derive(Debug, Default)]
struct Seen {
    /// The state of the stored record when the machine began to run.
    state_at_start: Option<MachineState>,
    /// The port of the stored record then, and that of the boot.
    ports_at_start: Option<(u16, u16)>,
    /// The host's word, and the stored record when it came.
    word: Option<(HostMessage, MachineRecord)>,
    /// Nonces of all boots.
    nonces: Vec<String>,
    /// The tiers that all boots were asked for.
    tiers: Vec<Option<Tier>>,
}

struct Host {
    _fixture: Arc<Fixture>,
    _state: tempfile::TempDir,
    store: Store,
    fake: Fake,
    drivers: Drivers,
    seen: Arc<Mutex<Seen>>,
    name: MachineName,
}

impl Host {
    /// A host whose agents report what `change` makes of an honest report, or close their port where it makes nothing.
    fn new(change: impl Fn(Report) -> Option<Report> + Send + Sync + 'static) -> Self {
        let fixture = fixture::without_turn();
        let state = tempfile::tempdir().unwrap();
        let from = fixture.program().state().join("images");
        copy(&from, &state.path().join("images"));
        let store = Store::open(state.path().to_owned()).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let name: MachineName = "demo".parse().unwrap();
        let agent = agent(state.path().to_owned(), name.clone(), Arc::clone(&seen), change);
        Self::with(fixture, state, store, seen, name, agent)
    }

    /// A host whose agents say nothing and keep their port open.
    fn silent() -> Self {
        let host = Self::new(Some);
        let agent: Agent = Arc::new(|_: &Boot, port: UnixStream| {
            let mut line = String::new();
            BufReader::new(port).read_line(&mut line).unwrap_or_default();
        });
        let Self { _fixture, _state, store, seen, name, .. } = host;
        Self::with(_fixture, _state, store, seen, name, agent)
    }

    fn with(
        fixture: Arc<Fixture>,
        state: tempfile::TempDir,
        store: Store,
        seen: Arc<Mutex<Seen>>,
        name: MachineName,
        agent: Agent,
    ) -> Self {
        let fake = Fake::new(agent);
        let drivers = Drivers::default().with(fake.clone());
        Self { _fixture: fixture, _state: state, store, fake, drivers, seen, name }
    }

    /// Makes the image one that was packed before its system was looked at, and gives the record that it had.
    fn forget_facts(&self) -> (PathBuf, String) {
        let boot = self.store.root().join("images").join(IMAGE).join("boot.json");
        let with_facts = fs::read_to_string(&boot).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&with_facts).unwrap();
        assert!(record.as_object_mut().unwrap().remove("facts").is_some());
        fs::write(&boot, record.to_string()).unwrap();
        (boot, with_facts)
    }

    fn operations(&self) -> Operations<'_> {
        Operations { store: &self.store, drivers: &self.drivers, observer: &() }
    }

    fn create(&self) -> OperationError {
        // No SSH answers, so that no attempt here ends well.
        self.create_with(&self.name, "").unwrap_err()
    }

    /// Creates a machine with `more` keys in its configuration.
    fn create_with(&self, name: &MachineName, more: &str) -> Result<(), OperationError> {
        self.create_from(name, &format!("cloud-machine: {{driver: fake, image: {IMAGE}{more}}}"))
    }

    fn create_from(&self, name: &MachineName, text: &str) -> Result<(), OperationError> {
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let merged = merge(&[defaults(), document]).unwrap();
        let config = validate(&merged).unwrap();
        let creation = Creation {
            described: Described { merged, config },
            drives: Vec::new(),
            exceptions: Exceptions::default(),
            image_url: None,
            options: ReimageOptions::default(),
            timeout: TIME,
        };
        let operations = self.operations();
        operations.check_creation(&creation).unwrap();
        operations.create(name, &creation).map(drop)
    }

    fn reimage(&self, release: bool) -> OperationError {
        self.operations().reimage(&self.name, &reimage(release)).map(|_| ()).unwrap_err()
    }

    fn record(&self) -> MachineRecord {
        self.store.read(&self.name).unwrap()
    }

    fn stored(&self) -> Vec<u8> {
        fs::read(self.store.machine(&self.name).record()).unwrap()
    }

    fn word(&self) -> Option<(HostMessage, MachineRecord)> {
        assert!(self.fake.agents_ended(TIME), "its agent goes on though the attempt has ended");
        self.seen.lock().unwrap().word.take()
    }
}

fn reimage(release: bool) -> Reimage {
    Reimage {
        image: None,
        image_url: None,
        exceptions: Exceptions::default(),
        options: ReimageOptions::default(),
        required: Assurance::HostRooted,
        release,
        timeout: TIME,
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn agent(
    state: PathBuf,
    name: MachineName,
    seen: Arc<Mutex<Seen>>,
    change: impl Fn(Report) -> Option<Report> + Send + Sync + 'static,
) -> Agent {
    Arc::new(move |boot: &Boot, port: UnixStream| {
        let store = Store::open(state.clone()).unwrap();
        let image = store.image(&IMAGE.parse().unwrap()).unwrap();
        let mut lines = BufReader::new(port.try_clone().unwrap());
        let mut port = port;
        let mut say = |message: &AgentMessage| {
            let mut line = serde_json::to_vec(message).unwrap();
            line.push(b'\n');
            // The host may have given up.
            port.write_all(&line).unwrap_or_default();
        };
        let mut hear = || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap_or_default();
            serde_json::from_str::<HostMessage>(&line).ok()
        };
        say(&AgentMessage::Hello(honest_agent::hello()));
        // The host speaks only once the machine goes on, when everything has to be stored.
        let Some(HostMessage::Secrets(_)) = hear() else { return };
        let record = store.read(&name).unwrap();
        let honest = honest_agent::report(boot, &image);
        {
            let mut seen = seen.lock().unwrap();
            seen.state_at_start = Some(record.state);
            seen.ports_at_start = Some((record.ssh_port, boot.ssh_port));
            seen.nonces.push(serde_json::to_string(&honest.nonce).unwrap());
            seen.tiers.push(honest_agent::tier(boot));
        }
        let Some(report) = change(honest) else { return };
        say(&AgentMessage::Report(Box::new(report)));
        let Some(word) = hear() else { return };
        seen.lock().unwrap().word = Some((word, store.read(&name).unwrap()));
    })
}

/// What cloud-init is handed is seen by whoever asks whether the machine was used since.
#[test]
fn a_machine_whose_documents_let_others_in_counts_as_used_from_its_acceptance_on() {
    for (more, used) in [
        ("", false),
        ("}\nusers: [default]\nhostname: web\n#", false),
        ("}\nusers: [ada]\n#", true),
        ("}\nruncmd: [id]\n#", true),
    ] {
        let host = Host::new(Some);
        host.forget_facts();
        host.create_with(&host.name, more).unwrap_err();
        let (word, accepted) = host.word().unwrap();
        assert!(matches!(word, HostMessage::Go { .. }), "{more:?}: {word:?}");
        assert_eq!((accepted.state, accepted.dirty), (MachineState::Accepted, used), "{more:?}");
    }
}

#[test]
fn the_last_boot_is_gone_before_there_is_a_nonce_and_everything_is_stored_before_the_word() {
    let host = Host::new(Some);
    let error = host.create();
    assert_eq!(error.kind, ErrorKind::Failed, "no SSH answers: {}", error.line());
    let order = [Call::Power, Call::Halt, Call::Power, Call::Processor, Call::Start, Call::Resume];
    let calls = host.fake.calls();
    assert_eq!(calls.get(..order.len()), Some(&order[..]), "{calls:?}");
    assert_eq!(host.seen.lock().unwrap().state_at_start, Some(MachineState::Writing));
    let (word, record) = host.word().expect("a word");
    assert!(matches!(word, HostMessage::Go { .. }), "{word:?}");
    assert_eq!((record.state, record.assurance), (MachineState::Accepted, Some(Assurance::HostRooted)));
    let report = host.store.machine(&host.name).path().join(record.last_report.expect("a report"));
    assert!(report.is_file(), "the evidence is there before the machine may go on");
    assert!(record.host_key.is_some() && record.accepted.is_some());
    // The attempt failed at its end: the machine is off, and its failure is recorded.
    assert!(!host.fake.is_on());
    assert_eq!(host.record().state, MachineState::Failed);
}

#[test]
fn a_machine_that_stays_on_or_of_which_nobody_can_say_gets_no_nonce_and_keeps_its_record() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let (before, nonces) = (host.stored(), host.seen.lock().unwrap().nonces.len());
    for (faults, calls) in [
        (Faults { unknown: true, ..Faults::default() }, vec![Call::Power]),
        (Faults { halt_fails: true, ..Faults::default() }, vec![Call::Power, Call::Halt]),
    ] {
        host.fake.plant(faults);
        let error = host.reimage(false);
        assert_eq!(error.kind, ErrorKind::Failed, "{faults:?}: {}", error.line());
        assert_eq!(host.fake.calls(), calls, "{faults:?}");
        assert!(host.stored() == before, "{faults:?}: the record is as it was");
    }
    assert_eq!(host.seen.lock().unwrap().nonces.len(), nonces);
}

#[test]
fn power_that_stays_on_after_it_was_cut_is_no_end() {
    let host = Host::new(|_| None);
    // The agent breaks off, and the machine cannot be ended: it is on from now on.
    host.fake.plant(Faults { stays_on: true, ..Faults::default() });
    let error = host.create();
    assert!(host.fake.is_on());
    assert!(
        error.hints.iter().any(|hint| matches!(hint, Hint::Also(why) if why.contains("cannot prove"))),
        "{error:?}"
    );
    host.fake.calls();
    let before = host.stored();
    let error = host.reimage(false);
    assert!(error.line().contains("cannot prove that every process of machine demo has ended"), "{}", error.line());
    assert_eq!(host.fake.calls(), [Call::Power, Call::Halt, Call::Power]);
    assert!(host.stored() == before);
}

#[test]
fn no_nonce_is_used_twice() {
    let host = Host::new(Some);
    host.create();
    host.reimage(false);
    host.reimage(true);
    let mut nonces = host.seen.lock().unwrap().nonces.clone();
    assert_eq!(nonces.len(), 3);
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 3);
}

#[test]
fn a_refused_report_is_kept_and_gets_no_word_to_go_and_three_of_them_are_enough() {
    let host = Host::new(|mut report| {
        report.disks.clear();
        Some(report)
    });
    for attempt in 1..=3 {
        let error = if attempt == 1 { host.create() } else { host.reimage(false) };
        assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
        let kept = error.hints.iter().find_map(|hint| match hint {
            Hint::RefusedReport(path) => Some(path),
            _ => None,
        });
        assert!(kept.unwrap().is_absolute() && kept.unwrap().is_file(), "{error:?}");
        let (word, _) = host.word().expect("a word");
        assert!(matches!(word, HostMessage::Stop { .. }), "{word:?}");
        assert!(!host.fake.is_on());
        let record = host.record();
        let why = record.request.as_ref().and_then(|request| request.failure.clone());
        assert!(why.is_some_and(|why| why.starts_with("the report is refused")), "the record says why");
        assert_eq!((record.last_report, record.assurance), (None, None));
        let quarantined = error.hints.iter().any(|hint| matches!(hint, Hint::Quarantined { failures: Some(3), .. }));
        assert_eq!((quarantined, record.state == MachineState::Quarantined), (attempt == 3, attempt == 3));
    }
    host.fake.calls();
    let error = host.reimage(false);
    assert!(error.hints.iter().any(|hint| matches!(hint, Hint::Quarantined { failures: None, .. })), "{error:?}");
    assert!(host.fake.calls().is_empty(), "a quarantined machine is left alone");
    host.reimage(true);
    assert!(host.fake.calls().contains(&Call::Start), "an operator lets it try again");
}

#[test]
fn an_attempt_whose_machine_was_never_started_does_not_count() {
    let host = Host::new(Some);
    host.fake.plant(Faults { start_fails: true, ..Faults::default() });
    host.create();
    for _ in 0..4 {
        let error = host.reimage(false);
        assert!(error.line().contains("planted: it cannot be started"), "{}", error.line());
        assert_eq!(host.record().state, MachineState::Failed);
    }
}

#[test]
fn a_port_that_had_to_change_is_stored_before_the_machine_goes_on() {
    let host = Host::new(Some);
    host.fake.plant(Faults { port_taken: true, ..Faults::default() });
    host.create();
    let (stored, asked) = host.seen.lock().unwrap().ports_at_start.unwrap();
    assert_eq!(stored, asked.wrapping_add(1));
    assert_eq!(host.record().ssh_port, stored);
}

#[test]
fn a_machine_that_does_not_go_on_is_ended() {
    let host = Host::new(Some);
    host.fake.plant(Faults { resume_fails: true, ..Faults::default() });
    let error = host.create();
    assert!(error.line().contains("planted: it does not go on"), "{}", error.line());
    assert!(!host.fake.is_on());
    assert!(host.word().is_none());
}

#[test]
fn who_finishes_a_reimage_wants_what_was_asked_for() {
    let host = Host::new(|_| None);
    host.create();
    let mut reimage = reimage(false);
    reimage.options.strategy = Some(Strategy::Rewrite);
    reimage.options.tier = Some(Tier::Stream);
    host.operations().reimage(&host.name, &reimage).map(|_| ()).unwrap_err();
    let wanted = |host: &Host| host.record().request.expect("a request").wanted;
    let asked = wanted(&host);
    assert_eq!((asked.strategy, asked.tier), (Some(Strategy::Rewrite), Some(Tier::Stream)));
    assert_eq!(asked.required, Some(Assurance::HostRooted));
    host.operations().start(&host.name, TIME).map(|_| ()).unwrap_err();
    assert_eq!(wanted(&host), asked, "start asks for the same");
    let sent = host.seen.lock().unwrap().tiers.clone();
    assert_eq!(sent, [None, Some(Tier::Stream), Some(Tier::Stream)], "and so does its agent");
}

#[test]
fn what_no_reimage_reaches_is_refused_before_the_machine_is_touched() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    let asked = Reimage { required: Assurance::Sealed, ..reimage(false) };
    let error = host.operations().reimage(&host.name, &asked).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_machine_that_stands_still_is_not_waited_for() {
    let host = Host::silent();
    host.fake.plant(Faults { stands_still: true, ..Faults::default() });
    let began = Instant::now();
    let error = host.create();
    assert!(began.elapsed() < TIME / 2, "{:?}", began.elapsed());
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.line().contains("the machine stands still: the host's file system is full"), "{}", error.line());
}

#[test]
fn a_missing_program_is_told_before_the_machine_is_touched() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    host.fake.plant(Faults { tool_is_missing: true, ..Faults::default() });
    let error = host.reimage(false);
    assert!(error.hints.iter().any(|hint| matches!(hint, Hint::Install { package: "fake", .. })), "{error:?}");
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_machine_of_a_driver_that_this_program_does_not_have_is_left_as_it_is_with_the_way_out() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    let none = Drivers::default();
    let operations = Operations { drivers: &none, ..host.operations() };
    let name = &host.name;
    for (what, error) in [
        ("start", operations.start(name, TIME).map(drop).unwrap_err()),
        ("reimage", operations.reimage(name, &reimage(false)).map(drop).unwrap_err()),
        ("delete", operations.delete(name).unwrap_err()),
    ] {
        assert_eq!(
            (error.kind, error.hints),
            (ErrorKind::Refused, vec![Hint::DriverOfRecord("fake".to_owned())]),
            "{what}"
        );
    }
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_hardware_address_that_another_machine_has_is_refused_before_anything_is_made() {
    let host = Host::new(Some);
    let mac = ", resources: {nic: {mac: '52:54:00:12:34:56'}}";
    host.create_with(&host.name, mac).unwrap_err();
    host.fake.calls();
    let other: MachineName = "other".parse().unwrap();
    let error = host.create_with(&other, mac).unwrap_err();
    assert_eq!((error.kind, &error.hints), (ErrorKind::Refused, &vec![Hint::OtherMac(host.name.clone())]), "{error:?}");
    assert!(error.line().contains("machine demo has the hardware address 52:54:00:12:34:56"), "{}", error.line());
    assert!(host.fake.calls().is_empty() && !host.store.machine(&other).record().exists());
    host.create_with(&host.name, mac).expect("one that is there has its own address");
}

#[test]
fn who_finishes_a_reimage_takes_no_way_that_proves_less() {
    let host = Host::new(|_| None);
    host.create();
    let mut record = host.record();
    let request = record.request.as_mut().expect("a request");
    request.wanted = Wanted { strategy: Some(Strategy::Clone), tier: None, required: Some(Assurance::Unproven) };
    let lock = host.store.lock(&host.name).unwrap();
    host.store.write(&lock, &record).unwrap();
    drop(lock);
    host.operations().start(&host.name, TIME).map(|_| ()).unwrap_err();
    let wanted = host.record().request.expect("a request").wanted;
    assert_eq!((wanted.strategy, wanted.required), (None, Some(Assurance::HostRooted)));
    assert_eq!(host.seen.lock().unwrap().nonces.len(), 2, "it was tried again");
}

/// A machine of another driver has made the golden disk.
#[test]
fn a_plan_takes_no_golden_disk_that_the_driver_cannot_stand_a_machine_on() {
    let host = Host::new(Some);
    host.create();
    let record = host.record();
    let golden = host.store.golden(&record.image.digest, record.disks[0].size).disk();
    fs::create_dir_all(golden.parent().unwrap()).unwrap();
    fs::write(&golden, "").unwrap();
    let planned = host.operations().plan(&host.name).unwrap();
    assert_eq!(planned.strategy, Strategy::Rewrite);
    assert_eq!(planned.strategy_reason, "the driver has neither overlays nor dirty maps");
}

#[test]
fn what_the_images_system_cannot_do_is_refused_before_anything_is_touched() {
    let host = Host::new(Some);
    let ours = format!("cloud-machine: {{driver: fake, image: {IMAGE}");
    let users = format!("{ours}}}\nusers: [ada]\nssh_authorized_keys: []\nruncmd: [reboot]\n");
    for (text, places) in
        [(users.clone(), ["f:2:1", "f:4:1"]), (format!("{ours}, wait-for: [cloud-init]}}\n"), ["f:1:", ""])]
    {
        let error = host.create_from(&host.name, &text).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{}", error.line());
        let said = error.error.to_string();
        assert!(said.contains("the image is without cloud-init") && !said.contains("ssh_authorized_keys:"), "{said}");
        assert!(places.iter().all(|place| said.contains(place)), "{said}");
        assert!(host.store.read(&host.name).is_err(), "no machine is there");
    }
    let docker = format!("{ours}}}\ndocker:\n  engine: {{labels: [a=b]}}\n");
    let said = host.create_from(&host.name, &docker).unwrap_err().error.to_string();
    assert!(said.contains("f:3:11: the image is without docker"), "{said}");
    assert!(host.store.read(&host.name).is_err(), "no machine is there");
    let k3s = format!("{ours}}}\nrancher:\n  k3s: {{role: server}}\n");
    let said = host.create_from(&host.name, &k3s).unwrap_err().error.to_string();
    assert!(said.contains("f:3:8: the image is without k3s"), "{said}");
    assert!(host.store.read(&host.name).is_err(), "no machine is there");
    // Of an image that was packed before its system was looked at, the machine finds out; once it is known, no attempt begins.
    let (boot, with_facts) = host.forget_facts();
    let error = host.create_from(&host.name, &users).unwrap_err();
    assert_ne!(error.kind, ErrorKind::Refused, "{}", error.line());
    fs::write(&boot, with_facts).unwrap();
    let before = host.stored();
    let error = host.reimage(false);
    assert_eq!(error.kind, ErrorKind::Refused, "{}", error.line());
    assert!(host.stored() == before, "the record has changed");
}
