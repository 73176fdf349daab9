//! `list`: one row a machine, from the store alone. A broken record is a row with its error.

use std::borrow::Cow;

use clap::ValueEnum;
use cloud_machine_driver::drivers;
use cloud_machine_operation::{Listed, Operations, access, life::ProcessStatus};
use cloud_machine_protocol::Assurance;
use cloud_machine_store::{ImageName, MachineState, Store};
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
    state: Option<MachineState>,
    #[serde(flatten)]
    process: Option<ProcessStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_port: Option<u16>,
    /// Of a machine that this host does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance: Option<Assurance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for Machines {
    const KIND: &'static str = "machine-list";

    fn table(&self) -> String {
        let mut table = Aligned::default();
        if self.has_header {
            let values = self.columns.iter().filter_map(|column| column.to_possible_value());
            table.row(values.map(|value| value.get_name().to_uppercase().into()));
        }
        for machine in &self.machines {
            match &machine.error {
                // In every table: a machine that cannot be read must not look like one that says nothing.
                Some(error) if !self.columns.contains(&Column::Error) => {
                    table.row([machine.name.as_str().into(), format!("error: {error}").into()]);
                }
                _ => table.row(self.columns.iter().map(|column| machine.cell(*column))),
            }
        }
        table.text()
    }
}

/// Rows with their cells below each other. The tables of other commands are drawn by a library, which takes as long for ten
/// thousand rows as all else does.
#[derive(Default)]
struct Aligned<'a> {
    cells: Vec<Cow<'a, str>>,
    /// How many cells each row has.
    rows: Vec<usize>,
    /// Characters of the longest cell of each column.
    widths: Vec<usize>,
}

impl<'a> Aligned<'a> {
    fn row(&mut self, cells: impl IntoIterator<Item = Cow<'a, str>>) {
        let before = self.cells.len();
        for (column, cell) in cells.into_iter().enumerate() {
            let width = cell.chars().count();
            match self.widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => self.widths.push(width),
            }
            self.cells.push(cell);
        }
        self.rows.push(self.cells.len().saturating_sub(before));
    }

    fn text(&self) -> String {
        let width: usize = self.widths.iter().map(|width| width.saturating_add(2)).sum();
        let mut text = String::with_capacity(self.rows.len().saturating_mul(width.saturating_add(1)));
        let mut cells = self.cells.iter();
        for row in &self.rows {
            for (cell, width) in cells.by_ref().take(*row).zip(&self.widths) {
                text.push(' ');
                text.push_str(cell);
                let padding = width.saturating_sub(cell.chars().count()).saturating_add(1);
                text.extend(std::iter::repeat_n(' ', padding));
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

impl Machine {
    fn cell(&self, column: Column) -> Cow<'_, str> {
        match column {
            Column::Name => self.name.as_str().into(),
            Column::State => self.state.map(MachineState::word).unwrap_or_default().into(),
            Column::Process => self.process.as_ref().map(|status| status.process.word()).unwrap_or_default().into(),
            Column::Image => self.image.as_ref().map(ImageName::as_str).unwrap_or_default().into(),
            Column::Ssh => match (&self.address, self.ssh_port) {
                (Some(address), _) => address.into(),
                (None, port) => port.map(|port| port.to_string()).unwrap_or_default().into(),
            },
            Column::Assurance => self.assurance.map(|level| level.to_string()).unwrap_or_default().into(),
            Column::Used => self.dirty.map(|dirty| if dirty { "yes" } else { "no" }).unwrap_or_default().into(),
            Column::Error => self.error.as_deref().unwrap_or_default().into(),
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
            state: Some(summary.state),
            process: Some(process),
            image: Some(summary.image),
            ssh_port: Some(summary.ssh_port).filter(|port| *port != 0),
            address: summary.remote.map(|(address, port)| access::place(&address, port)),
            assurance: summary.assurance,
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
    fn cells_of_a_column_stand_below_each_other_and_no_line_ends_in_a_space() {
        let mut table = Aligned::default();
        table.row(["NAME", "IMAGE", ""].map(Cow::from));
        table.row(["ä", "error: a text that is longer"].map(Cow::from));
        table.row(["demo", "x", "yes"].map(Cow::from));
        let spaces = |count| " ".repeat(count);
        let expected = format!(
            " NAME  IMAGE\n ä     error: a text that is longer\n demo  x{}yes\n",
            spaces("error: a text that is longer".len() + 1)
        );
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn names_are_sorted_by_letters_and_by_the_value_of_their_numbers() {
        let mut names = ["ci-10", "b", "ci-2", "ci-2-b", "a10c", "a9d", "ci"];
        names.sort_by_cached_key(|name| key(name));
        assert_eq!(names, ["a9d", "a10c", "b", "ci", "ci-2", "ci-2-b", "ci-10"]);
    }
}
