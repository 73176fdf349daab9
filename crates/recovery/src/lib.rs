//! The recovery partition of a machine that reimages itself: where it lies on the system disk, which request is staged in it, and
//! which of both the firmware starts, that partition or the machine's own system. Sees the disk through the traits of
//! `cloud-machine-image`; must not open a device, and must not judge an image.

mod control;
mod error;
mod frame;
mod head;
mod partition;
mod shielded;
mod table;

pub use control::{Area, Control, State};
pub use error::RecoveryError;
pub use head::{BOOT_CODE, Head};
pub use partition::{RecoveryPartition, prepare};
pub use shielded::ShieldedDisk;

/// The unit of places in and of a recovery partition, in bytes.
pub const UNIT: u64 = 1 << 20;
/// Bytes at the end of a recovery partition that no staged file may use.
pub const RESERVED: u64 = 4 * UNIT;
/// Smallest recovery partition, in bytes: kernel and initramfs alone take most of it.
pub const MIN_SIZE: u64 = 64 * UNIT;

#[cfg(test)]
const LEAF: usize = cloud_machine_image::LEAF_SIZE as usize;
#[cfg(test)]
mod tests;
