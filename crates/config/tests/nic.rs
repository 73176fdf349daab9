//! The network interface: what it may be connected to, and what that rules out.

#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{Config, ConfigError, LayerKind, defaults, merge, parse, validate};
use cloud_machine_protocol::Connection;

fn read(text: &str) -> Result<Config, Vec<ConfigError>> {
    let document = parse(LayerKind::Project, "f", format!("cloud-machine: {text}").as_bytes()).unwrap();
    validate(&merge(&[defaults(), document]).unwrap()).map_err(|errors| errors.errors().to_vec())
}

fn nic(text: &str) -> Result<Config, Vec<ConfigError>> {
    read(&format!("{{resources: {{nic: {text}}}}}"))
}

fn network(text: &str) -> Connection {
    nic(&format!("{{network: {text}}}")).unwrap().resources.nic.network
}

/// The one error of a configuration: where, and its whole text.
fn refused(found: Result<Config, Vec<ConfigError>>) -> (String, String) {
    let errors = found.unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    let text = [Some(&error.message), error.allowed.as_ref(), error.suggestion.as_ref()];
    let text: Vec<&str> = text.into_iter().flatten().map(String::as_str).collect();
    (error.path.trim_start_matches("cloud-machine.").to_owned(), text.join("; "))
}

fn assert_refused(found: Result<Config, Vec<ConfigError>>, path: &str, words: &[&str]) {
    let (at, text) = refused(found);
    assert_eq!(at, path, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn an_interface_is_connected_to_the_drivers_network_to_nothing_or_to_one_of_the_host() {
    assert_eq!(nic("").unwrap().resources.nic.network, Connection::UserClosed);
    assert_eq!(network("user"), Connection::UserClosed);
    assert_eq!(network("none"), Connection::None);
    assert_eq!(network("{bridge: br0}"), Connection::Bridge("br0".parse().unwrap()));
    assert_eq!(network("{tap: tap-7}"), Connection::Tap("tap-7".parse().unwrap()));
}

#[test]
fn two_interfaces_of_the_host_are_one_too_many_and_none_is_one_too_few() {
    let words = ["two are named", "`bridge` or `tap`", "!reset"];
    assert_refused(nic("{network: {bridge: br0, tap: tap0}}"), "resources.nic.network", &words);
    assert_refused(
        nic("{network: {bridge: }}"),
        "resources.nic.network",
        &["no interface of the host is named", "{bridge: NAME}"],
    );
}

#[test]
fn a_name_that_no_interface_has_is_refused_at_its_place() {
    for name in ["a/b", "'-br0'", "'br0,x'", "sixteen-letters-", "'b r'"] {
        assert_refused(
            nic(&format!("{{network: {{bridge: {name}}}}}")),
            "resources.nic.network.bridge",
            &["invalid value", "the name of an interface"],
        );
    }
    assert_refused(nic("{network: {tap: 7}}"), "resources.nic.network.tap", &["in quotes"]);
    assert_refused(nic("{network: {vlan: 7}}"), "resources.nic.network.vlan", &["unknown key", "bridge, tap"]);
}

#[test]
fn the_loopback_interface_of_the_host_is_closed_until_it_is_opened_and_only_on_the_user_network() {
    let with = |text: &str| nic(text).unwrap().resources.nic.network;
    assert_eq!(with("{host-access: true}"), Connection::User);
    for closed in ["{host-access: false}", "{network: user}", "{network: user, host-access: false}"] {
        assert_eq!(with(closed), Connection::UserClosed, "{closed}");
    }
    assert_eq!(with("{network: none, host-access: false}"), Connection::None);
    let at = "resources.nic.host-access";
    assert_refused(nic("{network: none, host-access: true}"), at, &["reaches nothing"]);
    for access in [true, false] {
        let text = format!("{{network: {{bridge: br0}}, host-access: {access}}}");
        assert_refused(nic(&text), at, &["the host's firewall", "leave it out"]);
    }
}

#[test]
fn a_machine_without_a_network_is_not_asked_for_what_needs_one() {
    let with = |text: &str| read(&format!("{{resources: {{nic: {{network: none}}}}, {text}}}"));
    assert!(with("cloud-init-url: file:///srv/a.yaml").is_ok());
    for part in ["ssh", "cloud-init"] {
        assert_refused(with(&format!("wait-for: [{part}]")), "wait-for", &["over SSH", "no network"]);
    }
    assert_refused(with("cloud-init-url: https://a.example/"), "cloud-init-url", &["has no network", "leave it out"]);
    let below = read("{resources: {nic: {network: none}, cloud-init-url: 'https://a.example/'}}");
    assert_refused(below, "resources.cloud-init-url", &["has no network"]);
}

/// An interface on a bridge with this `address`.
fn address(text: &str) -> Result<Config, Vec<ConfigError>> {
    nic(&format!("{{network: {{bridge: br0}}, address: {text}}}"))
}

#[test]
fn every_key_of_an_address_is_read() {
    let found = address(
        "{addresses: [192.0.2.7/24, 2001:db8::7/64], gateways: [192.0.2.1, fe80::1], dns: [192.0.2.53, 2001:db8::53],
          search: [corp.example, lab], routes: [198.51.100.0/24 via 192.0.2.254], mtu: 1400, vlan: 100}",
    );
    let address = found.unwrap().resources.nic.address;
    assert_eq!(
        address.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.7/24", "2001:db8::7/64"]
    );
    assert_eq!(address.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1", "fe80::1"]);
    assert_eq!(address.dns.len(), 2);
    assert_eq!(address.search, ["corp.example", "lab"]);
    let route = address.routes[0];
    assert_eq!((route.to.to_string(), route.via.to_string()), ("198.51.100.0/24".to_owned(), "192.0.2.254".to_owned()));
    assert_eq!((address.mtu, address.vlan, address.is_dhcp()), (Some(1400), Some(100), false));
}

#[test]
fn what_a_dhcp_server_says_may_be_overruled_in_part() {
    let config = nic("{address: {dns: [192.0.2.53], search: [a.example], mtu: 1000}}").unwrap();
    assert!(config.resources.nic.address.is_dhcp() && config.resources.nic.address.mtu == Some(1000));
    assert!(address("{vlan: 7, dns: [192.0.2.53]}").unwrap().resources.nic.address.is_dhcp());
}

/// Each wrong item of the list `key` is refused at its place, with what is wrong.
fn assert_items_refused(key: &str, allowed: &str, wrong: &[(&str, &str)]) {
    for (item, why) in wrong {
        let at = format!("resources.nic.address.{key}[0]");
        assert_refused(
            address(&format!("{{{key}: ['{item}']}}")),
            &at,
            &[&format!("found `{item}`, {why}; "), allowed],
        );
    }
}

#[test]
fn an_address_that_no_machine_can_have_is_refused_with_its_reason() {
    let wrong = [
        ("192.0.2.7", "an address without the length of its subnet's prefix"),
        ("192.0.2.0/24", "the address of its subnet itself"),
        ("192.0.2.255/24", "the broadcast address of its subnet"),
        ("192.0.2.7/33", "whose prefix is not 0 to 32 bits long"),
        ("2001:db8::7/129", "whose prefix is not 0 to 128 bits long"),
        ("192.0.2.7/0", "in whose subnet every address lies"),
        ("127.0.0.1/8", "a loopback address"),
        ("0.0.0.0/0", "the unspecified address"),
        ("0.1.2.3/8", "a reserved address"),
        ("224.0.0.1/24", "a multicast address"),
        ("169.254.1.1/16", "a link-local address"),
        ("240.0.0.1/8", "a reserved address"),
        ("2001:db8::/64", "the address of all routers of its subnet"),
        ("fe80::1/64", "a link-local address"),
        ("::1/128", "a loopback address"),
        ("ff02::1/64", "a multicast address"),
        ("::ffff:192.0.2.7/128", "an address of IPv4 in the form of IPv6"),
        ("a.example/24", "no address of IPv4 or IPv6"),
        ("", "no address of IPv4 or IPv6"),
    ];
    assert_items_refused("addresses", "such as [192.0.2.7/24", &wrong);
    // Both addresses of a subnet of two are machines' (RFC 3021, RFC 6164).
    assert!(address("{addresses: [192.0.2.0/31, 192.0.2.7/32, 2001:db8::/127, '2001:db8::1:0/128']}").is_ok());
    assert_refused(nic("{address: 192.0.2.7/24}"), "resources.nic.address", &["dhcp, or a map {addresses"]);
}

#[test]
fn each_wrong_item_of_a_list_is_told_and_one_that_is_no_text_is_as_well() {
    let errors = address("{addresses: [192.0.2.255/24, 192.0.2.7/24, 127.0.0.1/8]}").unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|error| error.path.rsplit('.').next().unwrap()).collect();
    assert_eq!(paths, ["addresses[0]", "addresses[2]"]);
    assert_refused(address("{addresses: [7]}"), "resources.nic.address.addresses", &["found a list with `7`"]);
}

#[test]
fn a_dns_server_is_one_that_can_answer() {
    let wrong = [
        ("0.0.0.0", "the unspecified address"),
        ("::", "the unspecified address"),
        ("255.255.255.255", "the broadcast address of every link"),
        ("224.0.0.251", "a multicast address"),
        ("ff02::fb", "a multicast address"),
        ("fe80::1", "a link-local address"),
        ("a.example", "no address of IPv4 or IPv6"),
    ];
    assert_items_refused("dns", "at most three addresses", &wrong);
    let twice = address("{dns: ['2001:db8::53', '2001:DB8:0::53']}");
    assert_refused(twice, "resources.nic.address.dns", &["2001:db8::53 is there twice"]);
    assert!(address("{dns: [127.0.0.53, 192.0.2.53]}").is_ok());
}

#[test]
fn a_gateway_is_another_machine_in_the_subnet() {
    let at = "resources.nic.address.gateways";
    let with =
        |gateways: &str| address(&format!("{{addresses: [192.0.2.7/24, 2001:db8::7/64], gateways: [{gateways}]}}"));
    let outside = ["the gateway 192.0.3.1 is outside the subnet of 192.0.2.7/24, 2001:db8::7/64", "prefix"];
    assert_refused(with("192.0.3.1"), at, &outside);
    assert_refused(with("2001:db8:1::1"), at, &["outside the subnet"]);
    assert_refused(with("192.0.2.7"), at, &["is the machine itself"]);
    assert_refused(with("192.0.2.1, 192.0.2.2"), at, &["two gateways for IPv4", "`routes`"]);
    assert_refused(address("{gateways: [192.0.2.1]}"), at, &["without `addresses`"]);
    for edge in ["192.0.2.0", "192.0.2.255"] {
        assert_refused(
            with(edge),
            at,
            &[&format!("the gateway {edge} names the subnet of 192.0.2.7/24"), "the router"],
        );
    }
    let wrong = [
        ("127.0.0.1", "a loopback address"),
        ("0.0.0.0", "the unspecified address"),
        ("ff02::2", "a multicast address"),
        ("192.0.2.1/24", "no address of IPv4 or IPv6"),
    ];
    assert_items_refused("gateways", "addresses of routers", &wrong);
    assert!(with("192.0.2.1, fe80::1").is_ok());
    // All routers of the subnet have this one (RFC 4291, section 2.6.1).
    assert!(with("'2001:db8::'").is_ok());
    assert!(address("{addresses: [192.0.2.1/31], gateways: [192.0.2.0]}").is_ok());
}

#[test]
fn routes_lead_through_the_subnet_to_networks() {
    let at = "resources.nic.address.routes";
    let with = |routes: &str| address(&format!("{{addresses: [192.0.2.7/24], routes: [{routes}]}}"));
    let stays = "whose target no router leads to";
    let wrong = [
        ("198.51.100.0/24", "not of the form `NETWORK via GATEWAY`"),
        ("198.51.100.0/24 192.0.2.1", "not of the form `NETWORK via GATEWAY`"),
        ("198.51.100.7/24 via 192.0.2.1", "whose target has bits set behind its prefix"),
        ("x via 192.0.2.1", "whose target is no network with a prefix"),
        ("198.51.100.0/24 via x", "whose gateway is no address that a router can have"),
        ("198.51.100.0/24 via 224.0.0.1", "whose gateway is no address that a router can have"),
    ];
    assert_items_refused("routes", "such as [198.51.100.0/24 via 192.0.2.254]", &wrong);
    for to in
        ["127.0.0.0/8 via 192.0.2.1", "224.0.0.0/4 via 192.0.2.1", "fe80::/10 via fe80::1", "ff00::/8 via fe80::1"]
    {
        let words = [&format!("found `{to}`, {stays}")];
        assert_refused(with(&format!("'{to}'")), &format!("{at}[0]"), &words.map(String::as_str));
    }
    assert_refused(with("198.51.100.0/24 via 203.0.113.1"), at, &["outside the subnet"]);
    assert_refused(with("2001:db8:1::/48 via 192.0.2.1"), at, &["two families"]);
    assert_refused(with("0.0.0.0/0 via 192.0.2.1"), at, &["`gateways`"]);
    assert_refused(with("10.0.0.0/8 via 192.0.2.1, 10.0.0.0/8 via 192.0.2.2"), at, &["two routes to 10.0.0.0/8"]);
    assert_refused(address("{routes: [10.0.0.0/8 via 192.0.2.1]}"), at, &["without `addresses`"]);
    assert_refused(with("198.51.100.0/24 via 192.0.2.255"), at, &["names the subnet of 192.0.2.7/24"]);
    assert_refused(with("192.0.2.0/24 via 192.0.2.1"), at, &["192.0.2.0/24 is a subnet of the interface itself"]);
    for to in ["192.0.2.1/32", "192.0.2.0/25"] {
        let text = format!("the route to {to} leads to its own gateway 192.0.2.1 as well");
        assert_refused(with(&format!("{to} via 192.0.2.1")), at, &[&text]);
    }
    assert!(with("192.0.2.128/25 via 192.0.2.1, 192.0.0.0/16 via 192.0.2.1").is_ok());
}

#[test]
fn numbers_and_lists_have_bounds() {
    let at = |key: &str| format!("resources.nic.address.{key}");
    for (mtu, words) in
        [("575", "576 to 65535"), ("65536", "576 to 65535"), ("big", "576 to 65535"), ("1279", "the host reaches")]
    {
        assert_refused(address(&format!("{{mtu: {mtu}}}")), &at("mtu"), &[words]);
    }
    let small = address("{addresses: [2001:db8::7/64], mtu: 1279}");
    assert_refused(small, &at("mtu"), &["too small for IPv6, which needs 1280"]);
    for vlan in ["0", "4095", "-1", "a"] {
        assert_refused(address(&format!("{{vlan: {vlan}}}")), &at("vlan"), &["1 to 4094"]);
    }
    assert_refused(address("{dns: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}"), &at("dns"), &["4 are more than 3"]);
    let long = "a".repeat(64);
    let wrong = [
        ("a b", "no name of DNS"),
        ("-a", "no name of DNS"),
        ("a..b", "with nothing where a part of a name belongs"),
        ("corp.example.", "with a dot at its end, which is left out"),
        ("", "with nothing where a part of a name belongs"),
        (&long, "longer than a name of DNS can be"),
    ];
    assert_items_refused("search", "domains", &wrong);
    assert_refused(address("{search: [\"a\\nb\"]}"), &at("search[0]"), &["no name of DNS", "domains"]);
    assert_refused(address("{search: [corp.example]}"), &at("search"), &["nobody is asked", "`dns`"]);
    assert_refused(address("{addresses: [192.0.2.7/24, 192.0.2.7/25]}"), &at("addresses"), &["is there twice"]);
}

#[test]
fn an_address_fits_its_network() {
    let at = |key: &str| format!("resources.nic.address{key}");
    let user = nic("{address: {addresses: [192.0.2.7/24]}}");
    assert_refused(user, &at(".addresses"), &["the user network gives", "a bridge or a tap"]);
    assert_refused(nic("{address: {vlan: 7}}"), &at(".vlan"), &["no VLANs"]);
    assert_refused(nic("{network: none, address: {mtu: 1400}}"), &at(""), &["has no address"]);
    let url = "{resources: {nic: {network: {tap: tap0}, address: {vlan: 7}}}, cloud-init-url: 'https://a.example/'}";
    assert_refused(read(url), "cloud-init-url", &["before it is in its VLAN", "a file of the host"]);
}
