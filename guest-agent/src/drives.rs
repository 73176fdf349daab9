//! Volumes labelled `CLOUD-INIT` besides the pinned one: which of them count, and what is on those. A label alone
//! proves nothing, since a job can write one; must not change a disk.

use cloud_machine_config::{Document, Drives, LayerKind, NO_CLOUD, parse, unread};
use cloud_machine_protocol::{
    Disk, DriveEvidence, DriveRequest, IgnoredVolume, Inventory, Probe, causes,
    volume::{LABEL, MAX_SIZE, USER_DATA},
};
use cloud_machine_system::{
    read_device,
    reader::{read_untrusted, read_untrusted_if_there},
    sha256,
};

use crate::{error::AgentError, volume::names};

/// What the drives say, and which volumes or parts of them were passed over.
#[derive(Default)]
pub(crate) struct FoundDrives {
    pub(crate) documents: Vec<Document>,
    pub(crate) evidence: Vec<DriveEvidence>,
    pub(crate) ignored: Vec<IgnoredVolume>,
}

/// Reads the drives that `requests` name, in that order, and then, where `drives` trusts it, the one of `candidates` that is
/// left: the search for the host's volume has found them.
pub(crate) fn read(
    inventory: &Inventory,
    candidates: &[IgnoredVolume],
    requests: &[DriveRequest],
    drives: Drives,
) -> Result<FoundDrives, AgentError> {
    let mut found = FoundDrives::default();
    for request in requests {
        let disk = named(inventory, request)?;
        found.add(disk, &request.device.to_string(), vouched(disk, request)?)?;
    }
    let mut trusted: Option<&Disk> = None;
    let is_candidate = |disk: &&Disk| candidates.iter().any(|candidate| candidate.device == disk.name);
    for disk in inventory.disks.iter().filter(is_candidate) {
        if found.evidence.iter().any(|evidence| evidence.device == disk.name) {
            continue;
        }
        match (reason(disk, drives), trusted) {
            (Some(reason), _) => found.ignored.push(IgnoredVolume { device: disk.name.clone(), reason }),
            (None, Some(first)) => {
                return Err(AgentError::DriveTwice { first: first.name.clone(), second: disk.name.clone() });
            }
            (None, None) => trusted = Some(disk),
        }
    }
    if let Some(disk) = trusted {
        found.add(disk, &format!("/dev/{}", disk.name), read_device(&disk.name)?)?;
    }
    Ok(found)
}

impl FoundDrives {
    fn add(&mut self, disk: &Disk, name: &str, bytes: Vec<u8>) -> Result<(), AgentError> {
        let drive = |source| AgentError::Drive { device: disk.name.clone(), source };
        let user_data = read_untrusted(&bytes, USER_DATA).map_err(drive)?;
        let document = parse(LayerKind::Volume, &format!("{name}/{USER_DATA}"), &user_data);
        self.documents.push(document.map_err(AgentError::Config)?);
        for file in NO_CLOUD {
            let remark = match read_untrusted_if_there(&bytes, file) {
                Ok(content) => content.and_then(|content| unread(file, &content)),
                Err(error) => Some(format!("{file} is not read, and cannot be: {}", causes(&error))),
            };
            self.ignored.extend(remark.map(|reason| IgnoredVolume { device: disk.name.clone(), reason }));
        }
        self.evidence.push(DriveEvidence { device: disk.name.clone(), digest: sha256(&bytes) });
        Ok(())
    }
}

/// The one disk that a request names.
fn named<'disk>(inventory: &'disk Inventory, request: &DriveRequest) -> Result<&'disk Disk, AgentError> {
    let mut matching = inventory.disks.iter().filter(|disk| disk.matches(&request.device));
    match (matching.next(), matching.next()) {
        (Some(disk), None) => Ok(disk),
        (Some(first), Some(second)) => {
            Err(AgentError::DriveTwice { first: first.name.clone(), second: second.name.clone() })
        }
        (None, _) => Err(AgentError::DriveAbsent { device: request.device.clone(), found: names(inventory) }),
    }
}

/// The bytes of a drive that is what the host says it is, and cannot be anything else.
fn vouched(disk: &Disk, request: &DriveRequest) -> Result<Vec<u8>, AgentError> {
    let unfit = |reason: String| AgentError::DriveUnfit { device: disk.name.clone(), reason };
    if !disk.read_only {
        return Err(unfit("its device can be written".to_owned()));
    }
    if let Some(reason) = unclear(disk) {
        return Err(unfit(reason));
    }
    let bytes = read_device(&disk.name)?;
    let found = sha256(&bytes);
    if found != request.digest {
        return Err(unfit(format!("its digest is {found}, the request names {}", request.digest)));
    }
    Ok(bytes)
}

/// Why a volume that nobody named does not count; `None` when it does.
fn reason(disk: &Disk, drives: Drives) -> Option<String> {
    let written = if disk.read_only { "" } else { ", its device can be written," };
    match drives {
        Drives::ReadOnly => {
            Some(format!("the host did not attach it as a drive{written} and `drives` is not `trusted`"))
        }
        Drives::Trusted => unclear(disk),
    }
}

/// Why it is no volume that can be read.
pub(crate) fn unclear(disk: &Disk) -> Option<String> {
    match &disk.probe {
        _ if disk.size > MAX_SIZE => Some(format!("it has {} bytes, more than the {MAX_SIZE} of a volume", disk.size)),
        Probe::Found(signature) => {
            let label = signature.label.as_deref().unwrap_or_default();
            (!label.eq_ignore_ascii_case(LABEL)).then(|| format!("it is labelled {label:?}, not {LABEL}"))
        }
        Probe::Empty | Probe::Unknown => Some("no filesystem was found on it".to_owned()),
        Probe::Ambivalent => Some("its signatures contradict each other".to_owned()),
        Probe::Unreadable { reason } => Some(format!("it could not be probed: {reason}")),
        Probe::Silent { seconds } => Some(format!("it did not answer within {seconds} s")),
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_protocol::Signature;

    use super::*;

    fn disk(name: &str, label: Option<&str>) -> Disk {
        let label = label.map(str::to_owned);
        Disk {
            partitions: None,
            name: name.to_owned(),
            serial: Some(name.to_owned()),
            wwn: None,
            size: 1 << 20,
            sector_size: 512,
            read_only: true,
            discard: false,
            probe: Probe::Found(Signature { label, ..Signature::default() }),
        }
    }

    fn candidate(disk: &Disk) -> IgnoredVolume {
        IgnoredVolume { device: disk.name.clone(), reason: "its digest is another one".to_owned() }
    }

    fn ignored(disks: Vec<Disk>, drives: Drives) -> Vec<String> {
        let candidates: Vec<IgnoredVolume> = disks.iter().map(candidate).collect();
        // What the search for the host's volume passed over is none, whatever it is called.
        let others = [disk("vdp", Some(LABEL)), disk("vdq", Some("data"))];
        let disks = disks.into_iter().chain(others).collect();
        let found = read(&Inventory { disks }, &candidates, &[], drives).unwrap_or_else(|error| panic!("{error}"));
        assert!(found.documents.is_empty());
        found.ignored.into_iter().map(|volume| format!("{}: {}", volume.device, volume.reason)).collect()
    }

    #[test]
    fn a_label_alone_does_not_count_and_the_reason_is_told() {
        let mut written = disk("vdb", Some("cloud-init"));
        written.read_only = false;
        let disks = vec![disk("vda", Some(LABEL)), written];
        assert_eq!(
            ignored(disks, Drives::ReadOnly),
            [
                "vda: the host did not attach it as a drive and `drives` is not `trusted`",
                "vdb: the host did not attach it as a drive, its device can be written, and `drives` is not `trusted`"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_clearly_does_not_count_even_when_trusted() {
        let mut ambivalent = disk("vda", None);
        ambivalent.probe = Probe::Ambivalent;
        let mut large = disk("vdb", Some(LABEL));
        large.size = MAX_SIZE + 1;
        assert_eq!(
            ignored(vec![ambivalent, large], Drives::Trusted),
            [
                "vda: its signatures contradict each other",
                &format!("vdb: it has {} bytes, more than the {MAX_SIZE} of a volume", MAX_SIZE + 1)
            ]
        );
    }

    #[test]
    fn two_trusted_volumes_are_one_too_many() {
        let inventory = Inventory { disks: vec![disk("vda", Some(LABEL)), disk("vdb", Some(LABEL))] };
        let candidates: Vec<IgnoredVolume> = inventory.disks.iter().map(candidate).collect();
        let error = read(&inventory, &candidates, &[], Drives::Trusted).err().unwrap();
        assert_eq!(error.to_string(), "two volumes could be the drive: vda and vdb");
    }

    #[test]
    fn a_drive_of_the_request_must_be_there_once_and_unchangeable() {
        let request = |device: &str| DriveRequest { device: device.parse().unwrap(), digest: sha256(b"") };
        let tried = |disks: Vec<Disk>| {
            let found = read(&Inventory { disks }, &[], &[request("serial:vda")], Drives::ReadOnly);
            found.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(
            tried(vec![disk("vdb", Some(LABEL))]),
            "no disk matches serial:vda for a drive; devices found: vdb (serial vdb, 1048576 bytes)"
        );
        let twin = Disk { name: "vdb".to_owned(), ..disk("vda", Some(LABEL)) };
        assert_eq!(tried(vec![disk("vda", Some(LABEL)), twin]), "two volumes could be the drive: vda and vdb");
        let writable = Disk { read_only: false, ..disk("vda", Some(LABEL)) };
        assert_eq!(tried(vec![writable]), "vda cannot be used as a drive: its device can be written");
        assert_eq!(
            tried(vec![disk("vda", Some("data"))]),
            "vda cannot be used as a drive: it is labelled \"data\", not CLOUD-INIT"
        );
    }
}
