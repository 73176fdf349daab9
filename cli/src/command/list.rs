//! `list`: one row a machine, from the store alone. A broken record is a row with its error.

use cloud_machine_driver::store::{MachineRow, Standing, Store};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    command::start::is_alive,
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Machines {
    machines: Vec<Machine>,
}

#[derive(Default, Serialize)]
struct Machine {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for Machines {
    const KIND: &'static str = "machine-list";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["NAME", "STATE", "PROCESS", "IMAGE", "SSH", "ASSURANCE", "USED"]);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        for machine in &self.machines {
            match &machine.error {
                // The record was read, only the process could not be looked at: that is told beside the table.
                Some(error) if machine.state.is_none() => {
                    table.add_row([machine.name.clone(), format!("error: {error}")])
                }
                _ => table.add_row([
                    machine.name.clone(),
                    text(&machine.state),
                    process(machine.process).to_owned(),
                    text(&machine.image),
                    machine.ssh_port.map(|port| port.to_string()).unwrap_or_default(),
                    text(&machine.assurance),
                    machine.dirty.map(|dirty| if dirty { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
                ]),
            };
        }
        table.to_string()
    }
}

/// Whether a process runs, in a word.
pub(crate) fn process(found: Option<bool>) -> &'static str {
    match found {
        Some(true) => "runs",
        Some(false) => "none",
        None => "unknown",
    }
}

pub(crate) fn run(ui: &Ui, store: &Store) -> Result<(), Failure> {
    let machines = store.list()?.into_iter().map(|row| machine(ui, store, row)).collect();
    ui.result(&Machines { machines })
}

/// What concerns one machine stays in its row, whatever is wrong with it.
fn machine(ui: &Ui, store: &Store, row: MachineRow) -> Machine {
    let mut machine = Machine { name: row.name, ..Machine::default() };
    match row.record {
        Ok(record) => {
            match is_alive(store, &record.name) {
                Ok(alive) => machine.process = Some(alive),
                Err(failure) => {
                    let error = failure.causes().join(": ");
                    ui.note(&format!("machine {}: {error}", machine.name));
                    machine.error = Some(error);
                }
            }
            machine.state = Some(record.state.to_string());
            machine.image = Some(record.image.name.to_string());
            machine.ssh_port = Some(record.ssh_port);
            machine.assurance = record.standing_assurance().map(|level| level.to_string());
            // Whether a job ran since a report that no longer stands says nothing about the disks.
            machine.dirty = (record.standing() == Standing::Stands).then_some(record.dirty);
        }
        Err(error) => machine.error = Some(Failure::from(error).causes().join(": ")),
    }
    machine
}
