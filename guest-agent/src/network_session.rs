//! The network while something is read over it: brought up for that alone, and taken down again as it was found. Must
//! not read anything itself.

use std::time::{Duration, Instant};

use cloud_machine_config::Address;
use cloud_machine_fetch::Names;
use cloud_machine_protocol::MacAddress;
use cloud_machine_system::{
    kernel,
    network::{Addressing, Network, OwnAddress, Settings, Way},
};

use crate::{error::AgentError, host::Host, initramfs::MODULES};

/// How long the network may take to give the machine an address.
const NETWORK_TIME: Duration = Duration::from_secs(30);

/// A machine with an address.
pub(crate) struct NetworkSession {
    network: Network,
    /// Who knows the addresses of names.
    pub(crate) names: Names,
    /// The address with its prefix.
    pub(crate) address: String,
}

impl NetworkSession {
    /// Brings up the interface `mac` with the addresses that the new system will have, to read `url`, which is as people may see
    /// it.
    pub(crate) fn up(mac: MacAddress, address: &Address, url: &str, host: &mut Host) -> Result<Self, AgentError> {
        if address.vlan.is_some() {
            return Err(AgentError::Vlan);
        }
        host.event(None, &format!("bring up the network for {url}"))?;
        kernel::load_modules(MODULES, "network")?;
        let network =
            Network::up(mac, &addressing(address), Instant::now() + NETWORK_TIME).map_err(AgentError::Network)?;
        let settings = network.settings();
        let address: Vec<String> =
            settings.addresses.iter().map(|own| format!("{}/{}", own.address, own.prefix)).collect();
        let address = address.join(", ");
        let names = Names::Servers(settings.name_servers.clone());
        host.event(None, &format!("{} has {address}; fetch {url}", network.interface()))?;
        Ok(Self { network, names, address })
    }

    /// Takes it down: the machine's own system asks for itself.
    pub(crate) fn down(self) -> Result<(), AgentError> {
        self.network.down().map_err(AgentError::Network)
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
