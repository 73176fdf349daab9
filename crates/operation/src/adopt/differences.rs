//! What a machine that was taken over says otherwise now. Must not repair: whether it is still the same machine is for a person to
//! say.

use std::collections::BTreeMap;

use cloud_machine_driver::ssh;
use cloud_machine_protocol::{DiskFacts, InterfaceFacts, MachineFacts};
use cloud_machine_store::{DriverState, MachineRecord};

use super::{Login, Surveyed};
use crate::error::{ErrorKind, OperationError};

/// Refuses a machine that is another one than its record says, with every field that differs.
pub(super) fn refuse(
    record: &MachineRecord,
    login: &Login,
    surveyed: &Surveyed,
    control: &DriverState,
) -> Result<(), OperationError> {
    let name = &record.name;
    let Some(remote) = &record.remote else {
        let text = format!("machine {name} exists, and is one that this host runs");
        return Err(OperationError::new(ErrorKind::Refused, text));
    };
    let mut found = Differences::default();
    found.note("address", &remote.address, &login.address);
    found.note("port", &remote.port.to_string(), &login.port.to_string());
    if remote.control != *control {
        found.0.push("its control is another one".to_owned());
    }
    // Since its last report it has a key of its own of that time.
    let key = record.host_key.as_ref().or(remote.host_key.as_ref());
    if let Some(key) = key.filter(|key| !ssh::is_same_key(key, &surveyed.host_key)) {
        found.note("host key", &ssh::fingerprint(key), &ssh::fingerprint(&surveyed.host_key));
    }
    if let Some(facts) = &remote.facts {
        found.facts(record, facts, &surveyed.facts);
    }
    if found.0.is_empty() {
        return Ok(());
    }
    let text = format!("machine {name} is not as it was when it was adopted: {}", found.0.join("; "));
    Err(OperationError::new(ErrorKind::Verification, text))
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn note(&mut self, field: &str, was: &str, is: &str) {
        if was != is {
            self.0.push(format!("{field} was {was} and is {is}"));
        }
    }

    fn facts(&mut self, record: &MachineRecord, was: &MachineFacts, is: &MachineFacts) {
        let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        // A system in memory has its own.
        if !is.in_memory {
            let kept = record.identity.machine_id.to_string();
            self.note("machine-id", &kept, &text(is.machine_id.map(|id| id.to_string())));
            if is.hostname != record.name.as_str() {
                self.note("host name", &was.hostname, &is.hostname);
            }
        }
        let uuid = |facts: &MachineFacts| text(facts.product_uuid.map(|uuid| uuid.to_string()));
        self.note("UUID of its firmware", &uuid(was), &uuid(is));
        self.note("firmware", word(was), word(is));
        self.named("interface", &was.interfaces, &is.interfaces, |one| one.mac.to_string(), interface);
        // The kernel's names of disks change from boot to boot.
        let key =
            |disk: &DiskFacts| disk.serial.clone().or_else(|| disk.wwn.clone()).unwrap_or_else(|| disk.name.clone());
        self.named("disk", &was.disks, &is.disks, key, disk);
    }

    fn named<T>(&mut self, what: &str, was: &[T], is: &[T], key: impl Fn(&T) -> String, text: impl Fn(&T) -> String) {
        let by_key =
            |list: &[T]| -> BTreeMap<String, String> { list.iter().map(|one| (key(one), text(one))).collect() };
        let (was, is) = (by_key(was), by_key(is));
        for (key, text) in &was {
            match is.get(key) {
                None => self.0.push(format!("{what} {key} is gone ({text})")),
                Some(other) => self.note(&format!("{what} {key}"), text, other),
            }
        }
        for (key, text) in is.iter().filter(|(key, _)| !was.contains_key(*key)) {
            self.0.push(format!("{what} {key} is new ({text})"));
        }
    }
}

fn word(facts: &MachineFacts) -> &'static str {
    match facts.firmware {
        cloud_machine_protocol::Firmware::Bios => "bios",
        cloud_machine_protocol::Firmware::Uefi => "uefi",
    }
}

/// Fixed addresses count; those of a lease change by themselves, and so do those that an interface gives itself.
fn interface(one: &InterfaceFacts) -> String {
    let fixed = one.addresses.iter().filter(|known| !known.dynamic);
    let addresses: Vec<String> = fixed.map(|known| known.address.to_string()).collect();
    if addresses.is_empty() { "no fixed address".to_owned() } else { addresses.join(" ") }
}

fn disk(one: &DiskFacts) -> String {
    format!("{} bytes on {}", one.size, one.bus.as_deref().unwrap_or("an unknown bus"))
}
