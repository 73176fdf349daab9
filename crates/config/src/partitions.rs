//! Rules about the partitions of disks: their numbers, their sizes together, and that no two filesystems of a machine
//! can be mistaken. Must not look at a real disk: whether they fit is the plan's question.

use std::collections::{BTreeMap, BTreeSet};

use cloud_machine_protocol::{ByteSize, DiskName};

use crate::{
    config::{DiskConfig, Disks, Filesystem, FilesystemType, PartitionConfig, PartitionSize, WipeOnBoot},
    error::ConfigError,
    key_location::locate,
    label::label,
    make_options,
    mountpoint::{MOUNTPOINTS, is_reserved},
    partition_schema::{MAX_PARTITIONS, Partitions},
    tree::Node,
};

/// Room that a disk needs besides its partitions: both tables, each in a whole MiB.
const TABLES: u64 = 2 * ByteSize::MIB;

/// The partitions of the disk `disk`, sorted by number. One that states no number gets the lowest that nobody states, in
/// the order of the merged documents.
pub(crate) fn configs(disk: &DiskName, declared: &Partitions) -> Vec<PartitionConfig> {
    let stated: BTreeSet<u32> = declared.0.iter().filter_map(|(_, one)| one.number.map(|number| number.0)).collect();
    let mut free = (1..).filter(|number| !stated.contains(number));
    let config = |(name, one): &(DiskName, crate::partition_schema::Partition)| {
        let filesystem = one.filesystem.as_ref().map(|filesystem| filesystem.0.clone());
        let mounted = filesystem.as_ref().is_some_and(|filesystem| filesystem.kind != FilesystemType::Swap);
        let default = mounted.then(|| format!("{MOUNTPOINTS}/{disk}-{name}"));
        PartitionConfig {
            number: one.number.map(|number| number.0).or_else(|| free.next()).unwrap_or(u32::MAX),
            name: name.clone(),
            size: one.size.map_or(PartitionSize::Rest, |size| size.0),
            kind: one.r#type.0,
            filesystem,
            mountpoint: one.mountpoint.as_ref().map(|path| path.0.clone()).or(default),
            mount_options: one.mount_options.clone(),
        }
    };
    let mut partitions: Vec<PartitionConfig> = declared.0.iter().map(config).collect();
    partitions.sort_by_key(|partition| partition.number);
    partitions
}

/// Whether partitions and filesystems make sense together; `machine` tells where each was written.
pub(crate) fn check(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    for (name, disk) in disks.iter().filter(|(_, disk)| !disk.partitions.is_empty()) {
        let mut wrong = |key: &str, message: &str| errors.push(at(machine, &[name.as_str(), key], message));
        if disk.filesystem.is_some() {
            wrong("partitions", "a disk has either `filesystem` or `partitions`");
        }
        if disk.boot_partition {
            wrong("partitions", "the partitions of the system disk are the image's");
        }
        if disk.readonly {
            wrong("partitions", "a read-only disk cannot be partitioned");
        }
        if disk.wipe_on_boot == Some(WipeOnBoot::Crypto) {
            wrong("wipe-on-boot", "`crypto` of a disk with partitions: only a `filesystem` lies behind a cipher");
        }
        numbers(name, disk, machine, errors);
        sizes(name, disk, machine, errors);
    }
    steps(disks, machine, errors);
    let mut known = Known::default();
    // Whole disks first: what they have among themselves, `disks` has told.
    for (name, disk) in disks {
        let owner = DiskOrPartition { keys: vec![name.as_str()], what: format!("the disk `{name}`") };
        known.check(&owner, &disk.into(), machine, errors);
    }
    for (name, disk) in disks {
        for partition in &disk.partitions {
            let keys = vec![name.as_str(), "partitions", partition.name.as_str()];
            let owner = DiskOrPartition { keys, what: format!("the partition `{}` of `{name}`", partition.name) };
            known.check(&owner, &partition.into(), machine, errors);
        }
    }
}

fn numbers(name: &DiskName, disk: &DiskConfig, machine: &Node, errors: &mut Vec<ConfigError>) {
    for (one, two) in disk.partitions.iter().zip(disk.partitions.iter().skip(1)) {
        if one.number == two.number {
            let message = format!("partitions `{}` and `{}` have one number, {}", one.name, two.name, one.number);
            errors.push(at(machine, &[name.as_str(), "partitions", two.name.as_str(), "number"], &message));
        }
    }
    if disk.partitions.iter().any(|partition| partition.number > MAX_PARTITIONS) {
        let message = format!("{} partitions are more than a table has room for", disk.partitions.len());
        errors.push(at(machine, &[name.as_str(), "partitions"], &message).allowed("at most 128"));
    }
}

fn sizes(name: &DiskName, disk: &DiskConfig, machine: &Node, errors: &mut Vec<ConfigError>) {
    let path = |partition: &PartitionConfig| [name.to_string(), "partitions".into(), partition.name.to_string()];
    let mut error = |partition: Option<&PartitionConfig>, message: &str| {
        let keys = partition.map_or_else(|| vec![name.to_string(), "partitions".into()], |one| path(one).to_vec());
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.extend(partition.map(|_| "size"));
        errors.push(at(machine, &keys, message));
    };
    let mut rest = disk.partitions.iter().filter(|partition| partition.size == PartitionSize::Rest);
    let first = rest.next();
    if let (Some(one), Some(two)) = (first, rest.next()) {
        let message = format!("partitions `{}` and `{}` both take the rest of the disk", one.name, two.name);
        error(Some(two), &message);
    }
    let shares = disk.partitions.iter().map(|partition| match partition.size {
        PartitionSize::Percent(percent) => u32::from(percent),
        PartitionSize::Bytes(_) | PartitionSize::Rest => 0,
    });
    let bytes = disk.partitions.iter().map(|partition| match partition.size {
        PartitionSize::Bytes(size) => size.bytes(),
        PartitionSize::Percent(_) | PartitionSize::Rest => 0,
    });
    let (shares, bytes) = (shares.sum::<u32>(), bytes.fold(0, u64::saturating_add));
    match first {
        _ if shares > 100 => error(None, &format!("the partitions have {shares}% of the disk together")),
        Some(one) if shares == 100 => error(Some(one), "nothing is left: the other partitions have 100% of the disk"),
        _ => {}
    }
    let Some(allocation) = disk.allocation.map(ByteSize::bytes) else { return };
    let needed = bytes.saturating_add(TABLES);
    if bytes > 0 && needed > allocation {
        error(None, &format!("the partitions and their tables need {needed} bytes, the disk has {allocation}"));
    }
}

/// Steps are named by disk and partition: no two may have one name.
fn steps(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut names: BTreeSet<String> = disks.keys().map(ToString::to_string).collect();
    for (name, disk) in disks {
        for partition in &disk.partitions {
            let joined = format!("{name}-{}", partition.name);
            if names.contains(&joined) {
                let message =
                    format!("the partition would be called `{joined}`, which something else is called already");
                errors.push(at(machine, &[name.as_str(), "partitions", partition.name.as_str()], &message));
            }
            names.insert(joined);
        }
    }
}

/// A disk or a partition, for errors.
struct DiskOrPartition<'a> {
    keys: Vec<&'a str>,
    what: String,
}

/// Bytes to which systemd-growfs grows btrfs at least (systemd, shared/resize-fs.c).
const MIN_BTRFS: u64 = 256 << 20;

/// What a disk or a partition shall hold.
struct Holds<'a> {
    filesystem: Option<&'a Filesystem>,
    mountpoint: Option<&'a str>,
    mount_options: &'a [String],
    is_partition: bool,
    read_only: bool,
    /// Its bytes, where the document states them.
    size: Option<u64>,
}

impl<'a> From<&'a DiskConfig> for Holds<'a> {
    fn from(disk: &'a DiskConfig) -> Self {
        let (filesystem, mountpoint) = (disk.filesystem.as_ref(), disk.mountpoint.as_deref());
        let (mount_options, read_only) = (disk.mount_options.as_slice(), disk.readonly);
        let size = disk.allocation.map(|allocation| allocation.bytes());
        Self { filesystem, mountpoint, mount_options, is_partition: false, read_only, size }
    }
}

impl<'a> From<&'a PartitionConfig> for Holds<'a> {
    fn from(partition: &'a PartitionConfig) -> Self {
        let (filesystem, mountpoint) = (partition.filesystem.as_ref(), partition.mountpoint.as_deref());
        let (mount_options, is_partition, read_only) = (partition.mount_options.as_slice(), true, false);
        let size = match partition.size {
            PartitionSize::Bytes(size) => Some(size.bytes()),
            PartitionSize::Percent(_) | PartitionSize::Rest => None,
        };
        Self { filesystem, mountpoint, mount_options, is_partition, read_only, size }
    }
}

impl Holds<'_> {
    /// Why the filesystem cannot be grown.
    fn wrong_growth(&self, filesystem: &Filesystem) -> Option<String> {
        use FilesystemType::{Btrfs, Ext4, Xfs};
        let word = filesystem.kind.word();
        match filesystem.kind {
            _ if !filesystem.grow => None,
            _ if self.read_only => Some("what is never written does not grow".to_owned()),
            Btrfs if self.size.is_some_and(|size| size < MIN_BTRFS) => {
                Some(format!("systemd-growfs grows btrfs to {} MiB at least", MIN_BTRFS >> 20))
            }
            Ext4 | Xfs | Btrfs => None,
            FilesystemType::Zfs => Some("a pool is made on all of its disk and is not grown".to_owned()),
            _ => Some(format!("nothing grows {word} while it is in use: only ext4, xfs and btrfs")),
        }
    }

    /// What is wrong with the options of its mount.
    fn wrong_mount(&self) -> Option<String> {
        let options = self.mount_options;
        match self.filesystem.map(|filesystem| filesystem.kind) {
            _ if options.is_empty() => None,
            None => Some("without `filesystem` there is nothing to mount".to_owned()),
            Some(FilesystemType::Zfs) => Some("zfs takes no options of a mount: it has `properties`".to_owned()),
            // The last of the two would hold.
            Some(_) if self.read_only && options.iter().any(|option| option == "rw") => {
                Some("a read-only disk cannot be mounted with `rw`".to_owned())
            }
            Some(_) => make_options::wrong_mount(options),
        }
    }
}

/// Why a filesystem of this type cannot be in a partition.
fn whole_disk(kind: FilesystemType) -> Option<String> {
    match kind {
        FilesystemType::Zfs => Some("a ZFS pool takes a whole disk: give it one of its own".to_owned()),
        medium if medium.is_medium() => {
            let word = medium.word();
            Some(format!("{word} comes with its content and takes a whole disk with `readonly: true`"))
        }
        _ => None,
    }
}

/// Mountpoints, labels and identifiers that have been seen, each with its first owner.
#[derive(Default)]
struct Known {
    mountpoints: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    uuids: BTreeMap<String, String>,
}

impl Known {
    fn check(&mut self, owner: &DiskOrPartition<'_>, holds: &Holds<'_>, machine: &Node, errors: &mut Vec<ConfigError>) {
        let mut wrong = |below: &[&str], message: String| {
            let keys: Vec<&str> = owner.keys.iter().chain(below).copied().collect();
            errors.push(at(machine, &keys, &message));
        };
        let twice = |map: &mut BTreeMap<String, String>, value: String, what: &str| {
            let other = map.entry(value.clone()).or_insert_with(|| owner.what.clone());
            (*other != owner.what).then(|| format!("{other} and {} have one {what}, `{value}`", owner.what))
        };
        if let Some(filesystem) = holds.filesystem {
            if holds.is_partition {
                let messages = label(filesystem).into_iter().chain(whole_disk(filesystem.kind));
                messages.for_each(|message| wrong(&["filesystem"], message));
            }
            // FAT keeps no case, and whoever looks for a label may not either. Of names of pools, `pools` tells.
            let label = filesystem.label.as_ref().filter(|_| filesystem.kind != FilesystemType::Zfs);
            let label = label.map(|label| label.to_ascii_uppercase());
            let label = label.and_then(|label| twice(&mut self.labels, label, "label"));
            label.into_iter().for_each(|message| wrong(&["filesystem", "label"], message));
            let uuid = filesystem.uuid.clone().and_then(|uuid| twice(&mut self.uuids, uuid, "uuid"));
            let uuid = uuid.or_else(|| identifier(filesystem));
            uuid.into_iter().for_each(|message| wrong(&["filesystem", "uuid"], message));
            let options = make_options::wrong(filesystem.kind, &filesystem.options);
            options.into_iter().for_each(|message| wrong(&["filesystem", "options"], message));
            let grow = holds.wrong_growth(filesystem);
            grow.into_iter().for_each(|message| wrong(&["filesystem", "grow"], message));
        }
        holds.wrong_mount().into_iter().for_each(|message| wrong(&["mount-options"], message));
        let Some(mountpoint) = holds.mountpoint else { return };
        let again = twice(&mut self.mountpoints, mountpoint.to_owned(), "mountpoint");
        let message = match holds.filesystem.map(|filesystem| filesystem.kind) {
            // Of whole disks, `disks` has told.
            _ if !holds.is_partition => None,
            None => Some("a partition without `filesystem` has nothing to mount".to_owned()),
            Some(FilesystemType::Swap) => Some("swap is switched on and not mounted".to_owned()),
            Some(_) if is_reserved(mountpoint) => {
                Some(format!("`{mountpoint}` belongs to the system itself: mount the partition below /mnt or /srv"))
            }
            Some(_) => again,
        };
        message.into_iter().for_each(|message| wrong(&["mountpoint"], message));
    }
}

/// What is wrong with the identifier of a filesystem.
fn identifier(filesystem: &Filesystem) -> Option<String> {
    let (uuid, word) = (filesystem.uuid.as_ref()?, filesystem.kind.word());
    let short = uuid.len() == 9;
    match filesystem.kind {
        FilesystemType::Vfat if !short => Some(format!("vfat has an identifier such as 1A2B-3C4D, not `{uuid}`")),
        FilesystemType::Vfat => None,
        FilesystemType::Ext4 | FilesystemType::Xfs | FilesystemType::Btrfs | FilesystemType::Swap => {
            short.then(|| format!("{word} has a UUID with four dashes, not `{uuid}`"))
        }
        FilesystemType::Zfs => Some("the identifier of a ZFS pool cannot be chosen".to_owned()),
        _ => Some(format!("the identifier of {word} cannot be chosen")),
    }
}

/// An error at `keys` below the disks.
fn at(machine: &Node, keys: &[&str], message: &str) -> ConfigError {
    let keys: Vec<&str> = ["resources", "disks"].into_iter().chain(keys.iter().copied()).collect();
    let (found, path) = locate(machine, &keys);
    ConfigError::new(&found.source, found.mark, &path, message)
}
