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
