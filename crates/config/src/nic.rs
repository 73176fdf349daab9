//! Rules about the network interface: what it is connected to, and what that makes of the rest of a configuration. Must not
//! look at an interface of the host: whether it is there is the driver's question.

use cloud_machine_protocol::Connection;

use crate::{
    access, address_schema, addresses,
    config::{Config, Nic},
    error::ConfigError,
    key_location::locate,
    nic_schema::{self, HostInterface, NetworkValue},
    scalar::Scalar,
    source::shortened,
    tree::{Node, Value, item_path},
};

/// Advice wherever a machine without a network is asked for something that needs one.
const CONNECT: &str = "leave it out, or connect the machine to a network";

/// The interface as it is declared. A map that names no single interface is an error of [`check`], and counts as `user`
/// until then.
pub(crate) fn config(declared: &nic_schema::Nic) -> Nic {
    let network = match &declared.network {
        NetworkValue::User if declared.host_access == Some(true) => Connection::User,
        NetworkValue::User => Connection::UserClosed,
        NetworkValue::None => Connection::None,
        NetworkValue::Of(HostInterface { bridge: Some(name), tap: None }) => Connection::Bridge(name.clone()),
        NetworkValue::Of(HostInterface { bridge: None, tap: Some(name) }) => Connection::Tap(name.clone()),
        NetworkValue::Of(_) => Connection::UserClosed,
    };
    Nic { mac: declared.mac.0, network, address: declared.address.0.clone() }
}

/// Keys of the interface.
const PLACE: [&str; 2] = ["resources", "nic"];

/// Whether what is declared makes sense by itself; `machine` tells where each was written.
pub(crate) fn check(declared: &nic_schema::Nic, machine: &Node, errors: &mut Vec<ConfigError>) {
    if let NetworkValue::Of(interface) = &declared.network {
        errors.extend(one_interface(interface, &PLACE, "user, none, {bridge: NAME} or {tap: NAME}", machine));
    }
    errors.extend(host_access(declared, machine));
    addresses::check(&config(declared), &PLACE, machine, errors);
}

/// What is wrong with a map that does not name one interface of the host; `place` are the keys of the machine's.
pub(crate) fn one_interface(
    named: &HostInterface,
    place: &[&str],
    allowed: &str,
    machine: &Node,
) -> Option<ConfigError> {
    match (&named.bridge, &named.tap) {
        (Some(_), Some(_)) => {
            let error = at(machine, place, "network", "an interface is connected to one thing, and two are named");
            let reset = "leave one of them out; `network: !reset {…}` forgets what earlier layers say";
            Some(error.allowed("`bridge` or `tap`").suggestion(Some(reset.to_owned())))
        }
        (None, None) => Some(at(machine, place, "network", "no interface of the host is named").allowed(allowed)),
        _ => None,
    }
}

/// What is wrong with each item of `found`, a list of the addresses at `keys`; none when it is another value, or when no item
/// is to blame by itself.
pub(crate) fn invalid_items(found: &Node, path: &str, keys: &[&str], allowed: &str) -> Vec<ConfigError> {
    let (["resources", "nic", "address", key] | ["resources", "nics", _, "address", key], Value::List(items)) =
        (keys, &found.value)
    else {
        return Vec::new();
    };
    let judge = |(index, item): (usize, &Node)| {
        let Value::Scalar(Scalar::Text(text)) = &item.value else { return None };
        let why = address_schema::objection(key, text).filter(|_| !access::gives_access(text))?;
        let message = format!("found `{}`, {why}", shortened(text));
        Some(ConfigError::new(&item.source, item.mark, &item_path(path, index), message).allowed(allowed))
    };
    items.iter().enumerate().filter_map(judge).collect()
}

/// Only the user network can be had both ways.
fn host_access(declared: &nic_schema::Nic, machine: &Node) -> Option<ConfigError> {
    let (message, way_out) = match (&declared.network, declared.host_access?) {
        (NetworkValue::User, _) | (NetworkValue::None, false) => return None,
        (NetworkValue::None, true) => ("a machine without a network reaches nothing of its host", CONNECT),
        (NetworkValue::Of(_), _) => (
            "what a machine on a bridge or a tap reaches of its host is said by the host's firewall",
            "leave it out: of the loopback interface it reaches nothing",
        ),
    };
    Some(at(machine, &PLACE, "host-access", message).suggestion(Some(way_out.to_owned())))
}

/// Whether a machine is asked for what its network cannot do.
pub(crate) fn check_with(config: &Config, machine: &Node, errors: &mut Vec<ConfigError>) {
    without_network(config, machine, errors);
    if config.resources.nic.address.vlan.is_some() && is_fetched(config) {
        let message = "the machine fetches this document before it is in its VLAN";
        let way_out = "take the document from a file of the host, or make the VLAN on the host's bridge";
        let (found, path) = locate(machine, url_keys(machine));
        errors.push(ConfigError::new(&found.source, found.mark, &path, message).suggestion(Some(way_out.to_owned())));
    }
}

fn is_fetched(config: &Config) -> bool {
    config.cloud_init_url.as_ref().is_some_and(|url| url.file().is_none())
}

/// Which of the two keys names the document.
fn url_keys(machine: &Node) -> &'static [&'static str] {
    if machine.get("cloud-init-url").is_some_and(|node| !node.is_null()) {
        &["cloud-init-url"]
    } else {
        &["resources", "cloud-init-url"]
    }
}

fn without_network(config: &Config, machine: &Node, errors: &mut Vec<ConfigError>) {
    if config.resources.nic.network != Connection::None {
        return;
    }
    let mut wrong = |keys: &[&str], message: &str| {
        let (found, path) = locate(machine, keys);
        let error = ConfigError::new(&found.source, found.mark, &path, message);
        errors.push(error.suggestion(Some(CONNECT.to_owned())));
    };
    if config.wait_for.is_some() {
        wrong(&["wait-for"], "whoever waits for a machine asks it over SSH, and this one has no network");
    }
    if is_fetched(config) {
        wrong(url_keys(machine), "the machine fetches this document, and has no network");
    }
}

/// An error about `key` of the interface at `place`, where that is written.
pub(crate) fn at(machine: &Node, place: &[&str], key: &str, message: &str) -> ConfigError {
    let (found, path) = locate(machine, &[place, &[key]].concat());
    ConfigError::new(&found.source, found.mark, &path, message)
}
