//! What the kernel says of a disk and its partitions in /sys. Must not open a device.

use std::{fs, io, path::Path};

use super::types::{Content, Look, SurveyedDisk, TableLook};
use crate::{
    SystemError,
    attributes::{SYSFS_SECTOR, attribute, device_number, first_attribute, number, serial},
    device::DeviceNumber,
};

/// A disk of which only /sys was asked; all else in it is still unknown.
pub(crate) struct Facts {
    pub(super) number: DeviceNumber,
    pub(crate) disk: SurveyedDisk,
}

/// A partition as the kernel has it.
pub(super) struct Node {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) device: DeviceNumber,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) partition_name: Option<String>,
    pub(super) partition_uuid: Option<String>,
}

/// The disk of a folder of /sys; `None` for a partition, memory, a drive without medium, or a loop device when those
/// are not wanted.
pub(crate) fn facts(folder: &Path, name: &str, loops: bool) -> Result<Option<Facts>, SystemError> {
    let unwanted = name.starts_with("ram") || name.starts_with("zram") || (name.starts_with("loop") && !loops);
    // One path of several to a namespace of NVMe is hidden and has no device node (block/genhd.c, GENHD_FL_HIDDEN).
    let is_hidden = attribute(folder, "hidden")?.is_some_and(|hidden| hidden == "1");
    if unwanted || is_hidden || attribute(folder, "partition")?.is_some() {
        return Ok(None);
    }
    let size = number(folder, "size")?.saturating_mul(SYSFS_SECTOR);
    if size == 0 {
        return Ok(None);
    }
    let real = fs::canonicalize(folder).map_err(SystemError::io("find", folder.display().to_string()))?;
    let disk = SurveyedDisk {
        name: name.to_owned(),
        transport: transport(&real).map(str::to_owned),
        model: first_attribute(folder, &["device/model", "device/name", "dm/name"])?,
        serial: serial(folder)?,
        wwn: first_attribute(folder, &["wwid", "device/wwid"])?,
        backing_file: backing_file(folder)?,
        size,
        logical_sector_size: number(folder, "queue/logical_block_size")?,
        physical_sector_size: number(folder, "queue/physical_block_size")?,
        read_only: number(folder, "ro")? != 0,
        rotational: number(folder, "queue/rotational")? != 0,
        probe: Content::Empty,
        table: TableLook::Absent,
        partitions: Vec::new(),
        holders: Look::Found { value: Vec::new() },
        links: Look::Found { value: Vec::new() },
    };
    Ok(Some(Facts { number: device_number(folder)?, disk }))
}

/// The partitions that the kernel has of a disk.
pub(super) fn nodes(folder: &Path) -> Result<Vec<Node>, SystemError> {
    let listed = || SystemError::io("list", folder.display().to_string());
    let mut nodes = Vec::new();
    for entry in fs::read_dir(folder).map_err(listed())? {
        let entry = entry.map_err(listed())?;
        let own = entry.path();
        if !entry.file_type().map_err(listed())?.is_dir() || attribute(&own, "partition")?.is_none() {
            continue;
        }
        let told =
            fs::read(own.join("uevent")).map_err(SystemError::io("read", own.join("uevent").display().to_string()))?;
        let told = String::from_utf8_lossy(&told);
        let value = |key: &str| {
            let value = told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        nodes.push(Node {
            number: u32::try_from(number(&own, "partition")?).unwrap_or(u32::MAX),
            name: entry.file_name().to_string_lossy().into_owned(),
            device: device_number(&own)?,
            offset: number(&own, "start")?.saturating_mul(SYSFS_SECTOR),
            length: number(&own, "size")?.saturating_mul(SYSFS_SECTOR),
            partition_name: value("PARTNAME"),
            partition_uuid: value("PARTUUID"),
        });
    }
    Ok(nodes)
}

fn backing_file(folder: &Path) -> Result<Option<String>, SystemError> {
    let path = folder.join("loop/backing_file");
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SystemError::io("read", path.display().to_string())(error)),
    }
}

/// What a disk is attached by, from its real path in /sys: the bus nearest to it.
fn transport(real: &Path) -> Option<&'static str> {
    const BUSES: [(&str, &str); 14] = [
        ("nvme", "nvme"),
        ("usb", "usb"),
        ("virtio", "virtio"),
        ("session", "iscsi"),
        ("rport-", "fibre-channel"),
        ("end_device-", "sas"),
        ("ata", "ata"),
        ("mmcblk", "mmc"),
        ("vbd-", "xen"),
        ("VMBUS:", "hyper-v"),
        ("loop", "loop"),
        ("dm-", "device-mapper"),
        ("md", "md"),
        ("nbd", "nbd"),
    ];
    real.components().rev().find_map(|component| {
        let component = component.as_os_str().to_str()?;
        BUSES.iter().find_map(|(start, bus)| {
            // A number ends the name of a bus, so that `mdio` is no `md`.
            component.strip_prefix(start)?.starts_with(|letter: char| letter.is_ascii_digit()).then_some(*bus)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_nearest_to_a_disk_is_its_transport() {
        let pci = "/sys/devices/pci0000:00/0000:00:02.0";
        for (path, expected) in [
            (format!("{pci}/virtio1/block/vda"), Some("virtio")),
            (format!("{pci}/ata1/host0/target0:0:0/0:0:0:0/block/sda"), Some("ata")),
            (format!("{pci}/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb"), Some("usb")),
            (format!("{pci}/nvme/nvme0/nvme0n1"), Some("nvme")),
            (format!("{pci}/mmc_host/mmc0/mmc0:0001/block/mmcblk0"), Some("mmc")),
            (format!("{pci}/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdc"), Some("sas")),
            ("/sys/devices/platform/host2/session1/target2:0:0/2:0:0:0/block/sdd".to_owned(), Some("iscsi")),
            ("/sys/devices/vbd-51712/block/xvda".to_owned(), Some("xen")),
            ("/sys/devices/virtual/block/loop3".to_owned(), Some("loop")),
            ("/sys/devices/virtual/block/dm-0".to_owned(), Some("device-mapper")),
            ("/sys/devices/virtual/block/md127".to_owned(), Some("md")),
            (format!("{pci}/host0/target0:0:0/0:0:0:0/block/sda"), None),
        ] {
            assert_eq!(transport(Path::new(&path)), expected, "{path}");
        }
    }
}
