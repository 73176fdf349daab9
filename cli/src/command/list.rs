//! `list`: one row a machine, from the store alone. A broken record is a row with its error.

use clap::ValueEnum;
use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, life::ProcessStatus};
use cloud_machine_store::{MachineRow, Standing, Store};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::{Column, Filter, List},
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Machines {
    machines: Vec<Machine>,
    #[serde(skip)]
    columns: Vec<Column>,
    #[serde(skip)]
    has_header: bool,
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
        table.load_style(NOTHING);
        if self.has_header {
            table.set_header(
                self.columns.iter().filter_map(|column| Some(column.to_possible_value()?.get_name().to_uppercase())),
            );
        }
        for machine in &self.machines {
            match &machine.error {
                // In every table: a machine that cannot be read must not look like one that says nothing.
                Some(error) if !self.columns.contains(&Column::Error) => {
                    table.add_row([machine.name.clone(), format!("error: {error}")])
                }
                _ => table.add_row(self.columns.iter().map(|column| machine.cell(*column))),
            };
        }
        table.to_string()
    }
}

impl Machine {
    fn cell(&self, column: Column) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        match column {
            Column::Name => self.name.clone(),
            Column::State => text(&self.state),
            Column::Process => self.process.as_ref().map(|status| status.process.to_string()).unwrap_or_default(),
            Column::Image => text(&self.image),
            Column::Ssh => self.ssh_port.map(|port| port.to_string()).unwrap_or_default(),
            Column::Assurance => text(&self.assurance),
            Column::Used => self.dirty.map(|dirty| if dirty { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
            Column::Error => text(&self.error),
        }
    }

    fn has(&self, Filter { column, value }: &Filter) -> bool {
        self.cell(*column) == *value
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, list: &List) -> Result<(), Failure> {
    let drivers = drivers();
    let operations = Operations { store, drivers: &drivers, observer: &() };
    let machines = store.list()?.into_iter().map(|row| machine(&operations, row));
    let mut machines: Vec<Machine> = machines.filter(|one| list.filter.iter().all(|filter| one.has(filter))).collect();
    machines.sort_by_cached_key(|machine| sorted(&machine.name));
    ui.result(&Machines { machines, columns: list.columns.clone(), has_header: !list.no_header })
}

/// By letters, and by the value of the numbers in a name: `ci-2` comes before `ci-10`.
fn sorted(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(letters);
        let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        parts.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_letters_and_by_the_value_of_their_numbers() {
        let mut names = ["ci-10", "b", "ci-2", "ci-2-b", "a10c", "a9d", "ci"];
        names.sort_by_cached_key(|name| sorted(name));
        assert_eq!(names, ["a9d", "a10c", "b", "ci", "ci-2", "ci-2-b", "ci-10"]);
    }
}
