//! How a disk is attached to a machine. Must not know what a driver needs for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The interface between a machine and one of its disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// A virtio block device: `/dev/vda` and so on.
    #[default]
    Virtio,
    /// A disk on a SCSI bus: `/dev/sda` and so on.
    Scsi,
    /// A namespace of an NVMe controller of its own: `/dev/nvme0n1` and so on.
    Nvme,
    /// An optical drive with a disc in it, on a SCSI bus: `/dev/sr0` and so on.
    Cdrom,
}

impl Bus {
    /// The bus on which the kernel gives out the name `name`, such as `sda`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let rest = |prefix: &str| name.strip_prefix(prefix);
        let letters = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase());
        let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let namespace = |rest: &str| rest.split_once('n').is_some_and(|(one, two)| digits(one) && digits(two));
        match name {
            _ if rest("vd").is_some_and(letters) => Some(Self::Virtio),
            _ if rest("sd").is_some_and(letters) => Some(Self::Scsi),
            _ if rest("sr").is_some_and(digits) => Some(Self::Cdrom),
            _ if rest("nvme").is_some_and(namespace) => Some(Self::Nvme),
            _ => None,
        }
    }

    /// Bytes of the smallest unit in which a disk is counted there.
    #[must_use]
    pub const fn sector(self) -> u64 {
        match self {
            Self::Cdrom => 2048,
            _ => 512,
        }
    }
}

/// The letters of the disk with this number: `a` to `z`, then `aa` and so on, as the kernel counts disks (drivers/scsi/sd.c).
#[must_use]
pub fn disk_letters(index: usize) -> String {
    let last = char::from(b'a' + u8::try_from(index % 26).unwrap_or_default());
    match (index / 26).checked_sub(1) {
        Some(before) => format!("{}{last}", disk_letters(before)),
        None => last.to_string(),
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
            Self::Nvme => "nvme",
            Self::Cdrom => "cdrom",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_kernel_tells_its_bus() {
        for (name, bus) in [
            ("vda", Some(Bus::Virtio)),
            ("sdaa", Some(Bus::Scsi)),
            ("sr1", Some(Bus::Cdrom)),
            ("nvme0n1", Some(Bus::Nvme)),
            ("nvme0n1p1", None),
            ("nvme0", None),
            ("sda1", None),
            ("sd", None),
            ("xvda", None),
        ] {
            assert_eq!(Bus::of_name(name), bus, "{name}");
        }
        assert_eq!(serde_json::to_string(&Bus::Cdrom).unwrap(), "\"cdrom\"");
    }

    #[test]
    fn disks_are_counted_as_the_kernel_counts_them() {
        let names: Vec<String> = [0, 25, 26, 51, 52, 701, 702].into_iter().map(disk_letters).collect();
        assert_eq!(names, ["a", "z", "aa", "az", "ba", "zz", "aaa"]);
    }
}
