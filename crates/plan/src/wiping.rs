//! How the old content of a declared disk ends: what the configuration asks for, and what that is on a device. Must not
//! look at what lies on the disk.

use cloud_machine_config::{DiskConfig, OnReimage, WipeOnBoot};
use cloud_machine_protocol::{Action, Disk, WipeMethod};
use serde::{Deserialize, Serialize};

/// What is asked for, before it is known what the device can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wiping {
    /// [`WipeMethod::Zero`].
    #[default]
    Zero,
    /// [`WipeMethod::Discard`].
    Discard,
    /// [`WipeMethod::Recreate`].
    Recreate,
    /// [`WipeMethod::Discard`] on a device that can, else [`WipeMethod::Zero`]: both end in a disk that was read as zero.
    Auto,
}

impl Wiping {
    /// What `action` asks for; `None` when the disk is not wiped.
    ///
    /// A reimage ends in a boot, so a disk that every boot wipes is wiped by a reimage too, and by that of the two methods
    /// that leaves less. The system disk is never wiped: a reimage rewrites it. Nor is a disk that is never written.
    #[must_use]
    pub fn of(action: Action, disk: &DiskConfig) -> Option<Self> {
        if disk.boot_partition || disk.readonly {
            return None;
        }
        let at_boot = disk.wipe_on_boot.map(|method| match method {
            WipeOnBoot::Auto => Self::Auto,
            WipeOnBoot::Discard => Self::Discard,
            // What lies under the cipher needs no more: its key is gone.
            WipeOnBoot::Recreate | WipeOnBoot::Crypto => Self::Recreate,
            WipeOnBoot::Zero => Self::Zero,
        });
        match (action, disk.on_reimage) {
            (Action::Boot, _) | (Action::Reimage, OnReimage::Keep) => at_boot,
            // A discard is a request; a reimage writes.
            (Action::Reimage, OnReimage::Wipe) => Some(Self::Zero),
            (Action::Reimage, OnReimage::Recreate) => Some(at_boot.unwrap_or(Self::Recreate)),
        }
    }

    /// What that is on `device`.
    #[must_use]
    pub fn method(self, device: &Disk) -> WipeMethod {
        match self {
            Self::Zero => WipeMethod::Zero,
            Self::Discard => WipeMethod::Discard,
            Self::Recreate => WipeMethod::Recreate,
            Self::Auto if device.discard => WipeMethod::Discard,
            Self::Auto => WipeMethod::Zero,
        }
    }
}

/// Whether the device lacks what the configuration says by name. Refused at every action, so that a machine is not
/// reimaged that would not come up again.
pub(crate) fn lacks_discard(disk: &DiskConfig, device: &Disk) -> bool {
    disk.wipe_on_boot == Some(WipeOnBoot::Discard) && !device.discard
}
