//! The typed form of the addresses of the network interface, as serde reads it. Must not hold a rule about more than one
//! value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use crate::config::{Address, Route};

/// `dhcp`, or a map.
#[derive(Debug, Default)]
pub(crate) struct AddressValue(pub(crate) Address);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct AddressMap {
    addresses: Addresses,
    gateways: Gateways,
    dns: Dns,
    search: Domains,
    routes: Routes,
    mtu: Option<Mtu>,
    vlan: Option<Vlan>,
}

/// A list whose texts all are what `$read` takes. They are read as texts first: the agent carries each kind of list that serde
/// reads.
macro_rules! list {
    ($name:ident of $item:ty: $read:path) => {
        #[derive(Default, Deserialize)]
        #[serde(try_from = "Vec<String>")]
        struct $name(Vec<$item>);

        impl TryFrom<Vec<String>> for $name {
            type Error = &'static str;

            fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
                texts.iter().map(|text| $read(text)).collect::<Result<_, _>>().map(Self)
            }
        }
    };
}

list!(Addresses of IpNet: own_address);
list!(Gateways of IpAddr: gateway);
list!(Dns of IpAddr: dns);
list!(Domains of String: domain);
list!(Routes of Route: route);

impl<'de> Deserialize<'de> for AddressValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressVisitor)
    }
}

struct AddressVisitor;

impl<'de> Visitor<'de> for AddressVisitor {
    type Value = AddressValue;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("dhcp or a map")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AddressValue, E> {
        match text {
            "dhcp" => Ok(AddressValue::default()),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AddressValue, A::Error> {
        let AddressMap { addresses, gateways, dns, search, routes, mtu, vlan } =
            AddressMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(AddressValue(Address {
            addresses: addresses.0,
            gateways: gateways.0,
            dns: dns.0,
            search: search.0,
            routes: routes.0,
            mtu: mtu.map(|mtu| mtu.0),
            vlan: vlan.map(|vlan| vlan.0),
        }))
    }
}

/// Why `text` cannot be an item of the list `key`, as a fragment that follows the item.
pub(crate) fn objection(key: &str, text: &str) -> Option<&'static str> {
    match key {
        "addresses" => own_address(text).err(),
        "gateways" => gateway(text).err(),
        "dns" => dns(text).err(),
        "search" => domain(text).err(),
        "routes" => route(text).err(),
        _ => None,
    }
}

const NO_ADDRESS: &str = "no address of IPv4 or IPv6";
const LINK_LOCAL: &str = "a link-local address";

/// An address that a machine can have, with the length of its subnet's prefix.
fn own_address(text: &str) -> Result<IpNet, &'static str> {
    let net = network(text)?;
    not_a_host(net.addr()).map_or(Ok(()), Err)?;
    if matches!(net.addr(), IpAddr::V6(address) if address.is_unicast_link_local()) {
        return Err(LINK_LOCAL);
    }
    if net.prefix_len() == 0 {
        return Err("in whose subnet every address lies");
    }
    // Where there is room for both, the first and the last of IPv4 name all of the subnet, and the first of IPv6 its routers
    // (RFC 4291, section 2.6.1).
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.network() => {
            Err("the address of its subnet itself")
        }
        IpNet::V4(net) if net.prefix_len() < 31 && net.addr() == net.broadcast() => {
            Err("the broadcast address of its subnet")
        }
        IpNet::V6(net) if net.prefix_len() < 127 && net.addr() == net.network() => {
            Err("the address of all routers of its subnet")
        }
        _ => Ok(net),
    }
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    text.parse().map_err(|_| match text.split_once('/') {
        None if text.parse::<IpAddr>().is_ok() => "an address without the length of its subnet's prefix",
        Some((address, _)) if address.parse::<Ipv4Addr>().is_ok() => "whose prefix is not 0 to 32 bits long",
        Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => "whose prefix is not 0 to 128 bits long",
        _ => NO_ADDRESS,
    })
}

/// A router that could be a neighbour; its link-local address of IPv6 is as good as any.
fn gateway(text: &str) -> Result<IpAddr, &'static str> {
    let address = text.parse().map_err(|_| NO_ADDRESS)?;
    not_a_host(address).map_or(Ok(address), Err)
}

/// A server that could answer; one on the machine itself can.
fn dns(text: &str) -> Result<IpAddr, &'static str> {
    let address: IpAddr = text.parse().map_err(|_| NO_ADDRESS)?;
    match address {
        // No interface can be named beside it.
        IpAddr::V6(address) if address.is_unicast_link_local() => Err(LINK_LOCAL),
        _ if address.is_loopback() => Ok(address),
        _ => names_no_machine(address).map_or(Ok(address), Err),
    }
}

/// Why no one machine of a network can have the address and keep it; whether it is link-local is asked of IPv4 alone.
fn not_a_host(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_loopback() => Some("a loopback address"),
        IpAddr::V4(address) if address.is_link_local() => Some(LINK_LOCAL),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Some("an address of IPv4 in the form of IPv6"),
        _ => names_no_machine(address).or(match address {
            IpAddr::V4(address) if address.octets()[0] == 0 || address.octets()[0] >= 240 => Some("a reserved address"),
            _ => None,
        }),
    }
}

fn names_no_machine(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address of every link"),
        _ => None,
    }
}

/// A name of DNS.
fn domain(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.len() > 253 || text.split('.').any(|label| label.len() > 63) {
        return Err("longer than a name of DNS can be");
    }
    if text.ends_with('.') {
        return Err("with a dot at its end, which is left out");
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err("with nothing where a part of a name belongs");
        }
        if !label.bytes().all(plain) || label.starts_with('-') {
            return Err("no name of DNS");
        }
    }
    Ok(text.to_owned())
}

/// `NETWORK via GATEWAY`.
fn route(text: &str) -> Result<Route, &'static str> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let [to, "via", via] = words.as_slice() else { return Err("not of the form `NETWORK via GATEWAY`") };
    let to = network(to).map_err(|_| "whose target is no network with a prefix")?;
    let via = gateway(via).map_err(|_| "whose gateway is no address that a router can have")?;
    if to != to.trunc() {
        // Probably a slip in the length of the prefix.
        return Err("whose target has bits set behind its prefix");
    }
    let stays = match to.addr() {
        IpAddr::V6(address) => address.is_unicast_link_local() && to.prefix_len() >= 10,
        IpAddr::V4(_) => false,
    };
    if stays || to.addr().is_loopback() || to.addr().is_multicast() {
        return Err("whose target no router leads to: it is loopback, link-local or multicast");
    }
    Ok(Route { to, via })
}

#[derive(Deserialize)]
#[serde(try_from = "u64")]
struct Mtu(u16);

impl TryFrom<u64> for Mtu {
    type Error = &'static str;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        // What every host accepts (RFC 791), to what the largest frame of a virtual card holds.
        match u16::try_from(bytes) {
            Ok(bytes @ 576..) => Ok(Self(bytes)),
            _ => Err("not from 576 to 65535"),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "u64")]
struct Vlan(u16);

impl TryFrom<u64> for Vlan {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match u16::try_from(number) {
            Ok(number @ 1..=4094) => Ok(Self(number)),
            _ => Err("not from 1 to 4094"),
        }
    }
}
