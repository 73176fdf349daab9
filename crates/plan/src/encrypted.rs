//! Disks that are used through a cipher: which, under which names, and the step that does it. Must not hold a key.

use cloud_machine_config::{DiskConfig, WipeOnBoot};
use cloud_machine_protocol::{Step, StepId};

use crate::step::PlannedStep;

/// Cipher of every disk: that of disk encryption (IEEE 1619), with 256 bits for each of its two keys.
const CIPHER: &str = "aes-xts-plain64";
const KEY_BITS: u32 = 512;

/// What was checked of such disks, for people.
pub(crate) const CHECKED: &str =
    "encrypted disks: used through a cipher; that its key was made in this boot and kept nowhere is the agent's word";
/// What is left of the old content of such a disk that was not made zero as well.
pub(crate) const LEFT: &str = "of what was written through the cipher the key is gone, unless a job took a copy; what was written \
                               past it, by a job or before there was one, was not erased and can be read back";

/// Whether the disk is used through a cipher, at a boot and after a reimage.
#[must_use]
pub fn is_encrypted(disk: &DiskConfig) -> bool {
    !disk.boot_partition && !disk.readonly && disk.wipe_on_boot == Some(WipeOnBoot::Crypto)
}

/// Kernel names of the devices through which disks are used, of which `encrypted` tells in the order of the configuration:
/// the initramfs has no other mappings.
pub(crate) fn mapped(encrypted: impl Iterator<Item = bool>) -> impl Iterator<Item = Option<String>> {
    let mut next = 0..;
    encrypted.map(move |encrypted| encrypted.then(|| next.next()).flatten().map(|index: u32| format!("dm-{index}")))
}

/// A cipher over the disk `name`.
pub(crate) fn encrypt(name: &str, device: &str, mapped: &str) -> PlannedStep {
    let (device, mapped) = (device.to_owned(), mapped.to_owned());
    let step = Step::Encrypt { device, mapped, cipher: CIPHER.to_owned(), key_bits: KEY_BITS };
    PlannedStep { id: StepId(format!("encrypt-{name}")), step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_disks_have_a_name_and_the_names_are_counted() {
        let found: Vec<Option<String>> = mapped([false, true, false, true].into_iter()).collect();
        assert_eq!(found, [None, Some("dm-0".to_owned()), None, Some("dm-1".to_owned())]);
    }
}
