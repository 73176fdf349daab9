//! Rules about the disks of one machine together: the default disk, the one system disk, no device twice. Must not
//! look at real devices.

use std::collections::{BTreeMap, btree_map};

use cloud_machine_protocol::{DeviceSelector, DiskName};

use crate::{
    config::{DiskConfig, OnReimage},
    error::ConfigError,
    place::locate,
    schema::{self, WipeOnBoot},
    tree::Node,
};

/// Name of the system disk when nobody declares one.
const DEFAULT_DISK: &str = "system";

pub(crate) type Disks = BTreeMap<DiskName, DiskConfig>;

/// The declared disks, and the default one when none of them is the system disk. A declared disk of its name stays as
/// it is.
pub(crate) fn configs(declared: &BTreeMap<DiskName, schema::Disk>) -> Disks {
    let mut disks: Disks = declared.iter().map(|(name, disk)| (name.clone(), config(name, disk))).collect();
    // The name is a constant that fits its grammar; a test loads it.
    if let (Ok(name), false) = (DEFAULT_DISK.parse::<DiskName>(), disks.values().any(|disk| disk.boot_partition)) {
        let system = schema::Disk { boot_partition: true, ..schema::Disk::default() };
        disks.entry(name.clone()).or_insert_with(|| config(&name, &system));
    }
    disks
}

fn config(name: &DiskName, disk: &schema::Disk) -> DiskConfig {
    DiskConfig {
        devicepath: disk.devicepath.clone().unwrap_or_else(|| DeviceSelector::Serial(name.to_string())),
        allocation: disk.allocation.as_ref().map(|allocation| allocation.0),
        boot_partition: disk.boot_partition,
        on_reimage: match disk.on_reimage {
            schema::OnReimage::Keep => OnReimage::Keep,
            schema::OnReimage::Wipe => OnReimage::Wipe,
            schema::OnReimage::Recreate => OnReimage::Recreate,
        },
        wipe_on_boot: disk.wipe_on_boot != WipeOnBoot::No,
        readonly: disk.readonly,
        overwrite: disk.overwrite,
        filesystem: disk.filesystem.as_ref().map(|filesystem| filesystem.0.clone()),
        mountpoint: disk.mountpoint.as_ref().map(|path| path.0.clone()),
    }
}

/// Whether the disks make sense together; `machine` tells where each was written.
pub(crate) fn check(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    one_system_disk(disks, machine, errors);
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.boot_partition) {
        if disk.wipe_on_boot {
            let error = at(machine, name, "wipe-on-boot", "the system disk cannot be wiped on boot");
            errors.push(error.suggestion(Some("reimage it instead".to_owned())));
        }
        if disk.on_reimage == OnReimage::Keep {
            let error = at(machine, name, "on-reimage", "the system disk cannot be kept: a reimage always rewrites it");
            errors.push(error.allowed("wipe"));
        }
    }
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.readonly) {
        if disk.wipe_on_boot || disk.overwrite {
            let key = if disk.wipe_on_boot { "wipe-on-boot" } else { "overwrite" };
            errors.push(at(machine, name, key, "a read-only disk cannot be written"));
        }
        if disk.boot_partition {
            errors.push(at(machine, name, "readonly", "the system disk cannot be read-only: a reimage rewrites it"));
        }
    }
    let mut owners: BTreeMap<String, &DiskName> = BTreeMap::new();
    for (name, disk) in disks {
        match owners.entry(disk.devicepath.to_string()) {
            btree_map::Entry::Vacant(free) => {
                free.insert(name);
            }
            btree_map::Entry::Occupied(taken) => {
                let message = format!("disks `{}` and `{name}` are the same device `{}`", taken.get(), taken.key());
                errors.push(at(machine, name, "devicepath", &message));
            }
        }
    }
}

fn one_system_disk(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut system = disks.iter().filter(|(_, disk)| disk.boot_partition).map(|(name, _)| name);
    let Some(first) = system.next() else {
        let (found, path) = locate(machine, &["resources", "disks"]);
        let error = ConfigError::new(
            &found.source,
            found.mark,
            &path,
            "no disk is the system disk, and the disk `system` is another one",
        );
        errors.push(error.allowed("exactly one disk with `boot-partition: true`"));
        return;
    };
    for second in system {
        let message = format!("`{second}` is a second system disk beside `{first}`");
        let error = at(machine, second, "boot-partition", &message);
        errors.push(error.allowed("exactly one disk with `boot-partition: true`"));
    }
}

fn at(machine: &Node, disk: &DiskName, key: &str, message: &str) -> ConfigError {
    let (found, path) = locate(machine, &["resources", "disks", disk.as_str(), key]);
    ConfigError::new(&found.source, found.mark, &path, message)
}
