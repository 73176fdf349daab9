//! One server of Hetzner Cloud: its power, its rescue system, its disk. Must not make any.

use std::{
    net::{IpAddr, Ipv6Addr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use cloud_machine_hetzner::{ApiError, CREATE, Client, Labels, MACHINE, OWNER, Ownership, Server, ServerStatus};
use cloud_machine_protocol::causes;
use cloud_machine_store::DriverState;
use serde::{Deserialize, Serialize};

use super::{Controls, LoginKey, RescueSystem, Switch, fault::failed};
use crate::{
    error::{DriverError, DriverErrorKind},
    machine::MachineRef,
};

/// The port of SSH.
pub(super) const SSH: u16 = 22;
/// How long the provider's rescue system may take to answer.
pub(super) const RESCUE_LIMIT: Duration = Duration::from_secs(300);

/// What is kept of a machine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) server: u64,
    /// The owner that it was made for, who deletes it with the machine; `None` of one that was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

impl Kept {
    pub(super) fn of(machine: &MachineRef, control: &DriverState) -> Result<Self, DriverError> {
        control.read().map_err(|error| {
            failed(format!("the record of machine {} does not say which server it is: {error}", machine.name))
        })
    }

    pub(super) fn state(&self) -> Result<DriverState, DriverError> {
        DriverState::of(self).map_err(|error| failed(error.to_string()))
    }
}

/// What is kept of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptDisk {
    pub(super) snapshot: u64,
}

/// One server.
#[derive(Debug)]
pub(super) struct OneServer {
    pub(super) client: Arc<Client>,
    pub(super) name: String,
    /// Where the machine's SSH is.
    pub(super) address: String,
    pub(super) kept: Kept,
}

impl OneServer {
    fn server(&self, until: Instant) -> Result<Server, DriverError> {
        let server = self.client.server(self.kept.server, until).map_err(|error| self.gone(error))?;
        if is_at(&server, &self.address) {
            return Ok(server);
        }
        let text = format!("server {} is not at {}, where machine {} is", server.id, self.address, self.name);
        let way_out = "name the server that has this address with --control, or the address of the server with --ssh";
        Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out.to_owned())))
    }

    /// Deletes the server, if its labels still say that it was made for this machine of `owner`.
    fn delete(&self, owner: &str, until: Instant) -> Result<(), DriverError> {
        let server = match self.client.server(self.kept.server, until) {
            Ok(server) => server,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(answered(error)),
        };
        if self.is_own(owner, &server.labels) {
            return self.client.delete_server(server.id, until).map(drop).map_err(answered);
        }
        let text =
            format!("server {} does not carry the labels of machine {}: it is not deleted", server.id, self.name);
        let way_out = "delete it in the provider's console, then try again".to_owned();
        Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out)))
    }

    /// Whether these are labels of this machine of `owner`'s.
    fn is_own(&self, owner: &str, labels: &Labels) -> bool {
        let has = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        has(OWNER, owner) && has(MACHINE, &self.name)
    }

    fn no_snapshot(&self, snapshot: u64, why: &str) -> DriverError {
        let text =
            format!("snapshot {snapshot}, which the record of machine {} names as its clean disk, {why}", self.name);
        let way_out = format!(
            "`cloud-machine reimage {} --snapshot --require-assurance provider-rooted` makes another one",
            self.name
        );
        DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out))
    }

    /// A server that is not there any more is told as what it means for the machine.
    fn gone(&self, error: ApiError) -> DriverError {
        if !error.is_not_found() {
            return answered(error);
        }
        let text = format!("server {} of machine {} is not there any more", self.kept.server, self.name);
        let way_out = format!("`cloud-machine delete {}` forgets the machine", self.name);
        DriverError::new(DriverErrorKind::Failed, text).with_way_out(Some(way_out))
    }
}

impl Controls for OneServer {
    fn power(&self, until: Instant) -> Result<Switch, DriverError> {
        let server = self.server(until)?;
        match server.status {
            ServerStatus::Off => Ok(Switch::Off),
            ServerStatus::Unknown => {
                Err(failed(format!("the provider does not say whether server {} runs", server.id)))
            }
            // Whatever is under way with it, it is not known to be off.
            _ => Ok(Switch::On),
        }
    }

    fn switch(&self, to: Switch, until: Instant) -> Result<(), DriverError> {
        self.server(until)?;
        let (client, id) = (&self.client, self.kept.server);
        let done = if to == Switch::On { client.power_on(id, until) } else { client.power_off(id, until) };
        done.map_err(|error| self.gone(error))?;
        match self.power(until)? {
            found if found == to => Ok(()),
            found => Err(failed(format!("server {id} is {found} after the provider said that it was switched {to}"))),
        }
    }

    fn enable_rescue(&self, login: &LoginKey, until: Instant) -> Result<RescueSystem, DriverError> {
        self.server(until)?;
        let key = rescue_key(&self.client, &self.name, &login.public, &Labels::new(), until)?;
        self.client.enable_rescue(self.kept.server, &[key], until).map_err(|error| self.gone(error))?;
        if !self.server(until)?.rescue_enabled {
            return Err(failed(format!("server {} would not boot into the rescue system", self.kept.server)));
        }
        Ok(RescueSystem { limit: Some(RESCUE_LIMIT), ..RescueSystem::default() })
    }

    fn disable_rescue(&self, until: Instant) -> Result<(), DriverError> {
        // One boot has used it up.
        if self.server(until)?.rescue_enabled {
            self.client.disable_rescue(self.kept.server, until).map_err(|error| self.gone(error))?;
        }
        Ok(())
    }

    fn entered(&self, until: Instant) -> Result<(), DriverError> {
        // One boot uses it up.
        if !self.server(until)?.rescue_enabled {
            return Ok(());
        }
        let text =
            format!("server {} has not booted its rescue system: what answers is something else", self.kept.server);
        Err(DriverError::new(DriverErrorKind::Refused, text))
    }

    fn restart(&self, until: Instant) -> Result<(), DriverError> {
        if self.power(until)? == Switch::Off {
            return self.switch(Switch::On, until);
        }
        self.client.reset(self.kept.server, until).map_err(|error| self.gone(error))?;
        match self.power(until)? {
            Switch::On => Ok(()),
            Switch::Off => Err(failed(format!("server {} is off after its reset", self.kept.server))),
        }
    }

    fn keep_disk(&self, owner: &str, attempt: &str, until: Instant) -> Result<DriverState, DriverError> {
        self.server(until)?;
        let own = Ownership::new(owner, &self.name, attempt).map_err(refused)?;
        let about = format!("clean disk of {}, by cloud-machine", self.name);
        let made = self.client.create_snapshot(self.kept.server, &about, &own, until);
        let made = made.map_err(|error| self.gone(error))?;
        if made.is_available() {
            return DriverState::of(&KeptDisk { snapshot: made.id }).map_err(|error| failed(error.to_string()));
        }
        self.client.delete_image(made.id, until).map_err(answered)?;
        Err(failed(format!("the provider made snapshot {} and does not make it available; it is deleted", made.id)))
    }

    fn check_disk(
        &self,
        owner: &str,
        request: &str,
        snapshot: &DriverState,
        until: Instant,
    ) -> Result<(), DriverError> {
        self.server(until)?;
        let KeptDisk { snapshot } = kept_disk(&self.name, snapshot)?;
        let image = match self.client.image(snapshot, until) {
            Err(error) if error.is_not_found() => return Err(self.no_snapshot(snapshot, "is not there any more")),
            image => image.map_err(answered)?,
        };
        let of_request = image.labels.get(CREATE).is_some_and(|attempt| attempt.starts_with(&format!("{request}-")));
        let (owned, server) = (self.is_own(owner, &image.labels), image.created_from.as_ref().map(|from| from.id));
        if !(owned && of_request && image.is_snapshot() && server == Some(self.kept.server)) {
            return Err(self.no_snapshot(snapshot, "was not made of that by this host"));
        }
        if image.is_available() { Ok(()) } else { Err(self.no_snapshot(snapshot, "is not available")) }
    }

    fn rebuild(&self, snapshot: &DriverState, until: Instant) -> Result<(), DriverError> {
        self.server(until)?;
        let KeptDisk { snapshot } = kept_disk(&self.name, snapshot)?;
        // What cloud-init is to do is on the disk.
        let rebuilt = self.client.rebuild(self.kept.server, &snapshot.to_string(), None, until);
        rebuilt.map_err(|error| match error {
            ApiError::NoSuch { .. } => self.no_snapshot(snapshot, "is not there any more"),
            error => self.gone(error),
        })?;
        // Somebody else may have had it rebuilt at the same time.
        match self.server(until)?.image {
            Some(written) if written.id == snapshot => Ok(()),
            _ => Err(failed(format!("server {} was not written with snapshot {snapshot}", self.kept.server))),
        }
    }

    fn discard_disk(&self, owner: &str, snapshot: &DriverState, until: Instant) -> Result<(), DriverError> {
        let KeptDisk { snapshot } = kept_disk(&self.name, snapshot)?;
        match self.client.image(snapshot, until) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(answered(error)),
            Ok(image) if self.is_own(owner, &image.labels) => {
                self.client.delete_image(snapshot, until).map(drop).map_err(answered)
            }
            Ok(_) => {
                let text = format!(
                    "snapshot {snapshot} does not carry the labels of machine {}: it is not deleted",
                    self.name
                );
                let way_out = "delete it in the provider's console, then try again".to_owned();
                Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out)))
            }
        }
    }

    fn release(&self, login: Option<&LoginKey>, until: Instant) -> Result<(), DriverError> {
        if let Some(owner) = &self.kept.owner {
            self.delete(owner, until)?;
        }
        let Some(login) = login else { return Ok(()) };
        if let Some(key) = self.client.find_ssh_key(&login.public, until).map_err(answered)? {
            self.client.delete_ssh_key(key.id, until).map_err(answered)?;
        }
        Ok(())
    }
}

fn kept_disk(name: &str, snapshot: &DriverState) -> Result<KeptDisk, DriverError> {
    snapshot
        .read()
        .map_err(|error| failed(format!("the record of machine {name} does not say which snapshot: {error}")))
}

/// The number of this host's key for a machine in the project.
pub(super) fn rescue_key(
    client: &Client,
    name: &str,
    public: &str,
    labels: &Labels,
    until: Instant,
) -> Result<u64, DriverError> {
    // Its name is the project's, where another host may have a machine of the same name: the key itself tells them apart.
    let short: String =
        crate::ssh::fingerprint(public).chars().filter(char::is_ascii_alphanumeric).skip(6).take(8).collect();
    let name = format!("cloud-machine-{name}-{short}");
    client.find_or_create_ssh_key(&name, public, labels, until).map(|(key, _)| key.id).map_err(answered)
}

/// Whether a server has the address, or one that the host name leads to.
fn is_at(server: &Server, address: &str) -> bool {
    let network = server.public_net.ipv6.as_ref().and_then(|own| own.ip.split('/').next()?.parse::<Ipv6Addr>().ok());
    let is = |found: IpAddr| match found {
        IpAddr::V4(found) => server.ipv4() == Some(found),
        // The provider gives a server a network of 64 bits.
        IpAddr::V6(found) => network.is_some_and(|own| own.segments()[..4] == found.segments()[..4]),
    };
    (address, SSH).to_socket_addrs().is_ok_and(|mut found| found.any(|found| is(found.ip())))
}

pub(super) fn refused(error: impl std::error::Error + Send + Sync + 'static) -> DriverError {
    DriverError::new(DriverErrorKind::Refused, error)
}

/// What callers act on.
pub(super) fn answered(error: ApiError) -> DriverError {
    let kind = match &error {
        ApiError::TimedOut { .. } | ApiError::RateLimited { .. } | ApiError::Locked { .. } => DriverErrorKind::TimedOut,
        ApiError::NoSuch { .. } | ApiError::NameTaken { .. } | ApiError::Refused { .. } => DriverErrorKind::Refused,
        _ => DriverErrorKind::Failed,
    };
    tracing::debug!(error = %causes(&error), "the provider");
    DriverError::new(kind, error)
}
