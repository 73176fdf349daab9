//! `start`: what is on the disks, unless a reimage was cut off; that is finished first.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_driver::store::{MachineState, Store};
use cloud_machine_protocol::{Action, Assurance, MachineName};

use crate::{
    arguments::Timed,
    attempt::Attempt,
    command::reimage::{Reimaged, quarantined},
    failure::Failure,
    life,
    request::pending_action,
    several,
    strategy::Wish,
    ui::Ui,
};

pub(crate) fn run(ui: &Ui, store: &Store, start: &Timed) -> Result<ExitCode, Failure> {
    several::each(ui, &start.machines.names, |name| one(ui, store, name, Duration::from_secs(start.time.timeout)))
}

fn one(ui: &Ui, store: &Store, name: &MachineName, timeout: Duration) -> Result<Reimaged, Failure> {
    let lock = store.lock(name)?;
    let mut record = store.read(name)?;
    if record.state == MachineState::Quarantined {
        return Err(quarantined(&record));
    }
    let pending = if record.last_report.is_none() { Some(Action::Reimage) } else { pending_action(&record) };
    if pending.is_none()
        && record.state == MachineState::Running
        && let Some(process) = life::process(store, &record)?
    {
        match life::trouble(&process) {
            Some(trouble) => {
                process.resume(Instant::now() + timeout).map_err(Failure::failed)?;
                ui.note(&format!("machine {name} was paused ({trouble}); it goes on"));
            }
            None => ui.note(&format!("machine {name} runs; nothing to do")),
        }
        return Ok(Reimaged::unchanged(store, &record));
    }
    let action = pending.unwrap_or(Action::Boot);
    if action == Action::Reimage {
        ui.note(&format!("the reimage of machine {name} was not finished; it is finished now"));
    }
    let attempt = Attempt {
        store,
        lock: &lock,
        ui,
        deadline: Instant::now() + timeout,
        required: Assurance::HostRooted,
        wish: Wish::default(),
    };
    let completed = attempt.run(&mut record, action)?;
    Ok(Reimaged::new(store, &record, &completed))
}
