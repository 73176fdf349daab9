//! What this machine is: names, firmware, interfaces and disks. Only the kernel's lists are read; no disk is opened.

use std::path::Path;

use cloud_machine_disk::holders;
use cloud_machine_protocol::{DiskFacts, Firmware, MachineFacts, MachineId};

use crate::{
    SystemError,
    attributes::{SYSFS, attribute, is_there, names},
    device, network,
    root_place::{RootPlace, root_place},
    survey::sysfs,
};

/// How systemd marks a system that has no number yet (machine-id(5)).
const UNINITIALIZED: &str = "uninitialized";

/// Collects the facts.
///
/// # Errors
/// [`SystemError`] when something is there and cannot be read, or says something that it cannot say.
pub fn facts() -> Result<MachineFacts, SystemError> {
    let place = root_place()?;
    let mut disks = disks_in(Path::new(SYSFS))?;
    for facts in &mut disks {
        facts.holds_root = match &place {
            RootPlace::On(names) => names.contains(&facts.name),
            RootPlace::InUse => !holders(Path::new(&device::path(&facts.name)))?.is_empty(),
            RootPlace::Unknown => true,
        };
    }
    let hostname = attribute(Path::new("/proc/sys/kernel"), "hostname")?.filter(|name| !name.is_empty());
    Ok(MachineFacts {
        machine_id: machine_id(Path::new("/etc"))?,
        // The kernel's own word for none.
        hostname: hostname.unwrap_or_else(|| "(none)".to_owned()),
        product_uuid: product_uuid()?,
        firmware: if is_there(Path::new("/sys/firmware/efi"))? { Firmware::Uefi } else { Firmware::Bios },
        interfaces: network::interfaces()?,
        // Without a disk nothing is known of where the root lies but that it is on none.
        in_memory: place != RootPlace::Unknown && !disks.iter().any(|disk| disk.holds_root),
        disks,
    })
}

fn machine_id(folder: &Path) -> Result<Option<MachineId>, SystemError> {
    let text = attribute(folder, "machine-id")?.unwrap_or_default();
    if text.is_empty() || text == UNINITIALIZED {
        return Ok(None);
    }
    let object = || folder.join("machine-id").display().to_string();
    text.parse().map(Some).map_err(|_| SystemError::unexpected(object(), &text, "32 hexadecimal digits, not all zero"))
}

/// UUID of the machine in its firmware; `None` where the firmware has none.
///
/// # Errors
/// [`SystemError::Io`] when it is there and cannot be read, [`SystemError::Unexpected`] when it is no UUID.
pub fn product_uuid() -> Result<Option<uuid::Uuid>, SystemError> {
    product_uuid_in(Path::new("/sys/class/dmi/id"))
}

fn product_uuid_in(folder: &Path) -> Result<Option<uuid::Uuid>, SystemError> {
    let Some(text) = attribute(folder, "product_uuid")? else { return Ok(None) };
    let object = || folder.join("product_uuid").display().to_string();
    uuid::Uuid::try_parse(&text).map(Some).map_err(|_| SystemError::unexpected(object(), &text, "a UUID"))
}

/// Disks of a device; none of them is said to hold the root.
fn disks_in(sysfs: &Path) -> Result<Vec<DiskFacts>, SystemError> {
    let mut disks = Vec::new();
    for name in names(sysfs)? {
        let folder = sysfs.join(&name);
        let is_optical = name.strip_prefix("sr").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if is_optical || !is_there(&folder.join("device"))? {
            continue;
        }
        let Some(found) = sysfs::facts(&folder, &name, false)? else { continue };
        let (disk, holds_root) = (found.disk, false);
        disks.push(DiskFacts {
            name,
            serial: disk.serial,
            wwn: disk.wwn,
            size: disk.size,
            bus: disk.transport,
            model: disk.model,
            holds_root,
        });
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_number_that_is_absent_is_none_and_a_wrong_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        assert_eq!(machine_id(folder.path()).unwrap(), None);
        for (text, is) in [("", false), ("uninitialized\n", false), ("0123456789abcdef0123456789abcdef\n", true)] {
            fs::write(&path, text).unwrap();
            assert_eq!(machine_id(folder.path()).unwrap().is_some(), is, "{text}");
        }
        for text in ["0123\n".to_owned(), "0".repeat(32)] {
            fs::write(&path, text).unwrap();
            assert!(machine_id(folder.path()).unwrap_err().to_string().contains("expected 32 hexadecimal digits"));
        }
        assert_eq!(product_uuid_in(folder.path()).unwrap(), None);
        fs::write(folder.path().join("product_uuid"), "11111111-2222-3333-4444-55555555ABCD\n").unwrap();
        let found = product_uuid_in(folder.path()).unwrap().unwrap();
        assert_eq!(found.to_string(), "11111111-2222-3333-4444-55555555abcd");
        fs::write(folder.path().join("product_uuid"), "Not Settable\n").unwrap();
        assert!(product_uuid_in(folder.path()).unwrap_err().to_string().ends_with("expected a UUID"));
    }

    #[test]
    fn only_disks_of_devices_are_listed() {
        let sysfs = tempfile::tempdir().unwrap();
        for (name, device) in [("vda", true), ("vda1", false), ("dm-0", false), ("sr0", true), ("loop0", false)] {
            let folder = sysfs.path().join(name);
            fs::create_dir_all(folder.join("queue")).unwrap();
            for (file, text) in [
                ("dev", "254:0"),
                ("size", "2048"),
                ("ro", "0"),
                ("serial", "S1"),
                ("queue/logical_block_size", "512"),
                ("queue/physical_block_size", "512"),
                ("queue/rotational", "0"),
            ] {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
            if device {
                fs::create_dir(folder.join("device")).unwrap();
            }
        }
        let disks = disks_in(sysfs.path()).unwrap();
        let [vda] = disks.as_slice() else { panic!("{disks:?}") };
        assert_eq!((vda.name.as_str(), vda.serial.as_deref(), vda.size), ("vda", Some("S1"), 1 << 20));
    }

    #[test]
    fn the_root_of_this_machine_is_somewhere() {
        let facts = facts().unwrap();
        assert_eq!(facts.in_memory, !facts.disks.iter().any(|disk| disk.holds_root), "{facts:?}");
    }
}
