//! What the machine was found to have.

use serde::{Deserialize, Serialize};

use crate::{DeviceSelector, Partitions, Probe};

/// All whole disks of the machine, sorted by name. Partitions, RAM disks and loop devices are not disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The disks.
    pub disks: Vec<Disk>,
}

/// One whole block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Its GPT; `None` where nobody had to look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Partitions>,
}

impl Disk {
    /// Whether `selector` names this disk.
    #[must_use]
    pub fn matches(&self, selector: &DeviceSelector) -> bool {
        match selector {
            DeviceSelector::Path(name) => self.name == *name,
            DeviceSelector::Serial(serial) => self.serial.as_ref() == Some(serial),
            DeviceSelector::Wwn(wwn) => self.wwn.as_ref() == Some(wwn),
            DeviceSelector::Label(label) => {
                matches!(&self.probe, Probe::Found(found) if found.label.as_ref() == Some(label))
            }
            DeviceSelector::ById(name) => self.is_called(name),
        }
    }

    /// Whether udev calls this disk `name` below `/dev/disk/by-id` (60-persistent-storage.rules of systemd): by its
    /// serial, alone or behind a model that the kernel told udev, or by its world wide name.
    fn is_called(&self, name: &str) -> bool {
        let serial = self.serial.as_ref().map(|serial| serial.replace(char::is_whitespace, "_"));
        let by_serial = serial.is_some_and(|serial| match name.split_once('-') {
            Some(("virtio", rest)) => rest == serial,
            Some(("ata" | "nvme" | "scsi" | "usb", rest)) => rest.ends_with(&format!("_{serial}")),
            _ => false,
        });
        // A SCSI name of type 3 (NAA) is `wwn-0x` and its digits there, any other as the kernel writes it.
        let by_wwn = self.wwn.as_ref().is_some_and(|wwn| match (name.split_once('-'), wwn.strip_prefix("naa.")) {
            (Some(("wwn", rest)), Some(digits)) => rest.strip_prefix("0x") == Some(digits),
            (Some(("nvme" | "wwn", rest)), None) => rest == wwn,
            _ => false,
        });
        by_serial || by_wwn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signature;

    fn disk(serial: &str, wwn: &str) -> Disk {
        Disk {
            name: "sda".to_owned(),
            serial: Some(serial.to_owned()),
            wwn: Some(wwn.to_owned()),
            size: 1 << 20,
            sector_size: 512,
            read_only: false,
            discard: false,
            probe: Probe::Found(Signature { label: Some("TOOLS".to_owned()), ..Signature::default() }),
            partitions: None,
        }
    }

    #[test]
    fn a_disk_is_what_udev_calls_it() {
        let (scsi, nvme) = (disk("S 1", "naa.5000c500a0b1c2d3"), disk("x1", "eui.0025385b11b0c1d2"));
        for (disk, selector, is) in [
            (&scsi, "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_S_1", true),
            (&scsi, "/dev/disk/by-id/wwn-0x5000c500a0b1c2d3", true),
            (&scsi, "/dev/disk/by-id/wwn-5000c500a0b1c2d3", false),
            (&scsi, "/dev/disk/by-id/virtio-S_1", true),
            (&scsi, "/dev/disk/by-id/scsi-0QEMU_S_2", false),
            (&nvme, "/dev/disk/by-id/nvme-eui.0025385b11b0c1d2", true),
            (&nvme, "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_x1", true),
            (&nvme, "/dev/disk/by-id/nvme-x1", false),
            (&nvme, "label:TOOLS", true),
            (&nvme, "label:tools", false),
        ] {
            assert_eq!(disk.matches(&selector.parse().unwrap()), is, "{selector}");
        }
    }
}
