//! The top-level key `network`, in the form of netplan or of NoCloud's file `network-config`: the machine's cloud-init gets it.
//! Must not give what it says a meaning.

use crate::{
    config::{Address, Config},
    error::ConfigError,
    scalar::Scalar,
    tree::{Node, Value},
};

/// The key.
pub(crate) const NETWORK: &str = "network";
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
    match entry.value.get("version") {
        Some(version) if matches!(version.value, Value::Scalar(Scalar::Integer(1 | 2))) => {}
        Some(version) => {
            wrong(version, version.mark, "network.version", "cloud-init knows no such version", "write `version: 2`");
        }
        None if entry.value.get("config").is_some() => {
            let way_out = "leave it out: without `network` the agent sets the network up, and cloud-init does not";
            wrong(&entry.value, entry.mark, NETWORK, "this describes no network", way_out);
        }
        None => wrong(
            &entry.value,
            entry.mark,
            NETWORK,
            "the description of a network has no version",
            "write `version: 2`",
        ),
    }
    let nics = config.resources.nics.iter().map(|(name, nic)| (format!("resources.nics.{name}.address"), nic));
    for (path, nic) in std::iter::once(("resources.nic.address".to_owned(), &config.resources.nic)).chain(nics) {
        if nic.address != Address::default() {
            let message = format!("`{path}` describes addresses, and so does this");
            wrong(&entry.value, entry.mark, NETWORK, &message, "leave one of the two out");
        }
    }
}
