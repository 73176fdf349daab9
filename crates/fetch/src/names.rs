//! Addresses of host names: from the C library, or from name servers that were given. Must not fall back from one to
//! the other, and never asks a server that nobody named.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::Names;

/// Time for one question to one server; it is asked three times.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Name servers that are asked; DHCP may offer any number.
const MAX_SERVERS: usize = 8;

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
            Names::System => system(name),
            Names::Servers(servers) => ask(name, servers.iter().copied().take(MAX_SERVERS).collect()),
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
        source: NetError,
    },
    #[error("the C library gave no answer for a name")]
    NoAnswer,
}

fn system(name: Name) -> Resolving {
    let (answer, asked) = oneshot::channel();
    // getaddrinfo(3) cannot be interrupted. On a thread of its own it outlives the deadline alone; the runtime's
    // threads would make the end of the client wait for it.
    let thread = thread::Builder::new().name("getaddrinfo".to_owned()).spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        // Nobody listens any more after the deadline.
        drop(answer.send(found));
    });
    Box::pin(async move {
        thread?;
        let found = asked.await.map_err(|_| NameError::NoAnswer)??;
        Ok(Box::new(found) as Addrs)
    })
}

fn ask(name: Name, servers: Vec<IpAddr>) -> Resolving {
    Box::pin(async move {
        let name = name.as_str().to_owned();
        if servers.is_empty() {
            return Err(NameError::NoServer(name).into());
        }
        let found = lookup(&name, &servers).await.map_err(|source| {
            let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
            NameError::Servers { name, servers: servers.join(", "), source }
        })?;
        Ok(Box::new(found.into_iter()) as Addrs)
    })
}

/// A resolver for this one question, so that no answer, good or bad, is kept for the next attempt.
async fn lookup(name: &str, servers: &[IpAddr]) -> Result<Vec<SocketAddr>, NetError> {
    let servers = servers.iter().map(|server| NameServerConfig::udp_and_tcp(*server)).collect();
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = ANSWER_TIME;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    // The final dot: the name is whole, nothing is to be searched.
    let whole = format!("{}.", name.trim_end_matches('.'));
    let found = builder.build()?.lookup_ip(whole).await?;
    Ok(found.iter().map(|address| SocketAddr::new(address, 0)).collect())
}
