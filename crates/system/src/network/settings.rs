//! What an interface is given, whoever said it: a DHCP server or a configuration. Pure: neither asks nor configures.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lease::Lease;

/// How an interface gets its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server.
    Dhcp {
        /// Largest packet in bytes, where the server's word does not count.
        mtu: Option<u16>,
        /// DNS servers, where those of the server do not count.
        name_servers: Vec<IpAddr>,
    },
    /// As they are written.
    Static(Settings),
}

/// What an interface is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its addresses.
    pub addresses: Vec<OwnAddress>,
    /// Ways out of its subnets.
    pub ways: Vec<Way>,
    /// DNS servers in the order of preference.
    pub name_servers: Vec<IpAddr>,
    /// Largest packet in bytes; as the interface has it otherwise.
    pub mtu: Option<u16>,
}

/// An address of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix of its subnet.
    pub prefix: u8,
    /// How long it is good; the largest number is forever.
    pub seconds: u32,
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The network, its host bits zero.
    pub destination: IpAddr,
    /// Bits of its prefix.
    pub prefix: u8,
    /// The next router; `None` when the network is on the link itself.
    pub gateway: Option<IpAddr>,
}

impl Way {
    /// The way everywhere else.
    #[must_use]
    pub const fn out(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { destination, prefix: 0, gateway: Some(gateway) }
    }
}

impl Settings {
    /// Those of a lease, but for what overrules it.
    pub(super) fn of(lease: &Lease, mtu: Option<u16>, name_servers: &[IpAddr]) -> Self {
        let way = |route: &super::Route| Way {
            destination: route.destination.into(),
            prefix: route.prefix,
            gateway: route.gateway.map(IpAddr::from),
        };
        let of_server = lease.name_servers.iter().copied().map(IpAddr::from);
        Self {
            addresses: vec![OwnAddress { address: lease.address.into(), prefix: lease.prefix, seconds: lease.seconds }],
            ways: lease.routes.iter().map(way).collect(),
            name_servers: if name_servers.is_empty() { of_server.collect() } else { name_servers.to_vec() },
            mtu: mtu.or(lease.mtu),
        }
    }
}
