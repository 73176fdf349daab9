//! The network of the new system, as connection profiles of NetworkManager (nm-settings-keyfile(5)). Must not touch a file, nor an
//! interface.

use std::{fmt::Write as _, net::IpAddr};

use cloud_machine_config::Address;
use cloud_machine_protocol::MacAddress;
use cloud_machine_system::root::RootFile;

/// Where it is started from when somebody has enabled it, or the distribution itself has.
pub(crate) const ENABLED: [&str; 2] = [
    "/etc/systemd/system/multi-user.target.wants/NetworkManager.service",
    "/usr/lib/systemd/system/multi-user.target.wants/NetworkManager.service",
];
/// The folder of the profiles, and how the name of each begins that an image may have of another machine.
pub(crate) const FOLDER: &str = "/etc/NetworkManager/system-connections";
pub(crate) const OURS: &str = "cloud-machine";

/// Its name sorts behind those of others, which it overrules.
pub(crate) const DNS: &str = "/etc/NetworkManager/conf.d/zz-cloud-machine.conf";
const HEAD: &str = "# Written by cloud-machine-agent at each reimage (nm-settings-keyfile(5)).\n[connection]\n";
/// The highest: other profiles of the image may fit the interface, too (nm-settings(5)). No name of the interface: the hardware address
/// says which it is.
const PRIORITY: &str = "autoconnect-priority=999\n";
/// The address on the link follows the hardware address, as the host expects; NetworkManager would take a random one.
const IPV6: &str = "\n[ipv6]\naddr-gen-mode=eui64\nmethod=";
/// The lease must follow the hardware address. Who asks goes on asking: a profile that fails takes the address on the link away.
const DHCP: &str = "\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\ndhcp-timeout=2147483647\n";
const NO_IPV4: &str = "\n[ipv4]\nmethod=disabled\n";
/// The configuration names the servers, in a file of their own.
const OWN_NAMES: &str = "ignore-auto-dns=true\n";
/// A further interface is no way out.
const OWN_WAYS: &str = "ignore-auto-routes=true\nnever-default=true\n";

/// The profiles for the interface `mac`; `name` only of a further one, which takes nothing but its address from others.
pub(crate) fn files(mac: MacAddress, name: Option<&str>, address: &Address) -> Vec<RootFile> {
    let mut first = format!("{HEAD}type=ethernet\n{PRIORITY}");
    ethernet(&mut first, mac, address);
    let Some(vlan) = address.vlan else {
        addresses(&mut first, name, address);
        return vec![profile(name, "", first)];
    };
    // The interface itself keeps the address on the link, by which the host reaches the machine.
    first += NO_IPV4;
    first += IPV6;
    first += "link-local\n";
    let (stem, dot) = name.map_or(("vlan", ""), |name| (name, "."));
    // Without a parent it is the interface of the hardware address.
    let mut inner = format!("{HEAD}type=vlan\ninterface-name={stem}{dot}{vlan}\n{PRIORITY}\n[vlan]\nid={vlan}\n");
    ethernet(&mut inner, mac, address);
    addresses(&mut inner, name, address);
    vec![profile(name, "", first), profile(name, ".vlan", inner)]
}

/// With servers of the configuration the file with them (resolv.conf(5)) is not NetworkManager's.
pub(crate) fn own_names() -> RootFile {
    RootFile::text(
        DNS,
        0o644,
        "# Written by cloud-machine-agent at each reimage (NetworkManager.conf(5)).\n[main]\ndns=none\n",
    )
}

/// NetworkManager reads a profile only when nobody but root can.
fn profile(name: Option<&str>, end: &str, text: String) -> RootFile {
    let dash = if name.is_some() { "-" } else { "" };
    let name = name.unwrap_or_default();
    let path = format!("{FOLDER}/{OURS}{dash}{name}{end}.nmconnection");
    RootFile::text(&path, 0o600, text)
}

/// Writing into a String cannot fail.
fn ethernet(text: &mut String, mac: MacAddress, address: &Address) {
    let _ = write!(text, "\n[ethernet]\nmac-address={mac}\n");
    if let Some(mtu) = address.mtu {
        let _ = writeln!(text, "mtu={mtu}");
    }
}

fn addresses(text: &mut String, name: Option<&str>, address: &Address) {
    if address.is_dhcp() {
        let parts = match name {
            Some(_) => [DHCP, OWN_NAMES, OWN_WAYS, IPV6, "link-local\n"],
            None if address.dns.is_empty() => [DHCP, IPV6, "auto\n", "", ""],
            None => [DHCP, OWN_NAMES, IPV6, "auto\n", OWN_NAMES],
        };
        text.extend(parts);
        return;
    }
    let has = |is_of: fn(&IpAddr) -> bool| address.addresses.iter().any(|net| is_of(&net.addr()));
    if has(IpAddr::is_ipv4) {
        text.push_str("\n[ipv4]\nmethod=manual\n");
        family(text, address, IpAddr::is_ipv4, true);
    } else {
        text.push_str(NO_IPV4);
    }
    // Neither method listens to routers, and both make the address on the link.
    let own = has(IpAddr::is_ipv6);
    text.push_str(IPV6);
    text.push_str(if own { "manual\n" } else { "link-local\n" });
    family(text, address, IpAddr::is_ipv6, own);
}

/// What is stated of one family. A gateway stands only beside an address; `own` says whether there is one.
fn family(text: &mut String, address: &Address, is_of: fn(&IpAddr) -> bool, own: bool) {
    let nets = address.addresses.iter().filter(|net| is_of(&net.addr()));
    for (index, net) in nets.enumerate() {
        let _ = writeln!(text, "address{}={net}", index + 1);
    }
    let mut routes = 0;
    let mut route = |text: &mut String, to: &dyn std::fmt::Display, via: &IpAddr| {
        routes += 1;
        let _ = writeln!(text, "route{routes}={to},{via}");
    };
    for gateway in address.gateways.iter().filter(|gateway| is_of(gateway)) {
        if own {
            let _ = writeln!(text, "gateway={gateway}");
        } else {
            // Of IPv4 there is none without an address in its subnet.
            route(text, &"::/0", gateway);
        }
    }
    for way in address.routes.iter().filter(|way| is_of(&way.via)) {
        route(text, &way.to, &way.via);
    }
}

#[cfg(test)]
mod tests;
