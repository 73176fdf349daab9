//! Into a rescue system: whose host key it has, and the agent that is started there. Must not talk to a system that answers with
//! a key of the machine's own system, or with two keys.

use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Digest, MachineFacts, RescueHostKey};
use cloud_machine_store::file;

use super::{
    LoginKey, RescueSystem,
    fault::{failed, timed_out},
};
use crate::{
    error::{DriverError, DriverErrorKind},
    machine::{Boot, MachineRef},
    ssh::{self, Host, ServingAgent, SshError, Target},
};

/// How long one connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Pause before it is asked for a host key again.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of the agent.
const MAX_AGENT: u64 = 64 << 20;

/// An agent on a rescue system.
pub(super) struct Entered {
    pub(super) agent: ServingAgent,
    pub(super) socket: UnixStream,
    /// What was known of the host key before it was connected to.
    pub(super) host_key: RescueHostKey,
}

/// Waits for the rescue system of `machine`, which was switched on for it, and starts the agent of `boot` there.
pub(super) fn enter(
    machine: &MachineRef,
    boot: &Boot,
    login: &LoginKey,
    system: &RescueSystem,
    until: Instant,
) -> Result<Entered, DriverError> {
    let known_hosts = boot.folder.path().join("known_hosts");
    let (target, host_key) = wait(machine, login, system, known_hosts, until)?;
    let agent = agent(&boot.agent)?;
    let path = boot.folder.console_log();
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = opened.map_err(|error| failed(format!("cannot open {}: {error}", path.display())))?;
    let started = ServingAgent::start(&target, &agent, boot.agent_digest, log, until);
    let (agent, socket) = started.map_err(|error| {
        ssh_failed(error).with_way_out(Some(format!("{} has what ssh and that system said", path.display())))
    })?;
    Ok(Entered { agent, socket, host_key })
}

/// Waits for the rescue system of `machine`, and asks there what the machine is.
pub(super) fn survey(
    machine: &MachineRef,
    (path, digest): (&Path, Digest),
    login: &LoginKey,
    system: &RescueSystem,
    until: Instant,
) -> Result<MachineFacts, DriverError> {
    let folder = tempfile::tempdir().map_err(|error| failed(format!("cannot make a folder: {error}")))?;
    let (target, _) = wait(machine, login, system, folder.path().join("known_hosts"), until)?;
    let document = ssh::run_agent(&target, &agent(path)?, digest, &["facts"], until).map_err(ssh_failed)?;
    MachineFacts::read(&document).map_err(|error| DriverError::new(DriverErrorKind::Failed, error))
}

/// Waits until the rescue system answers, and pins its host key in `known_hosts`.
fn wait(
    machine: &MachineRef,
    login: &LoginKey,
    system: &RescueSystem,
    known_hosts: PathBuf,
    until: Instant,
) -> Result<(Target, RescueHostKey), DriverError> {
    let (host, port) = place(machine)?;
    let within = system.limit.map_or(until, |limit| until.min(Instant::now() + limit));
    let answered = ssh::wait_banner(&host, port, within, &|| true);
    answered.map_err(|error| match error {
        SshError::Silent { .. } => timed_out(format!("the rescue system does not answer: {error}")).with_way_out(Some(
            "look at the machine's console at its provider; the same command again begins with its power off"
                .to_owned(),
        )),
        error => DriverError::new(DriverErrorKind::Failed, error),
    })?;
    let found = host_key(&host, port, within)?;
    let host_key = known(machine, system, &found)?;
    ssh::write_known_hosts(&known_hosts, &host.known_as(port), &found).map_err(ssh_failed)?;
    let key = Some(system.identity.clone().unwrap_or_else(|| login.private.clone()));
    let target = Target { user: "root".to_owned(), host, port, key, known_hosts, connect_limit: CONNECT_LIMIT };
    Ok((target, host_key))
}

/// The host key, once there is one: a server may answer before it has made its keys.
fn host_key(host: &Host, port: u16, within: Instant) -> Result<String, DriverError> {
    loop {
        match ssh::host_key(host, port, within) {
            Err(SshError::NoKey { .. }) if Instant::now() + PAUSE < within => thread::sleep(PAUSE),
            found => {
                return found.map_err(|error| {
                    ssh_failed(error)
                        .with_way_out(Some("the rescue system needs a host key of type ssh-ed25519".to_owned()))
                });
            }
        }
    }
}

/// The machine's own system, as its last accepted report pinned it.
pub(super) fn own_system(machine: &MachineRef) -> Result<Target, DriverError> {
    let (host, port) = place(machine)?;
    let (key, known_hosts) = (Some(machine.folder.ssh_key()), machine.folder.known_hosts());
    Ok(Target { user: "root".to_owned(), host, port, key, known_hosts, connect_limit: CONNECT_LIMIT })
}

/// Where the machine's SSH is, whichever of its systems runs.
pub(super) fn place(machine: &MachineRef) -> Result<(Host, u16), DriverError> {
    let remote = machine.remote.as_ref().ok_or_else(|| failed(format!("machine {} was not adopted", machine.name)))?;
    Ok((Host::named(&remote.address).map_err(ssh_failed)?, remote.port))
}

/// What was known of the host key `found`, a line of it, before it was connected to.
fn known(machine: &MachineRef, system: &RescueSystem, found: &str) -> Result<RescueHostKey, DriverError> {
    let refused = |text: String, way_out: &str| {
        DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out.to_owned()))
    };
    let own = machine.remote.as_ref().and_then(|remote| remote.host_key.as_deref()).into_iter();
    let pinned = file::read(&machine.folder.known_hosts(), file::MAX_WORD);
    let pinned = pinned.map_err(|error| failed(error.to_string()))?.unwrap_or_default();
    let pinned = String::from_utf8_lossy(&pinned).into_owned();
    let pinned = pinned.lines().filter_map(|line| line.split_once(' ').map(|(_, key)| key));
    if own.chain(pinned).any(|own| ssh::is_same_key(own, found)) {
        let text = format!(
            "machine {} answers with the host key of its own system: the rescue system did not start",
            machine.name
        );
        return Err(refused(text, "see that the command or the provider really starts the rescue system"));
    }
    match &system.host_key {
        None => Ok(RescueHostKey::Unknown),
        Some(expected) if ssh::is_same_key(expected, found) => Ok(RescueHostKey::Known),
        Some(expected) => {
            let text = format!(
                "what answers as the rescue system of machine {} has the host key {}, and {} was expected",
                machine.name,
                ssh::fingerprint(found),
                ssh::fingerprint(expected)
            );
            Err(refused(text, "somebody else may answer at its address; if the rescue system has a new key, tell it"))
        }
    }
}

fn agent(path: &Path) -> Result<Vec<u8>, DriverError> {
    let found = file::read(path, MAX_AGENT).map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
    found.ok_or_else(|| {
        let text = format!("the image has no agent of its own, {}: it was packed by an older program", path.display());
        DriverError::new(DriverErrorKind::Refused, text)
            .with_way_out(Some("pack the image again with --replace".to_owned()))
    })
}

fn ssh_failed(error: SshError) -> DriverError {
    let kind = match &error {
        SshError::Silent { .. } => DriverErrorKind::TimedOut,
        _ => DriverErrorKind::Failed,
    };
    DriverError::new(kind, error)
}
