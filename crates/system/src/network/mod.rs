//! The network for the time of the agent: one interface with one DHCPv4 lease, and nothing left of it afterwards. Must
//! not decide whether a network is wanted, nor keep a lease alive: the agent's time is shorter.

mod dialogue;
mod error;
mod exchange;
#[cfg(test)]
mod fixture;
mod interface;
mod lease;
mod netlink;
mod packet;

use std::time::Instant;

use cloud_machine_protocol::MacAddress;

pub use error::{Fault, NetworkError, Unusable};
pub use lease::{Lease, Route};

use crate::SystemError;
use interface::Interface;
use netlink::Netlink;

/// Most routes of one lease.
const MAX_ROUTES: usize = 64;

/// An interface that is up and has an address. Dropping it changes nothing: [`Network::down`] does.
#[derive(Debug)]
#[must_use = "an interface stays up until it is taken down"]
pub struct Network {
    netlink: Netlink,
    interface: Interface,
    lease: Lease,
}

impl Network {
    /// Brings up the Ethernet interface with the address `mac` and gives it what a DHCP server offers (RFC 2131).
    /// The interface may still be missing: half of the time until `deadline` is for its driver.
    ///
    /// The address is not probed for another owner, and the lease is not given back: the machine's own system asks for
    /// the same one a moment later, as it names itself in the same way. Needs `/sys` and, for random numbers in a
    /// static program, `/dev`.
    ///
    /// # Errors
    /// [`NetworkError`]; the interface is down again, as far as the kernel let it.
    pub fn up(mac: MacAddress, deadline: Instant) -> Result<Self, NetworkError> {
        let interface = interface::wait(mac, deadline)?;
        let mut netlink = Netlink::open()?;
        netlink.link_up(&interface)?;
        let lease = match exchange::lease(&interface.name, *mac.bytes(), deadline) {
            Ok(lease) => lease,
            Err(error) => {
                // Two failures: the first one says why there is no network.
                let _second = netlink.link_down(&interface);
                return Err(error);
            }
        };
        let mut network = Self { netlink, interface, lease };
        match network.configure() {
            Ok(()) => Ok(network),
            Err(error) => {
                let _second = network.down();
                Err(error.into())
            }
        }
    }

    /// What the DHCP server granted.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The kernel's name of the interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface.name
    }

    /// Removes the address with its routes and takes the interface down, as it was found.
    ///
    /// # Errors
    /// [`NetworkError::System`] with the first thing that the kernel refused.
    pub fn down(mut self) -> Result<(), NetworkError> {
        // All of it, whatever the first of them says.
        let address = self.netlink.remove_address(&self.interface, &self.lease);
        let mtu = self.smaller_mtu().map_or(Ok(()), |_| self.netlink.set_mtu(&self.interface, self.interface.mtu));
        let link = self.netlink.link_down(&self.interface);
        Ok(address.and(mtu).and(link)?)
    }

    fn configure(&mut self) -> Result<(), SystemError> {
        if let Some(mtu) = self.smaller_mtu() {
            self.netlink.set_mtu(&self.interface, mtu)?;
        }
        self.netlink.add_address(&self.interface, &self.lease)?;
        // Routes without gateway first: the others may need them.
        let (direct, indirect): (Vec<_>, Vec<_>) = self.lease.routes.iter().partition(|route| route.gateway.is_none());
        for route in direct.into_iter().chain(indirect) {
            self.netlink.add_route(&self.interface, route)?;
        }
        Ok(())
    }

    /// The lease's packet size, where it is less than the interface's own: more is never needed, and may be refused.
    fn smaller_mtu(&self) -> Option<u32> {
        self.lease.mtu.map(u32::from).filter(|mtu| *mtu < self.interface.mtu)
    }
}
