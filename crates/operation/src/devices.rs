//! What the host attaches besides the machine's own disks: by which serial the agent finds each, and in which order they come.
//! Must not attach anything.

use cloud_machine_protocol::Bus;

/// Serial of the volume's device.
pub const VOLUME: &str = "cm-volume";
/// Serial of the device with the packed image.
pub const IMAGE: &str = "cm-image";
/// What serials begin with that no disk of a configuration may have.
pub(crate) const OWN: &str = "cm-";

/// Serial of the device with a drive, counted from 0.
#[must_use]
pub fn drive(index: usize) -> String {
    format!("{OWN}drive{index}")
}

/// All devices in the order in which they are attached: the machine's disks, the volume, the image when it is read from a
/// device, the drives. A volume in an optical drive comes before those of the machine.
pub fn in_order<D>(
    disks: impl IntoIterator<Item = D>,
    (bus, volume): (Bus, D),
    image: Option<D>,
    drives: impl IntoIterator<Item = D>,
) -> Vec<D> {
    let mut devices: Vec<D> = disks.into_iter().collect();
    let place = if bus == Bus::Cdrom { 0 } else { devices.len() };
    devices.insert(place, volume);
    devices.extend(image);
    devices.extend(drives);
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_follows_the_disks_but_an_optical_one_comes_first() {
        assert_eq!(in_order(["a", "b"], (Bus::Virtio, "v"), Some("i"), ["d"]), ["a", "b", "v", "i", "d"]);
        assert_eq!(in_order(["a", "b"], (Bus::Cdrom, "v"), None, ["d"]), ["v", "a", "b", "d"]);
    }
}
