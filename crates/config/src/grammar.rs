//! Every key below `cloud-machine`, and what it may hold: the one list for errors, suggestions and `require`. Must not read a document.

use cloud_machine_protocol::{DiskName, NicName, ParseError};

use crate::partition_type;

/// Key that holds everything of ours.
pub(crate) const ROOT: &str = "cloud-machine";

/// Key of a description of the network, which is neither ours nor one of a document that cloud-init reads.
pub(crate) const NETWORK: &str = "network";

/// A key and what it holds.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
}

/// What a key holds.
pub(crate) enum Shape {
    /// A scalar, described for people.
    Scalar(&'static str),
    /// A list of texts, described for people.
    List(&'static str),
    /// A scalar or a list of texts, described for people.
    Words(&'static str),
    /// A scalar, described for people, or a map with these keys.
    Either(&'static str, &'static [Key]),
    /// A map with these keys.
    Map(&'static [Key]),
    /// A map with names for keys, and these keys below each.
    Named(Named, &'static [Key]),
    /// A map of another program, which only that program understands.
    Program,
}

impl Shape {
    /// What a value of this shape may be, for people; empty where the keys of a map tell.
    pub(crate) const fn allowed(&self) -> &'static str {
        match self {
            Self::Scalar(allowed) | Self::List(allowed) | Self::Words(allowed) | Self::Either(allowed, _) => allowed,
            Self::Program => "a map",
            Self::Map(_) | Self::Named(..) => "",
        }
    }
}

/// What the keys of a map are names of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Disk,
    Partition,
    Interface,
}

impl Named {
    /// The word for one of them.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Partition => "partition",
            Self::Interface => "interface",
        }
    }

    /// What such a map is, for people.
    pub(crate) const fn allowed(self) -> &'static str {
        match self {
            Self::Disk => "a map with a disk's name for each key",
            Self::Partition => "a map with a partition's name for each key",
            Self::Interface => "a map with an interface's name for each key",
        }
    }

    /// Why `name` is none.
    pub(crate) fn judge(self, name: &str) -> Result<(), ParseError> {
        match self {
            Self::Disk | Self::Partition => name.parse::<DiskName>().map(drop),
            Self::Interface => name.parse::<NicName>().map(drop),
        }
    }
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

/// Allowed values of a boolean; errors about one begin their advice with it.
pub(crate) const BOOLEAN: &str = "true or false";

const IMAGE: &str = "the name of an image, 1 to 63 of a-z, 0-9, ., _ and -, the first a letter or digit";
const MEMORY: &str =
    "a number of GiB above 0, such as 4 or 1.5, or an integer with a unit, such as 512MiB; at most 65536 GiB";
const LOWER: &str = "a text of a-z, 0-9 and -";

/// Keys of the document that are ours besides `cloud-machine`. What lies below theirs is a program's own configuration,
/// which keeps its form.
pub(crate) const PROGRAMS: &[Key] = &[
    key("docker", Shape::Map(&[key("engine", Shape::Program), key("swarm", Shape::Program)])),
    key("rancher", Shape::Map(&[key("k3s", Shape::Program), key("rke2", Shape::Program)])),
];

/// Whether a top-level key is ours, and not cloud-init's.
pub(crate) fn is_ours(name: &str) -> bool {
    name == ROOT || PROGRAMS.iter().any(|key| key.name == name)
}

/// Keys below `cloud-machine`.
pub(crate) const MACHINE: &[Key] = &[
    key("driver", Shape::Scalar(LOWER)),
    key("image", Shape::Scalar(IMAGE)),
    key("image-keys", Shape::List("a list of public keys of minisign, 56 characters each, such as [RWQ…]")),
    key("require", Shape::List("a list of key paths, such as [resources.ram]")),
    key("resources", Shape::Map(RESOURCES)),
    key("disks-undeclared", Shape::Scalar("refuse or ignore")),
    key("identity", Shape::Map(IDENTITY)),
    key("cloud-init-url", Shape::Either(URL, URL_KEYS)),
    key("drives", Shape::Scalar("read-only or trusted")),
    key("wait-for", Shape::List("a list of ssh and cloud-init, such as [ssh, cloud-init]")),
];

pub(crate) const RESOURCES: &[Key] = &[
    key("ram", Shape::Scalar(MEMORY)),
    key("cpus", Shape::Scalar("a whole number from 1 to 64")),
    key("disks", Shape::Named(Named::Disk, DISK)),
    key("nic", Shape::Map(NIC)),
    key("nics", Shape::Named(Named::Interface, FURTHER_NIC)),
    key("cloud-init-url", Shape::Either(URL, URL_KEYS)),
];

/// Allowed values of an address.
pub(crate) const URL: &str =
    "an https, http or file address without user and fragment, or a map {url: …, sha256: …, ca: …}";

/// Allowed values of each of [`URL_KEYS`].
pub(crate) const ONE_URL: &str = "an https, http or file address without user and fragment";
pub(crate) const SHA256: &str = "64 hexadecimal digits";
pub(crate) const CA: &str = "certificates in PEM";

const URL_KEYS: &[Key] =
    &[key("url", Shape::Scalar(ONE_URL)), key("sha256", Shape::Scalar(SHA256)), key("ca", Shape::Scalar(CA))];

/// Allowed values of a filesystem.
const FILESYSTEM: &str = "ext4, xfs, btrfs, vfat, swap, zfs, iso9660, squashfs or erofs, or a map {type: …, label: …, uuid: …, options: […]}";

const FILESYSTEM_KEYS: &[Key] = &[
    key("type", Shape::Scalar("ext4, xfs, btrfs, vfat, swap, zfs, iso9660, squashfs or erofs")),
    key("label", Shape::Scalar(LABEL)),
    key("uuid", Shape::Scalar(UUID)),
    key("options", Shape::List(MAKE_OPTIONS)),
    key("grow", Shape::Scalar(BOOLEAN)),
    key("kernel-module", Shape::Scalar(MODULE)),
    key("properties", Shape::List("a list of NAME=VALUE, such as [compression=zstd]")),
    key("datasets", Shape::List("a list of datasets below the pool's own, such as [logs, work/cache]")),
];

/// Allowed values of a filesystem in a partition; what needs a whole disk is not among them.
const PARTITION_FILESYSTEM: &str =
    "ext4, xfs, btrfs, vfat or swap, or a map {type: …, label: …, uuid: …, options: […]}";

const PARTITION_FILESYSTEM_KEYS: &[Key] = &[
    key("type", Shape::Scalar("ext4, xfs, btrfs, vfat or swap")),
    key("label", Shape::Scalar(LABEL)),
    key("uuid", Shape::Scalar(UUID)),
    key("options", Shape::List(MAKE_OPTIONS)),
    key("grow", Shape::Scalar(BOOLEAN)),
    key("kernel-module", Shape::Scalar(MODULE)),
];

const LABEL: &str = "1 to 32 of a-z, A-Z, 0-9, `.`, `_` and -, as many as the type has room for";
const UUID: &str = "a UUID with four dashes, or for vfat eight digits such as 1A2B-3C4D";
const MAKE_OPTIONS: &str = "a list of options and their values, such as [-O, ^metadata_csum]";
const MODULE: &str = "the name of a kernel module: a-z, A-Z, 0-9, _ and -";

const DISK: &[Key] = &[
    key("devicepath", Shape::Scalar("/dev/NAME, /dev/disk/by-id/NAME, serial:TEXT, wwn:TEXT or label:TEXT")),
    key("bus", Shape::Scalar("virtio, scsi, nvme or cdrom")),
    key("allocation", Shape::Scalar("an integer above 0 with a unit, such as 20GB or 20GiB")),
    key("source", Shape::Scalar("the absolute path of a file on the host")),
    key("filesystem", Shape::Either(FILESYSTEM, FILESYSTEM_KEYS)),
    key("overwrite", Shape::Scalar(BOOLEAN)),
    key("wipe-on-boot", Shape::Scalar("true or false, recreate, discard, zero or crypto")),
    key("on-reimage", Shape::Scalar("wipe, keep or recreate")),
    key("boot-partition", Shape::Scalar(BOOLEAN)),
    key("readonly", Shape::Scalar(BOOLEAN)),
    key("required", Shape::Scalar(BOOLEAN)),
    key("mountpoint", Shape::Scalar(MOUNTPOINT)),
    key("mount-options", Shape::List(MOUNT_OPTIONS)),
    key("partitions", Shape::Named(Named::Partition, PARTITION)),
];

const MOUNTPOINT: &str = "an absolute path without `.`, `..` and empty parts";
const MOUNT_OPTIONS: &str = "a list of options, such as [noatime, nodev]";

const PARTITION: &[Key] = &[
    key("number", Shape::Scalar("a whole number from 1 to 128")),
    key("size", Shape::Scalar("an integer above 0 with a unit, such as 512MiB, a share such as 25%, or rest")),
    key("type", Shape::Scalar(partition_type::ALLOWED)),
    key("filesystem", Shape::Either(PARTITION_FILESYSTEM, PARTITION_FILESYSTEM_KEYS)),
    key("mountpoint", Shape::Scalar(MOUNTPOINT)),
    key("mount-options", Shape::List(MOUNT_OPTIONS)),
];

const MAC: Key = key("mac", Shape::Scalar("auto, or a unicast address such as 52:54:00:12:34:56"));

const NIC: &[Key] = &[
    MAC,
    key("network", Shape::Either(CONNECTION, NETWORK_KEYS)),
    key("host-access", Shape::Scalar(BOOLEAN)),
    key("address", Shape::Either(ADDRESS, ADDRESS_KEYS)),
];

/// Allowed values of what the interface is connected to.
const CONNECTION: &str = "user or none, or a map {bridge: NAME} or {tap: NAME}";
const INTERFACE: &str = "the name of an interface of the host: 1 to 15 of a-z, A-Z, 0-9, ., _ and -";

const NETWORK_KEYS: &[Key] = &[key("bridge", Shape::Scalar(INTERFACE)), key("tap", Shape::Scalar(INTERFACE))];

/// Allowed values of the addresses.
const ADDRESS: &str = "dhcp, or a map {addresses: […], gateways: […], dns: […], …}";

const ADDRESSES: Key =
    key("addresses", Shape::List("a list of addresses with a prefix, such as [192.0.2.7/24, \"2001:db8::7/64\"]"));
const ROUTES: Key = key("routes", Shape::List("a list of routes, such as [198.51.100.0/24 via 192.0.2.254]"));
const MTU: Key = key("mtu", Shape::Scalar("a whole number from 576 to 65535"));
const VLAN: Key = key("vlan", Shape::Scalar("a whole number from 1 to 4094"));

const ADDRESS_KEYS: &[Key] = &[
    ADDRESSES,
    key(
        "gateways",
        Shape::List("a list of addresses of routers, at most one for IPv4 and one for IPv6, such as [192.0.2.1]"),
    ),
    key("dns", Shape::List("a list of at most three addresses, such as [192.0.2.53]")),
    key("search", Shape::List("a list of at most six domains, such as [corp.example]")),
    ROUTES,
    MTU,
    VLAN,
];

/// A further interface is on no user network. The way out of the machine and the servers of names are those of `nic`.
const FURTHER_NIC: &[Key] = &[
    MAC,
    key("network", Shape::Map(NETWORK_KEYS)),
    key("address", Shape::Either("dhcp, or a map {addresses: […], routes: […], …}", &[ADDRESSES, ROUTES, MTU, VLAN])),
];

const IDENTITY: &[Key] = &[key("ssh-host-keys", Shape::Scalar("rotate or keep"))];

/// Keys of the agent's policy, which is a document of its own.
pub(crate) const POLICY: &[Key] = &[
    key(
        "volume",
        Shape::Map(&[
            key("required", Shape::Scalar(BOOLEAN)),
            key("wait", Shape::Scalar(WAIT)),
            key("accept", Shape::List(ACCEPT)),
            key("keys", Shape::List(SIGNERS)),
        ]),
    ),
    key(
        "address",
        Shape::Map(&[key("allowed", Shape::List(BEGINNINGS)), key("default", Shape::Either(URL, URL_KEYS))]),
    ),
    key("wipe", Shape::Words(WIPE)),
    key("filesystems", Shape::List(MADE)),
    key("without-configuration", Shape::Scalar(WITHOUT)),
    key("recovery", Shape::Scalar(RECOVERY)),
];

/// Allowed values of the policy's keys, and of each item of those that are lists.
pub(crate) const WAIT: &str = "a whole number of seconds from 0 to 600";
pub(crate) const ACCEPT: &str = "a list of pinned, signed and read-only, such as [pinned]";
pub(crate) const ACCEPTED: &str = "pinned, signed or read-only";
pub(crate) const SIGNERS: &str = "a list of public keys, such as [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… you@example]";
pub(crate) const SIGNER: &str = "a line that ssh-keygen -t ed25519 writes into a file .pub";
pub(crate) const BEGINNINGS: &str = "a list of beginnings of addresses, such as [\"https://config.example/\"]";
pub(crate) const BEGINNING: &str =
    "https:// or http://, alone or with a host, a slash and a path, without user, query and fragment";
pub(crate) const WIPE: &str = "declared or none, or a list of devices, such as [serial:data]";
pub(crate) const DEVICE: &str = "/dev/NAME, /dev/disk/by-id/NAME, serial:TEXT or wwn:TEXT";
pub(crate) const MADE: &str = "a list of filesystems, such as [ext4, swap]";
pub(crate) const MADE_ONE: &str = "ext4, xfs, btrfs, vfat, swap or zfs";
pub(crate) const WITHOUT: &str = "boot or stop";
pub(crate) const RECOVERY: &str = "a size from 64MiB to 64GiB, such as 1GiB";

/// What `path`, keys below `cloud-machine`, may hold; `None` when there is no such key. Disk names are not looked at.
pub(crate) fn shape_of<'path>(path: impl IntoIterator<Item = &'path str>) -> Option<&'static Shape> {
    let mut shape: &'static Shape = &Shape::Map(MACHINE);
    let mut segments = path.into_iter();
    while let Some(segment) = segments.next() {
        let (keys, name) = match shape {
            Shape::Map(keys) | Shape::Either(_, keys) => (*keys, segment),
            Shape::Named(_, keys) => match segments.next() {
                Some(name) => (*keys, name),
                None => return Some(shape),
            },
            _ => return None,
        };
        shape = keys.iter().find(|key| key.name == name).map(|key| &key.shape)?;
    }
    Some(shape)
}

/// Whether `allowed`, of a scalar, describes texts that may look like a number.
pub(crate) fn takes_text(allowed: &str) -> bool {
    [IMAGE, LOWER, LABEL, UUID, MODULE, INTERFACE].contains(&allowed)
}

/// The known name that `found` was probably meant to be.
pub(crate) fn nearest(found: &str, keys: &[Key]) -> Option<&'static str> {
    let found = found.replace('_', "-");
    let most = |name: &str| (name.len() / 3).clamp(1, 3);
    // A distance is dear, and a document may have thousands of wrong names.
    if keys.iter().all(|key| least_distance(&found, key.name) > most(key.name)) {
        return None;
    }
    let near = |key: &Key| (strsim::damerau_levenshtein(&found, key.name), key.name);
    let (distance, name) = keys.iter().map(near).min()?;
    (distance <= most(name)).then_some(name)
}

/// What the distance is at least: each character that `name` has not is a change, and so is each that one has more.
fn least_distance(found: &str, name: &str) -> usize {
    let foreign = found.chars().filter(|character| !name.contains(*character)).count();
    foreign.max(found.chars().count().abs_diff(name.len()))
}

/// All names, for people.
pub(crate) fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_shapes() {
        assert!(matches!(shape_of(["resources", "disks", "any", "readonly"]), Some(Shape::Scalar(BOOLEAN))));
        assert!(matches!(shape_of(["resources", "disks", "any"]), Some(Shape::Named(Named::Disk, _))));
        assert!(shape_of(["resources", "rum"]).is_none() && shape_of(["driver", "x"]).is_none());
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("rum", RESOURCES), Some("ram"));
        assert_eq!(nearest("boot_partition", DISK), Some("boot-partition"));
        assert_eq!(nearest("wipe-onboot", DISK), Some("wipe-on-boot"));
        assert_eq!(nearest("colour", DISK), None);
    }
}
