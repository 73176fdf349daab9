//! `ssh` and `exec`: logging in with the machine's own key and its pinned host key. Whoever logs in may leave
//! something behind, so the machine counts as used from then on.

use std::{os::unix::process::CommandExt, process::ExitCode};

use cloud_machine_driver::store::{MachineRecord, MachineState, Store};
use cloud_machine_protocol::MachineName;

use crate::{
    arguments::{Exec, Ssh},
    failure::{Failure, Kind},
    launch, life,
};

pub(crate) fn log_in(store: &Store, ssh: &Ssh) -> Result<ExitCode, Failure> {
    let record = used(store, &ssh.name)?;
    let mut command = launch::login(store, &record)?;
    command.args(&ssh.arguments);
    Err(Failure::during(Kind::Failed, "start ssh")(command.exec()))
}

pub(crate) fn execute(store: &Store, exec: &Exec) -> Result<ExitCode, Failure> {
    let record = used(store, &exec.name)?;
    let words: Vec<&str> = exec.program.iter().map(String::as_str).collect();
    let status =
        launch::remote(store, &record, &words)?.status().map_err(Failure::during(Kind::Failed, "start ssh"))?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(255) => Err(Failure::failed(format!("ssh could not run the program on machine {}", exec.name))
            .hint(format!("`cloud-machine console {}` shows what the machine says", exec.name))),
        Some(code) => Ok(ExitCode::from(code)),
        None => Err(Failure::failed(format!("ssh ended with {status}"))),
    }
}

/// Marks the machine as used before anything can run on it.
fn used(store: &Store, name: &MachineName) -> Result<MachineRecord, Failure> {
    let mut record = store.read(name)?;
    if record.state != MachineState::Running {
        return Err(Failure::failed(format!("machine {name} is {}", record.state))
            .hint(format!("`cloud-machine start {name}` starts it")));
    }
    life::answers(store, &record)?;
    if !record.dirty {
        let lock = store.lock(name)?;
        // Read again under the lock: the record may have changed in between.
        record = store.read(name)?;
        record.dirty = true;
        store.write(&lock, &record)?;
    }
    Ok(record)
}
