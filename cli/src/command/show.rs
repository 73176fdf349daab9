//! `show`: the whole record of one machine.

use cloud_machine_driver::store::{MachineRecord, Store};
use cloud_machine_protocol::MachineName;
use serde::Serialize;

use crate::{
    command::{list, start::is_alive},
    configuration::guest,
    evidence,
    failure::Failure,
    redaction,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Machine {
    record: MachineRecord,
    /// As YAML, with secrets redacted.
    configuration: String,
    /// `None` when it is not known.
    process: Option<bool>,
    folder: String,
}

impl Show for Machine {
    const KIND: &'static str = "machine";

    fn table(&self) -> String {
        let record = &self.record;
        let mut lines = vec![
            ("name", record.name.to_string()),
            ("state", record.state.to_string()),
            ("process", list::process(self.process).to_owned()),
            ("driver", record.driver.clone()),
            ("image", format!("{} {}", record.image.name, record.image.digest)),
            ("generation", record.image.generation.to_string()),
            ("signature", record.image.signature.to_string()),
            ("machine-uuid", record.uuid.clone()),
            ("machine-id", record.identity.machine_id.to_string()),
            ("mac", record.identity.mac.to_string()),
            ("ssh", format!("127.0.0.1 port {}", record.ssh_port)),
            ("ssh host key", record.host_key.clone().unwrap_or_else(|| "none yet".to_owned())),
            ("used since", if record.dirty { "yes" } else { "no login by ssh or exec" }.to_owned()),
            ("folder", self.folder.clone()),
        ];
        if let Some(url) = &record.image.url {
            lines.push(("fetched from", url.shown()));
        }
        if let Some(level) = record.assurance {
            let gaps = evidence::gaps_of(record, level, &record.left);
            lines.push(("assurance", format!("{level} (does not cover: {gaps})")));
        }
        for exception in &record.image.exceptions {
            lines.push(("exception", format!("{exception}, allowed by an operator")));
        }
        if let Some(last) = record.system.last {
            lines.push(("last reimage", format!("strategy {}, tier {}", last.strategy, last.tier)));
        }
        lines.push(("system disk", record.system.form.to_string()));
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
    let process = is_alive(store, name).map_err(|failure| {
        ui.note(&format!("whether the process of {name} runs is unknown: {}", failure.causes().join(": ")));
    });
    let merged = guest::recorded(&record)?;
    let configuration = redaction::redacted(&merged, &merged.leaves(), &|| Ok(store.root().to_owned()))?.to_yaml();
    record.layers = serde_json::Value::Null;
    // Its query may give access.
    if let Some(url) = &mut record.image.url {
        url.url = url.shown();
    }
    ui.result(&Machine {
        record,
        configuration,
        process: process.ok(),
        folder: store.machine(name).path().display().to_string(),
    })
}
