//! Rules about the further network interfaces, and about all interfaces together. Must not look at an interface of the host.

use std::collections::BTreeMap;

use cloud_machine_protocol::{Connection, NicName};
use ipnet::{IpNet, Ipv4Net};

use crate::{addresses, config::Nic, error::ConfigError, nic, nic_schema::FurtherNic, schema::Resources, tree::Node};

/// More would fill the bus that the disks are on, too.
const MOST: usize = 8;
/// What QEMU gives a machine on the user network.
const USER_SUBNET: IpNet = IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 2, 0), 24));

/// The interfaces as they are declared. One that names no interface of the host is an error of [`check`], and connected to nothing
/// until then.
pub(crate) fn config(declared: &BTreeMap<NicName, FurtherNic>) -> BTreeMap<NicName, Nic> {
    let one = |nic: &FurtherNic| {
        let network = match (&nic.network.bridge, &nic.network.tap) {
            (Some(bridge), _) => Connection::Bridge(bridge.clone()),
            (None, Some(tap)) => Connection::Tap(tap.clone()),
            (None, None) => Connection::None,
        };
        Nic { mac: nic.mac.0, network, address: nic.address.0.clone() }
    };
    declared.iter().map(|(name, nic)| (name.clone(), one(nic))).collect()
}

/// Whether what is declared makes sense beside `nic`; `machine` tells where each was written.
pub(crate) fn check(declared: &Resources, machine: &Node, errors: &mut Vec<ConfigError>) {
    let (first, all) = (nic::config(&declared.nic), config(&declared.nics));
    if all.len() > MOST {
        errors.push(
            nic::at(machine, &["resources"], "nics", &format!("{} are more than {MOST}", all.len()))
                .suggestion(Some("one interface can be in several networks by routes, or in a VLAN".to_owned())),
        );
        return;
    }
    if first.network == Connection::None && !all.is_empty() {
        let message = "the machine has no `nic`, by which it would be reached, and further ones";
        let way_out = "write one of them as `nic`".to_owned();
        errors.push(nic::at(machine, &["resources"], "nics", message).suggestion(Some(way_out)));
    }
    let mut before = vec![("nic".to_owned(), &first)];
    for ((name, nic), interface) in all.iter().zip(declared.nics.values()) {
        let place = ["resources", "nics", name.as_str()];
        errors.extend(nic::one_interface(&interface.network, &place, "{bridge: NAME} or {tap: NAME}", machine));
        if nic.network != Connection::None {
            addresses::check(nic, &place, machine, errors);
        }
        for route in nic.address.routes.iter().filter(|route| route.to.prefix_len() <= 1) {
            let message = format!("{} is every other network: the way out is that of `nic`", route.to);
            let way_out = "write a gateway into `resources.nic.address.gateways`, and smaller networks here".to_owned();
            let address = [&place[..], &["address"]].concat();
            errors.push(nic::at(machine, &address, "routes", &message).suggestion(Some(way_out)));
        }
        for (other, known) in &before {
            errors.extend(both(nic, &place, other, known, machine));
        }
        before.push((format!("nics.{name}"), nic));
    }
}

/// What two interfaces of a machine cannot both have.
fn both(nic: &Nic, place: &[&str], other: &str, known: &Nic, machine: &Node) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut wrong = |place: &[&str], key: &str, message: String, way_out: &str| {
        errors.push(nic::at(machine, place, key, &message).suggestion(Some(way_out.to_owned())));
    };
    if let Some(mac) = nic.mac.filter(|mac| known.mac == Some(*mac)) {
        wrong(place, "mac", format!("`{other}` has the hardware address {mac}"), "write another one, or `auto`");
    }
    if let (Connection::Tap(tap), true) = (&nic.network, nic.network == known.network) {
        let message = format!("`{other}` has the tap {tap}, which is for one interface");
        wrong(place, "network", message, "make another tap, or connect both to a bridge");
    }
    let address = [place, &["address"]].concat();
    let user = known.network.is_user().then_some(USER_SUBNET);
    for net in &nic.address.addresses {
        let same = |known: &&IpNet| known.contains(&net.trunc()) || net.contains(&known.trunc());
        if let Some(known) = known.address.addresses.iter().chain(&user).find(same) {
            let message = format!("{net} and {known} of `{other}` overlap: one address would be in two networks");
            wrong(&address, "addresses", message, "correct the addresses or the lengths of their prefixes");
        }
    }
    for route in &nic.address.routes {
        let to = route.to;
        if known.address.routes.iter().any(|known| known.to == to) {
            wrong(&address, "routes", format!("`{other}` has a route to {to}, too"), "leave one of them out");
        } else if known.address.addresses.iter().chain(&user).any(|net| net.contains(&to)) {
            wrong(&address, "routes", format!("{to} is in a subnet of `{other}`"), "leave the route out");
        }
    }
    for route in &known.address.routes {
        if nic.address.addresses.iter().any(|net| net.contains(&route.to)) {
            let message = format!("{} of it is where a route of `{other}` leads", route.to);
            wrong(&address, "addresses", message, "leave that route out");
        }
    }
    errors
}
