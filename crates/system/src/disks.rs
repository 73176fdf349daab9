//! The inventory: whole disks from sysfs, each with what a probe found. Must not follow links below /dev/disk, which
//! a label planted on any disk can move.

use std::{path::Path, thread};

use cloud_machine_protocol::{Disk, Inventory, Probe};

use crate::{
    SystemError,
    attributes::{SYSFS, SYSFS_SECTOR, attribute, first_attribute, names, number, serial},
    probe,
};

/// Disks that are probed at the same time: each is a process of its own.
const AT_ONCE: usize = 8;

/// Names of all block devices that are no partitions, sorted; some may be no disks, or hold nothing.
///
/// # Errors
/// [`SystemError`] when sysfs cannot be read.
pub fn disk_names() -> Result<Vec<String>, SystemError> {
    names(Path::new(SYSFS))
}

/// Lists and probes all whole disks, sorted by name.
///
/// # Errors
/// [`SystemError`] when sysfs cannot be read. A device that cannot be probed is in the list and says so.
pub fn inventory() -> Result<Inventory, SystemError> {
    list(false)
}

/// As [`inventory`], with the loop devices that have a file.
///
/// # Errors
/// As [`inventory`].
pub fn inventory_with_loops() -> Result<Inventory, SystemError> {
    list(true)
}

fn list(loops: bool) -> Result<Inventory, SystemError> {
    let mut disks = Vec::new();
    for name in names(Path::new(SYSFS))? {
        if let Some(disk) = disk(&name, loops)? {
            disks.push(disk);
        }
    }
    let mut media = Vec::new();
    for some in disks.chunks_mut(AT_ONCE) {
        media.extend(probe_all(some));
    }
    // An optical drive that is empty has the size of the medium that it could have.
    let mut has_medium = media.into_iter();
    disks.retain(|_| has_medium.next().unwrap_or(true));
    Ok(Inventory { disks })
}

/// Several that do not answer take together as long as one. Gives of each whether it has a medium, as any but a drive has.
fn probe_all(disks: &mut [Disk]) -> Vec<bool> {
    thread::scope(|scope| {
        let looks: Vec<_> = disks.iter().map(|disk| scope.spawn(|| probe::probe_medium(&disk.name))).collect();
        let lost = || Some(Probe::Unreadable { reason: "the look at it was lost".to_owned() });
        looks.into_iter().map(|look| look.join().unwrap_or_else(|_| lost())).collect::<Vec<_>>()
    })
    .into_iter()
    .zip(disks)
    .map(|(found, disk)| match found {
        Some(probe) => {
            disk.probe = probe;
            true
        }
        None => false,
    })
    .collect()
}

fn disk(name: &str, loops: bool) -> Result<Option<Disk>, SystemError> {
    let folder = Path::new(SYSFS).join(name);
    let is_partition = attribute(&folder, "partition")?.is_some();
    if is_partition || (name.starts_with("loop") && !loops) || name.starts_with("ram") {
        return Ok(None);
    }
    let size = number(&folder, "size")?.saturating_mul(SYSFS_SECTOR);
    if size == 0 {
        // A drive without medium.
        return Ok(None);
    }
    Ok(Some(Disk {
        name: name.to_owned(),
        serial: serial(&folder)?,
        wwn: first_attribute(&folder, &["wwid", "device/wwid"])?,
        size,
        sector_size: u32::try_from(number(&folder, "queue/logical_block_size")?).unwrap_or(u32::MAX),
        read_only: number(&folder, "ro")? != 0,
        // Absent where the kernel or the device knows no discard at all.
        discard: attribute(&folder, "queue/discard_max_bytes")?.is_some_and(|bytes| bytes != "0"),
        probe: Probe::Unreadable { reason: "nobody has looked at it".to_owned() },
        partitions: None,
    }))
}
