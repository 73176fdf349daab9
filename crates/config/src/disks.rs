//! Rules about the disks of one machine together: the default disk, the one system disk, no device twice. Must not
//! look at real devices.

use std::collections::{BTreeMap, btree_map};

use cloud_machine_protocol::{Bus, DeviceSelector, DiskName};

use crate::{
    config::{DiskConfig, Disks, FilesystemType, OnReimage, WipeOnBoot},
    error::ConfigError,
    key_location::{at, locate},
    label::label,
    media,
    mountpoint::{MOUNTPOINTS, is_executed, is_reserved},
    partitions, pools, schema,
    tree::Node,
};

/// Name of the system disk when nobody declares one.
const DEFAULT_DISK: &str = "system";

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
    let filesystem = disk.filesystem.as_ref().map(|filesystem| filesystem.0.clone());
    let mounted = filesystem.as_ref().is_some_and(|filesystem| filesystem.kind != FilesystemType::Swap);
    let default = (mounted && !disk.boot_partition).then(|| format!("{MOUNTPOINTS}/{name}"));
    let device = disk.devicepath.clone().unwrap_or_else(|| DeviceSelector::Serial(name.to_string()));
    let named = match &device {
        DeviceSelector::Path(name) => Bus::of_name(name),
        _ => None,
    };
    DiskConfig {
        bus: disk.bus.or(named).unwrap_or_default(),
        devicepath: device,
        source: disk.source.as_ref().map(|path| path.0.clone()),
        allocation: disk.allocation.as_ref().map(|allocation| allocation.0),
        boot_partition: disk.boot_partition,
        on_reimage: match disk.on_reimage {
            schema::OnReimage::Keep => OnReimage::Keep,
            schema::OnReimage::Wipe => OnReimage::Wipe,
            schema::OnReimage::Recreate => OnReimage::Recreate,
        },
        wipe_on_boot: disk.wipe_on_boot.0,
        readonly: disk.readonly,
        required: disk.required,
        overwrite: disk.overwrite,
        filesystem,
        mountpoint: disk.mountpoint.as_ref().map(|path| path.0.clone()).or(default),
        mount_options: disk.mount_options.clone(),
        partitions: partitions::configs(name, &disk.partitions),
    }
}

/// Whether the disks make sense together; `machine` tells where each was written.
pub(crate) fn check(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    one_system_disk(disks, machine, errors);
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.boot_partition) {
        if disk.wipe_on_boot.is_some() {
            let error = at(machine, name, "wipe-on-boot", "the system disk cannot be wiped on boot");
            errors.push(error.suggestion(Some("reimage it instead".to_owned())));
        }
        if disk.on_reimage == OnReimage::Keep {
            let error = at(machine, name, "on-reimage", "the system disk cannot be kept: a reimage always rewrites it");
            errors.push(error.allowed("wipe"));
        }
        root(name, disk, machine, errors);
    }
    required(disks, machine, errors);
    ciphers(disks, machine, errors);
    media::check(disks, machine, errors);
    filesystems(disks, machine, errors);
    executed(disks, machine, errors);
    pools::check(disks, machine, errors);
    partitions::check(disks, machine, errors);
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

/// Only what is mounted can be required, and what is made anew is in any case.
fn required(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.required) {
        let described = disk.filesystem.is_some() || disk.partitions.iter().any(|one| one.filesystem.is_some());
        let message = if disk.boot_partition {
            "the system disk is required in any case"
        } else if !described {
            "without `filesystem` there is nothing that could be required"
        } else {
            continue;
        };
        errors.push(at(machine, name, "required", message).allowed("no `required`"));
    }
}

/// The root is the image's filesystem, or the files of it in a pool.
fn root(name: &DiskName, disk: &DiskConfig, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut wrong = |key: &str, message: &str, allowed: &str| {
        errors.push(at(machine, name, key, message).allowed(allowed));
    };
    if let Some(filesystem) = &disk.filesystem {
        if filesystem.kind != FilesystemType::Zfs {
            wrong("filesystem", "the filesystem of the system disk is the image's", "`filesystem: zfs`, or none");
        } else if !filesystem.datasets.is_empty() && disk.mountpoint.is_none() {
            wrong("filesystem", "the datasets beside the root have nowhere to be mounted", "`mountpoint` beside them");
        }
    } else if disk.mountpoint.is_some() || !disk.mount_options.is_empty() {
        let key = if disk.mountpoint.is_some() { "mountpoint" } else { "mount-options" };
        wrong(key, "the system disk is mounted as the root", "`filesystem: zfs` has room for more beside it");
    }
}

/// A cipher whose key nobody has is of use only to a filesystem that the agent makes on it.
fn ciphers(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    use FilesystemType::{Btrfs, Ext4, Swap, Vfat, Xfs};
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.wipe_on_boot == Some(WipeOnBoot::Crypto)) {
        // Of a disk with partitions, `partitions` tells.
        if !disk.partitions.is_empty() {
            continue;
        }
        let kind = disk.filesystem.as_ref().map(|filesystem| filesystem.kind);
        if !matches!(kind, Some(Ext4 | Xfs | Btrfs | Vfat | Swap)) {
            let text = "`crypto` needs a filesystem that is made on the cipher";
            errors.push(
                at(machine, name, "wipe-on-boot", text).allowed("`filesystem` of ext4, xfs, btrfs, vfat or swap"),
            );
        }
    }
}

fn filesystems(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    let mut mounted: BTreeMap<&str, &DiskName> = BTreeMap::new();
    // Of the system disk, `root` tells.
    for (name, disk) in disks {
        if let Some(filesystem) = &disk.filesystem {
            errors.extend(label(filesystem).map(|message| at(machine, name, "filesystem", &message)));
        }
        let root = disk.boot_partition && disk.filesystem.is_none();
        let Some(mountpoint) = disk.mountpoint.as_ref().filter(|_| !root) else { continue };
        let wrong = match &disk.filesystem {
            None => Some("a disk without `filesystem` has nothing to mount".to_owned()),
            Some(filesystem) if filesystem.kind == FilesystemType::Swap => {
                Some("swap is switched on and not mounted".to_owned())
            }
            Some(_) if is_reserved(mountpoint) => {
                Some(format!("`{mountpoint}` belongs to the system itself: mount the disk below /mnt or /srv"))
            }
            Some(_) => mounted
                .insert(mountpoint, name)
                .map(|other| format!("disks `{other}` and `{name}` have one mountpoint, `{mountpoint}`")),
        };
        errors.extend(wrong.map(|message| at(machine, name, "mountpoint", &message)));
    }
}

/// What a job left on a disk is data for the next one, and nothing that root executes.
fn executed(disks: &Disks, machine: &Node, errors: &mut Vec<ConfigError>) {
    for (name, disk) in disks.iter().filter(|(_, disk)| disk.is_kept()) {
        let mut check = |keys: &[&str], mountpoint: Option<&str>| {
            // Of what the system needs for itself, others tell.
            let Some(found) = mountpoint.filter(|mountpoint| is_executed(mountpoint) && !is_reserved(mountpoint))
            else {
                return;
            };
            let (node, path) = locate(machine, keys);
            let message = format!("root would execute what a job left at `{found}`, on a disk that a reimage keeps");
            let way_out = "mount it below /mnt or /srv, or say `on-reimage: wipe` for the disk".to_owned();
            errors.push(ConfigError::new(&node.source, node.mark, &path, message).suggestion(Some(way_out)));
        };
        let disk_keys = ["resources", "disks", name.as_str()];
        check(&[&disk_keys[..], &["mountpoint"]].concat(), disk.mountpoint.as_deref());
        for one in &disk.partitions {
            let keys = [&disk_keys[..], &["partitions", one.name.as_str(), "mountpoint"]].concat();
            check(&keys, one.mountpoint.as_deref());
        }
    }
}

impl DiskConfig {
    /// Whether what a job writes to it is still there after a reimage.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.on_reimage == OnReimage::Keep && self.wipe_on_boot.is_none() && !self.readonly && !self.boot_partition
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
