//! A host with one fake driver and one real image, whose machines' agents report what the test wants.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_driver::{
    fake::{Agent, Fake},
    machine::{Boot, Drivers},
};
use cloud_machine_operation::{Creation, Described, Exceptions, OperationError, Operations, Reimage, ReimageOptions};
use cloud_machine_protocol::{
    AgentMessage, Assurance, HostMessage, MachineName, Read, Report, RescueHostKey, RootOfTrust, Tier,
};
use cloud_machine_store::{MachineRecord, MachineState, Store};
use cloud_machine_tests::{
    fixture::{self, Fixture, IMAGE},
    honest_agent,
};

/// How long an attempt may take; a machine that is none ends when its agent does.
pub(crate) const TIME: Duration = Duration::from_secs(60);

/// What the agent was told and saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The state of the stored record when the machine began to run.
    pub(crate) state_at_start: Option<MachineState>,
    /// The port of the stored record then, and that of the boot.
    pub(crate) ports_at_start: Option<(u16, u16)>,
    /// The host's word, and the stored record when it came.
    pub(crate) word: Option<(HostMessage, MachineRecord)>,
    /// Nonces of all boots.
    pub(crate) nonces: Vec<String>,
    /// The tiers that all boots were asked for.
    pub(crate) tiers: Vec<Option<Tier>>,
}

pub(crate) struct Host {
    _fixture: Arc<Fixture>,
    _state: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) fake: Fake,
    pub(crate) drivers: Drivers,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) name: MachineName,
}

impl Host {
    /// A host whose agents report what `change` makes of an honest report, or close their port where it makes nothing.
    pub(crate) fn new(change: impl Fn(Report) -> Option<Report> + Send + Sync + 'static) -> Self {
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
    pub(crate) fn silent() -> Self {
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

    /// The same host, by whose driver somebody else may have chosen the code that reports.
    pub(crate) fn rooted_in(mut self, root_of_trust: RootOfTrust, rescue_host_key: Option<RescueHostKey>) -> Self {
        self.fake = self.fake.rooted_in(root_of_trust, rescue_host_key);
        self.drivers = Drivers::default().with(self.fake.clone());
        self
    }

    /// Makes the image one that was packed before its system was looked at, and gives the record that it had.
    pub(crate) fn forget_facts(&self) -> (PathBuf, String) {
        let boot = self.store.root().join("images").join(IMAGE).join("boot.json");
        let with_facts = fs::read_to_string(&boot).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&with_facts).unwrap();
        assert!(record.as_object_mut().unwrap().remove("facts").is_some());
        fs::write(&boot, record.to_string()).unwrap();
        (boot, with_facts)
    }

    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations { store: &self.store, drivers: &self.drivers, observer: &() }
    }

    pub(crate) fn create(&self) -> OperationError {
        // No SSH answers, so that no attempt here ends well.
        self.create_with(&self.name, "").unwrap_err()
    }

    /// Creates a machine with `more` keys in its configuration.
    pub(crate) fn create_with(&self, name: &MachineName, more: &str) -> Result<(), OperationError> {
        self.create_from(name, &format!("cloud-machine: {{driver: fake, image: {IMAGE}{more}}}"))
    }

    pub(crate) fn create_from(&self, name: &MachineName, text: &str) -> Result<(), OperationError> {
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

    pub(crate) fn reimage(&self, release: bool) -> OperationError {
        self.operations().reimage(&self.name, &reimage(release)).map(|_| ()).unwrap_err()
    }

    pub(crate) fn record(&self) -> MachineRecord {
        self.store.read(&self.name).unwrap()
    }

    pub(crate) fn stored(&self) -> Vec<u8> {
        fs::read(self.store.machine(&self.name).record()).unwrap()
    }

    pub(crate) fn word(&self) -> Option<(HostMessage, MachineRecord)> {
        assert!(self.fake.agents_ended(TIME), "its agent goes on though the attempt has ended");
        self.seen.lock().unwrap().word.take()
    }
}

pub(crate) fn reimage(release: bool) -> Reimage {
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
        say(&AgentMessage::Hello(honest_agent::hello()));
        // The host speaks only once the machine goes on, when everything has to be stored.
        let attached = honest_agent::attached_volume(boot);
        let volume = match attached {
            Some(volume) => volume,
            None => {
                let Some(HostMessage::Volume { bytes }) = hear(&mut lines) else { return };
                exactly(bytes, &mut lines)
            }
        };
        let Some(HostMessage::Secrets(_)) = hear(&mut lines) else { return };
        if !boot.devices.iter().any(|device| device.serial == "cm-image") {
            say(&AgentMessage::Read(Read { offset: 3, length: 5 }));
            let Some(HostMessage::Data { bytes }) = hear(&mut lines) else { return };
            assert_eq!(exactly(bytes, &mut lines), fs::read(image.packed()).unwrap()[3..8]);
        }
        let record = store.read(&name).unwrap();
        let honest = honest_agent::report(boot, &image, &volume);
        {
            let mut seen = seen.lock().unwrap();
            seen.state_at_start = Some(record.state);
            seen.ports_at_start = Some((record.ssh_port, boot.ssh_port));
            seen.nonces.push(serde_json::to_string(&honest.nonce).unwrap());
            seen.tiers.push(honest_agent::tier(&volume));
        }
        let Some(report) = change(honest) else { return };
        say(&AgentMessage::Report(Box::new(report)));
        let Some(word) = hear(&mut lines) else { return };
        seen.lock().unwrap().word = Some((word, store.read(&name).unwrap()));
    })
}

fn hear(lines: &mut BufReader<UnixStream>) -> Option<HostMessage> {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap_or_default();
    serde_json::from_str(&line).ok()
}

fn exactly(length: u64, lines: &mut BufReader<UnixStream>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    lines.read_exact(&mut bytes).unwrap();
    bytes
}
