//! The survey: every disk of a machine with its partitions, contents, users and names, for a person to read.
//! Only reads; must not be what a reimage decides by, which is the smaller and stricter [`crate::inventory`], and for a
//! disk that shall keep its partitions [`partitions`], which shares the confined look at a table.

mod ambiguity;
pub(crate) mod extents;
mod joined;
mod links;
mod look;
mod partitions;
pub(crate) mod sysfs;
mod types;

use std::path::Path;

use cloud_machine_disk::{DiskError, Holder, holders};
use cloud_machine_protocol::causes;
pub use look::{CHILD_ARGUMENT as DETAILS_ARGUMENT, child};
pub use partitions::partitions;
pub use types::{
    Ambiguity, Content, Look, Partition, Row, SeenBy, Signature, Survey, SurveyedDisk, Table, TableCopy, TableLook,
};

use crate::{
    SystemError,
    attributes::names,
    device::{self, DeviceNumber},
};
use links::Links;
use look::Answer;
use sysfs::{Facts, Node};
use types::{Range, TableEntry};

/// What the survey sees the machine through, so that tests can show it another one.
struct SurveyIo<'a> {
    /// Folder with one entry for each block device.
    sys: &'a Path,
    /// Folder of the stable names.
    names: &'a Path,
    /// What lies on a device, or on a range of it.
    look: &'a dyn Fn(&str, DeviceNumber, Option<Range>) -> Answer,
    /// Who uses a disk.
    holders: &'a dyn Fn(&Path) -> Result<Vec<Holder>, DiskError>,
}

/// Looks at all disks, sorted by name; loop devices too when `loops` says so.
///
/// # Errors
/// [`SystemError`] when the kernel's list of devices cannot be read. What fails on one disk is said in its row.
pub fn survey(loops: bool) -> Result<Survey, SystemError> {
    let io = SurveyIo {
        sys: Path::new("/sys/class/block"),
        names: Path::new("/dev/disk"),
        look: &look::look,
        holders: &holders,
    };
    io.survey(loops)
}

impl SurveyIo<'_> {
    fn survey(&self, loops: bool) -> Result<Survey, SystemError> {
        let names = names(self.sys)?;
        let links = Links::below(self.names);
        let mut disks = Vec::new();
        for name in names {
            match self.disk(&name, loops, &links) {
                Ok(Some(disk)) => disks.push(Row::Disk(Box::new(disk))),
                Ok(None) => {}
                Err(error) => disks.push(Row::Unreadable { name, reason: causes(&error) }),
            }
        }
        let ambiguities = ambiguity::ambiguities(&disks);
        Ok(Survey { disks, ambiguities })
    }

    /// One disk; `None` when the name is no disk's, or the drive has no medium.
    fn disk(&self, name: &str, loops: bool, links: &Links) -> Result<Option<SurveyedDisk>, SystemError> {
        let folder = self.sys.join(name);
        let Some(facts) = sysfs::facts(&folder, name, loops)? else { return Ok(None) };
        let (probe, found) = match (self.look)(name, facts.number, None) {
            Answer::NoMedium => return Ok(None),
            Answer::Seen { content, table } => (content, table),
        };
        let (table, entries) = match found {
            Look::Found { value: Some(found) } => (TableLook::Found(found.table), found.entries),
            Look::Found { value: None } => (TableLook::Absent, Vec::new()),
            Look::Unreadable { reason } => (TableLook::Unreadable { reason }, Vec::new()),
        };
        let partitions = self.partitions(&facts, sysfs::nodes(&folder)?, entries);
        let holders = match (self.holders)(Path::new(&device::path(name))) {
            Ok(value) => Look::Found { value },
            Err(error) => Look::Unreadable { reason: causes(&error) },
        };
        let Facts { number, disk } = facts;
        Ok(Some(SurveyedDisk { probe, table, partitions, holders, links: links.to(number), ..disk }))
    }

    /// The partitions that the kernel has and those that the table lists, joined by their numbers.
    fn partitions(&self, facts: &Facts, nodes: Vec<Node>, entries: Vec<TableEntry>) -> Vec<Partition> {
        let seen = |answer| match answer {
            Answer::Seen { content, .. } => content,
            Answer::NoMedium => Content::Unreadable { reason: "its drive has no medium".to_owned() },
        };
        let mut entries = entries;
        let mut partitions = Vec::new();
        for node in nodes {
            let entry = entries.iter().position(|entry| entry.number == node.number).map(|at| entries.remove(at));
            let probe = seen((self.look)(&node.name, node.device, None));
            partitions.push(Partition::of_kernel(node, entry, probe));
        }
        for entry in entries {
            let Range { offset, length } = entry.range();
            let end = offset.checked_add(length);
            let probe = if end.is_some_and(|end| end <= facts.disk.size && length > 0) {
                seen((self.look)(&facts.disk.name, facts.number, Some(entry.range())))
            } else {
                Content::Unreadable { reason: "it does not lie on the disk".to_owned() }
            };
            partitions.push(Partition::of_table(entry, probe));
        }
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }
}

#[cfg(test)]
mod tests;
