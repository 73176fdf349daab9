//! `list`: one row a machine, from the store alone. A broken record is a row with its error.

use cloud_machine_driver::{
    drivers,
    store::{MachineRow, Standing, Store},
};
use cloud_machine_operation::{Operations, life::ProcessStatus};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
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
    #[serde(flatten)]
    process: Option<ProcessStatus>,
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
                Some(error) => table.add_row([machine.name.clone(), format!("error: {error}")]),
                None => table.add_row([
                    machine.name.clone(),
                    text(&machine.state),
                    machine.process.as_ref().map(|told| told.process.to_string()).unwrap_or_default(),
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

pub(crate) fn run(ui: &Ui, store: &Store) -> Result<(), Failure> {
    let drivers = drivers();
    let operations = Operations { store, drivers: &drivers, observer: &() };
    let machines = store.list()?.into_iter().map(|row| machine(&operations, row)).collect();
    ui.result(&Machines { machines })
}

/// What concerns one machine stays in its row, whatever is wrong with it.
fn machine(operations: &Operations<'_>, row: MachineRow) -> Machine {
    let record = match row.record {
        Ok(record) => record,
        Err(error) => {
            let error = Failure::from(error).causes().join(": ");
            return Machine { name: row.name, error: Some(error), ..Machine::default() };
        }
    };
    // Whether a job ran since a report that no longer stands says nothing about the disks.
    let stands = record.standing() == Standing::Stands;
    Machine {
        name: row.name,
        state: Some(record.state.to_string()),
        process: Some(operations.status(&record)),
        image: Some(record.image.name.to_string()),
        ssh_port: Some(record.ssh_port),
        assurance: record.standing_assurance().map(|level| level.to_string()),
        dirty: stands.then_some(record.dirty),
        error: None,
    }
}
