//! The volume of a machine without a host: which of those labelled `CLOUD-INIT` counts is said by the policy of the image. A label
//! alone proves nothing, since a job can write one; must not change a disk, and must not parse what is on one.

use std::time::Instant;

use cloud_machine_config::{Accept, VolumePolicy};
use cloud_machine_protocol::{Digest, Disk, IgnoredVolume, Inventory, causes};
use cloud_machine_system::{UeventSocket, inventory, read_device, refuses_writes, sha256};

use super::{firmware, signed};
use crate::{
    drives::unclear,
    error::AgentError,
    volume::{is_candidate, names},
};

/// How devices are called, and what is in their names besides, that are read-only when the machine starts and can be made writable by
/// what runs on it: boot partitions of eMMC (Documentation/driver-api/mmc/mmc-dev-parts.rst), and what is put together from others.
const CHANGEABLE: [(&str, &str); 5] = [("mmcblk", "boot"), ("dm-", ""), ("md", ""), ("bcache", ""), ("zram", "")];

/// The volume that counts.
pub(super) struct Volume {
    /// Kernel name of its device.
    pub(super) device: String,
    /// Why it counts, in words.
    pub(super) why: &'static str,
    /// SHA-256 of all its bytes.
    pub(super) digest: Digest,
    /// All of them, as they were read once.
    pub(super) bytes: Vec<u8>,
}

/// What a search found.
pub(super) struct Search {
    pub(super) inventory: Inventory,
    pub(super) volume: Option<Volume>,
    /// Every other candidate, and why it does not count.
    pub(super) ignored: Vec<IgnoredVolume>,
}

/// Looks until a volume counts or the policy's time is over. Whoever calls has waited for the devices that are there.
pub(super) fn find(policy: &VolumePolicy) -> Result<Search, AgentError> {
    let events = UeventSocket::open()?;
    let deadline = Instant::now() + policy.wait;
    loop {
        let found = search(inventory()?, policy)?;
        // An event that is left over must not begin another turn when the time is over.
        if found.volume.is_some() || Instant::now() >= deadline || !events.wait(deadline)? {
            return required(found, policy);
        }
    }
}

fn required(found: Search, policy: &VolumePolicy) -> Result<Search, AgentError> {
    if found.volume.is_some() || !policy.required {
        return Ok(found);
    }
    let candidates = if found.ignored.is_empty() {
        format!("devices found: {}", names(&found.inventory))
    } else {
        let reasons = found.ignored.iter().map(|volume| format!("{}: {}", volume.device, volume.reason));
        reasons.collect::<Vec<_>>().join("; ")
    };
    Err(AgentError::VolumeRequired { candidates })
}

fn search(inventory: Inventory, policy: &VolumePolicy) -> Result<Search, AgentError> {
    let candidates: Vec<Disk> = inventory.disks.iter().filter(|disk| is_candidate(disk)).cloned().collect();
    let mut found = Search { inventory, volume: None, ignored: Vec::new() };
    if candidates.is_empty() {
        return Ok(found);
    }
    // With a pin, only what it is of can be meant.
    let pin = if policy.accept.contains(&Accept::Pinned) { firmware::pin()? } else { None };
    for disk in candidates {
        let read = || read_device(&disk.name).map_err(|error| causes(&error));
        match (judged(&disk, policy, pin, &read), &found.volume) {
            (Err(reason), _) => found.ignored.push(IgnoredVolume { device: disk.name, reason }),
            (Ok(volume), None) => found.volume = Some(volume),
            (Ok(second), Some(first)) => {
                return Err(AgentError::VolumesCount { first: first.device.clone(), second: second.device });
            }
        }
    }
    Ok(found)
}

/// The volume, or why it does not count. `read` gives all bytes of the disk.
fn judged(
    disk: &Disk,
    policy: &VolumePolicy,
    pin: Option<Digest>,
    read: &dyn Fn() -> Result<Vec<u8>, String>,
) -> Result<Volume, String> {
    if let Some(reason) = unclear(disk) {
        return Err(reason);
    }
    if let Some(pin) = pin {
        let bytes = read()?;
        let digest = sha256(&bytes);
        if digest != pin {
            return Err(format!("its digest is {digest}, and the pin of this machine is {pin}"));
        }
        return Ok(Volume {
            device: disk.name.clone(),
            why: "it has the digest that is stated for this machine",
            digest,
            bytes,
        });
    }
    let unsigned = if policy.accept.contains(&Accept::Signed) {
        let bytes = read()?;
        match signed::check(&bytes, &policy.keys) {
            Ok(()) => {
                let why = "a key of the policy has signed it";
                return Ok(Volume { device: disk.name.clone(), why, digest: sha256(&bytes), bytes });
            }
            Err(reason) => Some(reason),
        }
    } else {
        None
    };
    if !policy.accept.contains(&Accept::ReadOnly) {
        return Err(unsigned.unwrap_or_else(|| {
            "no pin is stated for this machine, and the policy of the image accepts no other volume".to_owned()
        }));
    }
    if CHANGEABLE.iter().any(|(start, part)| disk.name.starts_with(start) && disk.name.contains(part)) {
        return Err("what runs on the machine can lift the write protection of such a device".to_owned());
    }
    // Only an optical drive does not say it: whoever opens another one for writing makes an event, for which the search looks again.
    let optical = disk.name.starts_with("sr") && refuses_writes(&disk.name).map_err(|error| causes(&error))?;
    if !disk.read_only && !optical {
        return Err("its device can be written: attach it read-only".to_owned());
    }
    let bytes = read()?;
    Ok(Volume { device: disk.name.clone(), why: "it cannot be written", digest: sha256(&bytes), bytes })
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::{Probe, Signature, volume::LABEL};

    use super::*;

    fn disk(name: &str, read_only: bool) -> Disk {
        let probe = Probe::Found(Signature { label: Some(LABEL.to_owned()), ..Signature::default() });
        Disk {
            partitions: None,
            name: name.to_owned(),
            serial: None,
            wwn: None,
            size: 1 << 20,
            sector_size: 512,
            read_only,
            discard: false,
            probe,
        }
    }

    /// Without a pin: none of the machine that runs this test is of such a volume.
    fn searched(disks: &[Disk], accept: &[Accept], required_too: bool) -> Result<Search, AgentError> {
        let accept = accept.to_vec();
        let policy = VolumePolicy { accept, required: required_too, ..VolumePolicy::default() };
        required(search(Inventory { disks: disks.to_vec() }, &policy)?, &policy)
    }

    #[test]
    fn what_can_be_written_or_cannot_be_read_does_not_count_and_says_why() {
        let found = searched(&[disk("cm-absent", true)], &[Accept::ReadOnly], false).unwrap();
        assert!(found.volume.is_none() && found.ignored[0].reason.contains("cm-absent"), "{}", found.ignored[0].reason);
        let found = searched(&[disk("cm-absent", true)], &[Accept::Pinned], false).unwrap();
        assert!(found.ignored[0].reason.starts_with("no pin is stated"), "{}", found.ignored[0].reason);
        let mut ambivalent = disk("cm-absent", true);
        ambivalent.probe = Probe::Ambivalent;
        let found = searched(&[ambivalent], &[Accept::ReadOnly], false).unwrap();
        assert_eq!(found.ignored[0].reason, "its signatures contradict each other");
    }

    #[test]
    fn without_a_signature_that_counts_it_is_a_matter_of_the_device() {
        let judge = |accept: &[Accept], read_only| {
            let (accept, keys) = (accept.to_vec(), vec!["ssh-ed25519 AAAA".to_owned()]);
            let policy = VolumePolicy { accept, keys, ..VolumePolicy::default() };
            judged(&disk("vdb", read_only), &policy, None, &|| Ok(vec![0; 8192])).map(|volume| volume.bytes.len())
        };
        for read_only in [false, true] {
            let refused = judge(&[Accept::Signed], read_only).unwrap_err();
            assert!(refused.starts_with("it is not signed: "), "{refused}");
        }
        assert_eq!(judge(&[Accept::Signed, Accept::ReadOnly], true), Ok(8192));
        let refused = judge(&[Accept::Signed, Accept::ReadOnly], false).unwrap_err();
        assert_eq!(refused, "its device can be written: attach it read-only");
    }

    #[test]
    fn what_a_job_can_make_writable_does_not_count_although_it_is_read_only() {
        for name in ["mmcblk0boot1", "dm-0", "md127", "bcache0", "zram0"] {
            let found = searched(&[disk(name, true)], &[Accept::ReadOnly], false).unwrap();
            assert!(found.ignored[0].reason.contains("can lift the write protection"), "{name}");
        }
    }

    #[test]
    fn a_volume_that_is_required_and_none_that_counts_stop_the_boot() {
        let refused = |disks: &[Disk]| searched(disks, &[Accept::ReadOnly], true).err().unwrap().to_string();
        assert!(refused(&[]).ends_with("requires one; devices found: none"), "{}", refused(&[]));
        assert!(refused(&[disk("cm-absent", true)]).contains("; cm-absent: "));
        assert!(searched(&[], &[Accept::ReadOnly], false).unwrap().volume.is_none());
    }
}
