//! Why there is no plan. Owns the wording; must not decide.

use std::fmt;

use cloud_machine_protocol::{DeviceSelector, Digest, Disk};

/// Why a plan was refused. No step has been taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The manifest is not that of the requested image.
    #[error("the request names image {requested}, the manifest is of image {manifest}")]
    ImageDigest {
        /// Digest in the request.
        requested: Digest,
        /// Digest in the manifest.
        manifest: Digest,
    },
    /// The manifest states another size than the request.
    #[error("the request names an image of {requested} bytes, the manifest is of an image of {manifest} bytes")]
    ImageSize {
        /// Bytes in the request.
        requested: u64,
        /// Bytes in the manifest.
        manifest: u64,
    },
    /// The image is older than the host allows.
    #[error("the manifest is of generation {manifest} of the image, the request allows none below {minimum}")]
    GenerationLow {
        /// Lowest generation in the request.
        minimum: u64,
        /// Generation in the manifest.
        manifest: u64,
    },
    /// The root partition is empty or does not lie in the image.
    #[error("the root partition at byte {offset} with {length} bytes does not lie in the image of {size} bytes")]
    RootOutsideImage {
        /// First byte of the partition.
        offset: u64,
        /// Bytes of the partition.
        length: u64,
        /// Bytes of the image.
        size: u64,
    },
    /// The configuration must name one system disk.
    #[error("the configuration declares {count} system disks instead of one")]
    SystemDisks {
        /// How many it names.
        count: usize,
    },
    /// The root of the machine is not on the disk that the configuration calls its system disk.
    #[error(
        "{wanted} is to be the system disk, and the root that the kernel command line names is not on {device} but on {root}: \
         `boot-partition: true` belongs to the disk that the machine boots from"
    )]
    RootElsewhere {
        /// The disk of the configuration.
        wanted: Wanted,
        /// Kernel name of its device.
        device: String,
        /// The disks that hold the root.
        root: DiskList,
    },
    /// No disk is declared as the system disk, and which one is cannot be told.
    #[error(
        "which disk the machine boots from cannot be told, since what the kernel command line names as its root is on {found}: \
         declare that disk with `boot-partition: true`"
    )]
    RootUnclear {
        /// The disks that hold what the kernel command line names.
        found: DiskList,
    },
    /// A disk is to be written, and nobody can tell that it is not the one with the root.
    #[error(
        "whether the root lies on {device}, which is to be written, cannot be told from the kernel command line: name that disk \
         and the one with `boot-partition: true` by `serial:` or `wwn:`"
    )]
    RootUncertain {
        /// Kernel name.
        device: String,
    },
    /// The inventory has one name twice, so a step could not say which disk it means.
    #[error("the inventory lists the device {device} twice")]
    DeviceTwice {
        /// Kernel name.
        device: String,
    },
    /// The disk that the volume was read from is not in the inventory.
    #[error("the volume's device {device} is not among the disks; found {found}")]
    VolumeAbsent {
        /// Kernel name.
        device: String,
        /// What is there.
        found: DiskList,
    },
    /// Nothing matches a selector.
    #[error("no disk matches {selector} for {wanted}; found {found}")]
    Absent {
        /// What was looked for.
        wanted: Wanted,
        /// By which selector.
        selector: DeviceSelector,
        /// What is there.
        found: DiskList,
    },
    /// Several disks match one selector.
    #[error("more than one disk matches {selector} for {wanted}: {matching}")]
    Ambiguous {
        /// What was looked for.
        wanted: Wanted,
        /// By which selector.
        selector: DeviceSelector,
        /// Those that match.
        matching: DiskList,
    },
    /// One disk is named for two purposes.
    #[error("the disk {device} is both {one} and {two}")]
    Conflict {
        /// Kernel name.
        device: String,
        /// First purpose.
        one: Wanted,
        /// Second purpose.
        two: Wanted,
    },
    /// There are disks that nobody declared, and the configuration does not say to ignore them.
    #[error("disks are attached that the configuration does not declare: {devices}")]
    Undeclared {
        /// All of them.
        devices: DiskList,
    },
    /// A disk that has to be written cannot be.
    #[error("{wanted} on {device} is read-only")]
    ReadOnly {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
    },
    /// A disk whose configuration says `wipe-on-boot: discard` is on a device that cannot.
    #[error(
        "{wanted} on {device} cannot be discarded; `wipe-on-boot: zero` writes zeros, `true` takes what the device can"
    )]
    NoDiscard {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
    },
    /// A disk that shall hold a filesystem holds something else.
    #[error("{wanted} on {device} must hold {filesystem} but holds {found}{way_out}")]
    Content {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
        /// What it shall hold.
        filesystem: String,
        /// What it holds.
        found: String,
        /// What would let it be replaced; empty when nothing would.
        way_out: &'static str,
    },
    /// A root in a pool is made of the files of an image, and no disk has them.
    #[error("a root on zfs is received from a disk with the image: it cannot come from an address")]
    RootSource,
    /// A disk is smaller than the configuration says.
    #[error("{wanted} on {device} has {size} bytes, its allocation is {allocation} bytes")]
    Allocation {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
        /// Bytes of the device.
        size: u64,
        /// Bytes that the configuration gives it.
        allocation: u64,
    },
    /// The partitions that a disk shall have do not fit.
    #[error(
        "the partitions of {wanted} on {device} need {needed} bytes, it has room for {available} between its tables"
    )]
    Room {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
        /// Bytes that they need at least.
        needed: u64,
        /// Bytes that there are for them.
        available: u64,
    },
    /// A disk that shall have partitions counts in other sectors than a table can.
    #[error("{wanted} on {device} has sectors of {size} bytes, a partition table needs 512 or 4096")]
    Sectors {
        /// Which disk.
        wanted: Wanted,
        /// Kernel name.
        device: String,
        /// Bytes of a sector.
        size: u32,
    },
    /// The image does not fit.
    #[error("the system disk {device} has {size} bytes, the image needs {image} bytes")]
    TooSmall {
        /// Kernel name.
        device: String,
        /// Bytes of the disk.
        size: u64,
        /// Bytes of the image.
        image: u64,
    },
}

/// What a disk is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The host's volume.
    Volume,
    /// The device with the packed image.
    ImageSource,
    /// A volume that the request names, counted from 0.
    Drive(usize),
    /// A disk of the configuration.
    Disk(String),
    /// A partition of one, by the disk's name and its own; boxed, since every error is as large as the largest.
    Partition(Box<(String, String)>),
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume => formatter.write_str("the volume"),
            Self::ImageSource => formatter.write_str("the image source"),
            Self::Drive(index) => write!(formatter, "drive {index}"),
            Self::Disk(name) => write!(formatter, "the disk `{name}`"),
            Self::Partition(names) => write!(formatter, "the partition `{}` of the disk `{}`", names.1, names.0),
        }
    }
}

/// Disks as an error lists them: name, serial and size of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskList(Vec<(String, Option<String>, u64)>);

impl DiskList {
    pub(crate) fn new<'disk>(disks: impl IntoIterator<Item = &'disk Disk>) -> Self {
        Self(disks.into_iter().map(|disk| (disk.name.clone(), disk.serial.clone(), disk.size)).collect())
    }
}

impl fmt::Display for DiskList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no disks");
        }
        for (index, (name, serial, size)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            // A serial is a text of the device: quoted and escaped, so that it cannot look like anything else.
            match serial {
                Some(serial) => write!(formatter, "{comma}{name} (serial {serial:?}, {size} bytes)")?,
                None => write!(formatter, "{comma}{name} (no serial, {size} bytes)")?,
            }
        }
        Ok(())
    }
}
