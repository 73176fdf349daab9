//! DHCP messages (RFC 2131, 2132, 3396) as bytes: what is asked and what an answer holds. Must not judge an answer.
//!
//! Options that nobody asked for are not decoded: a server may have written them in any way, and one that cannot be
//! read must not cost the whole answer.

use std::net::Ipv4Addr;

use dhcproto::{
    Encodable,
    error::EncodeError,
    v4::{self, DhcpOption, Flags, HType, MessageType, Opcode, OptionCode, borrowed},
};

/// Relays of BOOTP drop what is shorter (RFC 1542, 2.1).
const SHORTEST: usize = v4::MIN_PACKET_SIZE;
/// The largest answer that is asked for and read, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1472;
/// Options of a lease. RFC 3442: classless routes are asked for before routers.
const WANTED: [OptionCode; 6] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::InterfaceMtu,
    OptionCode::AddressLeaseTime,
];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Ethernet address.
    pub(crate) mac: [u8; 6],
    /// Random number that ties answers to questions.
    pub(crate) xid: u32,
}

/// DISCOVER, or REQUEST for the address that a server offered. `seconds` passed since the first message.
///
/// # Errors
/// [`EncodeError`] as the encoder says; the options all have fixed sizes.
pub(crate) fn question(
    client: Client,
    seconds: u16,
    chosen: Option<(Ipv4Addr, Ipv4Addr)>,
) -> Result<Vec<u8>, EncodeError> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(client.xid, none, none, none, none, &client.mac);
    // Without an address only broadcast answers can be heard.
    message.set_secs(seconds).set_flags(Flags::default().set_broadcast());
    let options = message.opts_mut();
    let kind = if chosen.is_some() { MessageType::Request } else { MessageType::Discover };
    options.insert(DhcpOption::MessageType(kind));
    if let Some((address, server)) = chosen {
        options.insert(DhcpOption::RequestedIpAddress(address));
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    // Hardware type and address, as systemd-networkd with ClientIdentifier=mac: the same client, the same lease.
    let mut identifier = vec![u8::from(HType::Eth)];
    identifier.extend(client.mac);
    options.insert(DhcpOption::ClientIdentifier(identifier));
    options.insert(DhcpOption::MaxMessageSize(u16::try_from(MAX_MESSAGE).unwrap_or(u16::MAX)));
    options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
    let mut bytes = message.to_vec()?;
    bytes.resize(bytes.len().max(SHORTEST), 0);
    Ok(bytes)
}

/// What a server answered to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: MessageType,
    /// Option 54.
    pub(crate) server: Ipv4Addr,
    /// The field `yiaddr`.
    pub(crate) address: Ipv4Addr,
    options: Vec<(OptionCode, Vec<u8>)>,
}

/// The answer in a packet; `None` when it is none or not for this client.
pub(crate) fn answer(client: Client, packet: &[u8]) -> Option<Answer> {
    let message = borrowed::Message::new(packet).ok()?;
    // The length before the address: the accessor trusts it.
    let ours = message.opcode() == Opcode::BootReply
        && message.xid() == client.xid
        && message.hlen() == 6
        && message.chaddr() == client.mac;
    if !ours {
        return None;
    }
    let options: Vec<_> = message.opts().map(|option| (option.code(), option.data().to_vec())).collect();
    let mut answer =
        Answer { kind: MessageType::Unknown(0), server: Ipv4Addr::UNSPECIFIED, address: message.yiaddr(), options };
    answer.kind = MessageType::from(*answer.option(OptionCode::MessageType)?.first()?);
    answer.server = address(answer.option(OptionCode::ServerIdentifier)?)?;
    Some(answer)
}

impl Answer {
    /// The bytes of an option, `None` where it is not there. Of one that is there twice, the first counts.
    pub(crate) fn option(&self, code: OptionCode) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, bytes)| bytes.as_slice())
    }
}

/// Four bytes as an address.
pub(crate) fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// Addresses one after the other, at least one.
pub(crate) fn addresses(bytes: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let (whole, rest) = bytes.as_chunks::<4>();
    (rest.is_empty() && !whole.is_empty()).then(|| whole.iter().copied().map(Ipv4Addr::from).collect())
}

/// Destination, bits of its mask and router of each classless route (RFC 3442), `None` when they cannot be read.
pub(crate) fn routes(mut bytes: &[u8]) -> Option<Vec<(Ipv4Addr, u8, Ipv4Addr)>> {
    let mut routes = Vec::new();
    while let Some((&prefix, rest)) = bytes.split_first() {
        // Only the bytes that the mask reaches into are written.
        let (written, rest) = rest.split_at_checked(usize::from(prefix).div_ceil(8))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut destination = [0; 4];
        destination.get_mut(..written.len())?.copy_from_slice(written);
        routes.push((Ipv4Addr::from(destination), prefix, Ipv4Addr::from(*router)));
        bytes = rest;
    }
    // 33 to 40 bits would need a fifth byte, and fail above; so does more.
    (!routes.is_empty()).then_some(routes)
}
