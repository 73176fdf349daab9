//! What the machine was found to have. A failed look is a value of its own: it never reads as "nothing there".

use serde::{Deserialize, Serialize};

use crate::DeviceSelector;

/// All whole disks of the machine, sorted by name. Partitions, RAM disks and loop devices are not disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The disks.
    pub disks: Vec<Disk>,
}

/// One whole block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// The kernel's name, such as `vda`.
    pub name: String,
    /// What the device calls itself, where it says anything.
    pub serial: Option<String>,
    /// World wide name, where it has one.
    pub wwn: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical sector.
    pub sector_size: u32,
    /// Whether the kernel refuses to write it.
    pub read_only: bool,
    /// Whether it can be told that ranges are no longer needed (queue/discard_max_bytes of the kernel).
    #[serde(default)]
    pub discard: bool,
    /// What lies on the whole device.
    pub probe: Probe,
}

impl Disk {
    /// Whether `selector` names this disk.
    #[must_use]
    pub fn matches(&self, selector: &DeviceSelector) -> bool {
        match selector {
            DeviceSelector::Path(name) => self.name == *name,
            DeviceSelector::Serial(serial) => self.serial.as_ref() == Some(serial),
            DeviceSelector::Wwn(wwn) => self.wwn.as_ref() == Some(wwn),
        }
    }
}

/// Result of probing a whole device for signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Probe {
    /// No signature is known there.
    Empty,
    /// One consistent answer.
    Found(Signature),
    /// Several signatures contradict each other; never to be guessed between.
    Ambivalent,
    /// The device could not be read or the probing process died.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What libblkid says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signature {
    /// Filesystem or RAID type (`TYPE`).
    pub filesystem: Option<String>,
    /// Label (`LABEL`).
    pub label: Option<String>,
    /// Identifier (`UUID`); a pool's GUID in decimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Partition table type (`PTTYPE`).
    pub partition_table: Option<String>,
}
