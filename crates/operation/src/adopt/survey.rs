//! What a machine says of itself, over SSH: by the agent of the image that it is to have, which leaves nothing there. Must not talk
//! to one whose host key nobody vouches for.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_machine_driver::ssh::{self, Host, SshError, Target};
use cloud_machine_protocol::MachineFacts;
use cloud_machine_store::read;

use crate::{
    Operations, create,
    described::Described,
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// How long one connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of the agent.
const MAX_AGENT: u64 = 64 << 20;

/// Where a machine is, and how a person logs in to it.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user there, who is root.
    pub user: String,
    /// Host name or address.
    pub address: String,
    /// Port of SSH.
    pub port: u16,
    /// Its host key, as its owner says: a fingerprint or a line. `None`: as the person's `known_hosts` has it.
    pub host_key: Option<String>,
    /// The private key; `None` for those that `ssh` finds.
    pub identity: Option<PathBuf>,
    /// The person's `known_hosts`; `None` for a person without a home.
    pub known_hosts: Option<PathBuf>,
}

/// What a machine said of itself.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Host and port that answered.
    pub place: String,
    /// The facts.
    pub facts: MachineFacts,
    /// The line of the host key by which it was known.
    pub host_key: String,
}

impl Operations<'_> {
    /// Asks a running machine what it is, with the agent of the image that it is to have.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`] for another host key than the one that is known, of [`ErrorKind::Refused`] when none is, and
    /// when it does not answer as it should.
    pub fn survey(
        &self,
        login: &Login,
        described: &Described,
        control: &str,
        limit: Duration,
    ) -> Result<Surveyed, OperationError> {
        // What needs nobody's answer comes first.
        self.check_adoption(described, control)?;
        let until = Instant::now() + limit;
        let image = described.config.image.as_ref().ok_or_else(create::no_image)?;
        let image = self.store.image(image)?;
        let agent = read(&image.agent(), MAX_AGENT)?.ok_or_else(|| {
            let text = format!("image {} was packed by an older program: it has no agent of its own", image.name);
            OperationError::new(ErrorKind::Refused, text).hint(Hint::PackWithThisAgent)
        })?;
        let Vouched { target, host_key, _folder } = login.vouched(until)?;
        let document = ssh::run_agent(&target, &agent, image.boot.agent, &["facts"], until).map_err(refused_login)?;
        let facts = MachineFacts::read(&document).map_err(OperationError::during(
            ErrorKind::Verification,
            format!("read what {} says of itself", login.address),
        ))?;
        Ok(Surveyed { place: target.host.place(login.port), facts, host_key })
    }
}

/// A machine of whose host key somebody says that it is its own, and how to log in to it.
#[derive(Debug)]
pub struct Vouched {
    /// Whom to log in to, as long as this is there.
    pub target: Target,
    /// The line of its host key.
    pub host_key: String,
    /// Of its `known_hosts`.
    _folder: tempfile::TempDir,
}

impl Login {
    /// Asks the machine for its host key, and holds that against what is known of it.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`] for another host key than the one that is known, of [`ErrorKind::Refused`] when none is.
    pub fn vouched(&self, until: Instant) -> Result<Vouched, OperationError> {
        let host = Host::named(&self.address).map_err(refused)?;
        let host_key = ssh::host_key(&host, self.port, until).map_err(OperationError::failed)?;
        known(self, &host, &host_key)?;
        let folder = tempfile::tempdir().map_err(OperationError::during(ErrorKind::Failed, "make a folder"))?;
        let known_hosts = folder.path().join("known_hosts");
        ssh::write_known_hosts(&known_hosts, &host.known_as(self.port), &host_key).map_err(OperationError::failed)?;
        let target = Target {
            user: self.user.clone(),
            host,
            port: self.port,
            key: self.identity.clone(),
            known_hosts,
            connect_limit: CONNECT_LIMIT,
        };
        Ok(Vouched { target, host_key, _folder: folder })
    }
}

/// Whether somebody vouches for `found`.
fn known(login: &Login, host: &Host, found: &str) -> Result<(), OperationError> {
    let (place, print) = (host.place(login.port), ssh::fingerprint(found));
    let other = |expected: &str| {
        let text = format!("{place} answers with the host key {print}, and {expected} was expected");
        Err(OperationError::new(ErrorKind::Verification, text).hint(Hint::OtherHostKey))
    };
    if let Some(expected) = &login.host_key {
        return if ssh::is_same_key(expected, found) { Ok(()) } else { other(&ssh::fingerprint(expected)) };
    }
    let of_person = login.known_hosts.as_ref().map(|path| ssh::is_known(path, host, login.port, found));
    match of_person.transpose().map_err(OperationError::failed)?.flatten() {
        Some(true) => Ok(()),
        Some(false) => other("another one of your known_hosts"),
        None => {
            let text = format!("nobody vouches for the host key of {place}: {print}");
            Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::PinHostKey(print)))
        }
    }
}

fn refused(error: SshError) -> OperationError {
    OperationError::new(ErrorKind::Refused, error)
}

fn refused_login(error: SshError) -> OperationError {
    OperationError::during(ErrorKind::Failed, "run the agent on the machine, as root and over SSH")(error)
}
