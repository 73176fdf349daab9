//! The driver of machines elsewhere with a real sshd on loopback as what answers, and power that is a test's.

use std::{
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    DriverError, DriverErrorKind,
    description::Description,
    machine::{Boot, Driver, MachineRef, Power, Processor, Started},
    remote::{Controls, LoginKey, Remote, RescueSystem, Source, Switch},
    ssh::fingerprint,
};
use cloud_machine_protocol::{Connection, MachineName, RescueHostKey};
use cloud_machine_store::{DriverState, MachineLock, RemoteRecord, Store};
use cloud_machine_tests::{artifacts::Artifacts, sshd::Sshd};
use jiff::Timestamp;

/// What somebody with power over a machine was asked, and answers.
#[derive(Debug, Default)]
struct Owner {
    asked: Mutex<Vec<String>>,
    on: AtomicBool,
    /// Something else switches the machine on as soon as its rescue system is enabled.
    hasty: AtomicBool,
    /// The rescue system was never booted, as its owner says.
    not_entered: AtomicBool,
}

impl Owner {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }
}

/// A driver by whose name one machine is known.
#[derive(Clone, Debug)]
struct Scripted(Arc<Owner>, RescueSystem);

#[derive(Debug)]
struct Script(Scripted);

impl Source for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn describe(&self) -> Description {
        Description::new(self.name(), &[])
    }

    fn controls(&self, _: &MachineRef, _: &DriverState) -> Result<Box<dyn Controls>, DriverError> {
        Ok(Box::new(Script(self.clone())))
    }

    fn settings(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn control(&self, _: &str) -> Result<DriverState, DriverError> {
        Ok(DriverState::of(&"any").unwrap())
    }
}

impl Controls for Script {
    fn power(&self, _: Instant) -> Result<Switch, DriverError> {
        Ok(if self.0.0.on.load(Ordering::SeqCst) { Switch::On } else { Switch::Off })
    }

    fn switch(&self, to: Switch, _: Instant) -> Result<(), DriverError> {
        self.0.0.note(to.to_string());
        self.0.0.on.store(to == Switch::On, Ordering::SeqCst);
        Ok(())
    }

    fn enable_rescue(&self, _: &LoginKey, _: Instant) -> Result<RescueSystem, DriverError> {
        self.0.0.note("rescue");
        if self.0.0.hasty.load(Ordering::SeqCst) {
            self.0.0.on.store(true, Ordering::SeqCst);
        }
        Ok(self.0.1.clone())
    }

    fn disable_rescue(&self, _: Instant) -> Result<(), DriverError> {
        Ok(())
    }

    fn release(&self, _: Option<&LoginKey>, _: Instant) -> Result<(), DriverError> {
        Ok(())
    }

    fn entered(&self, _: Instant) -> Result<(), DriverError> {
        if self.0.0.not_entered.load(Ordering::SeqCst) {
            return Err(DriverError::new(DriverErrorKind::Refused, "its owner has started something else"));
        }
        Ok(())
    }
}

/// A machine whose rescue system is an sshd on loopback.
struct Scene {
    owner: Arc<Owner>,
    sshd: Sshd,
    /// Where each login is written down.
    logins: PathBuf,
    machine: MachineRef,
    boot: Boot,
    agent: PathBuf,
    _lock: MachineLock,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let name: MachineName = "web".parse().unwrap();
        let lock = store.lock(&name).unwrap();
        let own = store.machine(&name);
        let logins = folder.path().join("logins");
        let sshd = Sshd::start(own.path(), &forced(&logins));
        // It is the rescue system's key, not the one that a report has pinned.
        fs::remove_file(own.known_hosts()).unwrap();
        let remote = RemoteRecord {
            address: "127.0.0.1".to_owned(),
            port: sshd.target.port,
            host_key: None,
            control: DriverState::of(&"any").unwrap(),
            facts: None,
            snapshot: None,
            adopted: Timestamp::UNIX_EPOCH,
        };
        let agent = Artifacts::from_environment_without_image().unwrap().agent;
        let boot = Boot {
            name: name.clone(),
            uuid: String::new(),
            ram: 0,
            cpus: 1,
            processor: Processor { accelerator: String::new(), model: String::new(), reason: String::new() },
            mac: "52:54:00:12:34:56".parse().unwrap(),
            connection: Connection::User,
            nics: Vec::new(),
            ssh_port: 0,
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            command_line: String::new(),
            agent_digest: cloud_machine_volume::write::pin(&fs::read(&agent).unwrap()),
            agent: agent.clone(),
            devices: Vec::new(),
            folder: own.new_attempt(&lock).unwrap(),
        };
        let machine = MachineRef { name, uuid: None, state: None, remote: Some(remote), folder: own };
        Self { owner: Arc::default(), sshd, logins, machine, boot, agent, _lock: lock, _folder: folder }
    }

    fn driver(&self, host_key: Option<String>) -> Remote<Scripted> {
        let limit = Some(Duration::from_secs(30));
        Remote(Scripted(Arc::clone(&self.owner), RescueSystem { host_key, limit, ..RescueSystem::default() }))
    }

    /// How a start is refused, with a rescue system whose host key is `known`.
    fn refused(&self, known: Option<String>) -> DriverError {
        // As whoever starts it has made sure.
        self.owner.on.store(false, Ordering::SeqCst);
        let started = self.driver(known).start(&self.machine, &self.boot, soon());
        // Nothing is said to an agent before its machine goes on. Once it has said something itself, no file of it is left.
        let agent = |started: Started| {
            (&started.agent).read_exact(&mut [0; 8]).unwrap();
            started.running.resume(soon())
        };
        started.and_then(agent).unwrap_err()
    }

    fn logins(&self) -> usize {
        fs::read_to_string(&self.logins).unwrap_or_default().lines().count()
    }
}

/// Writes each login down, and then does what was wanted.
fn forced(logins: &std::path::Path) -> String {
    format!("ForceCommand echo login >> {}; eval \"$SSH_ORIGINAL_COMMAND\"", logins.display())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn a_rescue_system_is_started_and_believed_in_one_order() {
    let scene = Scene::new();
    for (known, told) in [(None, RescueHostKey::Unknown), (Some(scene.sshd.host_key.clone()), RescueHostKey::Known)] {
        let started = scene.driver(known).start(&scene.machine, &scene.boot, soon()).unwrap();
        assert_eq!(started.rescue_host_key, Some(told));
        assert_eq!(*scene.owner.asked.lock().unwrap(), ["rescue", "on"]);
        let mut hello = [0; 8];
        (&started.agent).read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"{\"kind\":");
        scene.owner.on.store(false, Ordering::SeqCst);
        scene.owner.asked.lock().unwrap().clear();
    }
}

#[test]
fn a_machine_that_was_switched_on_before_its_rescue_system_is_not_believed() {
    let scene = Scene::new();
    scene.owner.hasty.store(true, Ordering::SeqCst);
    let error = scene.refused(None);
    assert_eq!(error.kind, DriverErrorKind::Refused);
    assert!(error.to_string().contains("machine web was switched on by somebody else before"), "{error}");
    assert!(error.way_out.is_some());
    assert_eq!(*scene.owner.asked.lock().unwrap(), ["rescue"], "what runs there is not talked to");
    // Nor is what it would say of itself, when it is made.
    let digest = scene.boot.agent_digest;
    let error = scene.driver(None).survey(&scene.machine, (&scene.agent, digest), soon()).unwrap_err();
    assert!(error.to_string().contains("was switched on by somebody else"), "{error}");
    assert_eq!(scene.logins(), 0);
}

#[test]
fn what_answers_with_a_key_of_the_machines_own_system_is_not_logged_in_to() {
    let scene = Scene::new();
    let pinned = scene.machine.folder.known_hosts();
    // As the last report named it, and as it was when the machine was adopted.
    fs::write(&pinned, format!("[127.0.0.1]:{} {}\n", scene.sshd.target.port, scene.sshd.host_key)).unwrap();
    let pinned_one = scene.refused(None);
    fs::remove_file(&pinned).unwrap();
    let mut machine = scene.machine.clone();
    machine.remote.as_mut().unwrap().host_key = Some(scene.sshd.host_key.clone());
    scene.owner.on.store(false, Ordering::SeqCst);
    let adopted_one = scene.driver(None).start(&machine, &scene.boot, soon()).map(drop).unwrap_err();
    for error in [pinned_one, adopted_one] {
        assert_eq!(error.kind, DriverErrorKind::Refused);
        assert!(error.to_string().contains("answers with the host key of its own system"), "{error}");
    }
    let strange = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let error = scene.refused(Some(strange.to_owned())).to_string();
    assert!(error.contains(strange) && error.contains(&fingerprint(&scene.sshd.host_key)), "{error}");
    assert_eq!(scene.logins(), 0);
}

#[test]
fn a_host_key_that_changes_after_it_was_taken_is_refused_and_nothing_is_handed_over() {
    let scene = Scene::new();
    // Another server, whose logins are another file's: it lets the same key in.
    let other = scene.logins.with_extension("other");
    let second = Sshd::start(scene.machine.folder.path(), &forced(&other));
    fs::remove_file(scene.machine.folder.known_hosts()).unwrap();
    assert_ne!(second.host_key, scene.sshd.host_key);
    let taken = scene.boot.folder.path().join("known_hosts");
    let (first, second_port) = (scene.sshd.target.port, second.target.port);
    let relay = relay(move || if taken.exists() { second_port } else { first });
    let mut machine = scene.machine.clone();
    machine.remote.as_mut().unwrap().port = relay;
    // Whoever starts it notices when the agent says nothing.
    if let Ok(started) = scene.driver(None).start(&machine, &scene.boot, soon()) {
        let mut said = Vec::new();
        started.agent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (&started.agent).read_to_end(&mut said).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&said), "");
        drop(started);
    }
    let log = fs::read_to_string(scene.boot.folder.console_log()).unwrap();
    assert!(log.contains("Host key verification failed"), "{log}");
    assert!(!other.exists(), "somebody was let in to what has another key");
}

#[test]
fn what_answers_is_nothing_when_its_owner_has_started_something_else() {
    let scene = Scene::new();
    scene.owner.not_entered.store(true, Ordering::SeqCst);
    let error = scene.refused(None);
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (DriverErrorKind::Refused, "its owner has started something else")
    );
    let digest = scene.boot.agent_digest;
    let error = scene.driver(None).survey(&scene.machine, (&scene.agent, digest), soon()).unwrap_err();
    assert_eq!(error.to_string(), "its owner has started something else");
    assert_eq!(scene.logins(), 2, "it did answer");
    let Power::On(_) = scene.driver(None).power(&scene.machine, Duration::ZERO) else {
        panic!("who refuses cuts no power")
    };
}

/// A port of this host that leads to the one that is named when somebody connects.
fn relay(to: impl Fn() -> u16 + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for incoming in listener.incoming().map_while(Result::ok) {
            let Ok(outgoing) = TcpStream::connect((Ipv4Addr::LOCALHOST, to())) else { continue };
            for (mut from, mut to) in [
                (incoming.try_clone().unwrap(), outgoing.try_clone().unwrap()),
                (outgoing.try_clone().unwrap(), incoming.try_clone().unwrap()),
            ] {
                thread::spawn(move || {
                    io::copy(&mut from, &mut to).unwrap_or_default();
                    to.shutdown(Shutdown::Write).unwrap_or_default();
                });
            }
        }
    });
    port
}
