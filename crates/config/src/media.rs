//! Rules about disks that are never written, and about filesystems that nobody can make on one. Must not look at a file.

use cloud_machine_protocol::{Bus, DeviceSelector};

use crate::{
    config::{DiskConfig, Disks, FilesystemType},
    error::ConfigError,
    key_location::at,
    tree::Node,
};

pub(crate) fn check(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    for (name, disk) in disks {
        let broken = if disk.readonly { read_only(disk) } else { writable(disk) };
        errors.extend(broken.into_iter().map(|broken| {
            let error = at(machine, name, broken.key, &broken.message);
            if broken.allowed.is_empty() { error } else { error.allowed(broken.allowed) }
        }));
    }
}

/// A rule that a disk breaks: the key that is wrong, why, and what would be right.
struct Broken {
    key: &'static str,
    message: String,
    allowed: &'static str,
}

fn broken(is: bool, key: &'static str, message: impl Into<String>, allowed: &'static str) -> Option<Broken> {
    is.then(|| Broken { key, message: message.into(), allowed })
}

fn read_only(disk: &DiskConfig) -> Vec<Broken> {
    let swap = disk.filesystem.as_ref().is_some_and(|filesystem| filesystem.kind == FilesystemType::Swap);
    [
        broken(disk.wipe_on_boot.is_some(), "wipe-on-boot", "a read-only disk cannot be written", ""),
        broken(disk.overwrite, "overwrite", "a read-only disk cannot be written", ""),
        broken(disk.boot_partition, "readonly", "the system disk cannot be read-only: a reimage rewrites it", ""),
        broken(swap, "filesystem", "swap on a read-only disk is of no use", ""),
        broken(
            disk.source.is_some() && disk.allocation.is_some(),
            "allocation",
            "a disk with `source` is as large as that file",
            "no `allocation`",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn writable(disk: &DiskConfig) -> Vec<Broken> {
    let medium = disk.filesystem.as_ref().map(|filesystem| filesystem.kind).filter(|kind| kind.is_medium());
    let kind = medium.map(FilesystemType::word).unwrap_or_default();
    let label = matches!(disk.devicepath, DeviceSelector::Label(_));
    [
        broken(
            medium.is_some(),
            "filesystem",
            format!("{kind} cannot be created empty on a disk of the machine: it comes with its content"),
            "`readonly: true` beside it",
        ),
        broken(
            disk.bus == Bus::Cdrom,
            "bus",
            "a disc in an optical drive cannot be written",
            "`readonly: true` beside it",
        ),
        broken(
            disk.source.is_some(),
            "source",
            "a disk with `source` would be written over",
            "`readonly: true` beside it",
        ),
        broken(
            label,
            "devicepath",
            "a label lies on the disk itself, and a job could write it on another one: only read-only disks are named so",
            "serial:TEXT",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
