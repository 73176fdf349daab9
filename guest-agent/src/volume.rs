//! The host's volume, found among all disks or received over the connection, and the documents on it. A label finds candidates;
//! only the pin makes one of them the host's.

use std::time::{Duration, Instant};

use cloud_machine_image::{ClaimedManifest, Manifest};
use cloud_machine_protocol::{
    Digest, Disk, Extent, FORMAT_VERSION, Identity, IgnoredVolume, Inventory, Probe, Request, Tier, causes, version_of,
    volume,
};
use cloud_machine_system::{UeventSocket, VolumeFiles, inventory, read_device, sha256};
use serde::de::DeserializeOwned;

use crate::error::AgentError;

/// How long a device may take to appear after its driver was loaded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The pinned volume.
pub(crate) struct Volume {
    /// Kernel name of its device, if it has one.
    pub(crate) device: Option<String>,
    /// SHA-256 of all its bytes.
    pub(crate) digest: Digest,
    files: VolumeFiles,
}

/// The documents of the volume. `user_data` and `layers` stay text: parsing them is the configuration's business.
pub(crate) struct Documents {
    pub(crate) request: Request,
    pub(crate) identity: Identity,
    pub(crate) manifest: Manifest,
    pub(crate) user_data: Vec<u8>,
    pub(crate) layers: Vec<u8>,
    /// What the host's map of the system disk calls dirty.
    pub(crate) dirty: Vec<Extent>,
}

/// What a search found.
pub(crate) struct FoundVolume {
    pub(crate) inventory: Inventory,
    pub(crate) volume: Volume,
    /// Every other candidate, and why it is not the host's volume.
    pub(crate) others: Vec<IgnoredVolume>,
}

/// Looks at all disks until the pinned volume is there or the patience ends.
pub(crate) fn find(pin: Digest) -> Result<FoundVolume, AgentError> {
    let events = UeventSocket::open()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let inventory = inventory()?;
        match search(&inventory, pin) {
            Ok((volume, others)) => return Ok(FoundVolume { inventory, volume, others }),
            Err(error @ (AgentError::VolumeAbsent { .. } | AgentError::VolumeNotPinned { .. })) => {
                if !events.wait(deadline)? {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes the volume that came over the connection: no disk that is labelled like it counts.
pub(crate) fn received(bytes: Vec<u8>) -> Result<FoundVolume, AgentError> {
    let volume = Volume { device: None, digest: sha256(&bytes), files: VolumeFiles::open(bytes)? };
    let inventory = inventory()?;
    let labelled = inventory.disks.iter().filter(|disk| is_candidate(disk));
    let reason = || "the host's volume came over the connection".to_owned();
    let others = labelled.map(|disk| IgnoredVolume { device: disk.name.clone(), reason: reason() }).collect();
    Ok(FoundVolume { inventory, volume, others })
}

fn search(inventory: &Inventory, pin: Digest) -> Result<(Volume, Vec<IgnoredVolume>), AgentError> {
    let mut pinned: Option<(String, Vec<u8>)> = None;
    let mut ignored = Vec::new();
    for disk in inventory.disks.iter().filter(|disk| is_candidate(disk)) {
        match content_if_pinned(disk, pin) {
            Ok(bytes) => match pinned {
                Some((first, _)) => return Err(AgentError::VolumeTwice { first, second: disk.name.clone() }),
                None => pinned = Some((disk.name.clone(), bytes)),
            },
            Err(reason) => ignored.push(IgnoredVolume { device: disk.name.clone(), reason }),
        }
    }
    match pinned {
        Some((device, bytes)) => {
            let volume = Volume { device: Some(device), digest: pin, files: VolumeFiles::open(bytes)? };
            Ok((volume, ignored))
        }
        None if ignored.is_empty() => Err(AgentError::VolumeAbsent { found: names(inventory) }),
        None => {
            let reasons: Vec<_> = ignored.iter().map(|item| format!("{}: {}", item.device, item.reason)).collect();
            Err(AgentError::VolumeNotPinned { pin, candidates: reasons.join("; ") })
        }
    }
}

/// A device counts when its whole range carries the label, or when that could not be told.
pub(crate) fn is_candidate(disk: &Disk) -> bool {
    match &disk.probe {
        Probe::Found(signature) => {
            signature.label.as_ref().is_some_and(|label| label.eq_ignore_ascii_case(volume::LABEL))
        }
        Probe::Empty | Probe::Unknown => false,
        Probe::Ambivalent | Probe::Unreadable { .. } | Probe::Silent { .. } => disk.size <= volume::MAX_SIZE,
    }
}

fn content_if_pinned(disk: &Disk, pin: Digest) -> Result<Vec<u8>, String> {
    let bytes = read_device(&disk.name).map_err(|error| causes(&error))?;
    let digest = sha256(&bytes);
    if digest != pin {
        return Err(format!("its digest is {digest}"));
    }
    if !matches!(disk.probe, Probe::Found(_)) {
        return Err(format!("its signatures are not clear: {:?}", disk.probe));
    }
    if !disk.read_only {
        return Err("its device can be written".to_owned());
    }
    Ok(bytes)
}

pub(crate) fn names(inventory: &Inventory) -> String {
    let disk = |disk: &Disk| {
        let serial = disk.serial.as_deref().unwrap_or("none");
        format!("{} (serial {serial}, {} bytes)", disk.name, disk.size)
    };
    let names: Vec<_> = inventory.disks.iter().map(disk).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Volume {
    /// Reads the request alone: later failures can then be reported against it.
    pub(crate) fn request(&self) -> Result<Request, AgentError> {
        self.versioned(volume::REQUEST)
    }

    /// Reads all other documents.
    pub(crate) fn documents(&self, request: Request) -> Result<Documents, AgentError> {
        let identity: Identity = self.json(volume::IDENTITY)?;
        if identity.machine_uuid != request.machine_uuid {
            return Err(AgentError::OtherMachine { identity: identity.machine_uuid, request: request.machine_uuid });
        }
        Ok(Documents {
            identity,
            // Hashing the image's zeros once more would only repeat what the host did before it made this pinned volume.
            manifest: ClaimedManifest::parse(&self.files.read(volume::MANIFEST)?)
                .map_err(AgentError::Manifest)?
                .vouched_for(),
            user_data: self.files.read(volume::USER_DATA)?,
            layers: self.files.read(volume::LAYERS)?,
            dirty: if request.tier == Some(Tier::Hinted) { self.json(volume::DIRTY)? } else { Vec::new() },
            request,
        })
    }

    /// The document behind a `file:` address.
    pub(crate) fn url_document(&self) -> Result<Vec<u8>, AgentError> {
        Ok(self.files.read(volume::URL_DOCUMENT)?)
    }

    fn json<T: DeserializeOwned>(&self, file: &'static str) -> Result<T, AgentError> {
        let bytes = self.files.read(file)?;
        serde_json::from_slice(&bytes).map_err(|source| AgentError::InvalidFile { file, source })
    }

    fn versioned<T: DeserializeOwned>(&self, file: &'static str) -> Result<T, AgentError> {
        let bytes = self.files.read(file)?;
        let found = version_of(&bytes).map_err(|source| AgentError::InvalidFile { file, source })?;
        if found != FORMAT_VERSION {
            return Err(AgentError::UnknownVersion { file, found, known: FORMAT_VERSION });
        }
        serde_json::from_slice(&bytes).map_err(|source| AgentError::InvalidFile { file, source })
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::Signature;

    use super::*;

    #[test]
    fn what_is_labelled_so_may_be_the_volume_and_so_may_what_cannot_be_told() {
        let labelled = |label: &str| Probe::Found(Signature { label: Some(label.to_owned()), ..Signature::default() });
        let unreadable = Probe::Unreadable { reason: "x".to_owned() };
        for (probe, size, expected) in [
            (labelled("CLOUD-INIT"), u64::MAX, true),
            (labelled("cloud-init"), 1, true),
            (labelled("data"), 1, false),
            (Probe::Found(Signature::default()), 1, false),
            (Probe::Empty, 1, false),
            (Probe::Unknown, 1, false),
            (Probe::Ambivalent, volume::MAX_SIZE, true),
            (Probe::Ambivalent, volume::MAX_SIZE + 1, false),
            (unreadable, 1, true),
            (Probe::Silent { seconds: 20 }, 1, true),
        ] {
            let disk = Disk {
                name: "vda".to_owned(),
                serial: None,
                wwn: None,
                size,
                sector_size: 512,
                read_only: true,
                discard: false,
                probe: probe.clone(),
                partitions: None,
            };
            assert_eq!(is_candidate(&disk), expected, "{probe:?} of {size} bytes");
        }
    }
}
