//! Leases out of good and of hostile answers.

use super::*;
use crate::network::{
    fixture::{ACK, CLIENT, Options, packet, usual, with},
    packet::answer,
};

const ADDRESS: [u8; 4] = [10, 0, 2, 15];

fn given(address: [u8; 4], options: &Options<'_>) -> Result<Lease, String> {
    let answer = answer(CLIENT, &packet(address, options)).expect("an answer for us");
    lease(&answer).map_err(|unusable| unusable.to_string())
}

fn routes_of(options: &Options<'_>) -> Result<Vec<String>, String> {
    given(ADDRESS, options).map(|lease| lease.routes.iter().map(shown).collect())
}

fn shown(route: &Route) -> String {
    let gateway = route.gateway.map_or_else(|| "link".to_owned(), |gateway| gateway.to_string());
    format!("{}/{} {gateway}", route.destination, route.prefix)
}

#[test]
fn a_usual_answer_is_a_lease() {
    let expected = Lease {
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        routes: vec![Route {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
        }],
        name_servers: vec![Ipv4Addr::new(10, 0, 2, 3)],
        server: Ipv4Addr::new(10, 0, 2, 2),
        seconds: 3600,
        mtu: None,
    };
    assert_eq!(given(ADDRESS, &usual(&[ACK])), Ok(expected));
}

#[test]
fn a_lease_needs_neither_router_nor_name_server() {
    let options = with(with(usual(&[ACK]), 3, &[]), 6, &[]);
    let lease = given(ADDRESS, &options).unwrap();
    assert!(lease.routes.is_empty() && lease.name_servers.is_empty());
}

#[test]
fn what_is_missing_is_named() {
    for (code, name) in [(1, "netmask"), (51, "lease time")] {
        let error = given(ADDRESS, &with(usual(&[ACK]), code, &[])).unwrap_err();
        assert_eq!(error, format!("DHCP server 10.0.2.2 gave no {name}"));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (code, value, name) in [
        (1, [255, 255, 255].as_slice(), "netmask"),
        (51, &[0, 1], "lease time"),
        (3, &[10, 0, 2], "list of routers"),
        (6, &[10, 0, 2, 3, 10], "list of name servers"),
        (121, &[0], "list of classless routes"),
        (121, &[33, 10, 0, 0, 0, 0, 10, 0, 2, 2], "list of classless routes"),
        (121, &[255, 10, 0, 0, 0, 10, 0, 2, 2], "list of classless routes"),
        (121, &[8, 10, 10, 0, 2, 2, 16, 10], "list of classless routes"),
        (121, &[32, 10, 0, 2, 99, 10, 0, 2], "list of classless routes"),
    ] {
        let error = given(ADDRESS, &with(usual(&[ACK]), code, value)).unwrap_err();
        assert_eq!(error, format!("DHCP server 10.0.2.2 gave an unreadable {name}"));
    }
}

#[test]
fn an_address_is_one_of_a_machine() {
    for address in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [169, 254, 1, 1], [224, 0, 0, 1], [255, 255, 255, 255]]
    {
        let error = given(address, &usual(&[ACK])).unwrap_err();
        let shown = Ipv4Addr::from(address);
        assert_eq!(error, format!("DHCP server 10.0.2.2 gave the address {shown}, which is none for a machine"));
    }
    for last in [0, 255] {
        let error = given([10, 0, 2, last], &usual(&[ACK])).unwrap_err();
        assert_eq!(error, format!("DHCP server 10.0.2.2 gave 10.0.2.{last}/24, which names the whole subnet"));
    }
}

#[test]
fn a_netmask_is_one_of_a_subnet() {
    for mask in [[0, 0, 0, 0], [128, 0, 0, 0], [254, 0, 0, 0], [255, 0, 255, 0], [255, 255, 255, 1], [0, 0, 0, 255]] {
        let error = given(ADDRESS, &with(usual(&[ACK]), 1, &mask)).unwrap_err();
        let shown = Ipv4Addr::from(mask);
        assert_eq!(error, format!("DHCP server 10.0.2.2 gave the netmask {shown}, which is none for a subnet"));
    }
    for (mask, prefix) in [([255, 0, 0, 0], 8), ([255, 255, 254, 0], 23), ([255, 255, 255, 240], 28)] {
        assert_eq!(given([10, 0, 2, 3], &with(usual(&[ACK]), 1, &mask)).unwrap().prefix, prefix);
    }
}

#[test]
fn a_lease_has_a_time() {
    let error = given(ADDRESS, &with(usual(&[ACK]), 51, &[0; 4])).unwrap_err();
    assert_eq!(error, "DHCP server 10.0.2.2 gave a lease of no time");
    assert_eq!(given(ADDRESS, &with(usual(&[ACK]), 51, &[255; 4])).unwrap().seconds, u32::MAX);
}

#[test]
fn a_router_can_be_reached() {
    for router in [[10, 0, 3, 1], [8, 8, 8, 8], [0, 0, 0, 0], [127, 0, 0, 1], ADDRESS] {
        let error = routes_of(&with(usual(&[ACK]), 3, &router)).unwrap_err();
        let shown = Ipv4Addr::from(router);
        let expected = format!("DHCP server 10.0.2.2 gave the router {shown}, to which 10.0.2.15/24 has no way");
        assert_eq!(error, expected);
    }
    // Only the one that is preferred counts.
    let two = routes_of(&with(usual(&[ACK]), 3, &[10, 0, 2, 1, 8, 8, 8, 8]));
    assert_eq!(two, Ok(vec!["0.0.0.0/0 10.0.2.1".to_owned()]));
}

#[test]
fn classless_routes_take_the_place_of_the_router() {
    let routes = [24, 192, 168, 7, 10, 0, 2, 9, 12, 172, 31, 10, 0, 2, 8];
    assert_eq!(
        routes_of(&with(usual(&[ACK]), 121, &routes)).unwrap(),
        ["192.168.7.0/24 10.0.2.9", "172.16.0.0/12 10.0.2.8"],
        "host bits count for nothing, and there is no default route"
    );
    let error = routes_of(&with(usual(&[ACK]), 121, &[0, 10, 0, 3, 1])).unwrap_err();
    assert_eq!(error, "DHCP server 10.0.2.2 gave the router 10.0.3.1, to which 10.0.2.15/24 has no way");
}

#[test]
fn a_route_on_the_link_makes_a_router_reachable() {
    // As clouds do it that give each machine a subnet of its own.
    let options = with(usual(&[ACK]), 1, &[255; 4]);
    let routes = [0, 10, 128, 0, 1, 32, 10, 128, 0, 1, 0, 0, 0, 0];
    assert_eq!(routes_of(&with(options, 121, &routes)).unwrap(), ["0.0.0.0/0 10.128.0.1", "10.128.0.1/32 link"]);
    assert_eq!(routes_of(&with(usual(&[ACK]), 121, &[0, 0, 0, 0, 0])).unwrap(), ["0.0.0.0/0 link"]);
}

#[test]
fn routes_are_counted() {
    let one = [32, 10, 0, 2, 99, 0, 0, 0, 0];
    assert_eq!(routes_of(&with(usual(&[ACK]), 121, &one.repeat(64))).unwrap().len(), 64);
    let error = routes_of(&with(usual(&[ACK]), 121, &one.repeat(65))).unwrap_err();
    assert_eq!(error, "DHCP server 10.0.2.2 gave 65 routes, more than 64");
}

#[test]
fn a_thousand_name_servers_are_three() {
    let mut servers = vec![0, 0, 0, 0, 127, 0, 0, 53, 255, 255, 255, 255, 10, 0, 2, 3, 10, 0, 2, 3];
    for number in 0..1000_u16 {
        let [high, low] = number.to_be_bytes();
        servers.extend([10, 1, high, low]);
    }
    let lease = given(ADDRESS, &with(usual(&[ACK]), 6, &servers)).unwrap();
    assert_eq!(lease.name_servers, ["10.0.2.3", "10.1.0.0", "10.1.0.1"].map(|text| text.parse::<Ipv4Addr>().unwrap()));
}

#[test]
fn a_packet_size_of_nonsense_is_left_out() {
    for (value, expected) in [
        ([0x05, 0xdc].as_slice(), Some(1500)),
        (&[0x02, 0x40], Some(576)),
        (&[0x02, 0x3f], None),
        (&[0, 0], None),
        (&[9], None),
    ] {
        assert_eq!(given(ADDRESS, &with(usual(&[ACK]), 26, value)).unwrap().mtu, expected, "{value:?}");
    }
}
