//! Certificates for the host keys of machines, and what clients are told so that they need no new line after each reimage. Must not
//! call a key good that no machine has any more.

use cloud_machine_driver::ssh::HostCa;
use cloud_machine_protocol::{Action, SecretPolicy};
use cloud_machine_store::{Certified, MachineRecord, Store, StoreError, Strategy, identity};
use jiff::Timestamp;
use serde::Serialize;

use crate::error::{ErrorKind, OperationError};

/// How long a certificate counts, in seconds: so long a job that took the key of a machine can use it against clients that are not told
/// of its end, and so long a machine may go without a reimage.
const VALID: u64 = 30 * 86_400;

/// What clients put into their `known_hosts` (sshd(8)).
#[derive(Debug, Serialize)]
pub struct KnownHosts {
    /// The authority, for the names that were asked for; `None` when none were and there is no machine.
    pub authority: Option<String>,
    /// Keys that were certified and that no machine has any more, until their certificates end.
    pub revoked: Vec<String>,
}

/// Refuses a key of the authority that is none, while nothing is touched yet.
pub(crate) fn can_be_issued(store: &Store) -> Result<(), OperationError> {
    HostCa::read(&store.host_ca()).map(drop).map_err(OperationError::failed)
}

/// Certifies the key that the record of a machine has since the report of its reimage was accepted, for its name alone. A boot gets
/// none: it writes nothing.
pub(crate) fn issue(store: &Store, record: &MachineRecord) -> Result<Option<String>, OperationError> {
    let (Some(key), Some(request)) = (&record.host_key, &record.request) else { return Ok(None) };
    if request.action == Action::Boot {
        return Ok(None);
    }
    let ca = HostCa::read_or_make(&store.host_ca()).map_err(OperationError::failed)?;
    let issued = now();
    let certified = Certified {
        machine: record.name.clone(),
        key: key.clone(),
        serial: identity::serial().map_err(OperationError::failed)?,
        issued,
        until: issued + VALID,
    };
    // Before anybody has it: a certificate that nobody knows of could not be revoked.
    store.note_certified(&certified)?;
    ca.certify(&certified, &format!("{} {}", record.name, request.id)).map(Some).map_err(OperationError::failed)
}

/// The lines for clients of the machines that `asked` names, a list of patterns as known_hosts has them; without one for all
/// machines that there are.
///
/// # Errors
/// When nothing was ever certified, and for a record that cannot be read: its key would be called revoked.
pub fn known_hosts(store: &Store, asked: Option<&str>) -> Result<KnownHosts, OperationError> {
    let ca = HostCa::read(&store.host_ca()).map_err(OperationError::failed)?.ok_or_else(|| {
        OperationError::new(
            ErrorKind::NotFound,
            "no host key was certified yet: `cloud-machine create` of the first machine makes the authority",
        )
    })?;
    let names = || -> Result<String, StoreError> {
        let rows = store.summaries()?.into_iter().map(|row| Ok(row.summary?.name.to_string()));
        Ok(rows.collect::<Result<Vec<_>, StoreError>>()?.join(","))
    };
    let hosts = match asked {
        Some(hosts) => hosts.to_owned(),
        None => names()?,
    };
    let nobody = asked.is_none() && hosts.is_empty();
    if !nobody && (hosts.is_empty() || !hosts.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')) {
        let text = format!("{hosts:?} names no hosts: a list such as `ci-1,ci-*` is needed");
        return Err(OperationError::new(ErrorKind::Refused, text));
    }
    let public = ca.public().map_err(OperationError::failed)?;
    let authority = (!nobody).then(|| format!("@cert-authority {hosts} {public}"));
    let mut revoked = Vec::new();
    for certified in store.certified(now())? {
        let line = format!("@revoked * {}", certified.key);
        if !is_current(store, &certified)? && !revoked.contains(&line) {
            revoked.push(line);
        }
    }
    Ok(KnownHosts { authority, revoked })
}

/// Whether the machine of that name has this very key, and no job had it before. A rebuild brings one back.
fn is_current(store: &Store, certified: &Certified) -> Result<bool, StoreError> {
    match store.read(&certified.machine) {
        Ok(record) => {
            // A kept one was the same all the time.
            let is_back = record.identity.ssh_host_keys != SecretPolicy::Keep
                && record.system.last.is_some_and(|last| last.strategy == Strategy::Rebuild);
            Ok(record.host_key.as_ref() == Some(&certified.key) && !is_back)
        }
        Err(StoreError::NoMachine { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}
