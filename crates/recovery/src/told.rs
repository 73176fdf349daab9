//! What a machine tells its host of its recovery partition, as one JSON object. Must not hold a secret of the request that is staged.

use serde::{Deserialize, Serialize};

use crate::{Control, State};

/// A recovery partition, and what its machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// [`Control::VERSION`]: what a request has to have.
    pub version: u32,
    /// The kernel's identifier of the boot that runs (proc_sys_kernel(5)).
    pub boot_id: String,
    /// Kernel name of the disk, such as `vda`.
    pub disk: String,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Bytes of its logical sectors.
    pub sector_size: u64,
    /// First byte of the partition on the disk.
    pub offset: u64,
    /// Bytes of the partition.
    pub length: u64,
    /// What starts the machine.
    pub firmware: Firmware,
    /// Whether its firmware starts only what is signed; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// UUID of the machine in its firmware; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Values of `console=` on the kernel command line, in their order.
    #[serde(default)]
    pub consoles: Vec<String>,
    /// What is staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<ToldRequest>,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A PC's BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// The request in a recovery partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldRequest {
    /// How far it has come.
    pub state: State,
    /// Its token.
    pub token: String,
    /// Starts of the recovery partition for it.
    pub attempts: u32,
    /// Why it was given up, or what the last attempt failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Control> for ToldRequest {
    fn from(control: Control) -> Self {
        let Control { state, token, attempts, reason, .. } = control;
        Self { state, token, attempts, reason }
    }
}
