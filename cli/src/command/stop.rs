//! `stop`: the system is asked to shut down, then the process is ended.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_driver::store::{MachineRecord, MachineState, Store};
use cloud_machine_protocol::MachineName;
use serde::Serialize;

use crate::{
    arguments::Stop,
    failure::{Failure, causes},
    life,
    several::{self, Line},
    ui::Ui,
};

#[derive(Serialize)]
struct Stopped {
    state: MachineState,
    shut_down: bool,
}

impl Line for Stopped {
    fn cells(&self) -> Vec<String> {
        let how = if self.shut_down { "the system shut down" } else { "the process was ended" };
        vec![self.state.to_string(), how.to_owned()]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, stop: &Stop) -> Result<ExitCode, Failure> {
    several::each(ui, &stop.machines.names, |name| one(ui, store, name, stop))
}

fn one(ui: &Ui, store: &Store, name: &MachineName, stop: &Stop) -> Result<Stopped, Failure> {
    let lock = store.lock(name)?;
    let mut record = store.read(name)?;
    let ask = !stop.now && record.state == MachineState::Running;
    let shut_down = ask && shut_down(ui, store, &record, Duration::from_secs(stop.grace))?;
    drop(life::end(store, &mut record)?);
    // A reimage that is under way stays so: stopping does not make it done.
    if matches!(record.state, MachineState::Running | MachineState::Stopped) {
        record.state = MachineState::Stopped;
        store.write(&lock, &record)?;
    }
    Ok(Stopped { state: record.state, shut_down })
}

/// Asks the system to shut down; whatever does not come of it, the process is ended afterwards.
fn shut_down(ui: &Ui, store: &Store, record: &MachineRecord, grace: Duration) -> Result<bool, Failure> {
    let Some(process) = life::process(store, record)? else { return Ok(false) };
    let _progress = ui.progress(&format!("shut down {}", record.name));
    match process.power_down(Instant::now() + grace) {
        Ok(ended) => Ok(ended),
        // A process that hangs, or whose monitor somebody else holds, is what ending it is for.
        Err(error) => {
            ui.note(&format!(
                "the system of {} could not be asked to shut down, so its process is ended, as with --now: {}",
                record.name,
                causes(&error)
            ));
            Ok(false)
        }
    }
}
