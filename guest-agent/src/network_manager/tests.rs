use super::*;

const FIRST: &str = "/etc/NetworkManager/system-connections/cloud-machine.nmconnection";

fn rendered(name: Option<&str>, address: &Address) -> Vec<(String, String)> {
    let files = files("52:54:00:12:34:56".parse().unwrap(), name, address);
    assert!(files.iter().all(|file| file.mode == 0o600), "others are not read");
    files.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect()
}

fn only(address: &Address) -> String {
    let files = rendered(None, address);
    let [(path, text)] = &files[..] else { panic!("{files:?}") };
    assert_eq!(path, FIRST);
    text.strip_prefix(HEAD).unwrap().to_owned()
}

fn fixed(addresses: &[&str], gateways: &[&str]) -> Address {
    Address {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        ..Address::default()
    }
}

const ETHERNET: &str = "type=ethernet\nautoconnect-priority=999\n\n[ethernet]\nmac-address=52:54:00:12:34:56\n";

#[test]
fn an_address_of_a_dhcp_server_follows_the_hardware_address_and_so_does_that_on_the_link() {
    let expected = format!(
        "{ETHERNET}\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\ndhcp-timeout=2147483647\n\n\
         [ipv6]\naddr-gen-mode=eui64\nmethod=auto\n"
    );
    assert_eq!(only(&Address::default()), expected);
    let address = Address { dns: vec!["192.0.2.53".parse().unwrap()], mtu: Some(1400), ..Address::default() };
    let expected = format!(
        "{ETHERNET}mtu=1400\n\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\ndhcp-timeout=2147483647\nignore-auto-dns=true\n\n\
         [ipv6]\naddr-gen-mode=eui64\nmethod=auto\nignore-auto-dns=true\n"
    );
    assert_eq!(only(&address), expected);
}

#[test]
fn what_is_written_is_all_that_the_interface_has() {
    let route =
        |to: &str, via: &str| cloud_machine_config::Route { to: to.parse().unwrap(), via: via.parse().unwrap() };
    let address = Address {
        routes: vec![route("198.51.100.0/24", "192.0.2.254"), route("2001:db8:1::/48", "fe80::2")],
        dns: vec!["192.0.2.53".parse().unwrap()],
        ..fixed(&["192.0.2.7/24", "2001:db8::7/64", "192.0.2.8/24"], &["192.0.2.1", "fe80::1"])
    };
    let expected = format!(
        "{ETHERNET}\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\naddress2=192.0.2.8/24\ngateway=192.0.2.1\n\
         route1=198.51.100.0/24,192.0.2.254\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=manual\naddress1=2001:db8::7/64\n\
         gateway=fe80::1\nroute1=2001:db8:1::/48,fe80::2\n"
    );
    assert_eq!(only(&address), expected);
}

#[test]
fn of_a_family_without_an_address_nothing_is_asked_and_the_address_on_the_link_stays() {
    let four = format!(
        "{ETHERNET}\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n"
    );
    assert_eq!(only(&fixed(&["192.0.2.7/24"], &[])), four);
    // NetworkManager refuses `gateway` without an address.
    assert_eq!(only(&fixed(&["192.0.2.7/24"], &["fe80::1"])), format!("{four}route1=::/0,fe80::1\n"));
    let six = format!(
        "{ETHERNET}\n[ipv4]\nmethod=disabled\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=manual\naddress1=2001:db8::7/64\n"
    );
    assert_eq!(only(&fixed(&["2001:db8::7/64"], &[])), six);
}

#[test]
fn in_a_vlan_the_interface_keeps_only_the_address_on_the_link() {
    let address = Address { vlan: Some(100), mtu: Some(1400), ..fixed(&["192.0.2.7/24"], &["192.0.2.1"]) };
    let files = rendered(None, &address);
    let [(outer_path, outer), (inner_path, inner)] = &files[..] else { panic!("{files:?}") };
    let expected = ["", ".vlan"].map(|end| format!("{FOLDER}/{OURS}{end}.nmconnection"));
    assert_eq!([outer_path, inner_path], [&expected[0], &expected[1]]);
    let expected = "mtu=1400\n\n[ipv4]\nmethod=disabled\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n";
    assert_eq!(*outer, format!("{HEAD}{ETHERNET}{expected}"));
    let expected = "type=vlan\ninterface-name=vlan100\nautoconnect-priority=999\n\n[vlan]\nid=100\n\n\
        [ethernet]\nmac-address=52:54:00:12:34:56\nmtu=1400\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\n\
        gateway=192.0.2.1\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n";
    assert_eq!(*inner, format!("{HEAD}{expected}"));
}

#[test]
fn a_further_interface_has_files_of_its_name() {
    let paths = |vlan| {
        let address = Address { vlan, ..Address::default() };
        rendered(Some("storage"), &address).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    let first = "/etc/NetworkManager/system-connections/cloud-machine-storage.nmconnection";
    let second = "/etc/NetworkManager/system-connections/cloud-machine-storage.vlan.nmconnection";
    assert_eq!(paths(None), [first]);
    assert_eq!(paths(Some(7)), [first, second]);
    let address = Address { vlan: Some(7), ..Address::default() };
    let [_, (_, inner)] = &rendered(Some("storage"), &address)[..] else { panic!("two files") };
    assert!(inner.contains("\ninterface-name=storage.7\n"), "{inner}");
    // A server gives it the address, and neither a way out nor servers of names; routers give it nothing.
    let expected = "\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\ndhcp-timeout=2147483647\nignore-auto-dns=true\n\
        ignore-auto-routes=true\nnever-default=true\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n";
    assert!(inner.ends_with(expected), "{inner}");
}
