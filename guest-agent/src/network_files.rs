//! The network of the new system, as files of systemd-networkd and resolv.conf(5). Must not touch a file, nor an interface.

use std::fmt::Write as _;

use cloud_machine_config::Address;
use cloud_machine_system::root::RootFile;

use crate::network::Interface;

/// What an address alone from a DHCP server takes (systemd.network(5)); `@MAC@` is replaced.
const DHCP: &str = include_str!("../../systemd/10-cloud-machine.network");
const HEAD: &str = "# Written by cloud-machine-agent at each reimage (systemd.network(5)).\n";
/// The folder of the files, and how the name of each of them begins. systemd takes the first file that fits: those of interfaces in
/// VLANs sort before that of the interface itself, whose hardware address they have.
pub(crate) const FOLDER: &str = "/etc/systemd/network";
pub(crate) const OURS: [&str; 2] = ["10-cloud-machine", "11-cloud-machine"];
const RESOLV: &str = "/etc/resolv.conf";

/// What gives a further interface its name (systemd.link(5)), whatever program sets it up.
pub(crate) fn link_of(interface: &Interface<'_>) -> Option<RootFile> {
    let Interface { mac, name, .. } = *interface;
    let (name, start) = (name?, OURS[1]);
    let link = format!("{HEAD}[Match]\nPermanentMACAddress={mac}\n\n[Link]\nName={name}\n");
    Some(text(&format!("{FOLDER}/{start}-{name}.link"), link))
}

/// The files for an interface.
pub(crate) fn files(interface: &Interface<'_>) -> Vec<RootFile> {
    let Interface { mac, name, address } = *interface;
    let [first, further] = OURS;
    let stem = name.map_or_else(|| first.to_owned(), |name| format!("{further}-{name}"));
    let own = format!("{FOLDER}/{stem}.network");
    let mut files = match address.vlan {
        None if name.is_none() && *address == Address::default() => {
            vec![text(&own, DHCP.replace("@MAC@", &mac.to_string()))]
        }
        None => vec![text(
            &own,
            format!("{HEAD}[Match]\nMACAddress={mac}\nType=ether\n{}", settings(address, name.is_some())),
        )],
        Some(vlan) => in_vlan(interface, vlan, &own, &stem),
    };
    files.extend(names(address));
    files
}

/// The servers of names that the configuration has, for whatever program sets up the network.
pub(crate) fn names(address: &Address) -> Option<RootFile> {
    (!address.dns.is_empty()).then(|| text(RESOLV, resolv(address)))
}

/// The interface itself keeps the address on the link, by which the host reaches the machine.
fn in_vlan(interface: &Interface<'_>, vlan: u16, own: &str, stem: &str) -> Vec<RootFile> {
    let Interface { mac, name, address } = *interface;
    let (mtu, inner) = (link(address), interface.in_vlan(vlan));
    let dot = if name.is_some() { "." } else { "" };
    let network = format!("{FOLDER}/{}-vlan{dot}{}.network", OURS[0], name.unwrap_or_default());
    vec![
        text(
            own,
            format!(
                "{HEAD}[Match]\nMACAddress={mac}\nType=ether\n{mtu}\n[Network]\nVLAN={inner}\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"
            ),
        ),
        text(&network, format!("{HEAD}[Match]\nName={inner}\n{}", settings(address, name.is_some()))),
        text(
            &format!("{FOLDER}/{stem}.netdev"),
            format!("{HEAD}[NetDev]\nName={inner}\nKind=vlan\n\n[VLAN]\nId={vlan}\n"),
        ),
    ]
}

fn link(address: &Address) -> String {
    address.mtu.map(|mtu| format!("\n[Link]\nMTUBytes={mtu}\n")).unwrap_or_default()
}

/// Everything but which interface it is for. The machine's way out and its servers of names are those of the first one: of a DHCP
/// server a further one has its address, and of routers nothing. Writing into a String cannot fail.
fn settings(address: &Address, is_further: bool) -> String {
    let mut text = link(address);
    text.push_str("\n[Network]\n");
    if address.is_dhcp() {
        text.push_str("DHCP=ipv4\n");
    }
    if is_further || !address.is_dhcp() {
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
        if is_further {
            text.push_str("UseRoutes=no\nUseNTP=no\nUseHostname=no\n");
        }
        if is_further || !address.dns.is_empty() {
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
        named(None, address)
    }

    fn named(name: Option<&str>, address: &Address) -> Vec<(String, String)> {
        let interface = Interface { mac: "52:54:00:12:34:56".parse().unwrap(), name, address };
        let files = files(&interface).into_iter().chain(link_of(&interface));
        files.map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect()
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
            assert_eq!(path, "/etc/systemd/network/10-cloud-machine.network");
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
        assert!(files[1].0.ends_with("-vlan.network") && files[1].0 < files[0].0, "{files:?}");
    }

    #[test]
    fn a_further_interface_is_named_and_takes_no_more_than_its_address_from_others() {
        let head = "[Match]\nMACAddress=52:54:00:12:34:56\nType=ether\n";
        let files = named(Some("lan"), &Address::default());
        let own = "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n\n[DHCPv4]\nClientIdentifier=mac\nUseRoutes=no\nUseNTP=no\n\
                   UseHostname=no\nUseDNS=no\n";
        let link = "[Match]\nPermanentMACAddress=52:54:00:12:34:56\n\n[Link]\nName=lan\n";
        let expected = [
            ("/etc/systemd/network/11-cloud-machine-lan.network".to_owned(), format!("{HEAD}{head}\n{own}")),
            ("/etc/systemd/network/11-cloud-machine-lan.link".to_owned(), format!("{HEAD}{link}")),
        ];
        assert_eq!(files, expected);

        let files = named(Some("lan"), &Address { vlan: Some(7), ..fixed() });
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.trim_start_matches("/etc/systemd/network/")).collect();
        let expected =
            ["11-cloud-machine-lan.network", "10-cloud-machine-vlan.lan.network", "11-cloud-machine-lan.netdev"];
        assert_eq!(paths, [expected.as_slice(), &["11-cloud-machine-lan.link"]].concat());
        assert!(files[0].1.contains("VLAN=lan.7\n") && files[2].1.contains("Name=lan.7\n"), "{files:?}");
        assert!(files[1].1.starts_with(&format!("{HEAD}[Match]\nName=lan.7\n")), "{files:?}");
        assert!(paths.iter().all(|path| OURS.iter().any(|start| path.starts_with(start))));
    }
}
