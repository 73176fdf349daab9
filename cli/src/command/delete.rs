//! `delete`: the machine, its disks and its key. A machine that is not there is no error of a repeated deletion.

use std::process::ExitCode;

use cloud_machine_driver::{
    qemu::Subject,
    store::{Store, StoreError},
};
use cloud_machine_protocol::MachineName;
use serde::Serialize;

use crate::{
    arguments::Delete,
    confirm,
    failure::Failure,
    life,
    several::{self, Line},
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
    several::each(ui, &delete.machines.names, |name| one(ui, store, name, delete.yes))
}

fn one(ui: &Ui, store: &Store, name: &MachineName, yes: bool) -> Result<Deleted, Failure> {
    let lock = store.lock(name)?;
    match store.read(name) {
        Ok(mut record) => {
            confirm::deletion(ui, yes, &format!("machine {name} with its disks"), name.as_str())?;
            drop(life::end(store, &mut record)?);
        }
        Err(error @ StoreError::NoMachine { .. }) => return Err(error.into()),
        Err(error) => {
            // A broken record must not make a machine immortal; its process is known by its files alone.
            ui.note(&format!("the record of {name} cannot be read ({error}); its folder is deleted"));
            confirm::deletion(ui, yes, &format!("machine {name} with its disks"), name.as_str())?;
            drop(life::end_of(&Subject::without_record(name.clone(), store.machine(name)))?);
        }
    }
    store.delete(&lock)?;
    Ok(Deleted { deleted: true })
}
