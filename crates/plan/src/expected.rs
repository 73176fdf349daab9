//! What the host knows of an attempt before it reads the report. Must hold nothing that came from the machine.

use std::collections::BTreeMap;

use cloud_machine_protocol::{Bus, Digest, Identity, Request, RescueHostKey, Role, RootOfTrust};
use serde::{Deserialize, Serialize};

use crate::{
    filesystem::WantedFilesystem, image::RootPartition, partitions::WantedTable, root_pool::RootPool, wiping::Wiping,
};

/// One attempt as the host set it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The request that was on the volume.
    pub request: Request,
    /// SHA-256 of the volume.
    pub volume: Digest,
    /// SHA-256 of the document `user-data` on it.
    pub document: Digest,
    /// Key path to origin of every value of the host's layers.
    pub origins: BTreeMap<String, String>,
    /// The document that the machine reads from an address.
    pub url: Option<ExpectedUrl>,
    /// Whether the configuration lets volumes count that the request does not name.
    pub drives_trusted: bool,
    /// Every disk that the host attached.
    pub disks: Vec<ExpectedDisk>,
    /// Whether the volume is one of them, as it always was before there were rescue systems; else the agent was handed it over
    /// its connection.
    #[serde(default = "attached", skip_serializing_if = "is_attached")]
    pub volume_attached: bool,
    /// Digest of the partition table for the system disk; `None` when it has the size of the image.
    pub table: Option<Digest>,
    /// Generation of the requested image, from the host's own manifest.
    pub generation: u64,
    /// The root partition, from the host's own manifest of the requested image.
    pub root: RootPartition,
    /// The identity that was handed over.
    pub identity: Identity,
    /// The SSH host key of the last accepted reimage, which an earlier job could read.
    pub last_host_key: Option<String>,
    /// The SSH host key that the host handed over, for a machine that keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_host_key: Option<String>,
    /// Lines of root's `authorized_keys` by the host's layers; the first of them are the host's own.
    pub authorized_keys: Vec<String>,
    /// How many of them a document that the machine reads cannot take away.
    pub own_keys: usize,
    /// SHA-256 of the agent in the host's initramfs.
    pub agent: Digest,
    /// `uname -r` of the host's kernel; `None` where the kernel is a provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_release: Option<String>,
    /// Bytes of the packed image.
    pub packed_size: u64,
    /// SHA-256 of the kernel command line that the host gave; `None` where a provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Digest>,
    /// Who chose the code that reports. [`RootOfTrust::Host`]: the host started a new process for this attempt with its own
    /// kernel, initramfs and volume, and reads the report over its own socket to that process. [`RootOfTrust::Provider`]: the
    /// host put its own agent into a system that the provider started for this attempt, and reads the report over the
    /// connection into that system.
    pub root_of_trust: RootOfTrust,
    /// What the host knew of the host key of that system before it connected, as the driver says; `None` where no provider
    /// started one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue_host_key: Option<RescueHostKey>,
}

const fn attached() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_attached(attached: &bool) -> bool {
    *attached
}

/// A document behind an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedUrl {
    /// The address without its query.
    pub url: String,
    /// SHA-256 that the document must have, where the host knows it.
    pub document: Option<Digest>,
}

/// A disk that the host attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedDisk {
    /// Serial that the host gave it.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// What it is for. [`Role::Undeclared`] when the configuration says to ignore it.
    pub role: Role,
    /// What the attempt does with it. A document that the machine read for itself may turn [`Disposition::Keep`] into
    /// [`Disposition::Wipe`].
    pub disposition: Disposition,
    /// How it is wiped, if it is.
    #[serde(default)]
    pub wiping: Wiping,
    /// Whether it is used through a cipher.
    #[serde(default)]
    pub encrypted: bool,
    /// How it is attached.
    #[serde(default)]
    pub bus: Bus,
    /// Whether it is attached so that it cannot be written.
    #[serde(default)]
    pub read_only: bool,
    /// The filesystem that it shall hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<WantedFilesystem>,
    /// The pool with the root, on a system disk that shall have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_pool: Option<RootPool>,
    /// The partitions that it shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<WantedTable>,
}

impl ExpectedDisk {
    /// A disk of which nothing else is said.
    #[must_use]
    pub fn new(serial: &str, size: u64, role: Role, disposition: Disposition) -> Self {
        Self {
            serial: serial.to_owned(),
            size,
            role,
            disposition,
            wiping: Wiping::default(),
            encrypted: false,
            bus: Bus::default(),
            read_only: false,
            filesystem: None,
            root_pool: None,
            partitions: None,
        }
    }
}

/// What an attempt does with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// The system disk: rewritten by a reimage, started by a boot.
    System,
    /// Wiped; [`Wiping::of`] says when.
    Wipe,
    /// Not written.
    Keep,
}
