//! A driver whose machines are threads of this process, for tests of the order in which a host does things: it remembers what it
//! was asked, and faults can be planted in its answers. Must not be a driver of a program.

use std::{
    fmt,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Digest, MachineFacts, RescueHostKey, RootOfTrust};
use cloud_machine_store::{DriverState, ImageFolder, Store};

use crate::{
    description::{Description, Support},
    error::{DriverError, DriverErrorKind},
    machine::{
        Boot, Delivery, Doubt, Driver, KnownMachine, MachineRef, Orphan, Power, Processor, Provisioned, Running,
        Snapshots, Started, Trouble, WantedMachine,
    },
};

/// What the agent of a boot says over its port.
pub type Agent = Arc<dyn Fn(&Boot, UnixStream) + Send + Sync>;

/// What a fake was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Driver::power`].
    Power,
    /// [`Driver::halt`].
    Halt,
    /// [`Driver::processor`].
    Processor,
    /// [`Driver::start`].
    Start,
    /// [`Running::resume`].
    Resume,
    /// [`Running::start_system`].
    StartSystem,
    /// [`Snapshots::keep`].
    Keep,
    /// [`Snapshots::rebuild`].
    Rebuild,
    /// [`Snapshots::discard`].
    Discard,
}

/// What its machines say of themselves, where a provider has made them.
const FACTS: &str = r#"{"kind": "facts", "version": 1, "value": {
    "machine_id": null, "hostname": "rescue", "product_uuid": null, "firmware": "bios", "in_memory": true,
    "interfaces": [{"name": "eth0", "mac": "52:54:00:12:34:56", "addresses": []}],
    "disks": [{"name": "vda", "serial": "system", "size": SIZE, "bus": "virtio", "holds_root": false}]}}"#;

/// Faults of a fake's answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A machine that was halted is still there.
    pub stays_on: bool,
    /// Nobody can say whether it runs.
    pub unknown: bool,
    /// A program that the driver needs is missing.
    pub tool_is_missing: bool,
    /// It cannot be halted.
    pub halt_fails: bool,
    /// It cannot be started.
    pub start_fails: bool,
    /// The port that leads to its SSH is taken by something else.
    pub port_taken: bool,
    /// It does not go on once it was started.
    pub resume_fails: bool,
    /// Its disks find no room on the host.
    pub stands_still: bool,
    /// Its own system is not started.
    pub system_fails: bool,
    /// Its disk is not kept.
    pub keep_fails: bool,
    /// What was kept is not there any more.
    pub snapshot_gone: bool,
    /// Its disk is not written from what was kept.
    pub rebuild_fails: bool,
    /// What was kept is not deleted.
    pub discard_fails: bool,
}

/// The driver.
#[derive(Clone)]
pub struct Fake {
    shared: Arc<Shared>,
    agent: Agent,
    root_of_trust: RootOfTrust,
    rescue_host_key: Option<RescueHostKey>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Faults>,
    on: AtomicBool,
    /// Bytes of the disk that was asked for last.
    disk: AtomicU64,
    /// Which boot it is, so that an agent which ends late ends no machine but its own.
    boot: AtomicU64,
    agents: Mutex<usize>,
    agent_ended: Condvar,
}

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fake")
    }
}

impl Fake {
    /// A driver whose machines' agents are `agent`.
    #[must_use]
    pub fn new(agent: Agent) -> Self {
        Self { shared: Arc::default(), agent, root_of_trust: RootOfTrust::Host, rescue_host_key: None }
    }

    /// The same machines, as a driver of another root of trust starts them.
    #[must_use]
    pub fn rooted_in(self, root_of_trust: RootOfTrust, rescue_host_key: Option<RescueHostKey>) -> Self {
        Self { root_of_trust, rescue_host_key, ..self }
    }

    /// Plants faults in the answers from now on.
    pub fn plant(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// What it was asked since the last call of this, in order.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.shared.calls))
    }

    /// Whether a machine of it runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::SeqCst)
    }

    /// Switches its machine on, as somebody else may, so that its own system runs.
    pub fn switch_on(&self) {
        // An agent that is still ending is of the boot before, and takes this one's power away no more.
        self.shared.boot.fetch_add(1, Ordering::SeqCst);
        self.shared.on.store(true, Ordering::SeqCst);
    }

    /// Cuts its power.
    pub fn switch_off(&self) {
        self.shared.on.store(false, Ordering::SeqCst);
    }

    /// Waits until no agent is at work; `false` when one still is after `limit`. An operation ends without waiting for what its
    /// agent makes of the last word.
    #[must_use]
    pub fn agents_ended(&self, limit: Duration) -> bool {
        let at_work = lock(&self.shared.agents);
        let waited = self.shared.agent_ended.wait_timeout_while(at_work, limit, |at_work| *at_work > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn called(&self, call: Call) -> Faults {
        lock(&self.shared.calls).push(call);
        *lock(&self.shared.faults)
    }
}

/// A test that panicked elsewhere says so itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Failed, format!("planted: {what}"))
}

impl Driver for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn describe(&self) -> Description {
        let keys = ["driver", "image", "resources.ram", "resources.cpus", "resources.disks.*.boot-partition"];
        Description::new(self.name(), &keys.map(|key| (key, Support::Exact)))
    }

    fn preflight(&self) -> Result<(), DriverError> {
        let kind = DriverErrorKind::MissingTool { package: "fake", programs: "fake" };
        let missing = lock(&self.shared.faults).tool_is_missing;
        if missing { Err(DriverError::new(kind, "planted: a program is missing")) } else { Ok(()) }
    }

    fn processor(&self, _: &Store, _: &ImageFolder) -> Result<Processor, DriverError> {
        self.called(Call::Processor);
        Ok(Processor { accelerator: "none".to_owned(), model: "none".to_owned(), reason: "it is a fake".to_owned() })
    }

    fn kernel_arguments(&self) -> &'static str {
        "console=fake"
    }

    fn root_of_trust(&self) -> RootOfTrust {
        self.root_of_trust
    }

    /// What a provider starts has nothing of this host's attached.
    fn delivery(&self) -> Delivery {
        match self.root_of_trust {
            RootOfTrust::Provider => Delivery::Connection,
            RootOfTrust::Host | RootOfTrust::MachineDisk => Delivery::Devices,
        }
    }

    /// A provider's machines are made before they are started.
    fn provision(&self, wanted: &WantedMachine<'_>, _: Instant) -> Option<Result<Provisioned, DriverError>> {
        self.shared.disk.store(wanted.disk, Ordering::SeqCst);
        let control = DriverState::of(&wanted.uuid).map_err(|error| failed(&error.to_string()));
        let (address, port, told) = ("192.0.2.1".to_owned(), 22, "a thread".to_owned());
        Some(control.map(|control| Provisioned { control, address, port, told }))
    }

    fn survey(&self, _: &MachineRef, _: (&Path, Digest), _: Instant) -> Result<MachineFacts, DriverError> {
        let size = self.shared.disk.load(Ordering::SeqCst).to_string();
        MachineFacts::read(FACTS.replace("SIZE", &size).as_bytes()).map_err(|error| failed(&error.to_string()))
    }

    fn orphans(&self, _: &str, _: &[KnownMachine]) -> Option<Result<Vec<Orphan>, DriverError>> {
        (self.root_of_trust == RootOfTrust::Provider).then(|| Ok(Vec::new()))
    }

    /// Only a provider's machines are there before they are known.
    fn control(&self, named: &str) -> Option<Result<DriverState, DriverError>> {
        let control = DriverState::of(&named).map_err(|error| failed(&error.to_string()));
        (self.root_of_trust == RootOfTrust::Provider).then_some(control)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        (self.root_of_trust == RootOfTrust::Provider).then_some(self)
    }

    fn start_system(&self, _: &MachineRef, _: Instant) -> Result<Box<dyn Running>, DriverError> {
        Running::start_system(self, Instant::now())?;
        self.shared.on.store(true, Ordering::SeqCst);
        Ok(Box::new(self.clone()))
    }

    fn power(&self, _: &MachineRef, _: Duration) -> Power {
        let faults = self.called(Call::Power);
        if faults.unknown {
            return Power::Unknown(Doubt::new(None, "planted: nobody can say"));
        }
        if self.is_on() { Power::On(Box::new(self.clone())) } else { Power::Off }
    }

    fn halt(&self, _: &MachineRef, _: Duration) -> Result<(), DriverError> {
        let faults = self.called(Call::Halt);
        if faults.halt_fails {
            return Err(failed("it cannot be halted"));
        }
        if !faults.stays_on {
            self.shared.on.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    fn start(&self, _: &MachineRef, boot: &Boot, _: Instant) -> Result<Started, DriverError> {
        let faults = self.called(Call::Start);
        if faults.start_fails {
            return Err(failed("it cannot be started"));
        }
        self.shared.on.store(true, Ordering::SeqCst);
        let (host, guest) = UnixStream::pair().map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        let (agent, boot) = (Arc::clone(&self.agent), boot.clone());
        let ssh_port = if faults.port_taken { boot.ssh_port.wrapping_add(1) } else { boot.ssh_port };
        let shared = Arc::clone(&self.shared);
        // It ends with its port at the latest, and the machine with it.
        let number = shared.boot.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        *lock(&shared.agents) += 1;
        thread::spawn(move || {
            agent(&boot, guest);
            if !lock(&shared.faults).stays_on && shared.boot.load(Ordering::SeqCst) == number {
                shared.on.store(false, Ordering::SeqCst);
            }
            *lock(&shared.agents) -= 1;
            shared.agent_ended.notify_all();
        });
        let state = DriverState::of(&"a thread of this process").map_err(|error| failed(&error.to_string()))?;
        let (running, rescue_host_key) = (Box::new(self.clone()), self.rescue_host_key);
        Ok(Started { running, agent: host, state, ssh_port, rescue_host_key })
    }
}

impl Snapshots for Fake {
    fn keep(&self, _: &MachineRef, _: &str, attempt: &str, _: Instant) -> Result<DriverState, DriverError> {
        if self.called(Call::Keep).keep_fails {
            return Err(failed("its disk is not kept"));
        }
        DriverState::of(&attempt).map_err(|error| failed(&error.to_string()))
    }

    fn check(&self, _: &MachineRef, _: &str, _: &str, _: &DriverState, _: Instant) -> Result<(), DriverError> {
        let gone = || DriverError::new(DriverErrorKind::Refused, "planted: it is not there any more");
        if lock(&self.shared.faults).snapshot_gone { Err(gone()) } else { Ok(()) }
    }

    fn rebuild(&self, _: &MachineRef, _: &DriverState, _: Instant) -> Result<(), DriverError> {
        if self.called(Call::Rebuild).rebuild_fails { Err(failed("its disk is not written")) } else { Ok(()) }
    }

    fn discard(&self, _: &MachineRef, _: &str, _: &DriverState, _: Instant) -> Result<(), DriverError> {
        if self.called(Call::Discard).discard_fails { Err(failed("it is not deleted")) } else { Ok(()) }
    }
}

impl Running for Fake {
    fn ended(&self, _: Instant) -> Result<bool, DriverError> {
        Ok(!self.is_on())
    }

    fn resume(&self, _: Instant) -> Result<(), DriverError> {
        if self.called(Call::Resume).resume_fails { Err(failed("it does not go on")) } else { Ok(()) }
    }

    fn agent_ended(&self, _: Instant) -> Result<bool, DriverError> {
        Ok(true)
    }

    fn start_system(&self, _: Instant) -> Result<Option<DriverState>, DriverError> {
        if self.called(Call::StartSystem).system_fails {
            return Err(failed("its own system is not started"));
        }
        Ok(None)
    }

    fn trouble(&self, _: Instant) -> Result<Option<Trouble>, DriverError> {
        Ok(lock(&self.shared.faults).stands_still.then_some(Trouble::NoSpace))
    }

    fn shut_down(&self, _: Instant) -> Result<bool, DriverError> {
        self.shared.on.store(false, Ordering::SeqCst);
        Ok(true)
    }
}
