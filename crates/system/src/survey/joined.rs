//! A partition as the kernel has it joined with the one that the table lists. Must not look at either.

use super::{
    sysfs::Node,
    types::{Content, Partition, SeenBy, TableEntry},
};

impl Partition {
    pub(super) fn of_kernel(node: Node, entry: Option<TableEntry>, probe: Content) -> Self {
        let seen_by = match &entry {
            None => SeenBy::Kernel,
            Some(entry) if agrees(entry, &node) => SeenBy::Both,
            Some(_) => SeenBy::Contradictory,
        };
        let (r#type, name, uuid) = match entry {
            Some(entry) => (entry.r#type, entry.name, entry.uuid),
            None => (None, None, None),
        };
        Self {
            number: node.number,
            name: Some(node.name),
            offset: node.offset,
            length: node.length,
            seen_by,
            r#type,
            partition_name: name.or(node.partition_name),
            partition_uuid: uuid.or(node.partition_uuid),
            probe,
        }
    }

    pub(super) fn of_table(entry: TableEntry, probe: Content) -> Self {
        Self {
            number: entry.number,
            name: None,
            offset: entry.offset,
            length: entry.length,
            seen_by: SeenBy::Table,
            r#type: entry.r#type,
            partition_name: entry.name,
            partition_uuid: entry.uuid,
            probe,
        }
    }
}

/// Whether both say that it is in the same place.
fn agrees(entry: &TableEntry, node: &Node) -> bool {
    // The kernel gives an extended partition two sectors, enough for a boot loader (block/partitions/msdos.c).
    entry.offset == node.offset && (entry.length == node.length || entry.extended)
}
