//! The agent's way to a document on a real network stack: real DHCP and DNS from dnsmasq, routes, HTTP by host name,
//! and nothing left afterwards. Needs root, and touches only namespaces of its own.

mod lan;

use lan::{DOCUMENT, GATEWAY, Lan, MAC, SERVER, SERVER6, good, result};
use serde_json::json;

const URL: &str = "http://seed.test/seed.yaml";

#[test]
fn a_document_beyond_the_router_comes_by_its_name() {
    let lan = Lan::served(&["--dhcp-option=26,1400"], &good());
    let found = lan.fetch(60, URL).unwrap();
    assert_eq!(found["document"], DOCUMENT);
    assert_eq!(found["interface"], "eth7");
    let address = found["address"].as_str().unwrap();
    assert!(address.starts_with("10.77.0.5") && address.ends_with("/24") || address == "10.77.0.60/24", "{found}");
    assert_eq!(found["routes"], json!(["0.0.0.0/0 10.77.0.1"]));
    assert_eq!((&found["name_servers"], &found["server"]), (&json!(["10.77.0.1"]), &json!("10.77.0.1")));
    assert_eq!(found["seconds"], 3600);
    assert_eq!([&found["mtu_up"], &found["mtu_down"]], ["1400", "1500"]);
    lan.assert_untouched();

    // The same machine gets the same address again: it names itself in the same way.
    assert_eq!(lan.fetch(60, URL).unwrap()["address"], found["address"]);
}

#[test]
fn written_addresses_of_both_families_need_no_dhcp_server_and_leave_nothing() {
    let lan = Lan::served(&["--dhcp-ignore=tag:!known"], &good());
    let found = lan.fetch_as(["10.77.0.99/24", SERVER, SERVER], URL).unwrap();
    assert_eq!((&found["document"], &found["address"]), (&json!(DOCUMENT), &json!("10.77.0.99/24")));
    assert_eq!((&found["routes"], &found["seconds"]), (&json!(["0.0.0.0/0 10.77.0.1"]), &json!(null)));
    lan.assert_untouched();

    let url = format!("http://[{SERVER6}]/seed.yaml");
    let found = lan.fetch_as(["2001:db8:77::99/64", SERVER6, SERVER6], &url).unwrap();
    assert_eq!((&found["document"], &found["routes"]), (&json!(DOCUMENT), &json!([format!("::/0 {SERVER6}")])));
    lan.assert_untouched();
}

#[test]
fn classless_routes_count_and_the_router_does_not() {
    // The way to the gateway comes after the way that needs it.
    let routes = format!("--dhcp-option=121,192.0.2.0/24,{GATEWAY},{GATEWAY}/32,0.0.0.0");
    let lan = Lan::served(&["--dhcp-option=3,10.77.0.99", &routes], &good());
    let found = lan.fetch(60, URL).unwrap();
    assert_eq!(found["document"], DOCUMENT);
    assert_eq!(found["routes"], json!([format!("192.0.2.0/24 {GATEWAY}"), format!("{GATEWAY}/32 link")]));
    lan.assert_untouched();
}

#[test]
fn an_interface_that_comes_late_is_waited_for() {
    let mut lan = Lan::new();
    lan.start_web(&good());
    lan.start_dnsmasq(&[]);
    let client = lan.client(MAC, 60, URL);
    lan::a_moment();
    lan.plug();
    assert_eq!(result(client).unwrap()["document"], DOCUMENT);
}

#[test]
fn an_interface_that_does_not_come_is_told() {
    let lan = Lan::new();
    let error = lan.fetch(2, URL).unwrap_err();
    assert_eq!(error, format!("no Ethernet interface has the address {MAC}; there is lo (00:00:00:00:00:00)"));
}

#[test]
fn no_server_is_told_at_the_deadline() {
    let lan = Lan::new();
    lan.plug();
    let error = lan.fetch(4, URL).unwrap_err();
    assert!(error.starts_with("no DHCP server gave eth7 a lease in "), "{error}");
    assert!(error.ends_with(" messages were sent"), "{error}");
    lan.assert_untouched();
}

#[test]
fn a_server_that_offers_nonsense_is_told() {
    let lan = Lan::served(&["--dhcp-option=3,8.8.8.8"], &good());
    let error = lan.fetch(4, URL).unwrap_err();
    let fault = ": DHCP server 10.77.0.1 gave the router 8.8.8.8, to which 10.77.0.";
    assert!(error.starts_with("no DHCP server gave eth7 a lease in ") && error.contains(fault), "{error}");
    lan.assert_untouched();
}

#[test]
fn a_name_with_too_many_addresses_for_a_packet_is_asked_for_again_over_tcp() {
    let lan = Lan::served(&[], &good());
    assert_eq!(lan.fetch(60, "http://many.test/seed.yaml").unwrap()["document"], DOCUMENT);
}

#[test]
fn an_unknown_name_is_told_with_who_was_asked() {
    let lan = Lan::served(&[], &good());
    let error = lan.fetch(60, "http://user:secret@nobody.test/seed.yaml?token=secret").unwrap_err();
    assert!(error.starts_with("gave up on http://nobody.test/seed.yaml after 2 attempts in "), "{error}");
    assert!(error.contains("cannot resolve nobody.test with name server 10.77.0.1"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    lan.assert_untouched();
}

#[test]
fn a_server_elsewhere_does_not_lead_to_the_link() {
    for (location, to) in
        [("http://169.254.169.254/latest", "http://169.254.169.254/latest"), ("http://127.0.0.1/", "http://127.0.0.1/")]
    {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let lan = Lan::served(&[], &answer);
        let error = lan.fetch(60, URL).unwrap_err();
        let reason = "an address of this machine or its link is not reached from elsewhere";
        assert_eq!(error, format!("refused to follow {URL} to {to}: {reason}"));
    }
}
