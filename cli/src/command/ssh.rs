//! `ssh`: logging in with the machine's own key and its pinned host key. Whoever logs in may leave something behind, so
//! the machine counts as used from then on.

use std::{os::unix::process::CommandExt, process::ExitCode};

use cloud_machine_driver::store::{MachineRecord, MachineState, Store};
use cloud_machine_protocol::MachineName;

use crate::{
    arguments::Ssh,
    failure::{Failure, Kind},
    life, login,
};

pub(crate) fn log_in(store: &Store, ssh: &Ssh) -> Result<ExitCode, Failure> {
    let record = used(store, &ssh.name)?;
    let mut command = login::login(store, &record)?;
    command.args(&ssh.arguments);
    Err(Failure::during(Kind::Failed, "start ssh")(command.exec()))
}

/// Marks the machine as used before anything can run on it.
pub(super) fn used(store: &Store, name: &MachineName) -> Result<MachineRecord, Failure> {
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
