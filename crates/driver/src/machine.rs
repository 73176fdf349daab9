//! The seam between operations and what machines are. A driver gives machines, bytes and answers; which of them are needed, in
//! which order and what is believed is no part of it. Must not name anything of one driver.

mod boot;
mod elsewhere;
mod snapshots;
mod storage;
mod table;

use std::{
    fmt,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Connection, Digest, MachineFacts, MachineName, Nonce, RescueHostKey, RootOfTrust};
use cloud_machine_store::{
    DriverState, ImageFolder, MachineFolder, MachineRecord, RemoteRecord, Store,
    identity::{self, RandomError},
};

use crate::{
    description::Description,
    error::{DriverError, DriverErrorKind},
};

pub use boot::{Backing, BlockDevice, Boot, Interface, Processor};
pub use elsewhere::{GivenSizes, KnownMachine, Orphan, Provisioned, Sizes, WantedMachine};
pub use snapshots::Snapshots;
pub use storage::{DirtyMap, Storage};
pub use table::Drivers;

/// One machine, as a driver is told of it.
#[derive(Clone, Debug)]
pub struct MachineRef {
    /// Its name.
    pub name: MachineName,
    /// Its UUID; `None` when its record cannot be read.
    pub uuid: Option<String>,
    /// What the driver knows its last start by, as it put it into [`Started::state`].
    pub state: Option<DriverState>,
    /// Where it is, when this host does not run it.
    pub remote: Option<RemoteRecord>,
    /// Its folder on this host.
    pub folder: MachineFolder,
}

impl MachineRef {
    /// The machine of a record.
    #[must_use]
    pub fn of(record: &MachineRecord, folder: MachineFolder) -> Self {
        let MachineRecord { name, uuid, driver_state, remote, .. } = record;
        let (name, uuid, state, remote) = (name.clone(), Some(uuid.clone()), driver_state.clone(), remote.clone());
        Self { name, uuid, state, remote, folder }
    }

    /// A machine whose record cannot be read: it is known by its files alone.
    #[must_use]
    pub fn without_record(name: MachineName, folder: MachineFolder) -> Self {
        Self { name, uuid: None, state: None, remote: None, folder }
    }
}

/// Whether anything of a machine runs.
#[derive(Debug)]
pub enum Power {
    /// Nothing of it does.
    Off,
    /// This is it.
    On(Box<dyn Running>),
    /// It cannot be said.
    Unknown(Doubt),
}

/// Why it cannot be said whether a machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The process that may be it.
    pub pid: Option<i32>,
    /// Why, safe to show.
    pub why: String,
    /// What would help, where only the driver knows that.
    pub way_out: Option<String>,
}

impl Doubt {
    /// A doubt of which a driver knows no way out.
    pub fn new(pid: Option<i32>, why: impl Into<String>) -> Self {
        Self { pid, why: why.into(), way_out: None }
    }
}

/// Why a machine stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A write of the machine found no room on the host.
    NoSpace,
    /// The host could not read or write a disk of the machine.
    Disk,
    /// What carries its network has ended, and the machine reaches nothing and is not reached.
    Network,
    /// Another of its driver's words, safe to show.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => formatter.write_str("the host's file system is full, and a write to a disk found no room"),
            Self::Disk => formatter.write_str("the host could not read or write a disk of it"),
            Self::Network => formatter.write_str("the process between it and the user network has ended"),
            Self::Other(word) => write!(formatter, "its driver calls it {word}"),
        }
    }
}

/// Proof that nothing of a machine's last boot runs. Only [`end`] makes one, after the driver said so and was asked again, and
/// it is good for one nonce. Where reports prove nothing anyway, [`without_end`] makes one that proves nothing either.
#[derive(Debug)]
#[must_use = "it is the proof that the next boot may begin"]
pub struct Ended(());

impl Ended {
    /// The nonce of the next boot: there is no other way to one for a machine, so none is alive in two boots.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn nonce(self) -> Result<Nonce, RandomError> {
        identity::nonce()
    }
}

/// Ends what runs of a machine, within `grace` and then by force, asks again, and only then says so.
///
/// # Errors
/// The driver's; of [`DriverErrorKind::Unproven`] when the machine is still there, or when that cannot be told.
pub fn end(driver: &dyn Driver, machine: &MachineRef, grace: Duration) -> Result<Ended, DriverError> {
    driver.halt(machine, grace)?;
    match driver.power(machine, SETTLE) {
        Power::Off => Ok(Ended(())),
        Power::On(_) => Err(unproven(machine, Doubt::new(None, "it is still there"))),
        Power::Unknown(doubt) => Err(unproven(machine, doubt)),
    }
}

/// Lets an attempt begin on a machine of which nobody can say that its last boot has ended, since it runs until it reimages itself: a
/// job that runs there may know the nonce. So it is only for drivers whose root of trust is [`RootOfTrust::MachineDisk`], by which no
/// report is more than `unproven`.
///
/// # Errors
/// Of [`DriverErrorKind::Unproven`] for any other driver.
pub fn without_end(driver: &dyn Driver, machine: &MachineRef) -> Result<Ended, DriverError> {
    if driver.root_of_trust() == RootOfTrust::MachineDisk {
        return Ok(Ended(()));
    }
    Err(unproven(machine, Doubt::new(None, "its driver can end it, and was not asked to")))
}

/// The error for a doubt.
#[must_use]
pub fn unproven(machine: &MachineRef, doubt: Doubt) -> DriverError {
    let (name, why) = (&machine.name, &doubt.why);
    let text = match doubt.pid {
        Some(pid) => format!("cannot prove that process {pid} of machine {name} has ended: {why}"),
        // No process of this host is it.
        None if machine.remote.is_some() => format!("cannot tell whether machine {name} runs: {why}"),
        None => format!("cannot prove that every process of machine {name} has ended: {why}"),
    };
    DriverError::new(DriverErrorKind::Unproven { pid: doubt.pid }, text).with_way_out(doubt.way_out)
}

/// How long a doubt has to last before it counts: the kernel closes the files of a process that has ended, a tool looks at a
/// disk.
pub const SETTLE: Duration = Duration::from_secs(2);

/// A machine that was started and does nothing yet: [`Running::resume`] lets it.
#[derive(Debug)]
pub struct Started {
    /// The machine.
    pub running: Box<dyn Running>,
    /// Bytes to and from the agent: a stream socket of its port, or one end of a pair. Framing, limits and parsing of what
    /// comes are [`AgentChannel`](crate::channel::AgentChannel)'s, once for all drivers.
    pub agent: UnixStream,
    /// What the driver knows the machine by from now on, in a form of its own; it is stored before the machine may do anything.
    pub state: DriverState,
    /// The port that leads to its SSH, which may have had to change.
    pub ssh_port: u16,
    /// What was known of the host key of the provider's rescue system before it was connected to: said by every driver of
    /// [`RootOfTrust::Provider`] and by no other, or no report is believed.
    pub rescue_host_key: Option<RescueHostKey>,
}

/// A machine that runs.
pub trait Running: fmt::Debug + Send {
    /// Waits until it has ended; `false` when the deadline came first.
    ///
    /// # Errors
    /// The driver's.
    fn ended(&self, until: Instant) -> Result<bool, DriverError>;

    /// Lets it go on, after its start or a pause.
    ///
    /// # Errors
    /// The driver's.
    fn resume(&self, until: Instant) -> Result<(), DriverError>;

    /// Why it stands still; `None` while it runs.
    ///
    /// # Errors
    /// The driver's.
    fn trouble(&self, until: Instant) -> Result<Option<Trouble>, DriverError>;

    /// Once the agent was given its word to go: waits until the agent has ended well, and says whether the machine's own
    /// system has to be started then; `false` where the agent does that itself.
    ///
    /// # Errors
    /// The driver's; also when the agent did not end well, since the disk is not known to be whole then.
    fn agent_ended(&self, _until: Instant) -> Result<bool, DriverError> {
        Ok(false)
    }

    /// Starts the machine's own system from its disk, whatever runs. Gives what the driver knows the machine by from then on,
    /// where that changed.
    ///
    /// # Errors
    /// The driver's.
    fn start_system(&self, _until: Instant) -> Result<Option<DriverState>, DriverError> {
        Ok(None)
    }

    /// Asks its system to shut down, and waits; `false` when that did not end before the deadline.
    ///
    /// # Errors
    /// The driver's.
    fn shut_down(&self, until: Instant) -> Result<bool, DriverError>;
}

/// How the volume and the packed image reach the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As devices of the machine, with the volume's digest on the kernel command line. The agent is the first process of the
    /// host's initramfs, and starts the machine's own system itself.
    Devices,
    /// Over the connection to the agent, which runs on a system that the driver booted and that uses none of the machine's
    /// disks. The machine's own system starts by [`Running::start_system`].
    Connection,
}

/// A kind of machine.
pub trait Driver: fmt::Debug + Send + Sync {
    /// As `driver` of the configuration and the record name it.
    fn name(&self) -> &'static str;

    /// What it makes of the configuration.
    fn describe(&self) -> Description;

    /// Whether it can work on this host at all.
    ///
    /// # Errors
    /// Of [`DriverErrorKind::MissingTool`], or another one.
    fn preflight(&self) -> Result<(), DriverError>;

    /// Whether all that its operator has written for it can be used, also what the machine at hand does not need.
    ///
    /// # Errors
    /// The first that cannot, or that there is nothing.
    fn settings(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Whether this host can connect a machine so, as far as can be told before one is started. A driver has a network of its
    /// own, and machines without one.
    ///
    /// # Errors
    /// Of [`DriverErrorKind::Refused`].
    fn can_connect(&self, connection: &Connection) -> Result<(), DriverError> {
        match connection {
            Connection::User | Connection::UserClosed | Connection::None => Ok(()),
            Connection::Bridge(_) | Connection::Tap(_) => {
                let text = format!("cannot connect a machine to {connection}: driver {} does not do that", self.name());
                Err(DriverError::new(DriverErrorKind::Refused, text)
                    .with_way_out(Some("use driver qemu, or `network: user`".to_owned())))
            }
        }
    }

    /// Whether a machine with this folder can be started so: a path may be longer than what it is for takes.
    ///
    /// # Errors
    /// Of [`DriverErrorKind::Refused`].
    fn can_be_in(&self, _folder: &MachineFolder, _connection: &Connection) -> Result<(), DriverError> {
        Ok(())
    }

    /// What the machine's instructions are executed by; may take seconds the first time.
    ///
    /// # Errors
    /// The driver's.
    fn processor(&self, store: &Store, image: &ImageFolder) -> Result<Processor, DriverError>;

    /// Kernel arguments of its own, such as `console=ttyS0`. Pure.
    fn kernel_arguments(&self) -> &'static str;

    /// Who chose the code that will report: caps the assurance. It is asked again whenever evidence is judged.
    fn root_of_trust(&self) -> RootOfTrust;

    /// How the agent is handed what it works from.
    fn delivery(&self) -> Delivery {
        Delivery::Devices
    }

    /// Whether anything of a machine runs. A doubt that ends within `patience` is none.
    fn power(&self, machine: &MachineRef, patience: Duration) -> Power;

    /// One look at what runs on the host, for a list of many machines; `None` where each has to be asked for by itself.
    fn process_table(&self) -> Option<Box<dyn ProcessTable>> {
        None
    }

    /// Ends whatever runs of a machine. Not for callers, who need the proof: [`end`].
    ///
    /// # Errors
    /// The driver's.
    fn halt(&self, machine: &MachineRef, grace: Duration) -> Result<(), DriverError>;

    /// Starts a machine that does nothing yet, and opens its agent's port.
    ///
    /// # Errors
    /// The driver's.
    fn start(&self, machine: &MachineRef, boot: &Boot, until: Instant) -> Result<Started, DriverError>;

    /// Starts the machine's own system from its disk, of a machine whose agent does not: that of [`Delivery::Connection`].
    ///
    /// # Errors
    /// The driver's.
    fn start_system(&self, machine: &MachineRef, _until: Instant) -> Result<Box<dyn Running>, DriverError> {
        let text = format!("machine {} is started by its agent, and by nothing else", machine.name);
        Err(DriverError::new(DriverErrorKind::Refused, text))
    }

    /// Gives up a machine that this host does not run: one that was made for it is deleted, any other one left as it is.
    ///
    /// # Errors
    /// The driver's; nothing is forgotten then.
    fn release(&self, _machine: &MachineRef) -> Result<(), DriverError> {
        Ok(())
    }

    /// What it keeps of a machine that is taken over, by the name of what has power over it. `None`: it makes all its machines.
    fn control(&self, _named: &str) -> Option<Result<DriverState, DriverError>> {
        None
    }

    /// Whether it makes its machines, so that they can be created: all but those that are only taken over.
    fn makes(&self) -> bool {
        true
    }

    /// What a provider gives for these sizes, by its own list, which may be kept in the folder `cache`. `None`: it is no
    /// provider that decides.
    fn sizes(&self, _wanted: Sizes, _cache: &Path, _until: Instant) -> Option<Result<GivenSizes, DriverError>> {
        None
    }

    /// Makes a machine elsewhere, once however often it is called for one UUID. `None`: what it makes, [`Driver::start`] makes.
    fn provision(&self, _wanted: &WantedMachine<'_>, _until: Instant) -> Option<Result<Provisioned, DriverError>> {
        None
    }

    /// What a machine elsewhere is, as the agent finds it on a system that no job could write; `agent` has the SHA-256 `digest`.
    /// The machine is left to be halted.
    ///
    /// # Errors
    /// The driver's.
    fn survey(
        &self,
        machine: &MachineRef,
        _agent: (&Path, Digest),
        _until: Instant,
    ) -> Result<MachineFacts, DriverError> {
        let text = format!("machine {} has no system that could be asked", machine.name);
        Err(DriverError::new(DriverErrorKind::Refused, text))
    }

    /// What was made elsewhere for `owner` and is none of the `known`. `None`: it makes nothing elsewhere.
    fn orphans(&self, _owner: &str, _known: &[KnownMachine]) -> Option<Result<Vec<Orphan>, DriverError>> {
        None
    }

    /// Deletes what [`Driver::orphans`] has found, if it still is `owner`'s.
    ///
    /// # Errors
    /// The driver's.
    fn remove_orphan(&self, _owner: &str, orphan: &Orphan) -> Result<(), DriverError> {
        Err(DriverError::new(DriverErrorKind::Refused, format!("{} {} is not this driver's", orphan.kind, orphan.id)))
    }

    /// How a provider keeps a machine's disk and writes it back, where it does that.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// What makes a reimage short, where the driver has it. Without it every reimage compares all of the disk.
    fn storage(&self) -> Option<&dyn Storage> {
        None
    }
}

/// What was seen of all machines at once. It is for showing: what decides asks [`Driver::power`].
pub trait ProcessTable: Send + Sync {
    /// Whether nothing of a machine ran. `false` when something did, and when that has to be asked of [`Driver::power`].
    fn is_off(&self, machine: &MachineIdentifiers<'_>) -> bool;
}

/// By what a machine is known among many.
#[derive(Clone, Copy, Debug)]
pub struct MachineIdentifiers<'a> {
    /// Its UUID.
    pub uuid: &'a str,
    /// What its driver keeps of its last start.
    pub state: Option<&'a DriverState>,
    /// Device and inode of each file of its disks.
    pub disks: &'a [(u64, u64)],
}
