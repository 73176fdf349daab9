//! The Ethernet interfaces of devices with their addresses, as the kernel has them now. Must not change anything.

use std::{net::IpAddr, os::fd::AsRawFd, path::Path};

use cloud_machine_protocol::{AddressFacts, InterfaceFacts};
use ipnet::IpNet;
use nix::{
    libc,
    sys::socket::{MsgFlags, NetlinkAddr, recvfrom, sendto},
};

use super::{
    interface::{ETHERNET, SYSFS, attribute, number},
    netlink::{Netlink, OBJECT},
};
use crate::{SystemError, attributes::names};

/// Room for what the kernel sends at once (net/netlink/af_netlink.c, `netlink_dump`).
const ANSWER: usize = 32 << 10;
/// Bytes of a header (netlink(7)), and of what each address begins with (rtnetlink(7), `struct ifaddrmsg`).
const HEADER: usize = 16;
const ADDRESS: usize = 8;
/// How often the addresses are listed when they change meanwhile.
const TRIES: usize = 5;
/// That they did (linux/netlink.h, `NLM_F_DUMP_INTR`).
const CHANGED: u16 = 0x10;

/// An address, and the kernel's number of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    index: u32,
    facts: AddressFacts,
}

/// The interfaces, sorted by name.
///
/// # Errors
/// [`SystemError`].
pub(crate) fn interfaces() -> Result<Vec<InterfaceFacts>, SystemError> {
    interfaces_in(Path::new(SYSFS), &addresses()?)
}

fn interfaces_in(sysfs: &Path, addresses: &[Listed]) -> Result<Vec<InterfaceFacts>, SystemError> {
    let mut interfaces = Vec::new();
    for name in names(sysfs)? {
        let folder = sysfs.join(&name);
        // Whatever is no device was made by somebody, and may be gone tomorrow.
        if attribute(&folder, "type")?.as_deref() != Some(ETHERNET) || !folder.join("device").exists() {
            continue;
        }
        let mac = attribute(&folder, "address")?.unwrap_or_default();
        let object = || folder.join("address").display().to_string();
        let mac = mac.parse().map_err(|_| SystemError::unexpected(object(), &mac, "a hardware address"))?;
        let index = number(&folder, "ifindex")?;
        let named = name.parse().map_err(|_| SystemError::unexpected("a network interface", &name, "a plain name"))?;
        let own = addresses.iter().filter(|listed| listed.index == index);
        interfaces.push(InterfaceFacts { name: named, mac, addresses: own.map(|listed| listed.facts).collect() });
    }
    Ok(interfaces)
}

/// All addresses of this network namespace.
fn addresses() -> Result<Vec<Listed>, SystemError> {
    let netlink = Netlink::open()?;
    for sequence in 1..=TRIES {
        if let Some(listed) = list(&netlink, u32::try_from(sequence).unwrap_or_default())? {
            return Ok(listed);
        }
    }
    Err(SystemError::unexpected(OBJECT, "addresses that change all the time", "a list of addresses"))
}

/// One list; `None` when it changed meanwhile.
fn list(netlink: &Netlink, sequence: u32) -> Result<Option<Vec<Listed>>, SystemError> {
    let mut request = [0; HEADER + ADDRESS];
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
    let length = u32::try_from(request.len()).unwrap_or_default();
    for (at, bytes) in [
        (0, length.to_ne_bytes().as_slice()),
        (4, &libc::RTM_GETADDR.to_ne_bytes()),
        (6, &flags.to_ne_bytes()),
        (8, &sequence.to_ne_bytes()),
    ] {
        request.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    let socket = netlink.socket.as_raw_fd();
    sendto(socket, &request, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map_err(SystemError::io("write", OBJECT))?;
    let (mut listed, mut buffer, mut changed) = (Vec::new(), vec![0; ANSWER], false);
    loop {
        let (size, sender) = recvfrom::<NetlinkAddr>(socket, &mut buffer).map_err(SystemError::io("read", OBJECT))?;
        // Any process may write to the socket; the kernel is number 0.
        if sender.is_none_or(|sender| sender.pid() != 0) {
            continue;
        }
        let answer = take(buffer.get(..size).unwrap_or_default(), sequence, &mut listed);
        let answer = answer.ok_or_else(|| SystemError::unexpected(OBJECT, "a message cut off", "addresses"))?;
        changed |= answer.changed;
        match answer.end {
            None => {}
            Some(0) => return Ok((!changed).then_some(listed)),
            Some(code) => {
                let error = std::io::Error::from_raw_os_error(code.saturating_neg());
                return Err(SystemError::io("list the addresses from", OBJECT)(error));
            }
        }
    }
}

/// What a piece of the kernel's answer says besides addresses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    changed: bool,
    /// Negative error, or 0, when it is the last piece.
    end: Option<i32>,
}

/// Takes the addresses out of one piece; `None` when it is no row of messages.
fn take(mut piece: &[u8], sequence: u32, listed: &mut Vec<Listed>) -> Option<Answer> {
    let mut answer = Answer::default();
    while !piece.is_empty() {
        let length = usize::try_from(u32_at(piece, 0)?).ok()?;
        let body = piece.get(HEADER..length)?;
        if u32_at(piece, 8)? == sequence {
            answer.changed |= u16_at(piece, 6)? & CHANGED != 0;
            match u16_at(piece, 4)? {
                libc::RTM_NEWADDR => listed.extend(address(body)?),
                kind if kind == u16::try_from(libc::NLMSG_DONE).ok()? => answer.end = Some(0),
                kind if kind == u16::try_from(libc::NLMSG_ERROR).ok()? => {
                    answer.end = Some(i32::from_ne_bytes(body.get(..4)?.try_into().ok()?));
                }
                _ => {}
            }
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(answer)
}

/// The address of a message; `Some(None)` for one of another family.
fn address(body: &[u8]) -> Option<Option<Listed>> {
    let (prefix, index) = (*body.get(1)?, u32_at(body, 4)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut other) = (None, None);
    let mut attributes = body.get(ADDRESS..)?;
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        match u16_at(attributes, 2)? {
            libc::IFA_LOCAL => local = ip(value),
            // Of a point-to-point interface the one at its other end.
            libc::IFA_ADDRESS => other = ip(value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let Some(found) = local.or(other) else { return Some(None) };
    let address = IpNet::new(found, prefix).ok()?;
    Some(Some(Listed { index, facts: AddressFacts { address, dynamic: flags & libc::IFA_F_PERMANENT == 0 } }))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(value).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listed(index: u32, address: &str, dynamic: bool) -> Listed {
        Listed { index, facts: AddressFacts { address: address.parse().unwrap(), dynamic } }
    }

    /// A message with an address whose attributes are `attributes`.
    fn message(sequence: u32, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 24, flags, 0];
        body.extend(7_u32.to_ne_bytes());
        for (kind, value) in attributes {
            body.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(libc::RTM_NEWADDR.to_ne_bytes());
        message.extend([2, 0]);
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        message
    }

    #[test]
    fn the_kernel_lists_the_loopback_address() {
        let all = addresses().unwrap();
        let loopback = all.iter().find(|listed| listed.facts.address.to_string() == "127.0.0.1/8").unwrap();
        assert!(!loopback.facts.dynamic);
    }

    #[test]
    fn an_address_is_the_local_one_and_its_long_flags_count() {
        let (local, other) = ([192, 0, 2, 7], [192, 0, 2, 1]);
        let long = 0x80_u32.to_ne_bytes();
        for (flags, attributes, expected) in [
            (0x80, vec![(1, other.as_slice()), (2, &local), (3, b"eth0\0")], listed(7, "192.0.2.7/24", false)),
            (0, vec![(1, local.as_slice())], listed(7, "192.0.2.7/24", true)),
            (0, vec![(1, local.as_slice()), (8, &long)], listed(7, "192.0.2.7/24", false)),
        ] {
            let mut found = Vec::new();
            let two = [message(1, flags, &attributes), message(9, flags, &attributes)].concat();
            assert_eq!(take(&two, 1, &mut found), Some(Answer::default()));
            assert_eq!(found, [expected], "{attributes:?}, and not that of another question");
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_none_and_nothing_panics() {
        let whole = message(1, 0, &[(2, &[192, 0, 2, 7])]);
        for length in 1..whole.len() {
            assert_eq!(take(&whole[..length], 1, &mut Vec::new()), None, "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 255] {
                let mut changed = whole.clone();
                changed[at] = value;
                take(&changed, 1, &mut Vec::new());
            }
        }
    }

    #[test]
    fn interfaces_that_are_no_devices_are_left_out() {
        let sysfs = tempfile::tempdir().unwrap();
        for (name, kind, device) in
            [("ens3", "1", true), ("br0", "1", false), ("ib0", "32", true), ("lo", "772", false)]
        {
            let folder = sysfs.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in [("type", kind), ("address", "52:54:00:12:34:56"), ("ifindex", "7")] {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
            if device {
                fs::create_dir(folder.join("device")).unwrap();
            }
        }
        let all = [listed(7, "fe80::1/64", false), listed(7, "192.0.2.7/24", true), listed(1, "127.0.0.1/8", false)];
        let found = interfaces_in(sysfs.path(), &all).unwrap();
        let [ens3] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((ens3.name.as_str(), ens3.addresses.as_slice()), ("ens3", &[all[0].facts, all[1].facts][..]));
        fs::write(sysfs.path().join("ens3/address"), "none\n").unwrap();
        let error = interfaces_in(sysfs.path(), &all).unwrap_err().to_string();
        assert!(error.ends_with("ens3/address holds \"none\", expected a hardware address"), "{error}");
    }
}
