//! The network while something is read over it: brought up for that alone, and taken down again as it was found. Must
//! not read anything itself.

use std::{
    fs,
    time::{Duration, Instant},
};

use cloud_machine_config::Address;
use cloud_machine_fetch::Names;
use cloud_machine_protocol::MacAddress;
use cloud_machine_system::{
    SystemError,
    network::{Addressing, Network, OwnAddress, Settings, Way},
};

use crate::{
    error::AgentError,
    host::Host,
    modules::{Modules, Stage},
};

/// How long the network may take to give the machine an address.
const NETWORK_TIME: Duration = Duration::from_secs(30);
/// Who knows the addresses of names (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";

/// What is read over.
#[derive(Clone, Copy)]
pub(crate) enum Over<'a> {
    /// The interface with this hardware address, which gets the addresses that the new system will have. Its driver comes from
    /// there.
    Own(MacAddress, &'a Address, Modules),
    /// The network of the system around the agent, which is up and stays as it is.
    System,
}

/// A machine with an address.
pub(crate) struct NetworkSession {
    /// What is taken down again.
    network: Option<Network>,
    /// Who knows the addresses of names.
    pub(crate) names: Names,
    /// The address with its prefix.
    pub(crate) address: String,
}

impl NetworkSession {
    /// Sees to it that there is one, to read `url`, which is as people may see it.
    pub(crate) fn up(over: Over<'_>, url: &str, host: &mut Host) -> Result<Self, AgentError> {
        let (mac, address, modules) = match over {
            Over::Own(mac, address, modules) => (mac, address, modules),
            Over::System => return Self::of_system(url, host),
        };
        if address.vlan.is_some() {
            return Err(AgentError::Vlan);
        }
        host.event(None, &format!("bring up the network for {url}"))?;
        modules.load_stage(Stage::Network)?;
        let network =
            Network::up(mac, &addressing(address), Instant::now() + NETWORK_TIME).map_err(AgentError::Network)?;
        let settings = network.settings();
        let address: Vec<String> =
            settings.addresses.iter().map(|own| format!("{}/{}", own.address, own.prefix)).collect();
        let address = address.join(", ");
        let names = Names::Servers(settings.name_servers.clone());
        host.event(None, &format!("{} has {address}; fetch {url}", network.interface()))?;
        Ok(Self { network: Some(network), names, address })
    }

    /// That of the system around the agent, with the servers for names that it has.
    fn of_system(url: &str, host: &mut Host) -> Result<Self, AgentError> {
        let text = fs::read_to_string(RESOLVERS).map_err(SystemError::io("read", RESOLVERS))?;
        let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
        host.event(None, &format!("fetch {url} over the network of the rescue system"))?;
        Ok(Self { network: None, names: Names::Servers(servers.collect()), address: "the rescue system's".to_owned() })
    }

    /// Takes it down: the machine's own system asks for itself.
    pub(crate) fn down(self) -> Result<(), AgentError> {
        self.network.map_or(Ok(()), Network::down).map_err(AgentError::Network)
    }
}

/// The interface's addresses as the configuration has them.
fn addressing(address: &Address) -> Addressing {
    if address.is_dhcp() {
        return Addressing::Dhcp { mtu: address.mtu, name_servers: address.dns.clone() };
    }
    let own = address.addresses.iter().map(|net| OwnAddress {
        address: net.addr(),
        prefix: net.prefix_len(),
        // Nobody takes it back.
        seconds: u32::MAX,
    });
    let routes = address.routes.iter().map(|route| Way {
        destination: route.to.addr(),
        prefix: route.to.prefix_len(),
        gateway: Some(route.via),
    });
    Addressing::Static(Settings {
        addresses: own.collect(),
        ways: address.gateways.iter().copied().map(Way::out).chain(routes).collect(),
        name_servers: address.dns.clone(),
        mtu: address.mtu,
    })
}
