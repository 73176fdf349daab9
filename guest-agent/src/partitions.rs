//! The partitions of data disks: which disks are looked at more closely before the plan, and the step that writes a
//! table. Must not decide what becomes of one.

use std::path::Path;

use cloud_machine_config::Config;
use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{TableWritten, write_table};
use cloud_machine_plan::Wiping;
use cloud_machine_protocol::{Action, Inventory, NewTable, PartitionLocation};
use cloud_machine_system::{SystemError, partition_node, reread_partition_table, survey};

use crate::error::AgentError;

/// The inventory with the partitions of each disk that is kept and shall have some. Of any other disk, its table changes
/// nothing.
pub(crate) fn looked_at(inventory: &Inventory, config: &Config, action: Action) -> Inventory {
    let mut inventory = inventory.clone();
    let declared = config.resources.disks.values();
    for disk in declared.filter(|disk| !disk.partitions.is_empty() && Wiping::of(action, disk).is_none()) {
        for found in inventory.disks.iter_mut().filter(|found| found.matches(&disk.devicepath)) {
            found.partitions = Some(survey::partitions(&found.name));
        }
    }
    inventory
}

/// Writes a table, and has the kernel see exactly its partitions.
pub(crate) fn write(device: &str, table: &NewTable) -> Result<TableWritten, AgentError> {
    let target = Disk::open(&Path::new("/dev").join(device), Access::Write)?;
    let done = write_table(&target, table).map_err(|source| AgentError::Table { device: device.to_owned(), source })?;
    target.check_size()?;
    // The kernel reads a table again only when nobody holds the disk.
    drop(target);
    reread_partition_table(device)?;
    for partition in &table.partitions {
        partition_node(device, partition.number, partition.offset, partition.length)?;
    }
    Ok(done)
}

/// The kernel's name of what a step is about: the disk, or a partition of it that is where the step says.
pub(crate) fn node(device: &str, partition: Option<&PartitionLocation>) -> Result<String, SystemError> {
    match partition {
        None => Ok(device.to_owned()),
        Some(place) => partition_node(device, place.number, place.offset, place.length).map(|found| found.name),
    }
}
