//! A lease that can be used, made from an answer that may be anything. Pure: neither asks nor configures.

use std::net::Ipv4Addr;

use dhcproto::v4::OptionCode;

use super::{
    MAX_ROUTES,
    error::{Fault, Unusable},
    packet::{Answer, addresses, routes},
};

/// Name servers that are kept, as many as resolv.conf(5) has room for.
const MAX_NAME_SERVERS: usize = 3;
/// The shortest prefix that passes for a subnet: 10.0.0.0/8 is the largest network that anybody can own as one.
const SHORTEST_PREFIX: u8 = 8;
/// What every host accepts (RFC 791). Less would cost a packet per word; more than the interface has is never set.
const SMALLEST_MTU: u16 = 576;

/// What a DHCP server granted (RFC 2131, 2132, 3442).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Bits of the netmask: 8 to 32.
    pub prefix: u8,
    /// Ways out of the subnet: the classless routes of option 121 where the server gave them, else the first router.
    pub routes: Vec<Route>,
    /// DNS servers in the order of preference, at most three. What cannot be one is left out.
    pub name_servers: Vec<Ipv4Addr>,
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// How long it is good; the largest number is forever.
    pub seconds: u32,
    /// Largest packet in bytes, at least 576. A smaller number of the server is left out.
    pub mtu: Option<u16>,
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network, its host bits zero.
    pub destination: Ipv4Addr,
    /// Bits of its mask: 0 to 32.
    pub prefix: u8,
    /// The next router; `None` when the network is on the link itself.
    pub gateway: Option<Ipv4Addr>,
}

/// The lease in an offer or an acknowledgement.
///
/// # Errors
/// [`Unusable`] when an option that is needed is missing or absurd.
pub(crate) fn lease(answer: &Answer) -> Result<Lease, Unusable> {
    read(answer).map_err(|fault| Unusable { server: answer.server, fault })
}

fn read(answer: &Answer) -> Result<Lease, Fault> {
    let prefix = prefix(answer)?;
    let address = own(answer.address, prefix)?;
    let seconds = number(answer, OptionCode::AddressLeaseTime, "lease time").map(u32::from_be_bytes)?;
    if seconds == 0 {
        return Err(Fault::NoTime);
    }
    // An MTU of nonsense is no reason to have no network.
    let mtu = answer.option(OptionCode::InterfaceMtu).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    Ok(Lease {
        address,
        prefix,
        routes: ways(answer, address, prefix)?,
        name_servers: name_servers(answer)?,
        server: answer.server,
        seconds,
        mtu: mtu.filter(|mtu| *mtu >= SMALLEST_MTU),
    })
}

fn number<const N: usize>(answer: &Answer, code: OptionCode, name: &'static str) -> Result<[u8; N], Fault> {
    let bytes = answer.option(code).ok_or(Fault::Missing(name))?;
    bytes.try_into().map_err(|_| Fault::Unreadable(name))
}

fn prefix(answer: &Answer) -> Result<u8, Fault> {
    let mask = Ipv4Addr::from(number::<4>(answer, OptionCode::SubnetMask, "netmask")?);
    let bits = mask.to_bits();
    let prefix = u8::try_from(bits.leading_ones()).unwrap_or(u8::MAX);
    let whole = bits.count_ones() == bits.leading_ones();
    if whole && prefix >= SHORTEST_PREFIX { Ok(prefix) } else { Err(Fault::Mask(mask)) }
}

fn own(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Addr, Fault> {
    if !is_host(address) {
        return Err(Fault::Address(address));
    }
    // RFC 3021: in a subnet of two both are hosts.
    let names_all = prefix < 31 && [network(address, prefix), broadcast(address, prefix)].contains(&address);
    if names_all { Err(Fault::Subnet { address, prefix }) } else { Ok(address) }
}

fn name_servers(answer: &Answer) -> Result<Vec<Ipv4Addr>, Fault> {
    let Some(bytes) = answer.option(OptionCode::DomainNameServer) else { return Ok(Vec::new()) };
    let all = addresses(bytes).ok_or(Fault::Unreadable("list of name servers"))?;
    let mut kept = Vec::new();
    for server in all {
        if is_host(server) && !kept.contains(&server) && kept.len() < MAX_NAME_SERVERS {
            kept.push(server);
        }
    }
    Ok(kept)
}

/// RFC 3442: with classless routes, routers do not count.
fn ways(answer: &Answer, address: Ipv4Addr, prefix: u8) -> Result<Vec<Route>, Fault> {
    let found = if let Some(bytes) = answer.option(OptionCode::ClasslessStaticRoute) {
        let found = routes(bytes).ok_or(Fault::Unreadable("list of classless routes"))?;
        found.into_iter().map(|(to, prefix, router)| classless(to, prefix, router)).collect()
    } else if let Some(bytes) = answer.option(OptionCode::Router) {
        let routers = addresses(bytes).ok_or(Fault::Unreadable("list of routers"))?;
        let everything = Ipv4Addr::UNSPECIFIED;
        routers
            .first()
            .map(|router| Route { destination: everything, prefix: 0, gateway: Some(*router) })
            .into_iter()
            .collect()
    } else {
        Vec::new()
    };
    if found.len() > MAX_ROUTES {
        return Err(Fault::Routes(found.len()));
    }
    let reached = |router: Ipv4Addr| {
        let on_link = |route: &Route| route.gateway.is_none() && holds(route.destination, route.prefix, router);
        is_host(router) && router != address && (holds(address, prefix, router) || found.iter().any(on_link))
    };
    match found.iter().filter_map(|route| route.gateway).find(|router| !reached(*router)) {
        Some(router) => Err(Fault::Router { router, address, prefix }),
        None => Ok(found),
    }
}

/// RFC 3442: router 0.0.0.0 stands for the link itself, and host bits of a destination for nothing.
fn classless(destination: Ipv4Addr, prefix: u8, router: Ipv4Addr) -> Route {
    let gateway = (!router.is_unspecified()).then_some(router);
    Route { destination: network(destination, prefix), prefix, gateway }
}

/// Whether a machine on the Internet or a private network may have the address.
fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    (1..224).contains(&first) && !address.is_loopback() && !address.is_link_local()
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn network(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & mask(prefix))
}

/// The address of all machines in the subnet.
pub(crate) fn broadcast(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() | !mask(prefix))
}

fn holds(address: Ipv4Addr, prefix: u8, other: Ipv4Addr) -> bool {
    network(address, prefix) == network(other, prefix)
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
