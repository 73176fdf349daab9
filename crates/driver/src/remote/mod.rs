//! Machines that somebody else owns: their power, and a rescue system that is started in the place of their own. What has power
//! over a machine is a [`Source`]'s; the order in which a rescue system is started and believed is owned here, once for all of
//! them. Must not run anything on a machine's own system but
//! a request to shut down, and in `own` the program that stages a request there.

mod commands;
mod control;
mod driver;
mod fault;
mod hetzner;
mod hetzner_server;
mod own;
mod rescue;

use std::{fmt, path::Path, time::Instant};

use cloud_machine_store::DriverState;

use crate::{
    description::Description,
    error::DriverError,
    machine::{GivenSizes, KnownMachine, MachineRef, Orphan, Provisioned, Sizes, WantedMachine},
};

pub use commands::Commands;
pub use hetzner::Hetzner;
pub use own::SelfReimage;

/// Whether a machine has power, as whoever has power over it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It runs.
    On,
    /// It does not.
    Off,
}

impl fmt::Display for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// What has power over one machine. Each call ends by `until`, has done what it says when it gives no error, and is no error when
/// there was nothing to do.
pub trait Controls: fmt::Debug + Send {
    /// Asks for the machine's power.
    ///
    /// # Errors
    /// When that is not told.
    fn power(&self, until: Instant) -> Result<Switch, DriverError>;

    /// Switches it, without asking the machine's system.
    ///
    /// # Errors
    /// When it is not switched.
    fn switch(&self, to: Switch, until: Instant) -> Result<(), DriverError>;

    /// Makes the next start one of the rescue system, into which the key `login` lets this host. Gives what is known of it.
    ///
    /// # Errors
    /// When the next start would be another one.
    fn enable_rescue(&self, login: &LoginKey, until: Instant) -> Result<RescueSystem, DriverError>;

    /// Makes the next start one of the machine's own system.
    ///
    /// # Errors
    /// When the next start would be another one.
    fn disable_rescue(&self, until: Instant) -> Result<(), DriverError>;

    /// Gives the machine up, and the key `login` with it: one that was made for this host is deleted, any other one is left as it is.
    ///
    /// # Errors
    /// When it is not deleted.
    fn release(&self, login: Option<&LoginKey>, until: Instant) -> Result<(), DriverError>;

    /// Starts what is next, whether it is on or off.
    ///
    /// # Errors
    /// When it is not started.
    fn restart(&self, until: Instant) -> Result<(), DriverError> {
        self.switch(Switch::Off, until)?;
        self.switch(Switch::On, until)
    }

    /// As [`Snapshots::keep`](crate::machine::Snapshots::keep).
    ///
    /// # Errors
    /// When it is not kept.
    fn keep_disk(&self, _owner: &str, _attempt: &str, _until: Instant) -> Result<DriverState, DriverError> {
        Err(fault::no_snapshots())
    }

    /// As [`Snapshots::check`](crate::machine::Snapshots::check).
    ///
    /// # Errors
    /// When it is not.
    fn check_disk(
        &self,
        _owner: &str,
        _request: &str,
        _snapshot: &DriverState,
        _until: Instant,
    ) -> Result<(), DriverError> {
        Err(fault::no_snapshots())
    }

    /// As [`Snapshots::rebuild`](crate::machine::Snapshots::rebuild).
    ///
    /// # Errors
    /// When it is not rebuilt.
    fn rebuild(&self, _snapshot: &DriverState, _until: Instant) -> Result<(), DriverError> {
        Err(fault::no_snapshots())
    }

    /// As [`Snapshots::discard`](crate::machine::Snapshots::discard).
    ///
    /// # Errors
    /// When it is not deleted.
    fn discard_disk(&self, _owner: &str, _snapshot: &DriverState, _until: Instant) -> Result<(), DriverError> {
        Err(fault::no_snapshots())
    }

    /// Once something has answered as the rescue system: whether whoever starts it agrees that it did.
    ///
    /// # Errors
    /// When it did not.
    fn entered(&self, _until: Instant) -> Result<(), DriverError> {
        Ok(())
    }
}

/// The key pair by which this host logs in to a rescue system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginKey {
    /// The private half.
    pub private: std::path::PathBuf,
    /// The line of the public half.
    pub public: String,
}

/// What is known of a rescue system before it is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RescueSystem {
    /// Its host key, when a way that no machine has a hand in tells it: a line `ssh-ed25519 AAAA…`, or a fingerprint
    /// `SHA256:…`.
    pub host_key: Option<String>,
    /// Another private key than the machine's own that it lets in.
    pub identity: Option<std::path::PathBuf>,
    /// How long it may take to answer; `None`: until the attempt's own deadline.
    pub limit: Option<std::time::Duration>,
}

/// Where the power over machines comes from.
pub trait Source: fmt::Debug + Send + Sync + Clone + 'static {
    /// As `driver` of the configuration and the record name it.
    fn name(&self) -> &'static str;

    /// What it makes of the configuration.
    fn describe(&self) -> Description;

    /// What has power over the machine of which `control` is kept.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    fn controls(&self, machine: &MachineRef, control: &DriverState) -> Result<Box<dyn Controls>, DriverError>;

    /// What is kept of a machine that is taken over; `named` is what a person calls the control.
    ///
    /// # Errors
    /// When there is none of that name, or it is not usable.
    fn control(&self, named: &str) -> Result<DriverState, DriverError>;

    /// Whether it makes machines, and deletes those that it made.
    fn makes(&self) -> bool {
        false
    }

    /// Whether it keeps disks and writes them back.
    fn keeps_snapshots(&self) -> bool {
        false
    }

    /// As [`Driver::settings`](crate::machine::Driver::settings).
    ///
    /// # Errors
    /// When some of it cannot be used, or there is nothing.
    fn settings(&self) -> Result<(), DriverError>;

    /// Whether it can work at all.
    ///
    /// # Errors
    /// When its own settings cannot be used.
    fn preflight(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// As [`Driver::sizes`](crate::machine::Driver::sizes).
    fn sizes(&self, _wanted: Sizes, _cache: &Path, _until: Instant) -> Option<Result<GivenSizes, DriverError>> {
        None
    }

    /// As [`Driver::provision`](crate::machine::Driver::provision).
    fn provision(&self, _wanted: &WantedMachine<'_>, _until: Instant) -> Option<Result<Provisioned, DriverError>> {
        None
    }

    /// As [`Driver::orphans`](crate::machine::Driver::orphans).
    fn orphans(&self, _owner: &str, _known: &[KnownMachine]) -> Option<Result<Vec<Orphan>, DriverError>> {
        None
    }

    /// As [`Driver::remove_orphan`](crate::machine::Driver::remove_orphan).
    ///
    /// # Errors
    /// When it is not deleted.
    fn remove_orphan(&self, _owner: &str, orphan: &Orphan) -> Result<(), DriverError> {
        Err(fault::failed(format!("{} {} is not this driver's", orphan.kind, orphan.id)))
    }
}

/// Keys that hold on a machine that is there as they do on any other.
const KEYS: &[&str] = &[
    "driver",
    "image",
    "image-keys",
    "require",
    "wait-for",
    "resources.disks.*.devicepath",
    "resources.disks.*.allocation",
    "resources.disks.*.boot-partition",
    "resources.disks.*.on-reimage",
    "resources.disks.*.wipe-on-boot",
    "resources.disks.*.required",
    "resources.disks.*.overwrite",
    "resources.nic.mac",
    "resources.nic.address",
    "resources.nic.address.addresses",
    "resources.nic.address.gateways",
    "resources.nic.address.dns",
    "resources.nic.address.search",
    "resources.nic.address.routes",
    "resources.nic.address.mtu",
    "resources.nic.address.vlan",
    "disks-undeclared",
    "identity.ssh-host-keys",
    "cloud-init-url",
    "cloud-init-url.*",
    "resources.cloud-init-url",
    "resources.cloud-init-url.*",
    "ssh_authorized_keys",
];

/// A driver of machines that are elsewhere.
#[derive(Clone, Debug)]
pub struct Remote<S>(pub S);
