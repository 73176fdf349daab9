//! Rules about the addresses of the network interface together: what reaches what, and which network can have them. Must not
//! ask a network.

use std::net::IpAddr;

use cloud_machine_protocol::Connection;
use ipnet::IpNet;

use crate::{
    config::{Address, Nic},
    error::ConfigError,
    key_location::locate,
    tree::Node,
};

/// As many as resolv.conf(5) takes.
const MAX_DNS: usize = 3;
const MAX_SEARCH: usize = 6;
/// More is a table, and belongs to a routing daemon.
const MAX_ROUTES: usize = 64;
const MAX_ADDRESSES: usize = 16;
/// Below it the kernel turns IPv6 off (RFC 8200, section 5).
const LEAST_MTU: u16 = 1280;
/// Where an address that is missing is to be written; of a further interface no DHCP server says more than its address.
const STATIC: &str = "write `addresses` beside it, or leave it out: a DHCP server says it";
const STATIC_FURTHER: &str = "write `addresses` beside it";

/// What is wrong with the interface at the keys `place`; `machine` tells where each was written.
pub(crate) fn check(nic: &Nic, place: &[&str], machine: &Node, errors: &mut Vec<ConfigError>) {
    let address = &nic.address;
    let is_first = place.len() == 2;
    let mut wrong = |key: &str, message: String, help: &str| {
        let (found, path) = locate(machine, &[place, &["address", key]].concat());
        let error = ConfigError::new(&found.source, found.mark, &path, message);
        errors.push(error.suggestion(Some(help.to_owned())));
    };
    if nic.network == Connection::None && *address != Address::default() {
        wrong("", "a machine without a network has no address".to_owned(), "leave it out, or connect the machine");
        return;
    }
    if nic.network.is_user() {
        let on_link = "connect the machine to a bridge or a tap";
        if !address.is_dhcp() {
            wrong("addresses", "the user network gives every machine its address itself".to_owned(), on_link);
        }
        if address.vlan.is_some() {
            wrong("vlan", "the user network has no VLANs".to_owned(), on_link);
        }
    }
    let mut fits = true;
    for (key, length, most) in [
        ("addresses", address.addresses.len(), MAX_ADDRESSES),
        ("dns", address.dns.len(), MAX_DNS),
        ("search", address.search.len(), MAX_SEARCH),
        ("routes", address.routes.len(), MAX_ROUTES),
    ] {
        if length > most {
            fits = false;
            wrong(key, format!("{length} are more than {most}, the most that there may be"), "leave the last ones out");
        }
    }
    if !fits {
        // What is too long is compared with nothing.
        return;
    }
    twice("dns", &address.dns, &mut wrong);
    if address.dns.is_empty() && !address.search.is_empty() {
        wrong(
            "search",
            "nobody is asked for names in these domains".to_owned(),
            "write the servers into `dns` beside it",
        );
    }
    if address.is_dhcp() {
        for (key, is_stated) in [("gateways", !address.gateways.is_empty()), ("routes", !address.routes.is_empty())] {
            if is_stated {
                let way_out = if is_first { STATIC } else { STATIC_FURTHER };
                wrong(key, "without `addresses` the interface has none that this could belong to".to_owned(), way_out);
            }
        }
    } else {
        ways(address, is_first, &mut wrong);
    }
    let wants_ipv6 = address.addresses.iter().any(|net| net.addr().is_ipv6());
    if let Some(mtu) = address.mtu.filter(|mtu| *mtu < LEAST_MTU) {
        let help = "1280 or more";
        if wants_ipv6 {
            wrong("mtu", format!("packets of {mtu} bytes are too small for IPv6, which needs {LEAST_MTU}"), help);
        } else if !nic.network.is_user() {
            let why = "the host reaches the machine by IPv6 on the link";
            wrong("mtu", format!("packets of {mtu} bytes are too small: {why}, which needs {LEAST_MTU}"), help);
        }
    }
}

fn twice(key: &str, list: &[IpAddr], wrong: &mut impl FnMut(&str, String, &str)) {
    for (index, item) in list.iter().enumerate() {
        if list.iter().take(index).any(|known| known == item) {
            wrong(key, format!("{item} is there twice"), "leave one of them out");
        }
    }
}

/// Each gateway lies in the subnet of an address, and there is one way out a family.
fn ways(address: &Address, is_first: bool, wrong: &mut impl FnMut(&str, String, &str)) {
    let own: Vec<IpAddr> = address.addresses.iter().map(|net| net.addr()).collect();
    twice("addresses", &own, wrong);
    let subnets: Vec<String> = address.addresses.iter().map(ToString::to_string).collect();
    let subnets = subnets.join(", ");
    let mut reach = |key: &str, gateway: IpAddr| {
        let on_link = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        if own.contains(&gateway) {
            wrong(key, format!("the gateway {gateway} is the machine itself"), "name the router");
        } else if !on_link && !address.addresses.iter().any(|net| net.contains(&gateway)) {
            let text = format!("the gateway {gateway} is outside the subnet of {subnets}");
            wrong(key, text, "correct the address, the length of its prefix or the gateway");
        } else if let Some(net) = address.addresses.iter().find(|net| names_all(net, gateway)) {
            let text = format!("the gateway {gateway} names the subnet of {net} itself or all that is in it");
            wrong(key, text, "name the router");
        }
    };
    address.gateways.iter().for_each(|gateway| reach("gateways", *gateway));
    address.routes.iter().for_each(|route| reach("routes", route.via));
    for (family, is_of) in [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)] {
        if address.gateways.iter().filter(|gateway| is_of(gateway)).count() > 1 {
            wrong(
                "gateways",
                format!("two gateways for {family}: a machine has one way out"),
                "write `routes` for others",
            );
        }
    }
    routes(address, is_first, wrong);
}

/// Whether it is the first or the last address of the subnet, where these are no machine's. The first of IPv6 is that of its
/// routers.
fn names_all(net: &IpNet, address: IpAddr) -> bool {
    net.addr().is_ipv4() && net.prefix_len() < 31 && [net.network(), net.broadcast()].contains(&address)
}

/// Each route leads to another network, which no other route leads to.
fn routes(address: &Address, is_first: bool, wrong: &mut impl FnMut(&str, String, &str)) {
    for (index, route) in address.routes.iter().enumerate() {
        let subnet = address.addresses.iter().filter(|net| net.contains(&route.via)).map(IpNet::prefix_len).max();
        if address.addresses.iter().any(|net| net.trunc() == route.to) {
            wrong("routes", format!("{} is a subnet of the interface itself", route.to), "leave the route out");
        } else if route.to.contains(&route.via) && subnet.is_some_and(|length| length < route.to.prefix_len()) {
            let text = format!("the route to {} leads to its own gateway {} as well", route.to, route.via);
            wrong("routes", text, "name a network without the gateway");
        }
        if route.to.addr().is_ipv4() != route.via.is_ipv4() {
            wrong(
                "routes",
                format!("{} and {} are of two families", route.to, route.via),
                "name a gateway of its family",
            );
        }
        if address.routes.iter().take(index).any(|known| known.to == route.to) {
            wrong("routes", format!("there are two routes to {}", route.to), "leave one of them out");
        }
        if is_first && route.to.prefix_len() == 0 {
            wrong("routes", format!("{} is every network", route.to), "write its gateway into `gateways`");
        }
    }
}
