//! Which drivers of disks the machine needs besides those that every machine has. Must not load anything.

use std::{fs, path::Path};

use crate::{SystemError, attributes::attribute};

/// Devices on the virtio bus, and on the PCI bus.
const VIRTIO: &str = "/sys/bus/virtio/devices";
const PCI: &str = "/sys/bus/pci/devices";
/// A SCSI host (VIRTIO 1.2, 5).
const VIRTIO_SCSI: &str = "0x0008";
/// Mass storage, non-volatile memory (PCI Code and ID Assignment Specification, 1.2); the interface follows.
const NVME: &str = "0x0108";

/// Stages of modules for the disks of this machine, in the words of the initramfs.
///
/// # Errors
/// [`SystemError::Io`] when sysfs cannot be read.
pub fn stages() -> Result<Vec<&'static str>, SystemError> {
    stages_in(Path::new(VIRTIO), Path::new(PCI))
}

fn stages_in(virtio: &Path, pci: &Path) -> Result<Vec<&'static str>, SystemError> {
    let mut stages = Vec::new();
    if any(virtio, "device", VIRTIO_SCSI)? {
        stages.push("scsi");
    }
    if any(pci, "class", NVME)? {
        stages.push("nvme");
    }
    Ok(stages)
}

/// Whether a device below `folder` has an attribute that begins so.
fn any(folder: &Path, name: &str, begins: &str) -> Result<bool, SystemError> {
    let object = folder.display().to_string();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // The kernel has no such bus.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(SystemError::io("list", object)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(SystemError::io("list", &object))?;
        if attribute(&entry.path(), name)?.is_some_and(|value| value.starts_with(begins)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_stages_of_its_devices() {
        let folder = tempfile::tempdir().unwrap();
        let (virtio, pci) = (folder.path().join("virtio"), folder.path().join("pci"));
        assert_eq!(stages_in(&virtio, &pci).unwrap(), Vec::<&str>::new());
        let device = |bus: &Path, name: &str, attribute: &str, value: &str| {
            fs::create_dir_all(bus.join(name)).unwrap();
            fs::write(bus.join(name).join(attribute), value).unwrap();
        };
        device(&virtio, "virtio0", "device", "0x0002\n");
        device(&pci, "0000:00:01.0", "class", "0x010000\n");
        assert_eq!(stages_in(&virtio, &pci).unwrap(), Vec::<&str>::new());
        device(&virtio, "virtio1", "device", "0x0008\n");
        device(&pci, "0000:00:02.0", "class", "0x010802\n");
        assert_eq!(stages_in(&virtio, &pci).unwrap(), ["scsi", "nvme"]);
    }
}
