//! The typed form of the addresses of the network interface, as serde reads it. Must not hold a rule about more than one
//! value.

use std::net::IpAddr;

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
    gateways: Servers,
    dns: Servers,
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
                texts.iter().map(|text| $read(text)).collect::<Option<_>>().map(Self).ok_or("another item")
            }
        }
    };
}

list!(Addresses of IpNet: own_address);
list!(Servers of IpAddr: server);
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

/// An address that a machine can have, with the length of its subnet's prefix.
fn own_address(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    // Where there is room for both, the first and the last of IPv4 name all of the subnet.
    let names_all = match net {
        IpNet::V4(net) => net.prefix_len() < 31 && [net.network(), net.broadcast()].contains(&net.addr()),
        IpNet::V6(_) => false,
    };
    (net.prefix_len() > 0 && is_host(net.addr()) && !names_all).then_some(net)
}

fn server(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// Whether one machine can have the address, and keep it.
fn is_host(address: IpAddr) -> bool {
    let class = match address {
        IpAddr::V4(address) => !address.is_link_local() && address.octets()[0] != 0 && address.octets()[0] < 240,
        IpAddr::V6(address) => !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none(),
    };
    class && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
}

/// A name of DNS.
fn domain(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-');
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_owned())
}

/// `NETWORK via GATEWAY`.
fn route(text: &str) -> Option<Route> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let [to, "via", via] = words.as_slice() else { return None };
    let (to, via): (IpNet, IpAddr) = (to.parse().ok()?, via.parse().ok()?);
    // Host bits are probably a slip in the length of the prefix.
    (to == to.trunc()).then_some(Route { to, via })
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
