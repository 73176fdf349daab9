//! Further network interfaces: what they may be, and what no two interfaces of a machine may have.

#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{Config, ConfigError, LayerKind, defaults, merge, parse, validate};
use cloud_machine_protocol::Connection;

fn read(resources: &str) -> Result<Config, Vec<ConfigError>> {
    let text = format!("cloud-machine: {{resources: {{{resources}}}}}");
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
    validate(&merge(&[defaults(), document]).unwrap()).map_err(|errors| errors.errors().to_vec())
}

/// Where the one error of these interfaces is, and its whole text.
fn refused(resources: &str) -> (String, String) {
    let errors = read(resources).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    let text = [Some(&error.message), error.allowed.as_ref(), error.suggestion.as_ref()];
    let text: Vec<&str> = text.into_iter().flatten().map(String::as_str).collect();
    (error.path.trim_start_matches("cloud-machine.resources.").to_owned(), text.join("; "))
}

#[test]
fn an_interface_is_known_by_its_name() {
    let config = read(
        "nic: {network: {bridge: br0}}, nics: {\
         storage: {network: {bridge: br1}, mac: '52:54:00:00:00:01', address: {addresses: [10.9.0.7/24], mtu: 9000}}, \
         backup: {network: {tap: tap0}, address: {addresses: [10.8.0.7/24], routes: [10.7.0.0/16 via 10.8.0.1], vlan: 7}}, \
         spare: {network: {bridge: br1}}}",
    )
    .unwrap();
    let nics = config.resources.nics;
    assert_eq!(nics.keys().map(ToString::to_string).collect::<Vec<_>>(), ["backup", "spare", "storage"]);
    let [backup, spare, storage] = ["backup", "spare", "storage"].map(|name| &nics[&name.parse().unwrap()]);
    assert_eq!(backup.network, Connection::Tap("tap0".parse().unwrap()));
    assert_eq!((backup.address.vlan, backup.address.routes.len(), backup.mac), (Some(7), 1, None));
    assert!(spare.address.is_dhcp());
    assert_eq!(storage.mac, Some("52:54:00:00:00:01".parse().unwrap()));
    assert_eq!((storage.address.addresses.len(), storage.address.mtu), (1, Some(9000)));
}

#[test]
fn an_interface_is_on_one_bridge_or_tap() {
    for (nics, at, words) in [
        ("{a: {}}", "nics", "no interface of the host is named; {bridge: NAME} or {tap: NAME}"),
        ("{a: {network: {bridge: br0, tap: tap0}}}", "nics.a.network", "two are named"),
        ("{a: {network: user}}", "nics.a.network", "a map with the keys bridge, tap"),
        ("{a: {network: none}}", "nics.a.network", "a map with the keys bridge, tap"),
        ("{a: }", "nics.a", "write `a: {network: {bridge: NAME}}`"),
        ("{eth0: {network: {bridge: br0}}}", "nics.eth0", "no name that systems give by themselves"),
        ("{a: {network: {bridge: br0}, host-access: true}}", "nics.a.host-access", "unknown key"),
        (
            "{a: {network: {bridge: br0}, address: {gateways: [10.0.0.1]}}}",
            "nics.a.address.gateways",
            "are those of `resources.nic` alone",
        ),
        ("{a: {network: {bridge: br0}, address: {addresses: [10.0.0.0/24]}}}", "nics.a.address.addresses[0]", "itself"),
        (
            "{a: {network: {bridge: br0}, address: {addresses: [10.9.0.7/24], routes: [10.7.0.0/16 via 10.8.0.1]}}}",
            "nics.a.address.routes",
            "outside the subnet",
        ),
    ] {
        let (found, text) = refused(&format!("nics: {nics}"));
        // Where the map `network` is not written, the error is at the interface.
        assert!(found == at || found.starts_with(&format!("{at}.")), "{found}: {text}");
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
}

#[test]
fn two_interfaces_do_not_have_the_same() {
    let one = |rest: &str| format!("{{network: {{bridge: br1}}, {rest}}}");
    let fixed = |address: &str| one(&format!("address: {{addresses: [{address}]}}"));
    let routed = |address: &str, to: &str, via: &str| {
        one(&format!("address: {{addresses: [{address}], routes: [{to} via {via}]}}"))
    };
    for (nic, a, b, at, words) in [
        (
            one("mac: '52:54:00:00:00:01'"),
            one("mac: '52:54:00:00:00:01'"),
            String::new(),
            "nics.a.mac",
            "`nic` has the hardware",
        ),
        (
            "{}".into(),
            "{network: {tap: t0}}".into(),
            "{network: {tap: t0}}".into(),
            "nics.b.network",
            "`nics.a` has the tap t0",
        ),
        (fixed("10.9.0.7/24"), fixed("10.9.0.8/25"), String::new(), "nics.a.address.addresses", "overlap"),
        ("{}".into(), fixed("10.0.2.77/24"), String::new(), "nics.a.address.addresses", "10.0.2.0/24 of `nic` overlap"),
        ("{}".into(), fixed("10.9.0.7/24"), fixed("10.9.1.1/16"), "nics.b.address.addresses", "overlap"),
        (
            "{}".into(),
            routed("10.9.0.7/24", "10.7.0.0/16", "10.9.0.1"),
            routed("10.8.0.7/24", "10.7.0.0/16", "10.8.0.1"),
            "nics.b.address.routes",
            "`nics.a` has a route to 10.7.0.0/16",
        ),
        (
            "{}".into(),
            fixed("10.9.0.7/24"),
            routed("10.8.0.7/24", "10.9.0.0/24", "10.8.0.1"),
            "nics.b.address.routes",
            "is in a subnet of `nics.a`",
        ),
        (
            "{}".into(),
            routed("10.8.0.7/24", "10.9.0.0/24", "10.8.0.1"),
            fixed("10.9.0.7/24"),
            "nics.b.address.addresses",
            "where a route of `nics.a` leads",
        ),
        (
            "{}".into(),
            fixed("10.9.0.7/24"),
            routed("10.8.0.7/24", "10.9.0.7/32", "10.8.0.1"),
            "nics.b.address.routes",
            "is in a subnet of `nics.a`",
        ),
        (
            "{}".into(),
            routed("10.9.0.7/24", "128.0.0.0/1", "10.9.0.1"),
            String::new(),
            "nics.a.address.routes",
            "`resources.nic.address.gateways`",
        ),
        (
            "{}".into(),
            routed("10.9.0.7/24", "0.0.0.0/0", "10.9.0.1"),
            String::new(),
            "nics.a.address.routes",
            "`resources.nic.address.gateways`",
        ),
        ("{network: none}".into(), fixed("10.9.0.7/24"), String::new(), "nics", "write one of them as `nic`"),
    ] {
        let b = if b.is_empty() { String::new() } else { format!(", b: {b}") };
        let (found, text) = refused(&format!("nic: {nic}, nics: {{a: {a}{b}}}"));
        assert_eq!(found, at, "{text}");
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
}

#[test]
fn what_a_bus_has_no_room_for_is_refused() {
    let nics: Vec<String> = (1..=9).map(|number| format!("n{number}: {{network: {{bridge: br0}}}}")).collect();
    assert!(read(&format!("nics: {{{}}}", nics[..8].join(", "))).is_ok());
    assert!(refused(&format!("nics: {{{}}}", nics.join(", "))).1.contains("9 are more than 8"));
}
