//! `stop`: the system is asked to shut down, then the process is ended.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    qemu::Process,
    store::{MachineState, Store},
};
use cloud_machine_protocol::MachineName;
use serde::Serialize;

use crate::{
    arguments::Stop,
    attempt::end_process,
    failure::Failure,
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
    let shut_down = ask && shut_down(ui, store, name, Duration::from_secs(stop.grace))?;
    end_process(store, &record)?;
    // A reimage that is under way stays so: stopping does not make it done.
    if matches!(record.state, MachineState::Running | MachineState::Stopped) {
        record.state = MachineState::Stopped;
        store.write(&lock, &record)?;
    }
    Ok(Stopped { state: record.state, shut_down })
}

fn shut_down(ui: &Ui, store: &Store, name: &MachineName, grace: Duration) -> Result<bool, Failure> {
    let Some(folder) = store.machine(name).last_attempt()? else { return Ok(false) };
    let Some(process) = Process::attach(&folder).map_err(Failure::failed)? else { return Ok(false) };
    let _progress = ui.progress(&format!("shut down {name}"));
    process.power_down(Instant::now() + grace).map_err(Failure::failed)
}
