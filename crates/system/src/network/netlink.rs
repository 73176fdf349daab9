//! Changes of links, addresses and routes by rtnetlink(7). Must not choose what to change.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::{
    AddressFamily as Family,
    address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use nix::{
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, socket,
    },
};

use super::{
    interface::Interface,
    lease::broadcast,
    settings::{OwnAddress, Way},
};
use crate::SystemError;

pub(super) const OBJECT: &str = "the rtnetlink socket";
/// Room for an acknowledgement, which repeats the request.
const ANSWER: usize = 8192;

/// A socket to the kernel's network configuration.
#[derive(Debug)]
pub(crate) struct Netlink {
    pub(super) socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, SystemError> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map_err(SystemError::io("open", OBJECT))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(SystemError::io("bind", OBJECT))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn link_up(&mut self, interface: &Interface) -> Result<(), SystemError> {
        self.link("bring up", interface, LinkFlags::Up, LinkFlags::Up, Vec::new())
    }

    /// Takes the link down; its routes go with it.
    pub(crate) fn link_down(&mut self, interface: &Interface) -> Result<(), SystemError> {
        self.link("take down", interface, LinkFlags::empty(), LinkFlags::Up, Vec::new())
    }

    pub(crate) fn set_mtu(&mut self, interface: &Interface, mtu: u32) -> Result<(), SystemError> {
        let none = LinkFlags::empty();
        self.link("set the packet size of", interface, none, none, vec![LinkAttribute::Mtu(mtu)])
    }

    fn link(
        &mut self,
        verb: &'static str,
        interface: &Interface,
        flags: LinkFlags,
        mask: LinkFlags,
        attributes: Vec<LinkAttribute>,
    ) -> Result<(), SystemError> {
        let mut message = LinkMessage::default();
        message.header.index = interface.index;
        message.header.flags = flags;
        message.header.change_mask = mask;
        message.attributes = attributes;
        let object = format!("the interface {}", interface.name);
        self.change(libc::RTM_SETLINK, message, 0).map_err(SystemError::io(verb, object))
    }

    /// Gives the interface the address for the time of the lease; nobody may use it longer (RFC 2131, 4.4.5).
    pub(crate) fn add_address(&mut self, interface: &Interface, own: &OwnAddress) -> Result<(), SystemError> {
        let message = address(interface, own);
        let object = format!("the address {}/{} to {}", own.address, own.prefix, interface.name);
        self.change(libc::RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_REPLACE).map_err(SystemError::io("add", object))
    }

    /// Takes the address away; one that is gone already, as its lease was over, is no error.
    pub(crate) fn remove_address(&mut self, interface: &Interface, own: &OwnAddress) -> Result<(), SystemError> {
        let object = format!("the address {}/{} of {}", own.address, own.prefix, interface.name);
        match self.change(libc::RTM_DELADDR, address(interface, own), 0) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            changed => changed.map_err(SystemError::io("remove", object)),
        }
    }

    pub(crate) fn add_way(&mut self, interface: &Interface, way: &Way) -> Result<(), SystemError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(way.destination),
            destination_prefix_length: way.prefix,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Dhcp,
            scope: if way.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Oif(interface.index));
        if way.prefix > 0 {
            message.attributes.push(RouteAttribute::Destination(route_address(way.destination)));
        }
        if let Some(gateway) = way.gateway {
            message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
        }
        let object = format!("the route to {}/{} on {}", way.destination, way.prefix, interface.name);
        self.change(libc::RTM_NEWROUTE, message, NLM_F_CREATE | NLM_F_REPLACE).map_err(SystemError::io("add", object))
    }

    /// Sends one request and waits for the kernel's word on it, which is there before the sending ends.
    fn change(&mut self, kind: u16, message: impl Emitable, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Request { kind, message }));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        self.acknowledgement()
    }

    fn acknowledgement(&self) -> io::Result<()> {
        let mut buffer = [0; ANSWER];
        loop {
            let (size, sender) = recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer)?;
            // Any process may write to the socket; the kernel is number 0.
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue;
            }
            let bytes = buffer.get(..size).unwrap_or_default();
            let answer = NetlinkMessage::<Unread>::deserialize(bytes).map_err(io::Error::other)?;
            match answer.payload {
                NetlinkPayload::Error(error) if answer.header.sequence_number == self.sequence => {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                }
                _ => {}
            }
        }
    }
}

/// A request of one kind. The crate's own `RouteNetlinkMessage`, which can be of every kind, would bring the code of all of
/// them into the agent.
struct Request<M> {
    kind: u16,
    message: M,
}

impl<M: Emitable> NetlinkSerializable for Request<M> {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.message.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.message.emit(buffer);
    }
}

/// What is no acknowledgement: its content is nothing to us.
struct Unread;

impl NetlinkDeserializable for Unread {
    type Error = Infallible;

    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    }
}

const fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

fn address(interface: &Interface, own: &OwnAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(own.address);
    message.header.prefix_len = own.prefix;
    message.header.index = interface.index;
    message.attributes.push(AddressAttribute::Local(own.address));
    message.attributes.push(AddressAttribute::Address(own.address));
    match own.address {
        IpAddr::V4(address) if own.prefix < 31 => {
            message.attributes.push(AddressAttribute::Broadcast(broadcast(address, own.prefix)));
        }
        IpAddr::V4(_) => {}
        // It is used at once, and like those of IPv4 not probed for another owner.
        IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
    }
    let mut time = CacheInfo::default();
    time.ifa_preferred = own.seconds;
    time.ifa_valid = own.seconds;
    message.attributes.push(AddressAttribute::CacheInfo(time));
    message
}
