//! Addresses of host names: from the C library, or from name servers that were given. Must not fall back from one to
//! the other, and never asks a server that nobody named.

mod exchange;
#[cfg(test)]
mod fake;
mod lookup;
mod message;
mod servers;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread,
    time::{Duration, Instant},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::Names;
use lookup::LookupError;
use servers::Servers;

/// Time for one question to one server.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Time for a name, however many servers are asked.
const LOOKUP_TIME: Duration = Duration::from_secs(20);
/// Name servers that are asked; DHCP may offer any number.
const MAX_SERVERS: usize = 8;
/// Where they listen (RFC 1035, 4.2).
const PORT: u16 = 53;

/// What the client asks for addresses.
pub(crate) struct Resolver(Names);

impl Resolver {
    pub(crate) fn new(names: &Names) -> Self {
        Self(names.clone())
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        match &self.0 {
            Names::System => aside("getaddrinfo", move |_| Ok((name.as_str(), 0).to_socket_addrs()?.collect())),
            Names::Servers(servers) => {
                let servers = servers.iter().copied().take(MAX_SERVERS).collect();
                aside("name-servers", move |abandoned| Ok(ask(name.as_str(), servers, abandoned)?))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum NameError {
    #[error("cannot resolve {0}: no name server is known")]
    NoServer(String),
    #[error("cannot resolve {name} with name server {servers}")]
    Servers {
        name: String,
        servers: String,
        #[source]
        source: LookupError,
    },
    #[error("there was no answer for a name")]
    NoAnswer,
}

/// Runs `find` on a thread of its own: it waits for its answer, which getaddrinfo(3) gives nobody a way to interrupt. So it
/// outlives the client's deadline alone; the runtime's threads would make the end of the client wait for it. It is told
/// whether anybody still listens.
fn aside<F>(name: &str, find: F) -> Resolving
where
    F: FnOnce(&dyn Fn() -> bool) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> + Send + 'static,
{
    let (answer, asked) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let found = find(&|| answer.is_closed());
        // Nobody listens any more after the deadline.
        drop(answer.send(found));
    });
    Box::pin(async move {
        thread?;
        let found = asked.await.map_err(|_| NameError::NoAnswer)??;
        Ok(Box::new(found.into_iter()) as Addrs)
    })
}

/// Nothing is kept: no answer, good or bad, is there for the next attempt.
fn ask(name: &str, servers: Vec<IpAddr>, abandoned: &dyn Fn() -> bool) -> Result<Vec<SocketAddr>, NameError> {
    if servers.is_empty() {
        return Err(NameError::NoServer(name.to_owned()));
    }
    let addresses = servers.iter().map(|server| SocketAddr::new(*server, PORT)).collect();
    let mut asked = Servers::new(addresses, ANSWER_TIME, Instant::now() + LOOKUP_TIME, abandoned);
    let found = lookup::lookup(name, |name, family| asked.ask(name, family)).map_err(|source| {
        let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
        NameError::Servers { name: name.to_owned(), servers: servers.join(", "), source }
    })?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
}
