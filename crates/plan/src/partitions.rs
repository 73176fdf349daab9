//! What becomes of a disk that shall have partitions: the same table of decisions as for a filesystem, asked once for
//! its table and then for each filesystem. Must not look at a device.

use std::fmt;

use cloud_machine_config::{DiskConfig, PartitionSize};
use cloud_machine_protocol::{
    DataContent, Disk, Mount, NewPartition, NewTable, Partition, PartitionLocation, PartitionMethod, Partitions, Probe,
};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::{
    decision::{Content, Decision, Refusal, decide},
    error::Wanted,
    filesystem::{WantedFilesystem, described},
    known::Known,
    layout::{LayoutError, layout},
};

/// The partitions that a disk shall have, and what may be done for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedTable {
    /// Sorted by number.
    pub partitions: Vec<WantedPartition>,
    /// Whether other content may be replaced.
    pub overwrite: bool,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPartition {
    /// Number in the table.
    pub number: u32,
    /// Name in the table.
    pub name: String,
    /// How large it is.
    pub size: PartitionSize,
    /// Type GUID.
    pub kind: Uuid,
    /// What it shall hold.
    pub filesystem: Option<WantedFilesystem>,
}

/// What becomes of the table of a disk and of what is in its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePlan {
    /// Of the table.
    pub(crate) decision: Decision,
    /// The table as it is, or shall be, but for the GUIDs of one that is used as it is.
    pub(crate) table: NewTable,
    /// Each filesystem with its partition, by number.
    pub(crate) filesystems: Vec<FilesystemPlan>,
}

/// What becomes of a filesystem in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilesystemPlan {
    pub(crate) name: String,
    pub(crate) place: PartitionLocation,
    pub(crate) wanted: WantedFilesystem,
    pub(crate) decision: Decision,
}

/// Why a disk is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableRefusal {
    /// Its size or its sectors.
    Layout(LayoutError),
    /// What it holds; `partition` names the one that it is in.
    Content { partition: Option<String>, wanted: String, found: String, refusal: Refusal },
}

impl WantedTable {
    /// What the configuration says of a disk; `None` when it says nothing.
    #[must_use]
    pub fn of(disk: &DiskConfig) -> Option<Self> {
        let partitions: Vec<WantedPartition> = disk
            .partitions
            .iter()
            .filter(|_| !disk.boot_partition)
            .map(|partition| WantedPartition {
                number: partition.number,
                name: partition.name.to_string(),
                size: partition.size,
                kind: partition.kind,
                filesystem: partition.filesystem.as_ref().map(|filesystem| WantedFilesystem {
                    mountpoint: partition.mountpoint.clone(),
                    mount_options: partition.mount_options.clone(),
                    overwrite: disk.overwrite,
                    required: disk.required,
                    ..WantedFilesystem::new(filesystem)
                }),
            })
            .collect();
        (!partitions.is_empty()).then_some(Self { partitions, overwrite: disk.overwrite })
    }

    /// What becomes of `disk`, which the configuration calls `name`, of which the host has `known`. `wiped`: it is wiped
    /// before.
    pub(crate) fn plan(
        &self,
        name: &str,
        disk: &Disk,
        wiped: bool,
        known: Known<'_>,
    ) -> Result<TablePlan, TableRefusal> {
        let table = self.table(name, disk, known.machine).map_err(TableRefusal::Layout)?;
        let (content, found) = content(&table, disk);
        let decision = decide(content, known.history, wiped, self.overwrite);
        if let Decision::Refuse(refusal) = decision {
            return Err(TableRefusal::Content { partition: None, wanted: self.to_string(), found, refusal });
        }
        let mut filesystems = Vec::new();
        for (wanted, new) in self.partitions.iter().zip(&table.partitions) {
            let Some(filesystem) = &wanted.filesystem else { continue };
            let place = PartitionLocation::new(&disk.name, new.number, new.offset, new.length);
            let decision = match (decision, listed(disk).find(|partition| partition.number == new.number)) {
                (Decision::Reuse, found) => {
                    // A table that is used lists it; were it not so, nobody could say what is there.
                    let absent = Probe::Unreadable { reason: "it is not listed".to_owned() };
                    let probe = found.map_or(&absent, |partition| &partition.probe);
                    let decision = filesystem.decision(probe, known.history, false);
                    if let Decision::Refuse(refusal) = decision {
                        let (name, wanted) = (Some(wanted.name.clone()), filesystem.to_string());
                        return Err(TableRefusal::Content {
                            partition: name,
                            wanted,
                            found: described(probe),
                            refusal,
                        });
                    }
                    decision
                }
                _ => Decision::Create,
            };
            filesystems.push(FilesystemPlan { name: wanted.name.clone(), place, wanted: filesystem.clone(), decision });
        }
        Ok(TablePlan { decision, table, filesystems })
    }

    fn table(&self, name: &str, disk: &Disk, machine: &str) -> Result<NewTable, LayoutError> {
        let sizes: Vec<PartitionSize> = self.partitions.iter().map(|partition| partition.size).collect();
        let places = layout(disk.size, disk.sector_size, &sizes)?;
        let partition = |(wanted, place): (&WantedPartition, &cloud_machine_protocol::Extent)| NewPartition {
            number: wanted.number,
            name: wanted.name.clone(),
            r#type: wanted.kind,
            uuid: identifier(machine, name, wanted.number),
            offset: place.offset,
            length: place.length,
        };
        Ok(NewTable {
            disk_size: disk.size,
            sector_size: disk.sector_size,
            uuid: identifier(machine, name, 0),
            partitions: self.partitions.iter().zip(&places).map(partition).collect(),
        })
    }
}

/// The GUID of partition `number` of a disk, or of the disk itself for 0: the same for a machine as long as it lives, so
/// that what names a partition by it finds it after a reimage; another one for every machine, disk and number.
fn identifier(machine: &str, disk: &str, number: u32) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("cloud-machine 2026 GUIDs of partition tables");
    for text in [machine, disk] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.update(&number.to_le_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    // A UUID by a method of one's own (RFC 9562, section 5.8).
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn listed(disk: &Disk) -> impl Iterator<Item = &Partition> {
    let partitions = match &disk.partitions {
        Some(Partitions::Found { partitions, .. }) => partitions.as_slice(),
        _ => &[],
    };
    partitions.iter()
}

/// What is found on `disk`, seen from the table that it shall have; and the same for people.
fn content(wanted: &NewTable, disk: &Disk) -> (Content, String) {
    let found = described(&disk.probe);
    match (&disk.probe, &disk.partitions) {
        (Probe::Found(signature), partitions) => {
            let table = signature.filesystem.is_none() && signature.partition_table.as_deref() == Some("gpt");
            match partitions {
                _ if !table => (Content::Other, found),
                None => (Content::Unreadable, format!("{found}, which was not probed")),
                Some(Partitions::Unreadable { reason }) => {
                    (Content::Unreadable, format!("{found} that cannot be read ({})", reason.escape_default()))
                }
                Some(Partitions::Absent) => (Content::Other, found),
                // Whoever damaged it may have had a reason, and every other reader trusts the rest of it.
                Some(Partitions::Found { primary: false, .. }) => {
                    (Content::Other, "a partition table whose primary copy is damaged".to_owned())
                }
                Some(Partitions::Found { partitions, .. }) => match difference(wanted, partitions) {
                    None => (Content::Wanted, found),
                    Some(difference) => (Content::Other, format!("a partition table in which {difference}")),
                },
            }
        }
        (probe, _) => (Content::of(probe, false), found),
    }
}

/// Where the table that was found is not the wanted one. GUIDs that nobody stated may be any.
fn difference(wanted: &NewTable, found: &[Partition]) -> Option<String> {
    for partition in &wanted.partitions {
        let number = partition.number;
        let mut same = found.iter().filter(|other| other.number == number);
        let (Some(other), None) = (same.next(), same.next()) else {
            return Some(format!("partition {number} is absent"));
        };
        if (other.offset, other.length) != (partition.offset, partition.length) {
            let (is, shall) = ((other.length, other.offset), (partition.length, partition.offset));
            return Some(format!(
                "partition {number} has {} bytes at {}, not {} bytes at {}",
                is.0, is.1, shall.0, shall.1
            ));
        }
        if other.r#type != Some(partition.r#type) {
            let other = other.r#type.map_or_else(|| "none".to_owned(), |guid| guid.to_string());
            return Some(format!("partition {number} has the type {other}, not {}", partition.r#type));
        }
        if other.name.as_deref() != Some(&partition.name) {
            let other = other.name.as_deref().unwrap_or_default().escape_debug();
            return Some(format!("partition {number} is called `{other}`, not `{}`", partition.name));
        }
    }
    let unknown = |other: &&Partition| !wanted.partitions.iter().any(|partition| partition.number == other.number);
    found.iter().find(unknown).map(|other| format!("there is a partition {} that nothing describes", other.number))
}

impl TablePlan {
    /// How the booted system gets what is in the partitions of `device`, which the configuration calls `name`. `kept`: they
    /// may hold what a job left before the last reimage.
    pub(crate) fn mounts(&self, device: &str, name: &str, kept: bool) -> Vec<Mount> {
        let in_it = |filesystem: &FilesystemPlan, mount| Mount { partition: Some(filesystem.place.clone()), ..mount };
        let mounts = |filesystem: &FilesystemPlan| -> Vec<Mount> {
            let described = Wanted::Partition(Box::new((name.to_owned(), filesystem.name.clone())));
            filesystem
                .wanted
                .mounts(device, &described, kept)
                .into_iter()
                .map(|mount| in_it(filesystem, mount))
                .collect()
        };
        self.filesystems.iter().flat_map(mounts).collect()
    }

    /// Whether anything on the disk is written.
    pub(crate) fn writes(&self) -> bool {
        let made = |decision| matches!(decision, Decision::Create | Decision::Replace);
        made(self.decision) || self.filesystems.iter().any(|filesystem| made(filesystem.decision))
    }

    /// What was decided, in the report's words.
    pub(crate) fn made(&self) -> DataContent {
        let partition = |filesystem: &FilesystemPlan| PartitionMethod {
            name: filesystem.name.clone(),
            filesystem: filesystem.wanted.kind.clone(),
            wiped: filesystem.decision == Decision::Replace,
            provenance: filesystem.decision.provenance(),
        };
        let partitions = self.filesystems.iter().map(partition).collect();
        DataContent::Table { provenance: self.decision.provenance(), partitions }
    }
}

impl fmt::Display for WantedTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.partitions.iter().map(|partition| format!("`{}`", partition.name)).collect();
        write!(formatter, "the partitions {}", names.join(", "))
    }
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
