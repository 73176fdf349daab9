//! One use of a disk. Must not look for it.

use std::fmt;

use serde::Serialize;

/// One use of a disk or of a partition on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Holder {
    /// A filesystem is mounted.
    Mount {
        /// Device or file.
        device: String,
        /// Where.
        at: String,
    },
    /// It is a swap area.
    Swap {
        /// Device or file.
        device: String,
    },
    /// A loop device stands on the file.
    Loop {
        /// Kernel name.
        name: String,
    },
    /// A device is stacked on it.
    Stacked {
        /// Device below.
        device: String,
        /// Kernel name of the device above.
        name: String,
        /// What it is: `LVM volume vg-root`, `encrypted volume x`, `RAID array md0`.
        what: String,
    },
    /// Another process has locked the file.
    Lock,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { device, at } => write!(formatter, "{device} is mounted at {at}"),
            Self::Swap { device } => write!(formatter, "{device} is a swap area"),
            Self::Loop { name } => write!(formatter, "loop device {name} stands on it"),
            Self::Stacked { device, name, what } => write!(formatter, "{device} is part of {what} ({name})"),
            Self::Lock => formatter.write_str("another process has locked it, such as a virtual machine"),
        }
    }
}
