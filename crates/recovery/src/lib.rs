//! The recovery partition of a machine that reimages itself: where it lies on the system disk, which request is staged in it, and
//! which of both the firmware starts, that partition or the machine's own system. Sees the disk through the traits of
//! `cloud-machine-image`; must not open a device, and must not judge an image.

mod blocks;
mod control;
mod ends;
mod error;
mod frame;
mod head;
mod partition;
mod prepare;
mod record;
mod shielded;
mod stage;
mod starts;
mod stray;
mod table;
mod told;

use cloud_machine_image::LEAF_SIZE;

pub use control::{Area, Control, State};
pub use error::RecoveryError;
pub use head::Head;
pub use partition::RecoveryPartition;
pub use prepare::prepare;
pub use shielded::ShieldedDisk;
pub use stage::OpenPartition;
pub use starts::Starts;
pub use stray::{GivenBack, Stray, give_back};
pub use told::{Firmware, Told, ToldRequest};

/// The unit of places in and of a recovery partition, in bytes.
pub const UNIT: u64 = 1 << 20;
/// Bytes at the end of a recovery partition that no staged file may use.
pub const RESERVED: u64 = 4 * UNIT;
/// Where in the last [`RESERVED`] bytes the boot head that is kept begins, and how many bytes it may have.
pub(crate) const HEAD: (u64, u64) = (0, 2 * UNIT - 2 * LEAF_SIZE);
/// Where in them the starts of the recovery partition are counted.
pub(crate) const STARTS: u64 = 2 * UNIT - 2 * LEAF_SIZE;
/// Where in them the partition says where it lies, in at most [`LEAF_SIZE`] bytes.
pub(crate) const PLACE: u64 = 2 * UNIT - LEAF_SIZE;
/// Smallest recovery partition, in bytes: kernel and initramfs alone take most of it.
pub const MIN_SIZE: u64 = 64 * UNIT;
/// Bytes of the boot code of the first sector, which ends before the disk's signature.
pub const BOOT_CODE: usize = 440;

/// The little-endian number of `bytes` at `at`.
pub(crate) fn number(from: &[u8], at: usize, bytes: usize) -> u64 {
    let place = from.get(at..at + bytes).unwrap_or_default();
    place.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Puts `bytes` at `at`, all of them or none.
pub(crate) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
const LEAF: usize = cloud_machine_image::LEAF_SIZE as usize;
#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod stray_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worn_tests;
