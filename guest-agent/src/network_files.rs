//! The network of the new system, as files of systemd-networkd and resolv.conf(5). Must not touch a file, nor an interface.

use std::fmt::Write as _;

use cloud_machine_config::Address;
use cloud_machine_protocol::MacAddress;
use cloud_machine_system::root::RootFile;

/// What an address alone from a DHCP server takes (systemd.network(5)); `@MAC@` is replaced.
const DHCP: &str = include_str!("../../systemd/10-cloud-machine.network");
const HEAD: &str = "# Written by cloud-machine-agent at each reimage (systemd.network(5)).\n";
const INTERFACE: &str = "/etc/systemd/network/10-cloud-machine.network";
/// Only with a VLAN: the interface in it, whose file sorts before that of the other with the same hardware address, and what
/// makes it.
const IN_VLAN: [&str; 2] =
    ["/etc/systemd/network/10-cloud-machine-vlan.network", "/etc/systemd/network/10-cloud-machine.netdev"];
const RESOLV: &str = "/etc/resolv.conf";

/// The files for the interface `mac`.
pub(crate) fn files(mac: MacAddress, address: &Address) -> Vec<RootFile> {
    let mut files = match address.vlan {
        None if *address == Address::default() => vec![text(INTERFACE, DHCP.replace("@MAC@", &mac.to_string()))],
        None => vec![text(INTERFACE, format!("{HEAD}[Match]\nMACAddress={mac}\nType=ether\n{}", interface(address)))],
        Some(vlan) => in_vlan(mac, vlan, address),
    };
    if !address.dns.is_empty() {
        files.push(text(RESOLV, resolv(address)));
    }
    files
}

/// Files that an image may have of another machine, and that this one must not have.
pub(crate) fn stale(address: &Address) -> &'static [&'static str] {
    if address.vlan.is_none() { &IN_VLAN } else { &[] }
}

/// The interface itself keeps the address on the link, by which the host reaches the machine.
fn in_vlan(mac: MacAddress, vlan: u16, address: &Address) -> Vec<RootFile> {
    let mtu = link(address);
    let [network, netdev] = IN_VLAN;
    vec![
        text(
            INTERFACE,
            format!(
                "{HEAD}[Match]\nMACAddress={mac}\nType=ether\n{mtu}\n[Network]\nVLAN=vlan{vlan}\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"
            ),
        ),
        text(network, format!("{HEAD}[Match]\nName=vlan{vlan}\n{}", interface(address))),
        text(netdev, format!("{HEAD}[NetDev]\nName=vlan{vlan}\nKind=vlan\n\n[VLAN]\nId={vlan}\n")),
    ]
}

fn link(address: &Address) -> String {
    address.mtu.map(|mtu| format!("\n[Link]\nMTUBytes={mtu}\n")).unwrap_or_default()
}

/// Everything but which interface it is for. Writing into a String cannot fail.
fn interface(address: &Address) -> String {
    let mut text = link(address);
    text.push_str("\n[Network]\n");
    if address.is_dhcp() {
        text.push_str("DHCP=ipv4\n");
    } else {
        // Else any neighbour gives it further addresses, a way out and DNS servers. The address on the link stays.
        text.push_str("IPv6AcceptRA=no\n");
    }
    for own in &address.addresses {
        let _ = writeln!(text, "Address={own}");
    }
    for gateway in &address.gateways {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    for server in &address.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    if !address.search.is_empty() {
        let _ = writeln!(text, "Domains={}", address.search.join(" "));
    }
    for route in &address.routes {
        let _ = write!(text, "\n[Route]\nDestination={}\nGateway={}\n", route.to, route.via);
    }
    if address.is_dhcp() {
        // As in the file above: the lease must follow the MAC.
        text.push_str("\n[DHCPv4]\nClientIdentifier=mac\n");
        if !address.dns.is_empty() {
            text.push_str("UseDNS=no\n");
        }
    }
    text
}

fn resolv(address: &Address) -> String {
    let mut text = "# Written by cloud-machine-agent at each reimage (resolv.conf(5)).\n".to_owned();
    for server in &address.dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !address.search.is_empty() {
        let _ = writeln!(text, "search {}", address.search.join(" "));
    }
    text
}

fn text(path: &str, content: String) -> RootFile {
    RootFile::text(path, 0o644, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(address: &Address) -> Vec<(String, String)> {
        let files = files("52:54:00:12:34:56".parse().unwrap(), address);
        files.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect()
    }

    fn fixed() -> Address {
        Address {
            addresses: vec!["192.0.2.7/24".parse().unwrap(), "2001:db8::7/64".parse().unwrap()],
            gateways: vec!["192.0.2.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            ..Address::default()
        }
    }

    #[test]
    fn an_address_of_a_dhcp_server_follows_the_hardware_address() {
        for address in [Address::default(), Address { mtu: Some(1400), ..Address::default() }] {
            let files = rendered(&address);
            assert_eq!(files.len(), 1);
            let (path, text) = &files[0];
            assert_eq!(path, INTERFACE);
            assert!(text.contains("\nMACAddress=52:54:00:12:34:56\n"), "{text}");
            assert!(text.contains("\nDHCP=ipv4\n") && text.contains("\nClientIdentifier=mac\n"), "{text}");
            assert_eq!(text.contains("\n[Link]\nMTUBytes=1400\n"), address.mtu.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_all_that_the_interface_has() {
        let address = Address {
            dns: vec!["192.0.2.53".parse().unwrap()],
            search: vec!["corp.example".to_owned(), "lab".to_owned()],
            routes: vec![cloud_machine_config::Route {
                to: "198.51.100.0/24".parse().unwrap(),
                via: "192.0.2.254".parse().unwrap(),
            }],
            ..fixed()
        };
        let files = rendered(&address);
        let expected = "[Match]\nMACAddress=52:54:00:12:34:56\nType=ether\n\n[Network]\nIPv6AcceptRA=no\nAddress=192.0.2.7/24\n\
            Address=2001:db8::7/64\nGateway=192.0.2.1\nGateway=fe80::1\nDNS=192.0.2.53\nDomains=corp.example lab\n\n\
            [Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.254\n";
        assert_eq!(files[0].1, format!("{HEAD}{expected}"));
        assert_eq!(files[1].0, RESOLV);
        assert!(files[1].1.ends_with("\nnameserver 192.0.2.53\nsearch corp.example lab\n"), "{}", files[1].1);
    }

    #[test]
    fn in_a_vlan_the_interface_keeps_only_the_address_on_the_link() {
        let address = Address { vlan: Some(100), mtu: Some(1400), ..fixed() };
        let files = rendered(&address);
        let of = |end: &str| &files.iter().find(|(path, _)| path.ends_with(end)).unwrap().1;
        let outer = of("/10-cloud-machine.network");
        assert!(
            outer.contains("VLAN=vlan100\nLinkLocalAddressing=ipv6\n") && !outer.contains("Address=192"),
            "{outer}"
        );
        assert!(of("/10-cloud-machine.netdev").contains("Kind=vlan\n\n[VLAN]\nId=100\n"));
        let inner = of("/10-cloud-machine-vlan.network");
        assert!(inner.contains("[Match]\nName=vlan100\n") && inner.contains("Address=192.0.2.7/24\n"), "{inner}");
        // systemd-networkd takes the first file that fits, and both interfaces have the same hardware address.
        assert!(IN_VLAN[0] < INTERFACE);
        assert_eq!((stale(&address).len(), stale(&fixed()).len()), (0, 2));
    }
}
