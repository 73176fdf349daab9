//! `delete`: the machine, its disks and its key. A machine that is not there is no error of a repeated deletion.

use std::process::ExitCode;

use cloud_machine_driver::store::{Store, StoreError};
use cloud_machine_protocol::MachineName;
use serde::Serialize;

use crate::{
    arguments::Delete,
    attempt::end_process,
    confirm,
    failure::Failure,
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
    let folder = store.machine(name);
    match store.read(name) {
        Ok(record) => {
            confirm::deletion(ui, yes, &format!("machine {name} with its disks"), name.as_str())?;
            end_process(store, &record)?;
        }
        Err(error @ StoreError::NoMachine { .. }) => return Err(error.into()),
        Err(error) => {
            // A broken record must not make a machine immortal; its process is known by its folder alone.
            ui.note(&format!("the record of {name} cannot be read ({error}); its folder is deleted"));
            confirm::deletion(ui, yes, &format!("machine {name} with its disks"), name.as_str())?;
            if let Some(attempt) = folder.last_attempt()?
                && let Some(process) = cloud_machine_driver::qemu::Process::attach(&attempt).map_err(Failure::failed)?
            {
                process.stop(std::time::Duration::from_secs(10)).map_err(Failure::failed)?;
            }
        }
    }
    store.delete(&lock)?;
    Ok(Deleted { deleted: true })
}
