//! What carries our label and no record knows: found, and removed one by one. Must not decide that something is forgotten
//! without being told what is known.

use std::{fmt, time::Instant};

use jiff::Timestamp;

use crate::{
    ApiError, Call, Client,
    images::shown,
    ownership::{CREATE, MACHINE, OWNER, label},
    servers::Labels,
};

/// What can be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrphanKind {
    /// A server.
    Server,
    /// A snapshot.
    Snapshot,
    /// An SSH key of the project.
    SshKey,
}

impl fmt::Display for OrphanKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server",
            Self::Snapshot => "snapshot",
            Self::SshKey => "SSH key",
        })
    }
}

/// What records know. The provider numbers each kind by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Servers.
    pub servers: &'a [u64],
    /// Snapshots.
    pub snapshots: &'a [u64],
    /// SSH keys.
    pub ssh_keys: &'a [u64],
}

/// Something that no record knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// What it is.
    pub kind: OrphanKind,
    /// Its number.
    pub id: u64,
    /// Its name, or its description; safe to show.
    pub name: String,
    /// The machine that its label names; safe to show.
    pub machine: Option<String>,
    /// The attempt that its label names; safe to show.
    pub attempt: Option<String>,
    /// When it was made: what is young may be somebody's who has not yet recorded it.
    pub created: Timestamp,
}

impl Client {
    /// What has the label of this owner and is not known, by kind and number.
    ///
    /// # Errors
    /// [`ApiError::Label`], and any other of a call: what is there is then not known.
    pub fn orphans(&self, owner: &str, known: Known<'_>, until: Instant) -> Result<Vec<Orphan>, ApiError> {
        let owner = label(OWNER, owner)?;
        let selector = format!("{OWNER}=={owner}");
        let mut orphans = Vec::new();
        let mut add = |kind, known: &[u64], id, name: &str, labels: &Labels, created| {
            if labels.get(OWNER) == Some(&owner) && !known.contains(&id) {
                let machine = labels.get(MACHINE).map(|machine| shown(machine));
                let attempt = labels.get(CREATE).map(|attempt| shown(attempt));
                orphans.push(Orphan { kind, id, name: shown(name), machine, attempt, created });
            }
        };
        for server in self.servers(&selector, until)? {
            add(OrphanKind::Server, known.servers, server.id, &server.name, &server.labels, server.created);
        }
        for image in self.snapshots(&selector, until)? {
            add(OrphanKind::Snapshot, known.snapshots, image.id, &image.description, &image.labels, image.created);
        }
        for key in self.ssh_keys(&selector, until)? {
            add(OrphanKind::SshKey, known.ssh_keys, key.id, &key.name, &key.labels, key.created);
        }
        Ok(orphans)
    }

    /// Removes one of them, after a last look at its label; whether it was still there.
    ///
    /// # Errors
    /// [`ApiError::NotOurs`] when it has another label by now, and any other of a call or an action.
    pub fn remove_orphan(&self, owner: &str, orphan: &Orphan, until: Instant) -> Result<bool, ApiError> {
        let id = orphan.id;
        let labels = match orphan.kind {
            OrphanKind::Server => self.server(id, until).map(|server| server.labels),
            OrphanKind::Snapshot => self.image(id, until).map(|image| image.labels),
            OrphanKind::SshKey => self.ssh_key(id, until).map(|key| key.labels),
        };
        match labels {
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
            Ok(labels) if labels.get(OWNER).map(String::as_str) != Some(owner) => {
                let call = Call::new("remove", format_args!("{} {id}", orphan.kind));
                return Err(ApiError::NotOurs { call });
            }
            Ok(_) => {}
        }
        match orphan.kind {
            OrphanKind::Server => self.delete_server(id, until),
            OrphanKind::Snapshot => self.delete_image(id, until),
            OrphanKind::SshKey => self.delete_ssh_key(id, until),
        }
    }
}
