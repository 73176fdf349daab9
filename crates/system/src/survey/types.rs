//! What a survey says. Types only; must not look at anything.

use std::fmt;

use cloud_machine_disk::Holder;
use serde::{Deserialize, Serialize};

/// All disks of a machine, and what about them can be mistaken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// One row for each disk, sorted by name.
    pub disks: Vec<Row>,
    /// What a reader could take for something else.
    pub ambiguities: Vec<Ambiguity>,
}

/// A disk, or why there is nothing to say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Row {
    /// It was looked at; each part may still be unreadable.
    Disk(Box<SurveyedDisk>),
    /// The kernel lists it and does not describe it.
    Unreadable {
        /// Kernel name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A part of the survey, or why it could not be had; the latter never reads as "nothing there".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Look<T> {
    /// It could be had.
    Found {
        /// What was found, which may be empty.
        value: T,
    },
    /// It could not be had.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// One whole block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SurveyedDisk {
    /// Kernel name.
    pub name: String,
    /// What it is attached by, where sysfs says so.
    pub transport: Option<String>,
    /// Its maker's name for it.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name.
    pub wwn: Option<String>,
    /// File that a loop device stands on.
    pub backing_file: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical sector.
    pub logical_sector_size: u64,
    /// Bytes of a physical sector.
    pub physical_sector_size: u64,
    /// Whether the kernel refuses to write it.
    pub read_only: bool,
    /// Whether it says that it turns.
    pub rotational: bool,
    /// What lies on the whole device.
    pub probe: Content,
    /// Its partition table.
    pub table: TableLook,
    /// Partitions of the kernel and of the table, sorted by number.
    pub partitions: Vec<Partition>,
    /// Who uses it or one of its partitions.
    pub holders: Look<Vec<Holder>>,
    /// Names below /dev/disk that lead to it now; anybody who can write a label can move some of them.
    pub links: Look<Vec<String>>,
}

/// What a probe found on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// No signature that is known, and zeros wherever it was looked: everywhere on a small device, at the ends and in a
    /// sample of a large one.
    Empty,
    /// No signature that is known, and not empty.
    Unknown,
    /// One consistent answer.
    Found(Signature),
    /// Signatures that contradict each other.
    Ambivalent {
        /// Types of all that were found.
        signatures: Vec<String>,
    },
    /// It could not be read, or the probing process died.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// It did not answer in time.
    Silent {
        /// The time that it had.
        seconds: u64,
    },
}

/// What libblkid says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Type of filesystem, swap area, RAID member or other (`TYPE`).
    pub filesystem: Option<String>,
    /// `filesystem`, `raid`, `crypto` or `other` (`USAGE`).
    pub usage: Option<String>,
    /// Label (`LABEL`).
    pub label: Option<String>,
    /// UUID, or what the filesystem has for one (`UUID`).
    pub uuid: Option<String>,
    /// Type of the partition table (`PTTYPE`).
    pub partition_table: Option<String>,
}

/// The partition table of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TableLook {
    /// There is none that is known, or the signatures of the disk contradict each other.
    Absent,
    /// There is one.
    Found(Table),
    /// The disk, or the table, could not be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A partition table without its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `gpt`, `dos` or another word of libblkid.
    pub format: String,
    /// UUID or number of the disk in the table.
    pub id: Option<String>,
    /// Which copy of a GPT was read; no other table has two.
    pub copy: Option<TableCopy>,
}

/// The two copies of a GPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableCopy {
    /// The one at the start.
    Primary,
    /// The one at the end, since the primary is damaged.
    Backup,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Number in the table.
    pub number: u32,
    /// Kernel name; absent when the kernel has no such partition.
    pub name: Option<String>,
    /// First byte on the disk: the kernel's word, or the table's when the kernel has none.
    pub offset: u64,
    /// Bytes, likewise.
    pub length: u64,
    /// Who says that it is there.
    pub seen_by: SeenBy,
    /// Type GUID, or number of a DOS type.
    pub r#type: Option<String>,
    /// Its name in the table.
    pub partition_name: Option<String>,
    /// Its UUID in the table.
    pub partition_uuid: Option<String>,
    /// What lies on it.
    pub probe: Content,
}

/// Who says that a partition is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenBy {
    /// Kernel and table, and they agree on its place.
    Both,
    /// The kernel alone.
    Kernel,
    /// The table alone.
    Table,
    /// Kernel and table, and they disagree on its place.
    Contradictory,
}

/// What can be taken for something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ambiguity {
    /// Disks with one serial number.
    SameSerial {
        /// The number.
        serial: String,
        /// Their names.
        devices: Vec<String>,
    },
    /// Disks with one world wide name.
    SameWwn {
        /// The name.
        wwn: String,
        /// Their names.
        devices: Vec<String>,
    },
    /// Devices with one label, compared without case.
    SameLabel {
        /// The label of the first.
        label: String,
        /// Their names.
        devices: Vec<String>,
    },
    /// Devices with one filesystem UUID.
    SameUuid {
        /// The UUID.
        uuid: String,
        /// Their names.
        devices: Vec<String>,
    },
    /// A device whose signatures contradict each other.
    Contradiction {
        /// Its name.
        device: String,
        /// Types of all signatures.
        signatures: Vec<String>,
    },
    /// A label of a configuration volume where anybody can have written it: not a whole device that is read-only.
    VolumeLabel {
        /// Name of the device.
        device: String,
        /// The label.
        label: String,
    },
    /// A GPT whose primary copy is damaged.
    DamagedTable {
        /// Name of the disk.
        device: String,
    },
    /// A partition that kernel and table do not agree on.
    PartitionDiffers {
        /// Name of the disk.
        device: String,
        /// Number of the partition.
        number: u32,
        /// Who says that it is there.
        seen_by: SeenBy,
    },
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameSerial { serial, devices } => {
                write!(formatter, "{} have one serial, {serial}", devices.join(" and "))
            }
            Self::SameWwn { wwn, devices } => write!(formatter, "{} have one WWN, {wwn}", devices.join(" and ")),
            Self::SameLabel { label, devices } => {
                write!(formatter, "{} have one label, {label}", devices.join(" and "))
            }
            Self::SameUuid { uuid, devices } => write!(formatter, "{} have one UUID, {uuid}", devices.join(" and ")),
            Self::Contradiction { device, signatures } => {
                write!(formatter, "signatures on {device} contradict each other: {}", signatures.join(", "))
            }
            Self::VolumeLabel { device, label } => {
                write!(formatter, "{device} is labelled {label} and is no whole device that is read-only")
            }
            Self::DamagedTable { device } => {
                write!(formatter, "the primary partition table of {device} is damaged, its backup was read")
            }
            Self::PartitionDiffers { device, number, seen_by } => match seen_by {
                SeenBy::Kernel => {
                    write!(formatter, "the table of {device} does not list the kernel's partition {number}")
                }
                SeenBy::Table => {
                    write!(formatter, "the kernel does not have partition {number} of the table of {device}")
                }
                SeenBy::Both | SeenBy::Contradictory => {
                    write!(formatter, "kernel and table disagree on the place of partition {number} of {device}")
                }
            },
        }
    }
}

/// Bytes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A partition as its table lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableEntry {
    pub(super) number: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) r#type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) uuid: Option<String>,
    /// Of a DOS table: holds other partitions.
    pub(super) extended: bool,
}

impl TableEntry {
    pub(super) fn range(&self) -> Range {
        Range { offset: self.offset, length: self.length }
    }
}
