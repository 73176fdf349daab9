//! Which frames of a machine may reach QEMU's user network: all but those that it would carry to the host's loopback interface. Must
//! know nothing of a connection before: each frame is judged by itself.
//!
//! libslirp connects to the address that a packet names, on behalf of the user who runs QEMU, so that 127.0.0.1 and 0.0.0.0 in a packet
//! mean those of the host; and the host's address in its own subnet means the loopback interface. What is not known to lead elsewhere
//! is kept back.

use std::net::{Ipv4Addr, Ipv6Addr};

/// QEMU's options for the subnet that is judged here.
pub(crate) const SUBNET: &str = "net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// QEMU's subnet for IPv6, fec0::/64, and the DNS server in it.
const SUBNET_6: [u8; 8] = [0xfe, 0xc0, 0, 0, 0, 0, 0, 0];
const DNS_6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3);
/// All DHCP servers on the link (RFC 8415).
const DHCP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_6: u8 = 58;
/// The ACK flag of TCP: a segment with it opens no connection.
const ACK: u8 = 0x10;
/// The port to which connections of the host are forwarded.
const SSH: u16 = 22;

/// Whether a frame, from its Ethernet header on, may go on.
pub(super) fn lets_through(frame: &[u8]) -> bool {
    let Some((header, packet)) = frame.split_at_checked(14) else { return false };
    match header.last_chunk() {
        // ARP ends in QEMU itself.
        Some([0x08, 0x06]) => true,
        Some([0x08, 0x00]) => version_4(packet).unwrap_or(false),
        Some([0x86, 0xdd]) => version_6(packet).unwrap_or(false),
        _ => false,
    }
}

fn version_4(packet: &[u8]) -> Option<bool> {
    let to = Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?);
    let [first, second, third, _] = to.octets();
    let is_of_subnet = (first, second, third) == (10, 0, 2);
    let is_ordinary = !matches!(first, 0 | 127 | 224..);
    if is_ordinary && !is_of_subnet {
        return Some(true);
    }
    // Of a fragment, ports and flags may come later: nobody needs one here.
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x3fff;
    if fragment != 0 {
        return Some(false);
    }
    let segment = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let protocol = *packet.get(9)?;
    if protocol == ICMP {
        return Some(to == HOST || to == DNS);
    }
    let (from_port, to_port) = ports(segment)?;
    Some(match (protocol, to_port) {
        (UDP, 67) => to == HOST || to.is_broadcast(),
        (UDP | TCP, 53) if to == DNS => true,
        (TCP, _) => is_of_subnet && from_port == SSH && answers(segment)?,
        _ => false,
    })
}

fn version_6(packet: &[u8]) -> Option<bool> {
    let to = Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?);
    let (protocol, segment) = (*packet.get(6)?, packet.get(40..)?);
    let first = to.octets()[0];
    // Global and unique local addresses: all others that could be the host's are not these.
    if matches!(first, 0x20..=0x3f | 0xfc | 0xfd) {
        return Some(true);
    }
    Some(match protocol {
        ICMP_6 => to.is_multicast() || to.is_unicast_link_local() || to.octets().starts_with(&SUBNET_6),
        UDP | TCP if to == DNS_6 => ports(segment)?.1 == 53,
        UDP if to == DHCP_6 => ports(segment)?.1 == 547,
        _ => false,
    })
}

/// Source and destination.
fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    let [from, from_low, to, to_low] = *segment.first_chunk()?;
    Some((u16::from_be_bytes([from, from_low]), u16::from_be_bytes([to, to_low])))
}

/// Whether a segment of TCP belongs to a connection that the host began.
fn answers(segment: &[u8]) -> Option<bool> {
    Some(segment.get(13)? & ACK != 0)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
