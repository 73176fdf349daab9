//! What the host knows of a machine, as it is kept in `machine.json`. Owns the shape and what cannot be; must not
//! read or write files.

use std::fmt;

use cloud_machine_protocol::{
    Action, Assurance, Bus, Connection, Digest, DiskName, Exception, History, Identity, ImageName, ImageUrl,
    MachineFacts, MachineName, Tier,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    seal::Seal,
    system::{Strategy, SystemDisk},
};

/// Version of every record of the store. Those of version 1 are read too; a reader refuses any other.
pub const RECORD_VERSION: u32 = 2;

/// The record of one machine. Paths in it are relative to the machine's folder.
///
/// Serialized it is the file of the machine's folder, and has every secret that the next attempt needs; for people there
/// is [`MachineRecord::redacted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Name of the machine, also of its folder.
    pub name: MachineName,
    /// UUID of the machine, also in its SMBIOS table and its identity.
    pub uuid: String,
    /// Name of the driver, such as `qemu`.
    pub driver: String,
    /// The image that the system disk holds, or shall hold.
    #[serde(serialize_with = "WholeImage::serialize")]
    pub image: ImageRecord,
    /// What the host's layers of configuration gave, with all origins, in the configuration's own format.
    pub layers: serde_json::Value,
    /// Bytes of memory.
    pub ram: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// The machine's disks, in the order in which they are attached.
    pub disks: Vec<DiskRecord>,
    /// What the system disk is made of. A record without it is of a machine with a plain raw file.
    #[serde(default)]
    pub system: SystemDisk,
    /// Volumes that are attached read-only besides the host's own, in the order in which the machine merges them.
    pub drives: Vec<DriveRecord>,
    /// What the machine keeps when it is reimaged.
    pub identity: Identity,
    /// What the machine's network interface is connected to.
    #[serde(default, skip_serializing_if = "Connection::is_open_user")]
    pub connection: Connection,
    /// Port on 127.0.0.1 that leads to the machine's port 22; 0 when none does.
    pub ssh_port: u16,
    /// Of a machine that this host does not run: where it is, and as what it was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteRecord>,
    /// Where the machine is in its life.
    pub state: MachineState,
    /// The request that is under way, or the last one.
    pub request: Option<RequestRecord>,
    /// What the driver knows the machine's last start by, until it is proved that it has ended.
    #[serde(default)]
    pub driver_state: Option<DriverState>,
    /// Public host key line of the last accepted report.
    pub host_key: Option<String>,
    /// The last accepted report, relative to the machine's folder.
    pub last_report: Option<String>,
    /// Assurance of the last accepted report.
    pub assurance: Option<Assurance>,
    /// What the host knew of that attempt, and the seal of its evidence; `None` in records of before that was kept.
    #[serde(default)]
    pub accepted: Option<AcceptedRecord>,
    /// What may be left on disks besides the system disk, and what a kept host key leaves open, for people.
    #[serde(default)]
    pub not_covered: Vec<String>,
    /// What was found to be left there besides when the machine was started last since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_covered_since: Vec<String>,
    /// Whether somebody may have logged in since the last accepted report: with `ssh` or `exec` of this program, or with
    /// a key of the machine's that is not this host's own or by what cloud-init was handed, which nobody here can see.
    pub dirty: bool,
    /// When the machine was created.
    pub created: Timestamp,
}

/// A machine that this host does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteRecord {
    /// Address or host name of its SSH.
    pub address: String,
    /// Port of its SSH there.
    pub port: u16,
    /// The line of its system's host key when it was taken over; `None` of one that was made for this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// What the driver knows the machine by, in a form of its own.
    pub control: DriverState,
    /// What was found of the machine before any job: by its own word when it was taken over, on a rescue system when it was
    /// made for this host. `None` until that was asked.
    pub facts: Option<MachineFacts>,
    /// When it was taken over or made.
    pub adopted: Timestamp,
    /// Its clean system disk, as its provider keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotRecord>,
}

/// A system disk as a provider keeps it, between an accepted reimage and the first start after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRecord {
    /// What the driver knows it by, in a form of its own.
    pub state: DriverState,
    /// BLAKE3 digest of the image that was on the disk.
    pub image: Digest,
    /// The report of that reimage, relative to the machine's folder.
    pub report: String,
    /// The public host key line on the disk.
    pub host_key: String,
    /// Whether others than this host can log in to what is on it.
    pub others: bool,
    /// When it was made.
    pub taken: Timestamp,
}

/// What a driver keeps of a machine in its record. Only the driver that wrote it reads it; to everybody else it says no more
/// than that the machine was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriverState(serde_json::Value);

impl DriverState {
    /// Keeps `state`.
    ///
    /// # Errors
    /// When it cannot be put into JSON.
    pub fn of(state: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_value(state).map(Self)
    }

    /// What was kept.
    ///
    /// # Errors
    /// When it is not what `T` says: of another driver, or damaged.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0)
    }
}

/// The attempt whose report was accepted last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedRecord {
    /// Of the stored evidence.
    pub seal: Seal,
    /// What the host gave the machine besides what is in this record, for whoever judges the evidence again.
    pub attempt: serde_json::Value,
}

/// Which image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Its name in the store.
    pub name: ImageName,
    /// BLAKE3 digest of the raw image.
    pub digest: Digest,
    /// Bytes of the raw image.
    pub size: u64,
    /// Generation of the image.
    #[serde(default)]
    pub generation: u64,
    /// Rules of the host that an operator set aside for it on this machine.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// What was found of its signature when it was admitted.
    #[serde(default)]
    pub signature: SignatureRecord,
    /// Where the machine fetches its frames, when it does not read them from the store's packed file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<ImageUrl>,
}

/// An [`ImageRecord`] with all of its address.
#[derive(Serialize)]
#[serde(remote = "ImageRecord")]
struct WholeImage {
    name: ImageName,
    digest: Digest,
    size: u64,
    generation: u64,
    exceptions: Vec<Exception>,
    signature: SignatureRecord,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_url")]
    url: Option<ImageUrl>,
}

fn whole_url<S: Serializer>(url: &Option<ImageUrl>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Whole<'a> {
        url: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ca: Option<&'a str>,
    }
    let whole = url.as_ref().map(|url| Whole { url: url.url.reveal().as_str(), ca: url.ca.as_deref() });
    whole.serialize(serializer)
}

/// What is known of an image's signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SignatureRecord {
    /// There was none, and none was asked for.
    #[default]
    None,
    /// There was one, and nobody asked for it.
    NotChecked {
        /// Id of the key that is said to have made it.
        key: String,
    },
    /// A key that counts signed the image.
    Verified {
        /// Id of the key.
        key: String,
    },
    /// There was none that counts, and an operator set that rule aside.
    Allowed {
        /// Why it does not count.
        reason: String,
    },
}

impl fmt::Display for SignatureRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::NotChecked { key } => write!(formatter, "not checked (key {key})"),
            Self::Verified { key } => write!(formatter, "key {key}"),
            Self::Allowed { reason } => write!(formatter, "not verified, allowed by an operator: {reason}"),
        }
    }
}

/// One disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRecord {
    /// Its name in the configuration.
    pub name: DiskName,
    /// What the device says of itself; at most 20 bytes of printable ASCII without commas.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// Its file, relative to the machine's folder; `None` of a machine that this host does not run, whose disks are elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether the image goes here.
    pub boot: bool,
    /// How it is attached.
    #[serde(default)]
    pub bus: Bus,
    /// What is known of its content. A record without it knows nothing.
    #[serde(default)]
    pub history: History,
    /// What was known of it before the last accepted reimage, which was planned by that.
    #[serde(default)]
    pub history_before: History,
    /// Content that the host gave it and that is never written; `None` for a disk of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<MediumRecord>,
}

/// A file of the host that a machine has as a disk which is never written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediumRecord {
    /// The file that it was copied from, for people.
    pub source: String,
    /// SHA-256 of all its bytes.
    pub digest: Digest,
}

/// A volume labelled `CLOUD-INIT` that belongs to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveRecord {
    /// The file that it was copied from, for people.
    pub source: String,
    /// Its file, relative to the machine's folder.
    pub file: String,
    /// SHA-256 of all its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A request and how far it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRecord {
    /// ULID of the request.
    pub id: String,
    /// What was asked.
    pub action: Action,
    /// Attempts that were started, this one included.
    pub attempts: u32,
    /// Attempts that failed; one that an operator interrupted did not.
    pub failures: u32,
    /// When the request was stored.
    pub started: Timestamp,
    /// What was asked of a reimage, for whoever finishes it.
    #[serde(default)]
    pub wanted: Wanted,
    /// Whether the last attempt failed because no agent could be started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_agent: bool,
    /// Why the last attempt failed, safe to show; `None` when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What was asked of a reimage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How the host makes it short; `None`: the cheapest that is possible.
    pub strategy: Option<Strategy>,
    /// What the agent does for [`Strategy::Rewrite`]; `None`: it chooses.
    pub tier: Option<Tier>,
    /// Less than this is a failure; `None` in requests of before that was kept.
    pub required: Option<Assurance>,
}

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// Its folder is there, its disks may not be.
    Creating,
    /// A request is stored; nothing has been done yet.
    Requested,
    /// The agent works on the disks, or the provider writes the system disk.
    Writing,
    /// The report is accepted and stored.
    Accepted,
    /// The machine's own system runs, or ran until its process ended.
    Running,
    /// The machine was stopped.
    Stopped,
    /// The last attempt failed.
    Failed,
    /// Too many attempts failed; only an operator lets it go on.
    Quarantined,
}

impl MachineState {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Requested,
        Self::Writing,
        Self::Accepted,
        Self::Running,
        Self::Stopped,
        Self::Failed,
        Self::Quarantined,
    ];

    /// The state as one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Requested => "requested",
            Self::Writing => "writing",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

impl MachineRecord {
    /// The record for people: without the layers of configuration, which hold secrets of the machine, and without what
    /// gives access to the image's address.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut shown = Self { layers: serde_json::Value::Null, accepted: None, ..self.clone() };
        if let Some(url) = &mut shown.image.url {
            url.url = url.url.without_access();
        }
        shown
    }

    /// What in the record contradicts itself or leads out of the machine's folder; `None` when nothing does.
    pub(super) fn contradiction(&self) -> Option<String> {
        if self.identity.name != self.name {
            return Some(format!("its identity is of machine {}", self.identity.name));
        }
        if self.identity.machine_uuid != self.uuid {
            return Some("its identity has another UUID".to_owned());
        }
        let disks = self.disks.iter().filter_map(|disk| disk.file.as_ref());
        let files = disks.chain(self.drives.iter().map(|drive| &drive.file)).chain(&self.last_report);
        for file in files {
            if !stays_inside(file) {
                return Some(format!("{file:?} does not stay in the folder of its machine"));
            }
        }
        None
    }
}

/// Whether a relative path has only plain parts.
pub(super) fn stays_inside(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_words_are_the_same_in_json_and_in_text() {
        for state in [
            MachineState::Creating,
            MachineState::Requested,
            MachineState::Writing,
            MachineState::Accepted,
            MachineState::Running,
            MachineState::Stopped,
            MachineState::Failed,
            MachineState::Quarantined,
        ] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_seen() {
        for path in ["", "/etc/passwd", "..", "disks/../../x", "disks//x", "./x", "x/", "a\0b"] {
            assert!(!stays_inside(path), "{path:?}");
        }
        assert!(stays_inside("disks/system.raw"));
    }
}
