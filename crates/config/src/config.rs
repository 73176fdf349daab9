//! The checked configuration in types: what plan and drivers work with. Must not parse or default anything.

use std::{collections::BTreeMap, net::IpAddr};

use cloud_machine_protocol::{
    Bus, ByteSize, Connection, DeviceSelector, DiskName, ImageName, MacAddress, NicName, SecretPolicy,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    cloud_init::CloudInit,
    docker::{DockerEngine, swarm::Swarm},
    rancher::Rancher,
    url::CloudInitUrl,
};

/// A configuration in which every value is allowed and supported.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of the driver.
    pub driver: String,
    /// Name of the packed image in the store.
    pub image: Option<ImageName>,
    /// Public keys of minisign, one of which must have signed the image; none when no signature is asked for.
    pub image_keys: Vec<String>,
    /// Paths below `cloud-machine` that a driver must honour exactly or better.
    pub require: Vec<String>,
    /// What the machine is made of.
    pub resources: Resources,
    /// What a disk means that nobody declared.
    pub disks_undeclared: Undeclared,
    /// What is kept of the machine's identity.
    pub identity: IdentityConfig,
    /// Where one more document is, which the machine reads for itself.
    pub cloud_init_url: Option<CloudInitUrl>,
    /// Which volumes with the label `CLOUD-INIT` count besides the host's.
    pub drives: Drives,
    /// What of a machine's system the host waits for; `None` for whatever the system has.
    pub wait_for: Option<Awaited>,
    /// Lines of root's `authorized_keys`, each without control characters.
    pub ssh_authorized_keys: Vec<String>,
    /// What docker's engine is told.
    pub docker: DockerEngine,
    /// The swarm of docker that it is a part of.
    pub swarm: Option<Swarm>,
    /// What k3s or rke2 is told, when one of them runs.
    pub rancher: Option<Rancher>,
    /// Every other top-level key, for cloud-init: values and order as they were.
    pub cloud_init: CloudInit,
}

/// What a machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Memory in bytes. A number without a unit counted GiB and was rounded up to whole MiB.
    pub ram: ByteSize,
    /// Processors, 1 to 64.
    pub cpus: u32,
    /// Disks by name. Exactly one has `boot_partition`; no two have the same `devicepath`.
    pub disks: BTreeMap<DiskName, DiskConfig>,
    /// The network interface by which the host reaches the machine.
    pub nic: Nic,
    /// Further network interfaces by name; each is on a bridge or a tap.
    pub nics: BTreeMap<NicName, Nic>,
}

/// What of a machine's system the host waits for before the machine counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Part>")]
pub enum Awaited {
    /// An answer over SSH.
    Ssh,
    /// That, and the end of cloud-init.
    CloudInit,
}

/// An item of `wait-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    Ssh,
    CloudInit,
}

impl TryFrom<Vec<Part>> for Awaited {
    type Error = &'static str;

    /// Whoever waits for cloud-init asks it over SSH.
    fn try_from(parts: Vec<Part>) -> Result<Self, Self::Error> {
        match parts.as_slice() {
            [] => Err("nothing to wait for"),
            parts if parts.contains(&Part::CloudInit) => Ok(Self::CloudInit),
            _ => Ok(Self::Ssh),
        }
    }
}

/// Disks by name.
pub type Disks = BTreeMap<DiskName, DiskConfig>;

/// A disk that the configuration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Which device it is; `serial:` and the disk's name unless the document says otherwise.
    pub devicepath: DeviceSelector,
    /// How it is attached: as the kernel's name in `devicepath` tells, virtio when it is no such name, unless the
    /// document says otherwise.
    pub bus: Bus,
    /// Bytes that a driver gives it; `None` when it has a `source`.
    pub allocation: Option<ByteSize>,
    /// File on the host whose bytes it has; only of a disk that is never written.
    pub source: Option<String>,
    /// Whether it is the system disk, which holds the image.
    pub boot_partition: bool,
    /// What a reimage does with it; a reimage always rewrites the system disk.
    pub on_reimage: OnReimage,
    /// How every boot wipes it; `None` when none does, as always on the system disk.
    pub wipe_on_boot: Option<WipeOnBoot>,
    /// Whether it is never written.
    pub readonly: bool,
    /// Whether the machine does not come up when a filesystem of it cannot be mounted, although it is kept.
    pub required: bool,
    /// Whether content that is not what the configuration describes may be replaced.
    pub overwrite: bool,
    /// What is on it.
    pub filesystem: Option<Filesystem>,
    /// Where its filesystem is mounted: an absolute path in which no part is empty, `.` or `..`; `/mnt/` and the disk's
    /// name unless the document says otherwise. `None` without a filesystem, and for swap.
    pub mountpoint: Option<String>,
    /// Options of its mount, or of its swap area.
    pub mount_options: Vec<String>,
    /// Its partitions, sorted by number; a disk with some has no filesystem of its own.
    pub partitions: Vec<PartitionConfig>,
}

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Number in the table, 1 to 128; no two of a disk have the same.
    pub number: u32,
    /// Name, also in the table.
    pub name: DiskName,
    /// How large it is.
    pub size: PartitionSize,
    /// Type GUID.
    pub kind: Uuid,
    /// What is in it.
    pub filesystem: Option<Filesystem>,
    /// Where its filesystem is mounted, as for a disk; `/mnt/`, the disk's name, a dash and its own unless the document says otherwise.
    pub mountpoint: Option<String>,
    /// Options of its mount, or of its swap area.
    pub mount_options: Vec<String>,
}

/// How large a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionSize {
    /// So many bytes.
    Bytes(ByteSize),
    /// So much of the room between the tables of the disk, 1 to 100.
    Percent(u8),
    /// What the others leave.
    Rest,
}

/// A filesystem on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type.
    pub kind: FilesystemType,
    /// Its label; any will do when there is none.
    pub label: Option<String>,
    /// Kernel module that it needs.
    pub kernel_module: Option<String>,
    /// Its identifier, as libblkid tells it; any will do when there is none.
    pub uuid: Option<String>,
    /// More arguments of the program that makes it.
    pub options: Vec<String>,
    /// Whether one that is smaller than what it lies on is made as large at every boot.
    pub grow: bool,
    /// Properties of a ZFS pool's own dataset, each `NAME=VALUE`.
    pub properties: Vec<String>,
    /// Datasets below that of a ZFS pool; the parents of each are made with it.
    pub datasets: Vec<String>,
}

impl Filesystem {
    /// One of this type, about which nothing else is said.
    #[must_use]
    pub const fn of(kind: FilesystemType) -> Self {
        Self {
            kind,
            label: None,
            kernel_module: None,
            uuid: None,
            options: Vec::new(),
            grow: false,
            properties: Vec::new(),
            datasets: Vec::new(),
        }
    }
}

/// Types of filesystems, by the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum FilesystemType {
    Ext4,
    Xfs,
    Btrfs,
    Vfat,
    Swap,
    Zfs,
    Iso9660,
    Squashfs,
    Erofs,
}

impl FilesystemType {
    /// libblkid's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        if self == Self::Zfs { "zfs_member" } else { self.name() }
    }

    /// The kernel's word for it, which a document has.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
            Self::Zfs => "zfs",
            Self::Iso9660 => "iso9660",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
        }
    }

    /// Whether it is made once, by the program that also fills it, and never written afterwards.
    #[must_use]
    pub const fn is_medium(self) -> bool {
        matches!(self, Self::Iso9660 | Self::Squashfs | Self::Erofs)
    }

    /// Bytes that its label has room for.
    #[must_use]
    pub fn label_room(self) -> usize {
        match self {
            Self::Vfat => 11,
            Self::Xfs => 12,
            Self::Ext4 | Self::Swap | Self::Erofs => 16,
            Self::Iso9660 | Self::Btrfs | Self::Zfs => 32,
            Self::Squashfs => 0,
        }
    }
}

/// What a reimage does with a disk other than the system disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReimage {
    /// Make it zero.
    #[default]
    Wipe,
    /// Remove its signatures, and make what the configuration describes; the data between is not erased.
    Recreate,
    /// Leave it as it is; nothing on it is verified.
    Keep,
}

/// How every boot wipes a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WipeOnBoot {
    /// As `Discard` where the device can discard, else as `Zero`.
    Auto,
    /// It is made zero, and read back.
    Zero,
    /// It is discarded, then read, and what is not zero is made zero.
    Discard,
    /// Signatures are removed, also those inside its partitions; the data between is not erased.
    Recreate,
    /// Signatures are removed, and what is written from then on goes through a cipher whose key ends with the boot.
    Crypto,
}

/// What a disk means that nobody declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// The machine does not come up.
    #[default]
    Refuse,
    /// It is left alone, and the report lists it.
    Ignore,
}

/// Which volumes with the label `CLOUD-INIT` count besides the one that the host pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drives {
    /// Those that the host names by their digest, on devices that cannot be written.
    #[default]
    ReadOnly,
    /// Also one that a job may have written.
    Trusted,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Hardware address; `None` lets the host choose one.
    pub mac: Option<MacAddress>,
    /// What it is connected to.
    pub network: Connection,
    /// How it gets its addresses.
    pub address: Address,
}

/// The addresses of a network interface, and what belongs to them. What is not stated a DHCP server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The machine's addresses, each with the prefix of its subnet; from a DHCP server when there are none.
    pub addresses: Vec<IpNet>,
    /// The ways out, at most one a family, each in the subnet of an address.
    pub gateways: Vec<IpAddr>,
    /// DNS servers, at most three.
    pub dns: Vec<IpAddr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// Ways to other networks.
    pub routes: Vec<Route>,
    /// Largest packet in bytes, at least 576.
    pub mtu: Option<u16>,
    /// VLAN in which all of this is, 1 to 4094.
    pub vlan: Option<u16>,
}

impl Address {
    /// Whether a DHCP server gives the address.
    #[must_use]
    pub const fn is_dhcp(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The router, in the subnet of an address.
    pub via: IpAddr,
}

/// What is kept of a machine's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityConfig {
    /// What happens to the SSH host keys at a reimage.
    pub ssh_host_keys: SecretPolicy,
}
