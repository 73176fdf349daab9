//! Rules about ZFS pools: their names, properties and datasets. Must not look at a device.

use std::collections::{BTreeMap, BTreeSet};

use cloud_machine_protocol::DiskName;

use crate::{
    config::{DiskConfig, Disks, Filesystem, FilesystemType},
    error::ConfigError,
    key_location::at,
    tree::Node,
};

/// Kinds of virtual devices, with which no pool's name may begin (zpoolconcepts(7), zpool-create(8)).
const DEVICES: [&str; 4] = ["mirror", "raidz", "draid", "spare"];
/// Properties by which others are mounted or shared than the configuration says, or which want somebody at a keyboard.
const REFUSED: [&str; 9] = [
    "mountpoint",
    "canmount",
    "readonly",
    "sharenfs",
    "sharesmb",
    "encryption",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
];

pub(crate) fn check(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut names: BTreeMap<&str, &DiskName> = BTreeMap::new();
    for (name, disk) in disks {
        let Some(filesystem) = &disk.filesystem else { continue };
        let mut wrong = |message: String| errors.push(at(machine, name, "filesystem", &message));
        if filesystem.kind != FilesystemType::Zfs {
            if !filesystem.properties.is_empty() || !filesystem.datasets.is_empty() {
                wrong(format!("{} has no properties and no datasets: only zfs has", filesystem.kind.word()));
            }
            continue;
        }
        let pool = pool(name, filesystem);
        if let Some(message) = refused_name(pool) {
            wrong(message);
        }
        if let Some(other) = names.insert(pool, name) {
            wrong(format!("disks `{other}` and `{name}` have pools of one name, `{pool}`"));
        }
        filesystem.properties.iter().filter_map(|property| refused_property(property)).for_each(&mut wrong);
    }
    mountpoints(disks, machine, errors);
}

/// Datasets are mounted below the mountpoint of their pool, where something else may be mounted, too.
fn mountpoints(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut taken: BTreeSet<String> = disks.values().flat_map(own_mountpoints).cloned().collect();
    for (name, disk) in disks {
        let (Some(filesystem), Some(above)) = (&disk.filesystem, &disk.mountpoint) else { continue };
        for dataset in &filesystem.datasets {
            let mountpoint = format!("{above}/{dataset}");
            if !taken.insert(mountpoint.clone()) {
                let message = format!("the dataset `{dataset}` would be mounted at {mountpoint}, as something else is");
                errors.push(at(machine, name, "filesystem", &message));
            }
        }
    }
}

fn own_mountpoints(disk: &DiskConfig) -> impl Iterator<Item = &String> {
    disk.mountpoint.iter().chain(disk.partitions.iter().filter_map(|partition| partition.mountpoint.as_ref()))
}

/// Name of the pool on a disk: its label, and the disk's name where it has none.
fn pool<'a>(name: &'a DiskName, filesystem: &'a Filesystem) -> &'a str {
    filesystem.label.as_deref().unwrap_or(name.as_str())
}

impl DiskConfig {
    /// Name of the ZFS pool on the disk `name`, when it shall hold one.
    #[must_use]
    pub fn pool<'a>(&'a self, name: &'a DiskName) -> Option<&'a str> {
        let filesystem = self.filesystem.as_ref().filter(|filesystem| filesystem.kind == FilesystemType::Zfs)?;
        Some(pool(name, filesystem))
    }
}

fn refused_name(pool: &str) -> Option<String> {
    let letter = pool.starts_with(|first: char| first.is_ascii_alphabetic());
    let disk = pool.strip_prefix('c').is_some_and(|rest| rest.starts_with(|second: char| second.is_ascii_digit()));
    let device = DEVICES.iter().find(|device| pool.starts_with(**device));
    let why = match device {
        _ if !letter => "it does not begin with a letter".to_owned(),
        _ if disk => "it begins with c and a digit, as names of disks once did".to_owned(),
        _ if pool == "log" => "zpool means something else by it".to_owned(),
        Some(device) => format!("it begins with `{device}`, by which zpool means something else"),
        None => return None,
    };
    Some(format!("no pool can be called `{pool}`: {why}; give another one with `label`"))
}

fn refused_property(property: &str) -> Option<String> {
    let (name, _) = property.split_once('=')?;
    let refused = REFUSED.contains(&name);
    refused.then(|| format!("the property `{name}` is not one that the configuration may set: the mountpoint of the disk says where it is mounted, and keys have nobody to type them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_zpool_takes_for_something_else_are_refused() {
        for name in ["mirror1", "raidz-pool", "draid", "sparehead", "log", "c0", "9lives", "_x"] {
            assert!(refused_name(name).is_some(), "{name}");
        }
        for name in ["tank", "volume1", "logs", "cache", "Data.1"] {
            assert_eq!(refused_name(name), None, "{name}");
        }
    }

    #[test]
    fn properties_that_would_mount_elsewhere_are_refused() {
        assert!(refused_property("mountpoint=/etc").is_some() && refused_property("encryption=on").is_some());
        assert_eq!(refused_property("compression=zstd"), None);
        assert_eq!(refused_property("org.example:mountpoint=x"), None);
    }
}
