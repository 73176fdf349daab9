//! Partitions: as they were found on a disk, as a table shall list them, and where one lies. Must not compute a layout.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Probe;

/// The GPT of a disk, as a look at it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Partitions {
    /// There is no GPT.
    Absent,
    /// There is one.
    Found {
        /// Whether its primary copy is whole; otherwise its backup was read.
        primary: bool,
        /// What it lists, sorted by number.
        partitions: Vec<Partition>,
    },
    /// It could not be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A partition as its table lists it, and what lies in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Number in the table.
    pub number: u32,
    /// Name in the table.
    pub name: Option<String>,
    /// Type GUID.
    pub r#type: Option<Uuid>,
    /// Unique GUID.
    pub uuid: Option<Uuid>,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What lies in it.
    pub probe: Probe,
}

/// A GPT to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTable {
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Bytes of its logical sectors.
    pub sector_size: u32,
    /// GUID of the disk.
    pub uuid: Uuid,
    /// What it lists, sorted by number.
    pub partitions: Vec<NewPartition>,
}

/// A partition to write into a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPartition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Name in the table.
    pub name: String,
    /// Type GUID.
    pub r#type: Uuid,
    /// Unique GUID.
    pub uuid: Uuid,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Where a partition is: its node, and what the kernel must say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionLocation {
    /// Kernel name, such as `vdb1`.
    pub node: String,
    /// Number in the table.
    pub number: u32,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl PartitionLocation {
    /// The place of partition `number` of the disk that the kernel calls `device`. A disk whose name ends in a digit
    /// puts a p before the number (block/partitions/core.c).
    #[must_use]
    pub fn new(device: &str, number: u32, offset: u64, length: u64) -> Self {
        let separator = if device.ends_with(|character: char| character.is_ascii_digit()) { "p" } else { "" };
        Self { node: format!("{device}{separator}{number}"), number, offset, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_as_the_kernel_calls_it() {
        for (device, node) in [("vdb", "vdb3"), ("nvme0n1", "nvme0n1p3"), ("loop7", "loop7p3"), ("sdab", "sdab3")] {
            assert_eq!(PartitionLocation::new(device, 3, 0, 0).node, node);
        }
    }
}
