//! From what a machine says of itself and a configuration to the identity and the disks of a record. Must not guess: what fits
//! nothing or two things is refused, with what there is.

use std::{collections::BTreeMap, net::IpAddr};

use cloud_machine_config::{Config, DiskConfig, Undeclared, merge, named, stated, validate};
use cloud_machine_protocol::{
    Bus, DeviceSelector, DiskFacts, DiskName, History, Identity, InterfaceFacts, MacAddress, MachineFacts, MachineName,
};
use cloud_machine_store::{DiskRecord, MachineRecord, identity as identities};

use crate::{
    described::{Described, host_layers, refused as refused_by},
    error::{ErrorKind, OperationError},
    hint::Hint,
    readable,
};

/// What states a key that follows from the machine.
const OPTION: &str = "the machine";

fn refused(text: String) -> OperationError {
    OperationError::new(ErrorKind::Refused, text)
}

/// The configuration, with the device of the system disk as the machine has it, where nothing says which that is.
///
/// # Errors
/// Of [`ErrorKind::Refused`] when it cannot be told.
pub(crate) fn resolved(described: &Described, facts: &MachineFacts) -> Result<Described, OperationError> {
    let host = host_layers(&described.merged.to_layers())?;
    let mut documents = vec![host];
    if let Some(name) = open_disk(&described.config, facts) {
        let (disk, device) = (format!("cloud-machine.resources.disks.{name}"), default_disk(facts)?.to_string());
        documents.push(named(0, OPTION, &format!("{disk}.devicepath"), &device).map_err(refused_by)?);
        documents.push(stated(1, OPTION, &format!("{disk}.boot-partition"), "true").map_err(refused_by)?);
    }
    let merged = merge(&documents).map_err(refused_by)?;
    let config = validate(&merged).map_err(refused_by)?;
    Ok(Described { merged, config })
}

/// The system disk, when nothing says which device of the machine it is.
fn open_disk(config: &Config, facts: &MachineFacts) -> Option<DiskName> {
    let (name, disk) = config.resources.disks.iter().find(|(_, disk)| disk.boot_partition)?;
    let is_there = facts.disks.iter().any(|found| found.serial.as_deref() == Some(name.as_str()));
    let is_open = disk.devicepath == DeviceSelector::Serial(name.to_string()) && !is_there;
    is_open.then(|| name.clone())
}

/// The disk that the root filesystem is on, as a configuration names it.
fn default_disk(facts: &MachineFacts) -> Result<DeviceSelector, OperationError> {
    let holding: Vec<&DiskFacts> = facts.disks.iter().filter(|disk| disk.holds_root).collect();
    let disk = match (holding.as_slice(), facts.disks.as_slice()) {
        ([disk], _) => *disk,
        ([], [disk]) => disk,
        _ => {
            let text = format!("it cannot be told which disk of the machine the image belongs on; {}", listed(facts));
            return Err(refused(text).hint(Hint::NameDisk));
        }
    };
    Ok(DeviceSelector::Serial(serial(disk)?.to_owned()))
}

/// What the machine keeps: its machine-id, UUID and hardware address where it has them.
pub(crate) fn identity(
    name: &MachineName,
    config: &Config,
    address: &str,
    facts: &MachineFacts,
) -> Result<Identity, OperationError> {
    let mac = mac(config, address, facts)?;
    let (keys, policy) = (config.ssh_authorized_keys.clone(), config.identity.ssh_host_keys);
    let mut identity =
        identities::new(name.clone(), Some(mac), BTreeMap::new(), keys, policy).map_err(OperationError::failed)?;
    // That of a system in memory is not the machine's.
    if let Some(id) = facts.machine_id.filter(|_| !facts.in_memory) {
        identity.machine_id = id;
    }
    if let Some(uuid) = facts.product_uuid {
        identity.machine_uuid = uuid.to_string();
    }
    Ok(identity)
}

/// The hardware address of the interface by which the machine is reached.
fn mac(config: &Config, address: &str, facts: &MachineFacts) -> Result<MacAddress, OperationError> {
    let interfaces = || {
        let texts: Vec<String> = facts.interfaces.iter().map(|one| format!("{} {}", one.name, one.mac)).collect();
        if texts.is_empty() { "it names none".to_owned() } else { format!("it has {}", texts.join(", ")) }
    };
    if let Some(mac) = config.resources.nic.mac {
        return match facts.interfaces.iter().find(|one| one.mac == mac) {
            Some(_) => Ok(mac),
            None => {
                Err(refused(format!("the machine has no interface with resources.nic.mac {mac}: {}", interfaces())))
            }
        };
    }
    let address: Option<IpAddr> = address.parse().ok();
    let has = |one: &&InterfaceFacts| one.addresses.iter().any(|known| Some(known.address.addr()) == address);
    match (facts.interfaces.iter().find(has), facts.interfaces.as_slice()) {
        (Some(found), _) => Ok(found.mac),
        (None, [only]) => Ok(only.mac),
        _ => {
            let text = format!("it cannot be told by which interface the machine is reached: {}", interfaces());
            Err(refused(text).hint(Hint::NameMac))
        }
    }
}

/// The disks of the configuration as the machine has them, the system disk first.
pub(crate) fn disks(config: &Config, facts: &MachineFacts, image: u64) -> Result<Vec<DiskRecord>, OperationError> {
    let mut declared: Vec<(&DiskName, &DiskConfig)> = config.resources.disks.iter().collect();
    declared.sort_by_key(|(_, disk)| !disk.boot_partition);
    let mut records = Vec::new();
    let mut taken: BTreeMap<&str, &DiskName> = BTreeMap::new();
    for (name, disk) in declared {
        let found = one(name, disk, facts)?;
        if let Some(other) = taken.insert(&found.name, name) {
            return Err(refused(format!("disks {other} and {name} are both {} of the machine", found.name)));
        }
        let least = disk.allocation.map_or(0, |size| size.bytes()).max(if disk.boot_partition { image } else { 0 });
        if found.size < least {
            let (has, least) = (readable::bytes(found.size), readable::bytes(least));
            return Err(refused(format!(
                "disk {name} is {} of the machine with {has}, and {least} are needed",
                found.name
            )));
        }
        records.push(DiskRecord {
            name: name.clone(),
            serial: serial(found)?.to_owned(),
            size: found.size,
            file: None,
            boot: disk.boot_partition,
            bus: bus(found),
            history: History::Unknown,
            history_before: History::Unknown,
            medium: None,
        });
    }
    let others: Vec<&str> =
        facts.disks.iter().map(|disk| disk.name.as_str()).filter(|disk| !taken.contains_key(disk)).collect();
    if config.disks_undeclared == Undeclared::Refuse && !others.is_empty() {
        let text = format!("the machine has disks that nobody declares: {}; {}", others.join(", "), listed(facts));
        return Err(refused(text).hint(Hint::NameDisk));
    }
    Ok(records)
}

/// The disk of the machine that the configuration means by `name`.
fn one<'a>(name: &DiskName, disk: &DiskConfig, facts: &'a MachineFacts) -> Result<&'a DiskFacts, OperationError> {
    let selector = &disk.devicepath;
    let matches = |found: &&DiskFacts| match selector {
        DeviceSelector::Path(path) => found.name == *path,
        DeviceSelector::Serial(serial) => found.serial.as_ref() == Some(serial),
        DeviceSelector::Wwn(wwn) => found.wwn.as_ref() == Some(wwn),
        // What lies on a disk is no name for it, and links are made by the system that runs.
        DeviceSelector::Label(_) | DeviceSelector::ById(_) => false,
    };
    let found: Vec<&DiskFacts> = facts.disks.iter().filter(matches).collect();
    match found.as_slice() {
        [found] => Ok(found),
        [] => {
            Err(refused(format!("disk {name}: the machine has no {selector}; {}", listed(facts))).hint(Hint::NameDisk))
        }
        _ => Err(refused(format!("disk {name}: {selector} is more than one disk of the machine; {}", listed(facts)))),
    }
}

fn serial(disk: &DiskFacts) -> Result<&str, OperationError> {
    disk.serial.as_deref().ok_or_else(|| {
        refused(format!("disk {} of the machine says no serial, by which a report is held against it", disk.name))
            .hint(Hint::GiveSerial)
    })
}

fn bus(disk: &DiskFacts) -> Bus {
    match disk.bus.as_deref() {
        Some("virtio") => Bus::Virtio,
        Some("nvme") => Bus::Nvme,
        _ => Bus::Scsi,
    }
}

/// The disks of the machine, for a person.
fn listed(facts: &MachineFacts) -> String {
    let text = |disk: &DiskFacts| {
        let serial = disk.serial.as_ref().map_or_else(|| "no serial".to_owned(), |serial| format!("serial:{serial}"));
        let root = if disk.holds_root { ", holds the root" } else { "" };
        format!("{} ({serial}, {}{root})", disk.name, readable::bytes(disk.size))
    };
    let texts: Vec<String> = facts.disks.iter().map(text).collect();
    if texts.is_empty() { "it names no disk".to_owned() } else { format!("it has {}", texts.join(", ")) }
}

/// What a reimage will change of the machine as it says that it is.
pub(super) fn changes(record: &MachineRecord, facts: &MachineFacts) -> Vec<String> {
    let mut changes = Vec::new();
    if facts.hostname != record.name.as_str() {
        changes.push(format!("its host name {} becomes {}", facts.hostname, record.name));
    }
    if facts.in_memory {
        changes.push("its machine-id becomes a new one: the system that answered runs in memory".to_owned());
    } else if facts.machine_id.is_none() {
        changes.push("it gets a machine-id: it has none".to_owned());
    }
    let own = facts.interfaces.iter().find(|one| one.mac == record.identity.mac);
    let fixed = own
        .into_iter()
        .flat_map(|one| &one.addresses)
        .filter(|known| !known.dynamic && is_global(known.address.addr()));
    for known in fixed {
        changes.push(format!(
            "its address {} did not come from DHCP, and is gone unless resources.nic.address names it",
            known.address
        ));
    }
    changes
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}
