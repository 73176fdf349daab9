//! The network while something is read over it: brought up for that alone, and taken down again as it was found. Must
//! not read anything itself.

use std::time::{Duration, Instant};

use cloud_machine_fetch::Names;
use cloud_machine_protocol::MacAddress;
use cloud_machine_system::{kernel, network::Network};

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
    /// Brings up the interface `mac` to read `url`, which is as people may see it.
    pub(crate) fn up(mac: MacAddress, url: &str, host: &mut Host) -> Result<Self, AgentError> {
        host.event(None, &format!("bring up the network for {url}"))?;
        kernel::load_modules(MODULES, "network")?;
        let network = Network::up(mac, Instant::now() + NETWORK_TIME).map_err(AgentError::Network)?;
        let lease = network.lease();
        let address = format!("{}/{}", lease.address, lease.prefix);
        let names = Names::Servers(lease.name_servers.iter().copied().map(Into::into).collect());
        host.event(None, &format!("{} has {address}; fetch {url}", network.interface()))?;
        Ok(Self { network, names, address })
    }

    /// Takes it down: the machine's own system asks for itself.
    pub(crate) fn down(self) -> Result<(), AgentError> {
        self.network.down().map_err(AgentError::Network)
    }
}
