//! The network for the time of the agent: one interface with its addresses, and nothing left of it afterwards. Must
//! not decide whether a network is wanted, nor keep a lease alive: the agent's time is shorter.

mod dialogue;
mod error;
mod exchange;
#[cfg(test)]
mod fixture;
mod interface;
mod lease;
mod listed;
mod netlink;
mod packet;
mod randomness;
mod settings;

use std::time::Instant;

use cloud_machine_protocol::MacAddress;

pub use error::{Fault, NetworkError, Unusable};
pub use lease::{Lease, Route};
pub(crate) use listed::interfaces;
pub use settings::{Addressing, OwnAddress, Settings, Way};

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
    lease: Option<Lease>,
    settings: Settings,
}

impl Network {
    /// Brings up the Ethernet interface with the address `mac` and gives it what is written, or what a DHCP server offers (RFC 2131).
    /// The interface may still be missing: half of the time until `deadline` is for its driver.
    ///
    /// The address is not probed for another owner, and the lease is not given back: the machine's own system asks for
    /// the same one a moment later, as it names itself in the same way. Needs `/sys` and, for random numbers in a
    /// static program, `/dev`.
    ///
    /// # Errors
    /// [`NetworkError`]; the interface is down again, as far as the kernel let it.
    pub fn up(mac: MacAddress, addressing: &Addressing, deadline: Instant) -> Result<Self, NetworkError> {
        randomness::wait(deadline)?;
        let interface = interface::wait(mac, deadline)?;
        let mut netlink = Netlink::open()?;
        netlink.link_up(&interface)?;
        let (lease, settings) = match addressing {
            Addressing::Static(settings) => (None, settings.clone()),
            Addressing::Dhcp { mtu, name_servers } => {
                match exchange::lease(&interface.name, *mac.bytes(), deadline) {
                    Ok(lease) => {
                        let settings = Settings::of(&lease, *mtu, name_servers);
                        (Some(lease), settings)
                    }
                    Err(error) => {
                        // Two failures: the first one says why there is no network.
                        let _second = netlink.link_down(&interface);
                        return Err(error);
                    }
                }
            }
        };
        let mut network = Self { netlink, interface, lease, settings };
        match network.configure() {
            Ok(()) => Ok(network),
            Err(error) => {
                let _second = network.down();
                Err(error.into())
            }
        }
    }

    /// What the DHCP server granted; `None` when none was asked.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// What the interface was given.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
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
        let (netlink, interface) = (&mut self.netlink, &self.interface);
        let removed = self.settings.addresses.iter().map(|address| netlink.remove_address(interface, address));
        let address = removed.fold(Ok(()), Result::and);
        let mtu = self.smaller_mtu().map_or(Ok(()), |_| self.netlink.set_mtu(&self.interface, self.interface.mtu));
        let link = self.netlink.link_down(&self.interface);
        Ok(address.and(mtu).and(link)?)
    }

    fn configure(&mut self) -> Result<(), SystemError> {
        if let Some(mtu) = self.smaller_mtu() {
            self.netlink.set_mtu(&self.interface, mtu)?;
        }
        for address in &self.settings.addresses {
            self.netlink.add_address(&self.interface, address)?;
        }
        // Ways without gateway first: the others may need them.
        let (direct, indirect): (Vec<_>, Vec<_>) = self.settings.ways.iter().partition(|way| way.gateway.is_none());
        for way in direct.into_iter().chain(indirect) {
            self.netlink.add_way(&self.interface, way)?;
        }
        Ok(())
    }

    /// The packet size that is asked for, where it is less than the interface's own: more is never needed, and may be refused.
    fn smaller_mtu(&self) -> Option<u32> {
        self.settings.mtu.map(u32::from).filter(|mtu| *mtu < self.interface.mtu)
    }
}
