//! The GPT of one disk and what lies in its partitions, for a plan. The table may be anybody's, so libblkid reads it in
//! the confined child of the survey; must not ask the kernel what it made of it.

use std::path::Path;

use cloud_machine_protocol::{Partition, Partitions, Probe, Signature, causes};

use super::{
    look::{Answer, look},
    sysfs,
    types::{Content, Look, TableCopy, TableEntry},
};

/// Looks at the disk that the kernel calls `disk`.
#[must_use]
pub fn partitions(disk: &str) -> Partitions {
    listed(disk).unwrap_or_else(|reason| Partitions::Unreadable { reason })
}

fn listed(disk: &str) -> Result<Partitions, String> {
    let folder = Path::new("/sys/class/block").join(disk);
    let facts = sysfs::facts(&folder, disk, true).map_err(|error| causes(&error))?;
    let facts = facts.ok_or_else(|| "it is no disk".to_owned())?;
    let Answer::Seen { table, .. } = look(disk, facts.number, None) else {
        return Err("its drive has no medium".to_owned());
    };
    let found = match table {
        Look::Found { value: Some(found) } if found.table.format == "gpt" => found,
        Look::Found { .. } => return Ok(Partitions::Absent),
        Look::Unreadable { reason } => return Err(reason),
    };
    let partition = |entry: TableEntry| {
        let inside = entry.offset.checked_add(entry.length).is_some_and(|end| end <= facts.disk.size);
        let probe = if inside && entry.length > 0 {
            of(look(disk, facts.number, Some(entry.range())))
        } else {
            Probe::Unreadable { reason: "it does not lie on the disk".to_owned() }
        };
        let guid = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let (offset, length) = (entry.offset, entry.length);
        let (r#type, uuid) = (guid(entry.r#type), guid(entry.uuid));
        Partition { number: entry.number, name: entry.name, r#type, uuid, offset, length, probe }
    };
    let mut partitions: Vec<Partition> = found.entries.into_iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.number);
    Ok(Partitions::Found { primary: found.table.copy == Some(TableCopy::Primary), partitions })
}

fn of(answer: Answer) -> Probe {
    match answer {
        Answer::NoMedium => Probe::Unreadable { reason: "its drive has no medium".to_owned() },
        Answer::Seen { content: Content::Empty, .. } => Probe::Empty,
        Answer::Seen { content: Content::Unknown, .. } => Probe::Unknown,
        Answer::Seen { content: Content::Silent { seconds }, .. } => Probe::Silent { seconds },
        Answer::Seen { content: Content::Ambivalent { .. }, .. } => Probe::Ambivalent,
        Answer::Seen { content: Content::Unreadable { reason }, .. } => Probe::Unreadable { reason },
        Answer::Seen { content: Content::Found(found), .. } => Probe::Found(Signature {
            filesystem: found.filesystem,
            label: found.label,
            uuid: found.uuid,
            partition_table: found.partition_table,
        }),
    }
}
