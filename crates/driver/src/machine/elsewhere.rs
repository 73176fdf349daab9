//! What a driver is told of a machine that a provider shall make, and what it says of what was made. Must not name a provider.

use std::path::Path;

use cloud_machine_protocol::MachineName;
use cloud_machine_store::DriverState;

/// A machine that is to be made elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct WantedMachine<'a> {
    /// Its name.
    pub name: &'a MachineName,
    /// Its UUID, by which a second call finds what the first one made.
    pub uuid: &'a str,
    /// What this host's state folder is known by.
    pub owner: &'a str,
    /// The least memory, in bytes.
    pub ram: u64,
    /// The least number of processors.
    pub cpus: u32,
    /// The least size of its disk, in bytes.
    pub disk: u64,
    /// The line of the key by which this host logs in.
    pub public_key: &'a str,
    /// A folder for what may be kept of the provider's lists.
    pub cache: &'a Path,
}

/// What a machine elsewhere has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Memory, in bytes.
    pub ram: u64,
    /// Processors.
    pub cpus: u32,
    /// Its disk, in bytes; 0 when that is not said.
    pub disk: u64,
}

/// What a provider gives for [`Sizes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenSizes {
    /// Never less than was asked for.
    pub sizes: Sizes,
    /// What has them and how old the provider's list is that says so, for people.
    pub told: String,
}

/// A machine that was made elsewhere, and is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// What the driver knows it by.
    pub control: DriverState,
    /// Where its SSH will be.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// What was made, for people.
    pub told: String,
}

/// Something at a provider that was made for this host, and of which no record is left.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Orphan {
    /// What it is, such as `server`.
    pub kind: String,
    /// What the provider calls it.
    pub id: String,
    /// Its name, safe to show.
    pub name: String,
    /// The machine that it was made for, safe to show.
    pub machine: String,
}

/// A machine of which there is a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMachine {
    /// Its name.
    pub name: MachineName,
    /// What its driver knows it by; `None` while it is being made.
    pub control: Option<DriverState>,
    /// What its driver knows its snapshot by.
    pub snapshot: Option<DriverState>,
    /// The attempt that is under way, as [`Snapshots::keep`](super::Snapshots::keep) is told of it: its snapshot may not be recorded yet.
    pub making: Option<String>,
}
