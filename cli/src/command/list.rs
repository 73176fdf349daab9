//! `list`: one row a machine, from the store alone. A broken record is a row with its error.

use std::fmt::Write;

use clap::ValueEnum;
use cloud_machine_driver::drivers;
use cloud_machine_operation::{Listed, Operations, life::ProcessStatus};
use cloud_machine_store::Store;
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
        let mut rows = Vec::with_capacity(self.machines.len().saturating_add(1));
        if self.has_header {
            let values = self.columns.iter().filter_map(|column| column.to_possible_value());
            rows.push(values.map(|value| value.get_name().to_uppercase()).collect());
        }
        for machine in &self.machines {
            rows.push(match &machine.error {
                // In every table: a machine that cannot be read must not look like one that says nothing.
                Some(error) if !self.columns.contains(&Column::Error) => {
                    vec![machine.name.clone(), format!("error: {error}")]
                }
                _ => self.columns.iter().map(|column| machine.cell(*column)).collect(),
            });
        }
        aligned(&rows)
    }
}

/// The rows with their cells below each other. The tables of other commands are drawn by a library, which takes as long for ten
/// thousand rows as all else does.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, " {cell:width$} ");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
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
    let machines = operations.list()?.into_iter().map(machine);
    let mut machines: Vec<Machine> = machines.filter(|one| list.filter.iter().all(|filter| one.has(filter))).collect();
    machines.sort_by_cached_key(|machine| key(&machine.name));
    ui.result(&Machines { machines, columns: list.columns.clone(), has_header: !list.no_header })
}

/// By letters, and by the value of the numbers in a name: `ci-2` comes before `ci-10`. Each number begins with how many digits it
/// has, behind a byte that is less than every letter.
fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len().saturating_mul(2));
    let mut rest = name;
    while !rest.is_empty() {
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(letters);
        let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        let number = number.trim_start_matches('0');
        key.extend_from_slice(text.as_bytes());
        key.push(0);
        // No file has a name of more than 255 bytes.
        key.push(u8::try_from(number.len()).unwrap_or(u8::MAX));
        key.extend_from_slice(number.as_bytes());
        rest = after;
    }
    key
}

/// What concerns one machine stays in its row, whatever is wrong with it.
fn machine(listed: Listed) -> Machine {
    match listed.machine {
        Ok((summary, process)) => Machine {
            name: listed.name,
            state: Some(summary.state.to_string()),
            process: Some(process),
            image: Some(summary.image.to_string()),
            ssh_port: Some(summary.ssh_port),
            assurance: summary.assurance.map(|level| level.to_string()),
            dirty: summary.used,
            error: None,
        },
        Err(error) => {
            let error = Failure::from(error).causes().join(": ");
            Machine { name: listed.name, error: Some(error), ..Machine::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_letters_and_by_the_value_of_their_numbers() {
        let mut names = ["ci-10", "b", "ci-2", "ci-2-b", "a10c", "a9d", "ci"];
        names.sort_by_cached_key(|name| key(name));
        assert_eq!(names, ["a9d", "a10c", "b", "ci", "ci-2", "ci-2-b", "ci-10"]);
    }
}
