//! Talking to a machine over SSH: as root, with its pinned host key. Owns which end of a conversation has which exit
//! code; how it is bounded is the driver's.

use std::{
    cell::Cell,
    io,
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_child::{ChildError, Output};
use cloud_machine_driver::{
    console,
    machine::Running,
    ssh::{self, SshError},
};
use cloud_machine_protocol::{Connection, MachineName, Report};
use cloud_machine_store::{AttemptFolder, MAX_WORD, MachineRecord, MachineState, Store, read};

use crate::{
    Operations,
    described::Described,
    entrances,
    error::{ErrorKind, OperationError, causes},
    hint::Hint,
    life,
    request::is_made,
    startup,
};

/// How long connecting by SSH may take; the key exchange is slow in software emulation.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

impl Operations<'_> {
    /// Marks the machine `name` as used before anything can run on it.
    ///
    /// # Errors
    /// When it does not run, or stands still; and those of the store.
    pub fn mark_used(&self, name: &MachineName) -> Result<MachineRecord, OperationError> {
        let store = self.store;
        // While another operation works on it, that is the reason.
        let mut record = self.read_settled(name)?;
        if record.state != MachineState::Running {
            is_made(&record)?;
            return Err(
                OperationError::failed(format!("machine {name} is {}", record.state)).hint(Hint::Start(name.clone()))
            );
        }
        self.answers(&record)?;
        if !record.dirty {
            let lock = store.lock(name)?;
            // Read again under the lock: the record may have changed in between.
            record = store.read(name)?;
            record.dirty = true;
            store.write(&lock, &record)?;
        }
        Ok(record)
    }
}

/// The port of SSH of a machine that is reached without a port of this host.
const SSH: u16 = 22;

/// How often a machine that does not answer is asked whether it stands still.
const LOOK: Duration = Duration::from_secs(5);

/// Waits until SSH answers with the pinned host key and the program `words` runs there, and gives what it said.
pub(crate) fn wait_ready(
    store: &Store,
    record: &MachineRecord,
    running: &dyn Running,
    folder: &AttemptFolder,
    words: &[&str],
    deadline: Instant,
) -> Result<Vec<u8>, OperationError> {
    let (stopped, looked) = (Cell::new(None), Cell::new(Instant::now()));
    let alive = || {
        let alive = !running.ended(Instant::now()).map_err(io::Error::other)?;
        // A console that cannot be read says nothing; whoever shows its end tells why.
        let reason = console::tail(folder, startup::LINES).ok().and_then(|console| startup::stopped(&console));
        let mut reason = reason.filter(|_| alive);
        if alive && reason.is_none() && looked.get().elapsed() > LOOK {
            looked.set(Instant::now());
            reason = life::trouble(running).map(|trouble| format!("the machine stands still: {trouble}"));
        }
        let goes_on = reason.is_none();
        stopped.set(reason);
        Ok(alive && goes_on)
    };
    let ready = ssh::wait_ready(&target(store, record)?, words, deadline, &alive);
    match stopped.take() {
        Some(reason) if ready.is_err() => Err(OperationError::failed(reason)),
        _ => ready.map_err(failure),
    }
}

/// Lets the machine run a program and gives what it said, within `limit`.
pub(crate) fn ask(
    store: &Store,
    record: &MachineRecord,
    words: &[&str],
    limit: Duration,
) -> Result<Output, OperationError> {
    ssh::ask(&target(store, record)?, words, limit).map_err(failure)
}

/// `ssh` to a machine for a person; options of ssh and a program can be added.
///
/// # Errors
/// When the key or the pinned host key is not there.
pub fn interactive(store: &Store, record: &MachineRecord) -> Result<Command, OperationError> {
    ssh::interactive(&target(store, record)?).map_err(failure)
}

/// `ssh` to a machine; what is added is a program there.
///
/// # Errors
/// As [`interactive`].
pub fn login(store: &Store, record: &MachineRecord) -> Result<Command, OperationError> {
    ssh::command(&target(store, record)?).map_err(failure)
}

/// `scp` with a machine; files follow, those on the machine as [`ssh::on_machine`] names them.
///
/// # Errors
/// As [`interactive`].
pub fn copy(store: &Store, record: &MachineRecord) -> Result<Command, OperationError> {
    ssh::copy(&target(store, record)?).map_err(failure)
}

/// Whether somebody besides this host can use the machine unseen: with a key of root's that is not this host's own, or by what
/// cloud-init made of the documents.
pub(crate) fn may_others_log_in(
    store: &Store,
    record: &MachineRecord,
    described: &Described,
    report: &Report,
) -> Result<bool, OperationError> {
    let own = read(&store.machine(&record.name).ssh_key().with_extension("pub"), MAX_WORD)?;
    let keys = report.identity.iter().find(|item| item.name == "authorized-keys").map(|item| item.public.as_str());
    let others = has_others(keys, own.as_deref().unwrap_or_default());
    Ok(others || entrances::may_be_opened(report.config.as_ref(), &described.merged))
}

/// Whether `keys`, lines of `authorized_keys`, hold another one than `own`. Keys that are not known are others.
fn has_others(keys: Option<&str>, own: &[u8]) -> bool {
    let own = String::from_utf8_lossy(own);
    keys.is_none_or(|keys| keys.lines().map(str::trim).any(|key| !key.is_empty() && key != own.trim()))
}

/// Where the SSH of a machine is; `None` when it has no network.
///
/// # Errors
/// When this host does not tell.
pub fn host(record: &MachineRecord) -> Result<Option<ssh::Host>, OperationError> {
    let host = match &record.remote {
        Some(remote) if record.connection != Connection::None => ssh::Host::named(&remote.address).map(Some),
        _ => ssh::Host::of(&record.connection, record.identity.mac),
    };
    host.map_err(OperationError::failed)
}

/// Makes the host key of the record the only one that is believed.
pub(crate) fn pin(store: &Store, record: &MachineRecord) -> Result<(), OperationError> {
    let (Some(host_key), Some(host)) = (&record.host_key, host(record)?) else { return Ok(()) };
    let known_hosts = store.machine(&record.name).known_hosts();
    ssh::write_known_hosts(&known_hosts, &host.known_as(port(record)), host_key).map_err(OperationError::failed)
}

/// Address and port of a machine elsewhere, as they are shown.
#[must_use]
pub fn place(address: &str, port: u16) -> String {
    match ssh::Host::named(address) {
        Ok(host) => host.place(port),
        Err(error) => format!("unknown: {}", causes(&error)),
    }
}

/// The port of SSH there.
#[must_use]
pub fn port(record: &MachineRecord) -> u16 {
    match &record.remote {
        Some(remote) => remote.port,
        None if record.connection.is_user() => record.ssh_port,
        None => SSH,
    }
}

fn target(store: &Store, record: &MachineRecord) -> Result<ssh::Target, OperationError> {
    let machine = store.machine(&record.name);
    let host = host(record)?.ok_or_else(|| {
        let text = format!("machine {} has no network, so nobody can log in to it", record.name);
        OperationError::new(ErrorKind::Refused, text).hint(Hint::ConnectMachine)
    })?;
    Ok(ssh::Target {
        user: "root".to_owned(),
        host,
        port: port(record),
        key: Some(machine.ssh_key()),
        known_hosts: machine.known_hosts(),
        connect_limit: CONNECT_LIMIT,
    })
}

fn failure(error: SshError) -> OperationError {
    match &error {
        SshError::Silent { .. } => OperationError::new(ErrorKind::TimedOut, error),
        SshError::Child(ChildError::TimedOut { .. }) => {
            OperationError::new(ErrorKind::TimedOut, error).hint(Hint::HeldByJob)
        }
        SshError::Child(ChildError::TooMuch { .. }) => {
            OperationError::new(ErrorKind::Verification, error).hint(Hint::HeldByJob)
        }
        SshError::Unready { .. } => OperationError::new(ErrorKind::Verification, error),
        _ => OperationError::failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_but_our_own_may_be_used_unseen() {
        let own = b"ssh-ed25519 AAAA cloud-machine m\n";
        assert!(!has_others(Some("ssh-ed25519 AAAA cloud-machine m"), own));
        assert!(!has_others(Some(""), own));
        for keys in [None, Some("ssh-ed25519 AAAA cloud-machine m\nssh-ed25519 BBBB me"), Some("ssh-ed25519 BBBB me")] {
            assert!(has_others(keys, own), "{keys:?}");
        }
        assert!(has_others(Some("ssh-ed25519 AAAA cloud-machine m"), b""), "without a key of ours all are others");
    }

    #[test]
    fn a_machine_that_holds_or_floods_its_host_is_6_or_5() {
        let program = || "ssh".to_owned();
        let limit = Duration::from_secs(1);
        let silent = ChildError::TimedOut { program: program(), limit, stderr: String::new() };
        let loud = ChildError::TooMuch { program: program(), limit: 1 };
        assert_eq!(failure(SshError::Child(silent)).kind, ErrorKind::TimedOut);
        assert_eq!(failure(SshError::Child(loud)).kind, ErrorKind::Verification);
        assert_eq!(failure(SshError::Unready { stderr: String::new() }).kind, ErrorKind::Verification);
    }
}
