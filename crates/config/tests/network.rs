//! A network as netplan describes it: what cloud-init is handed of it, and what it rules out.

#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{Config, ConfigErrors, LayerKind, defaults, merge, parse, validate};

const NETPLAN: &str = "\
network:
  version: 2
  ethernets:
    main: {match: {macaddress: '52:54:00:77:00:01'}, dhcp4: yes, addresses: [192.0.2.77/24]}
";

fn read(text: &str) -> Result<Config, ConfigErrors> {
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
    validate(&merge(&[defaults(), document]).unwrap())
}

/// The one error of a document: where, and its whole text.
fn refused(text: &str) -> (String, String) {
    let errors = read(text).unwrap_err();
    let [error] = errors.errors() else { panic!("{errors}") };
    (error.path.clone(), format!("{error}; {}", error.suggestion.clone().unwrap_or_default()))
}

#[test]
fn it_is_handed_over_as_it_was_written() {
    let config = read(&format!("{NETPLAN}timezone: UTC\n")).unwrap().cloud_init;
    let expected = "network:\n  version: 2\n  ethernets:\n    main:\n      match:\n        macaddress: \"52:54:00:77:00:01\"\n      \
                    dhcp4: yes\n      addresses:\n        - 192.0.2.77/24\n";
    assert_eq!(config.network_config().as_deref(), Some(expected));
    assert_eq!(config.without(&["network"]).to_yaml(), "timezone: UTC\n");
    for text in ["timezone: UTC\n", "network:\n", "network: {}\n"] {
        assert_eq!(read(text).unwrap().cloud_init.network_config(), None, "{text}");
    }
    assert!(
        read("network: {version: 1, config: [{type: physical, name: a}]}")
            .unwrap()
            .cloud_init
            .network_config()
            .is_some()
    );
}

#[test]
fn what_is_no_description_of_a_network_is_refused() {
    for (text, at, words) in [
        ("network: {ethernets: {a: {dhcp4: true}}}", "network", "has no version"),
        ("network: [eth0]", "network", "describes no network"),
        ("network: none", "network", "nic: {network: none}"),
        ("network: {network: {version: 2, ethernets: {a: {}}}}", "network", "inner `network`"),
        ("network: {version: 2}", "network", "describes no network"),
        ("network: {version: 2, renderer: networkd, ethernets: {}}", "network", "describes no network"),
        ("network: {version: 2, ethernets: {a: {}}, config: disabled}", "network", "describes no network"),
        ("network: {version: 1, config: disabled}", "network", "describes no network"),
        ("network: {version: 1}", "network", "describes no network"),
        ("network: {version: 3}", "network.version", "knows no such version"),
        ("network: {version: '2'}", "network.version", "knows no such version"),
        ("network: {config: disabled}", "network", "describes no network"),
    ] {
        let (found, error) = refused(text);
        assert_eq!(found, at, "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn addresses_are_described_once() {
    let (at, error) = refused(&format!("cloud-machine: {{resources: {{nic: {{network: none}}}}}}\n{NETPLAN}"));
    assert!(at == "network" && error.contains("has no network that this could describe"), "{at}: {error}");
    for (resources, key) in [
        ("nic: {address: {mtu: 1400}}", "resources.nic.address"),
        ("nics: {lan: {network: {bridge: br0}, address: {addresses: [10.9.0.7/24]}}}", "resources.nics.lan.address"),
    ] {
        let (at, error) = refused(&format!("cloud-machine: {{resources: {{{resources}}}}}\n{NETPLAN}"));
        assert!(
            at == "network" && error.contains(&format!("described twice: by `cloud-machine.{key}`")),
            "{at}: {error}"
        );
    }
    assert!(
        read(&format!("cloud-machine: {{resources: {{nics: {{lan: {{network: {{tap: t}}}}}}}}}}\n{NETPLAN}")).is_ok()
    );
}

#[test]
fn only_the_host_describes_a_network() {
    let layer = |kind, text: &str| parse(kind, "f", text.as_bytes()).unwrap();
    let host = layer(LayerKind::Project, NETPLAN);
    for kind in [LayerKind::CloudInitUrl, LayerKind::Volume] {
        for (below, text) in [
            (layer(LayerKind::Project, "timezone: UTC"), NETPLAN),
            (host.clone(), "network: {ethernets: {main: {dhcp4: false}}}"),
            (host.clone(), "network: !reset"),
            // The same values to whoever reads YAML 1.2.
            (host.clone(), "network: {ethernets: {main: {match: {macaddress: 52:54:00:77:00:01}}}}"),
            (host.clone(), "exclude: [network]"),
        ] {
            let errors = merge(&[defaults(), below, layer(kind, text)]).unwrap_err();
            assert!(errors.errors().iter().all(|error| error.path == "network"), "{errors}");
        }
        assert!(merge(&[defaults(), host.clone(), layer(kind, "timezone: UTC")]).is_ok());
    }
}

#[test]
fn what_is_secret_in_it_is_shown_nowhere() {
    let text = "network: {version: 2, tunnels: {t: {mode: wireguard, key: hidden1, keys: {private: hidden2}, \
                peers: [{keys: {public: seen, shared: hidden3}}]}}, wifis: {w: {access-points: {a: {password: hidden4}}}}}";
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
    let shown = merge(&[document]).unwrap().redacted(&|_| "?".to_owned()).to_yaml();
    assert!(!shown.contains("hidden") && shown.contains("seen") && shown.contains("wireguard"), "{shown}");
}
