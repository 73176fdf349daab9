//! Serials of the block devices that the host attaches besides the machine's own disks: by them the agent finds each. Must not
//! attach anything.

/// Serial of the volume's device.
pub(crate) const VOLUME: &str = "cm-volume";
/// Serial of the device with the packed image.
pub(crate) const IMAGE: &str = "cm-image";
/// What serials begin with that no disk of a configuration may have.
pub(crate) const OWN: &str = "cm-";

/// Serial of the device with a drive, counted from 0.
pub(crate) fn drive(index: usize) -> String {
    format!("{OWN}drive{index}")
}
