//! The interface with a given Ethernet address, from sysfs. Must not change it.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use cloud_machine_protocol::MacAddress;

use super::NetworkError;
use crate::{SystemError, UeventSocket, attributes::names};

pub(super) const SYSFS: &str = "/sys/class/net";
/// ARPHRD_ETHER of linux/if_arp.h, as sysfs shows it.
pub(super) const ETHERNET: &str = "1";
/// How long to wait for one event at most: sysfs is looked at again even if an event was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The kernel's name.
    pub(crate) name: String,
    /// The kernel's number.
    pub(crate) index: u32,
    /// Largest packet in bytes before anything was changed.
    pub(crate) mtu: u32,
}

/// The interface with the address, waiting for it until half of the time to `deadline` is over.
///
/// # Errors
/// [`NetworkError::NoInterface`], [`NetworkError::TwoInterfaces`], or what sysfs or the event socket said.
pub(crate) fn wait(mac: MacAddress, deadline: Instant) -> Result<Interface, NetworkError> {
    let events = UeventSocket::open()?;
    let now = Instant::now();
    let last = now + deadline.saturating_duration_since(now) / 2;
    loop {
        match find(Path::new(SYSFS), mac) {
            Err(NetworkError::NoInterface { .. }) if Instant::now() < last => {
                events.wait(last.min(Instant::now() + LOOK_AGAIN))?;
            }
            found => return found,
        }
    }
}

fn find(sysfs: &Path, mac: MacAddress) -> Result<Interface, NetworkError> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for name in names(sysfs)? {
        let folder = sysfs.join(&name);
        // One that is gone by now is none.
        let (Some(kind), Some(address)) = (attribute(&folder, "type")?, attribute(&folder, "address")?) else {
            continue;
        };
        if kind == ETHERNET && address == mac.to_string() {
            found.push(name);
        } else {
            others.push(format!("{name} ({address})"));
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) if others.is_empty() => Err(NetworkError::NoInterface { mac, found: "none".to_owned() }),
        (None, _) => Err(NetworkError::NoInterface { mac, found: others.join(", ") }),
        (Some(first), Some(second)) => Err(NetworkError::TwoInterfaces { mac, first, second }),
        (Some(name), None) => {
            let folder = sysfs.join(&name);
            Ok(Interface { index: number(&folder, "ifindex")?, mtu: number(&folder, "mtu")?, name })
        }
    }
}

pub(super) fn attribute(folder: &Path, name: &str) -> Result<Option<String>, SystemError> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        // A plain file among the interfaces, such as bonding_masters, is no folder.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(SystemError::io("read", path.display().to_string())(error)),
    }
}

pub(super) fn number(folder: &Path, name: &str) -> Result<u32, SystemError> {
    let text = attribute(folder, name)?.unwrap_or_default();
    text.parse().map_err(|_| SystemError::unexpected(folder.join(name).display().to_string(), &text, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "52:54:00:12:34:56";

    /// A sysfs with interfaces of these names, types and addresses.
    fn sysfs(interfaces: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let sysfs = tempfile::tempdir().unwrap();
        fs::write(sysfs.path().join("bonding_masters"), "").unwrap();
        for (number, (name, kind, address)) in interfaces.iter().enumerate() {
            let folder = sysfs.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in
                [("type", *kind), ("address", *address), ("ifindex", &number.to_string()), ("mtu", "1500")]
            {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        sysfs
    }

    fn found(interfaces: &[(&str, &str, &str)]) -> Result<Interface, String> {
        find(sysfs(interfaces).path(), MAC.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_interface_with_the_address_is_found() {
        let interface = found(&[("lo", "772", "00:00:00:00:00:00"), ("ens3", "1", MAC), ("ens4", "1", "x")]);
        assert_eq!(interface, Ok(Interface { name: "ens3".to_owned(), index: 1, mtu: 1500 }));
    }

    #[test]
    fn none_and_two_are_told() {
        let none = format!("no Ethernet interface has the address {MAC}; there is ");
        assert_eq!(found(&[]), Err(format!("{none}none")));
        assert_eq!(
            found(&[("tun0", "65534", MAC), ("eth0", "1", "52:54:00:00:00:01")]),
            Err(format!("{none}eth0 (52:54:00:00:00:01), tun0 ({MAC})"))
        );
        assert_eq!(
            found(&[("eth1", "1", MAC), ("eth0", "1", MAC)]),
            Err(format!("the interfaces eth0 and eth1 both have the address {MAC}"))
        );
    }

    #[test]
    fn a_number_that_is_none_is_told() {
        let sysfs = sysfs(&[("eth0", "1", MAC)]);
        fs::write(sysfs.path().join("eth0/mtu"), "much\n").unwrap();
        let error = find(sysfs.path(), MAC.parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("eth0/mtu holds \"much\", expected a number"), "{error}");
    }
}
