//! `show`: the whole record of one machine.

use std::fmt;

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Described, Operations, access, causes, evidence, life::ProcessStatus};
use cloud_machine_protocol::{ByteSize, Connection, MacAddress, MachineName, NicName};
use cloud_machine_store::{Lease, MachineRecord, Standing, Store};
use serde::Serialize;

use crate::{
    failure::Failure,
    redaction,
    ui::{Show, Ui},
};

/// What is said of a machine that is as its last report has it, as far as this program knows.
pub(super) const UNUSED: &str = "not used through this program since";

#[derive(Serialize)]
struct Machine {
    /// As people may see it.
    record: MachineRecord,
    /// As YAML, with secrets redacted.
    configuration: String,
    /// Further network interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nics: Vec<FurtherNic>,
    #[serde(flatten)]
    process: ProcessStatus,
    folder: String,
    /// The lease that somebody has on it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
}

#[derive(Serialize)]
struct FurtherNic {
    name: NicName,
    mac: MacAddress,
    connection: Connection,
}

impl fmt::Display for FurtherNic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} on {}", self.name, self.mac, self.connection)
    }
}

impl Show for Machine {
    const KIND: &'static str = "machine";

    fn table(&self) -> String {
        let record = &self.record;
        let mut lines = vec![
            ("name", record.name.to_string()),
            ("state", record.state.to_string()),
            ("process", process(&self.process)),
            ("driver", record.driver.clone()),
            ("image", format!("{} {}", record.image.name, record.image.digest)),
            ("generation", record.image.generation.to_string()),
            ("signature", record.image.signature.to_string()),
            ("machine-uuid", record.uuid.clone()),
            ("machine-id", record.identity.machine_id.to_string()),
        ];
        if record.remote.is_none() {
            lines.extend([("ram", ByteSize(record.ram).to_string()), ("cpus", record.cpus.to_string())]);
        }
        lines.extend([("mac", record.identity.mac.to_string()), ("network", network(record))]);
        lines.extend(self.nics.iter().map(|nic| ("further nic", nic.to_string())));
        lines.extend([
            ("ssh", place(record)),
            ("ssh host key", record.host_key.clone().unwrap_or_else(|| "none yet".to_owned())),
            ("folder", self.folder.clone()),
        ]);
        if let Some(Lease { number, owner, until, .. }) = &self.lease {
            lines.push(("lease", format!("{number} for {owner} until {until:.0}")));
        }
        if let Some(url) = &record.image.url {
            lines.push(("fetched from", url.redacted()));
        }
        lines.push(("assurance", assurance(record)));
        if let Some(why) = record.request.as_ref().and_then(|request| request.failure.as_ref()) {
            lines.push(("last failure", why.clone()));
        }
        if record.standing() == Standing::Stands {
            lines.push(("used since", if record.dirty { "yes" } else { UNUSED }.to_owned()));
        }
        for exception in &record.image.exceptions {
            lines.push(("exception", format!("{exception}, allowed by an operator")));
        }
        if let Some(last) = record.system.last {
            let tier = last.tier.map(|tier| format!(", tier {tier}")).unwrap_or_default();
            lines.push(("last reimage", format!("strategy {}{tier}", last.strategy)));
        }
        lines.push(match &record.remote {
            Some(remote) if remote.host_key.is_none() => ("made", format!("{:.0}, by its provider", remote.adopted)),
            Some(remote) => ("adopted", format!("{:.0}, as it said that it was", remote.adopted)),
            None => ("system disk", record.system.backing.to_string()),
        });
        if let Some(snapshot) = record.remote.as_ref().and_then(|remote| remote.snapshot.as_ref()) {
            let told = format!("{:.0}, the disk of {}, for strategy rebuild", snapshot.taken, snapshot.report);
            lines.push(("snapshot", told));
        }
        for disk in &record.disks {
            let role = if disk.boot { "system" } else { "data" };
            lines.push(("disk", format!("{} {role}, {} bytes, serial {}", disk.name, disk.size, disk.serial)));
        }
        for drive in &record.drives {
            lines.push(("drive", format!("{} {}", drive.source, drive.digest)));
        }
        lines.iter().map(|(name, value)| format!("{name:14}{value}\n")).collect()
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, name: &MachineName) -> Result<(), Failure> {
    let mut record = store.read(name)?;
    let process = Operations { store, drivers: &drivers(), observer: &() }.status(&record);
    let Described { merged, config } = Described::of(&record)?;
    let further = config.resources.nics.into_iter().filter_map(|(name, nic)| {
        Some(FurtherNic { mac: *record.identity.nics.get(&name)?, name, connection: nic.network })
    });
    let nics = further.collect();
    let configuration = redaction::redacted(&merged, &merged.leaves(), &|| Ok(store.root().to_owned()))?.to_yaml();
    // What no longer stands is not handed on as if it did.
    record.assurance = record.standing_assurance();
    let folder = store.machine(name).path().display().to_string();
    let lease = store.leases()?.into_iter().filter_map(|row| row.lease.ok()).find(|lease| lease.machine == *name);
    ui.result(&Machine { record: record.redacted(), configuration, nics, process, folder, lease })
}

/// Where its SSH is.
fn place(record: &MachineRecord) -> String {
    if record.remote.is_none() && record.connection.is_user() && record.ssh_port == 0 {
        return "none yet".to_owned();
    }
    match access::host(record) {
        Ok(Some(host)) => host.place(access::port(record)),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("unknown: {}", causes(&error)),
    }
}

/// What the machine is connected to, and what that opens to it.
fn network(record: &MachineRecord) -> String {
    if record.remote.is_some() {
        return "that of its owner".to_owned();
    }
    let open = if record.connection == Connection::User {
        " (reaches what listens on the host's loopback interface)"
    } else {
        ""
    };
    format!("{}{open}", record.connection)
}

/// What the last accepted report is worth now.
fn assurance(record: &MachineRecord) -> String {
    match (record.standing(), record.assurance) {
        (Standing::Stands, Some(level)) => {
            format!("{level} (does not cover: {})", evidence::gaps_of(record, level))
        }
        (Standing::Unanswered, _) => "none: the system did not come up after the last report was accepted".to_owned(),
        (Standing::Ended { state }, _) => {
            format!("none: another attempt began since the last accepted report, and the machine is {state}")
        }
        _ => "none yet".to_owned(),
    }
}

fn process(told: &ProcessStatus) -> String {
    match &told.process_reason {
        Some(why) => format!("{}: {why}", told.process),
        None => told.process.to_string(),
    }
}
