//! Waiting for the declared disks: a bus tells of its disks when it likes. Must not wait longer than for any other
//! device, and must not decide what an absent disk means.

use std::time::Instant;

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_protocol::Inventory;
use cloud_machine_system::{UeventSocket, inventory};

use crate::{error::AgentError, host::Host, volume::PATIENCE};

/// [`disks`] without the system disk, which the machine's own initramfs looks for by itself.
pub(crate) fn data_disks(found: Inventory, config: &Config, host: &mut Host) -> Result<Inventory, AgentError> {
    wait(found, config, |disk| !disk.boot_partition, host)
}

/// The inventory with every disk that the configuration names, or the last one when the patience ends: the plan says
/// then what is missing.
pub(crate) fn disks(found: Inventory, config: &Config, host: &mut Host) -> Result<Inventory, AgentError> {
    wait(found, config, |_| true, host)
}

fn wait(
    mut found: Inventory,
    config: &Config,
    waits: impl Fn(&DiskConfig) -> bool,
    host: &mut Host,
) -> Result<Inventory, AgentError> {
    let events = UeventSocket::open()?;
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        // Once more behind the opened socket: what came before is in the list, what comes after is an event.
        let Some(absent) = absent(&found, config, &waits) else { return Ok(found) };
        if !told {
            host.event(None, &format!("wait for the disk {absent}"))?;
            told = true;
        } else if !events.wait(deadline)? {
            return Ok(found);
        }
        found = inventory()?;
    }
}

/// The first declared disk that is not there.
fn absent(found: &Inventory, config: &Config, waits: impl Fn(&DiskConfig) -> bool) -> Option<String> {
    let is_absent = |selector| !found.disks.iter().any(|disk| disk.matches(selector));
    let mut declared = config.resources.disks.iter().filter(|(_, disk)| waits(disk));
    declared.find(|(_, disk)| is_absent(&disk.devicepath)).map(|(name, disk)| format!("{name} ({})", disk.devicepath))
}
