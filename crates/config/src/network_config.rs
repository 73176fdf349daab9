//! The top-level key `network`, in the form of netplan or of NoCloud's file `network-config`: the machine's cloud-init gets it.
//! Must not give what it says a meaning.

use cloud_machine_protocol::Connection;

use crate::{
    config::{Address, Config},
    error::ConfigError,
    grammar::NETWORK,
    scalar::Scalar,
    tree::{Node, Value},
};

const FORM: &str = "a map with `version: 2`, in the form of netplan, or with `version: 1`";

/// Whether it is of a form that cloud-init knows, and the only one that describes addresses.
pub(crate) fn check(config: &Config, root: &Node, errors: &mut Vec<ConfigError>) {
    let Some(entry) = root.entries().iter().find(|entry| entry.key.text() == NETWORK) else { return };
    if !entry.value.states_something() {
        return;
    }
    let mut wrong = |node: &Node, mark, path: &str, message: &str, way_out: &str| {
        let error = ConfigError::new(&node.source, mark, path, message);
        errors.push(error.allowed(FORM).suggestion(Some(way_out.to_owned())));
    };
    if let Some((node, path, message, way_out)) = objection(&entry.value) {
        wrong(node, if std::ptr::eq(node, &entry.value) { entry.mark } else { node.mark }, path, message, way_out);
    }
    if config.resources.nic.network == Connection::None {
        let way_out = "leave it out, or connect the machine to a network";
        wrong(&entry.value, entry.mark, NETWORK, "the machine has no network that this could describe", way_out);
    }
    let nics = config.resources.nics.iter().map(|(name, nic)| (format!("resources.nics.{name}.address"), nic));
    for (path, nic) in std::iter::once(("resources.nic.address".to_owned(), &config.resources.nic)).chain(nics) {
        if nic.address != Address::default() {
            let message = format!("the network is described twice: by `cloud-machine.{path}`, too");
            wrong(&entry.value, entry.mark, NETWORK, &message, "leave one of the two out");
        }
    }
}

/// Why `network` is no description: where, what and the way out.
fn objection(network: &Node) -> Option<(&Node, &'static str, &'static str, &'static str)> {
    const VERSION: &str = "write `version: 2`, without quotes";
    const NOTHING: &str = "this describes no network";
    const OFF: &str = "leave it out: without `network` the agent sets the network up. For no network: \
                       `cloud-machine: {resources: {nic: {network: none}}}`";
    let Value::Map(_) = &network.value else { return Some((network, NETWORK, NOTHING, OFF)) };
    if network.get(NETWORK).is_some() {
        let way_out = "take what lies below the inner `network`";
        return Some((network, NETWORK, "there is a `network` within it, as in a file of netplan", way_out));
    }
    let is_list = |node: &Node| matches!(&node.value, Value::List(items) if !items.is_empty());
    let config = network.get("config");
    let Some(version) = network.get("version") else {
        let is_off = config.is_some_and(|config| !is_list(config));
        return Some(match is_off {
            true => (network, NETWORK, NOTHING, OFF),
            false => (network, NETWORK, "the description of a network has no version", VERSION),
        });
    };
    let describes = match version.value {
        Value::Scalar(Scalar::Integer(1)) => config.is_some_and(is_list),
        Value::Scalar(Scalar::Integer(2)) => config.is_none() && KINDS.iter().any(|kind| has_some(network, kind)),
        _ => return Some((version, "network.version", "cloud-init knows no such version", VERSION)),
    };
    (!describes).then_some((network, NETWORK, NOTHING, OFF))
}

/// Maps of version 2 with interfaces in them.
const KINDS: [&str; 6] = ["ethernets", "wifis", "bonds", "bridges", "vlans", "tunnels"];

fn has_some(network: &Node, kind: &str) -> bool {
    matches!(network.get(kind).map(|node| &node.value), Some(Value::Map(entries)) if !entries.is_empty())
}
