//! `delete`: the machine, its disks and its key, once whoever is at the terminal has agreed.

use std::process::ExitCode;

use cloud_machine_driver::drivers;
use cloud_machine_operation::Operations;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{Store, StoreError};
use serde::Serialize;

use crate::{
    arguments::Delete,
    batch::{self, Line},
    confirm,
    failure::Failure,
    screen::Screen,
    ui::Ui,
};

#[derive(Serialize)]
struct Deleted {
    deleted: bool,
}

impl Line for Deleted {
    fn cells(&self) -> Vec<String> {
        vec!["deleted".to_owned()]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, delete: &Delete) -> Result<ExitCode, Failure> {
    batch::each(ui, &delete.machines.names, |name| one(ui, store, name, delete.yes))
}

fn one(ui: &Ui, store: &Store, name: &MachineName, yes: bool) -> Result<Deleted, Failure> {
    // Nobody is asked about a machine that is not there.
    if let Err(error @ StoreError::NoMachine { .. }) = store.read(name) {
        return Err(error.into());
    }
    confirm::deletion(ui, yes, "delete", &format!("machine {name} with its disks"), name.as_str())?;
    Operations { store, drivers: &drivers(), observer: &Screen::new(ui) }.delete(name)?;
    Ok(Deleted { deleted: true })
}
