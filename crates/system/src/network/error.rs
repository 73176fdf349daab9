//! What can go wrong on the way to a network, and what can be wrong with a DHCP server's answer.

use std::{net::Ipv4Addr, time::Duration};

use cloud_machine_protocol::MacAddress;
use dhcproto::error::EncodeError;

use crate::SystemError;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused something.
    #[error(transparent)]
    System(#[from] SystemError),
    /// No interface has the address.
    #[error("no Ethernet interface has the address {mac}; there is {found}")]
    NoInterface {
        /// The address looked for.
        mac: MacAddress,
        /// The interfaces that are there, with their addresses.
        found: String,
    },
    /// More than one interface has the address: neither can be told to be the one.
    #[error("the interfaces {first} and {second} both have the address {mac}")]
    TwoInterfaces {
        /// The address looked for.
        mac: MacAddress,
        /// Kernel name of one.
        first: String,
        /// Kernel name of the other.
        second: String,
    },
    /// No DHCP server gave a usable lease in time.
    #[error("no DHCP server gave {interface} a lease in {:.1} s; {sent} messages were sent", elapsed.as_secs_f64())]
    NoLease {
        /// Kernel name of the interface.
        interface: String,
        /// Time that was spent.
        elapsed: Duration,
        /// DISCOVER and REQUEST messages that were sent.
        sent: usize,
        /// The last answer that could not be used, if there was one.
        #[source]
        unusable: Option<Unusable>,
    },
    /// A message could not be written; the messages are fixed, so this is no fault of the network.
    #[error("cannot write a DHCP message")]
    Message(#[source] EncodeError),
}

/// An answer of a DHCP server that gives no usable lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DHCP server {server} {fault}")]
pub struct Unusable {
    /// As the server names itself (option 54).
    pub server: Ipv4Addr,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// DHCPNAK.
    #[error("refused the address that was asked for")]
    Refused,
    /// An option that a lease must have is missing.
    #[error("gave no {0}")]
    Missing(&'static str),
    /// An option has a length or content that it cannot have.
    #[error("gave an unreadable {0}")]
    Unreadable(&'static str),
    /// An address that no machine can have.
    #[error("gave the address {0}, which is none for a machine")]
    Address(Ipv4Addr),
    /// A netmask with gaps, or one that makes most of the Internet a neighbour.
    #[error("gave the netmask {0}, which is none for a subnet")]
    Mask(Ipv4Addr),
    /// The network's own address or its broadcast address.
    #[error("gave {address}/{prefix}, which names the whole subnet")]
    Subnet {
        /// The address.
        address: Ipv4Addr,
        /// Bits of the netmask.
        prefix: u8,
    },
    /// A router that cannot be reached.
    #[error("gave the router {router}, to which {address}/{prefix} has no way")]
    Router {
        /// The router.
        router: Ipv4Addr,
        /// The address.
        address: Ipv4Addr,
        /// Bits of the netmask.
        prefix: u8,
    },
    /// More routes than a machine with one interface can need.
    #[error("gave {0} routes, more than {max}", max = super::MAX_ROUTES)]
    Routes(usize),
    /// A lease that is over at once.
    #[error("gave a lease of no time")]
    NoTime,
    /// Another address than was offered.
    #[error("offered {offered} and gave {given}")]
    Changed {
        /// In DHCPOFFER.
        offered: Ipv4Addr,
        /// In DHCPACK.
        given: Ipv4Addr,
    },
}
