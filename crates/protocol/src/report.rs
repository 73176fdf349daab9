//! What the agent says it did and found: the evidence that the host verifies. Must not hold a verdict of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Action, Digest, Disk, Exception, Method, Nonce, SecretPolicy, StepId, StepRecord, Tier};

/// Most changed extents that a report lists; a job can dirty every second block, so the full list has no bound.
pub const MAX_CHANGED_EXTENTS: usize = 4096;

/// The report of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`crate::FORMAT_VERSION`].
    pub version: u32,
    /// Id of the request; `None` when the agent failed before it could read one.
    pub request_id: Option<String>,
    /// Nonce of the attempt; `None` likewise.
    pub nonce: Option<Nonce>,
    /// UUID of the machine that was asked; `None` likewise.
    pub machine_uuid: Option<String>,
    /// What was asked; `None` likewise.
    pub action: Option<Action>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// How it ended.
    pub result: ReportResult,
    /// The program that reports.
    pub agent: AgentEvidence,
    /// The image that was asked for; `None` when the agent failed before it could read its manifest.
    pub image: Option<ImageEvidence>,
    /// The configuration that was applied.
    pub config: Option<ConfigEvidence>,
    /// Every step that was started, in order.
    pub steps: Vec<StepRecord>,
    /// Every disk that was found.
    pub devices: Vec<DeviceRecord>,
    /// The address that the packed image was read from; `None` when it was on a device, or not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_source: Option<SourceEvidence>,
    /// For each disk that was compared or wiped: what a reading of all its bytes gave.
    pub disks: Vec<DiskEvidence>,
    /// The files of a root in a ZFS pool, when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootEvidence>,
    /// What of the system disk had differed from the image, when that was looked at.
    pub changed: Vec<ChangedExtents>,
    /// Volumes with the right label that did not count.
    pub ignored_volumes: Vec<IgnoredVolume>,
    /// What the machine was given of its identity.
    pub identity: Vec<IdentityItem>,
    /// What this report says nothing about: it follows from `devices`, so that host and agent word it alike.
    pub not_covered: Vec<String>,
    /// Where the time went.
    pub timings: Vec<Timing>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReportResult {
    /// Every step ended well; the machine waits for the host's word.
    Done,
    /// A step or a check failed; the machine does not come up.
    Failed {
        /// The step, when one had begun.
        step: Option<StepId>,
        /// Operation and object, then each cause, outermost first.
        causes: Vec<String>,
    },
}

/// What the agent knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEvidence {
    /// Version of the agent.
    pub version: String,
    /// SHA-256 of the agent's own file. Absent in a boot without configuration, of which nobody asks for a proof: the agent then does not read itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// `uname -r`.
    pub kernel_release: String,
    /// SHA-256 of the kernel command line, without its final newline.
    pub command_line_digest: Digest,
}

/// The image as the agent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEvidence {
    /// Generation in the manifest.
    pub generation: u64,
    /// Lowest generation that the request allows.
    pub minimum_generation: u64,
    /// Rules of the host that the request sets aside.
    pub exceptions: Vec<Exception>,
}

/// The configuration as the agent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigEvidence {
    /// SHA-256 of the volume; `None` when a machine without a host had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Digest>,
    /// SHA-256 of the document `user-data`.
    pub document: Digest,
    /// The document behind the configured address, when there is one.
    pub url: Option<UrlEvidence>,
    /// Volumes besides the pinned one whose documents were merged, in this order.
    pub drives: Vec<DriveEvidence>,
    /// Key path to origin of every value that was applied.
    pub origins: BTreeMap<String, String>,
}

/// A document that the machine fetched, or that the host put on the volume for a `file:` address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlEvidence {
    /// The address without its query.
    pub url: String,
    /// SHA-256 of the document.
    pub document: Digest,
    /// Requests that were made; 0 for a `file:` address.
    pub requests: u32,
    /// The address that the network gave the machine, when it was asked.
    pub address: Option<String>,
}

/// What reading a packed image from an address took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEvidence {
    /// The address without what gives access.
    pub url: String,
    /// Bytes of the packed image there.
    pub packed_bytes: u64,
    /// Bytes of it that were received, those of answers that broke included.
    pub received_bytes: u64,
    /// Requests that were made.
    pub requests: u64,
    /// The address that the network gave the machine.
    pub address: String,
}

/// A volume whose document was merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveEvidence {
    /// Kernel name of its device.
    pub device: String,
    /// SHA-256 of all its bytes.
    pub digest: Digest,
}

/// A disk that was found and what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// The disk.
    pub disk: Disk,
    /// Its role.
    pub role: Role,
    /// What was done with it.
    pub method: Method,
}

/// What a disk is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// The volume of the host.
    Volume,
    /// Holds the packed image.
    ImageSource,
    /// A volume that the request names besides the pinned one.
    Drive,
    /// A disk of the configuration, by its name there.
    Declared {
        /// Name in the configuration.
        name: String,
    },
    /// Nobody named it.
    Undeclared,
}

/// What a reading of a disk gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskEvidence {
    /// Kernel name of the disk.
    pub device: String,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// How it was made equal to the image; `None` for a disk without image.
    pub tier: Option<Tier>,
    /// Bytes that were read after the last write to them, and were right.
    pub read_bytes: u64,
    /// BLAKE3 root of the image's range as read; `None` for a disk without image, and when not all of it was read.
    pub image_root: Option<Digest>,
    /// Digest of the partition table that was computed for this disk, as read; `None` for the image's own table.
    pub table: Option<Digest>,
    /// Bytes of the image's range.
    pub image_size: u64,
    /// Bytes beyond the image that were read as zero, or as the computed table.
    pub zero_bytes: u64,
    /// The ranges that were read as zero, sorted, when they were not all of the disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Extent>,
}

/// What a reading of every file of a root in a ZFS pool gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootEvidence {
    /// How the root was made: [`Tier::Clone`] or [`Tier::Receive`].
    pub tier: Tier,
    /// The dataset.
    pub dataset: String,
    /// BLAKE3 over the files of the image's root filesystem, as read from a disk that is equal to the image.
    pub image: Digest,
    /// The same over the files of the dataset, as read from the pool.
    pub files: Digest,
    /// Files, folders, links and whatever else has a name.
    pub entries: u64,
    /// Bytes in files.
    pub bytes: u64,
}

/// What had differed from the image before it was rewritten: evidence of tampering or of plain use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedExtents {
    /// Kernel name of the disk.
    pub device: String,
    /// How many extents.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// BLAKE3 over all extents, each as two little-endian u64: offset, length.
    pub digest: Digest,
    /// The first of them, at most [`MAX_CHANGED_EXTENTS`].
    pub extents: Vec<Extent>,
}

/// A range of bytes on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A device that carries the volume's label and was not used, or of which a file was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredVolume {
    /// Kernel name of the device.
    pub device: String,
    /// Why it did not count, or what of it did not.
    pub reason: String,
}

/// One item of identity as it was given to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityItem {
    /// Name, such as `hostname` or `ssh-host-key-ed25519`.
    pub name: String,
    /// Whether a reimage keeps it.
    pub policy: SecretPolicy,
    /// The public value: text, or an OpenSSH public key.
    pub public: String,
}

/// How long a phase took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Name of the phase.
    pub phase: String,
    /// Milliseconds.
    pub milliseconds: u64,
}
