//! Servers: read and deleted. Must not make any: that is where ownership is known.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Instant};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{ApiError, Call, Client, action::Begun, client::Ask};

/// Labels of something.
pub type Labels = BTreeMap<String, String>;

/// A server as the provider shows it. Its texts are the provider's, and must be escaped where they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// Its number, which no other one ever has.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it does.
    pub status: ServerStatus,
    /// Whether an action keeps others from it.
    #[serde(default)]
    pub locked: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Whether its next boot goes into the rescue system.
    #[serde(default)]
    pub rescue_enabled: bool,
    /// Its addresses.
    pub public_net: PublicNet,
    /// Its type.
    pub server_type: Named,
    /// Where it is, in newer answers.
    #[serde(default)]
    location: Option<Named>,
    /// Where it is, in older ones.
    #[serde(default)]
    datacenter: Option<Datacenter>,
    /// The image that its disk was written with last, as long as that is there.
    #[serde(default)]
    pub image: Option<Numbered>,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// It is powered.
    Running,
    /// It is being made.
    Initializing,
    /// It is being powered on.
    Starting,
    /// It is being powered off.
    Stopping,
    /// It is not powered.
    Off,
    /// It is being deleted.
    Deleting,
    /// Its disk is being written.
    Rebuilding,
    /// It moves to another host of the provider.
    Migrating,
    /// Something else.
    #[serde(other)]
    Unknown,
}

/// Public addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublicNet {
    /// The one of IPv4.
    #[serde(default)]
    pub ipv4: Option<PublicAddress<Ipv4Addr>>,
    /// The network of IPv6, such as `2001:db8::/64`.
    #[serde(default)]
    pub ipv6: Option<PublicAddress<String>>,
}

/// A public address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublicAddress<T> {
    /// The address.
    pub ip: T,
}

/// Something with a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// Something with a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Numbered {
    /// The number.
    pub id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Datacenter {
    location: Named,
}

impl Server {
    /// Its address of IPv4.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.public_net.ipv4.as_ref().map(|address| address.ip)
    }

    /// Where it is, such as `fsn1`.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        let older = self.datacenter.as_ref().map(|datacenter| &datacenter.location);
        self.location.as_ref().or(older).map(|location| location.name.as_str())
    }
}

#[derive(Deserialize)]
struct One {
    server: Server,
}

impl Client {
    /// A server by its number.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when there is none, and any other.
    pub fn server(&self, id: u64, until: Instant) -> Result<Server, ApiError> {
        let ask = Ask::get(Call::new("look at server", id), format!("servers/{id}"), Vec::new());
        self.ask::<One>(&ask, until).map(|one| one.server)
    }

    /// A server by its name, which no other one of the project has.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn server_named(&self, name: &str, until: Instant) -> Result<Option<Server>, ApiError> {
        let call = Call::new("look for server", name);
        let found: Vec<Server> = self.list(&call, ("servers", "servers"), &[("name", name.to_owned())], until)?;
        Ok(found.into_iter().find(|server| server.name == name))
    }

    /// Servers whose labels a selector fits, such as `owner=me`, by number.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call.
    pub fn servers(&self, selector: &str, until: Instant) -> Result<Vec<Server>, ApiError> {
        let call = Call::new("list the servers with", selector);
        let query = [("label_selector", selector.to_owned()), ("sort", "id:asc".to_owned())];
        self.list(&call, ("servers", "servers"), &query, until)
    }

    /// Deletes a server with its disk, whatever it does, and waits until it is gone; whether there was one.
    ///
    /// # Errors
    /// Any [`ApiError`] of a call or an action.
    pub fn delete_server(&self, id: u64, until: Instant) -> Result<bool, ApiError> {
        let call = Call::new("delete server", id);
        match self.ask::<Begun>(&Ask::delete(call.clone(), format!("servers/{id}")), until) {
            Ok(Begun { action }) => self.wait(&call, action, until).map(|()| true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
