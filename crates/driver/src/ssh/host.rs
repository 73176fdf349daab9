//! Where the SSH of a machine is: behind a port of this host, on a link of it, by the address that the machine's interface
//! gives itself, or elsewhere. Must not connect.

use std::{fs, io, net::Ipv6Addr, path::Path};

use cloud_machine_protocol::{Connection, InterfaceName, MacAddress};

use super::SshError;

/// Every machine on the driver's own network is behind a port of this address.
pub(super) const LOOPBACK: &str = "127.0.0.1";
/// By which a machine that is not behind a port is known in its own `known_hosts`: its link or address may be another one tomorrow.
const ALIAS: &str = "cloud-machine";
const SYSFS: &str = "/sys/class/net";

/// Where the SSH of a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Behind a port of the loopback interface.
    Forwarded,
    /// On a link, under the address that follows from the machine's hardware address: it is there before any DHCP server
    /// has answered, and whatever addresses the configuration names.
    OnLink {
        /// The link-local address.
        address: Ipv6Addr,
        /// The interface of this host that is on the link.
        interface: InterfaceName,
    },
    /// Elsewhere, under a name that this host resolves, or an address.
    Named(String),
}

impl Host {
    /// Of a machine with the hardware address `mac`; `None` when it has no network.
    ///
    /// # Errors
    /// [`SshError::Bridge`] when this host does not say on which link a tap is.
    pub fn of(connection: &Connection, mac: MacAddress) -> Result<Option<Self>, SshError> {
        let on = |interface: &InterfaceName| Self::OnLink { address: mac.link_local(), interface: interface.clone() };
        Ok(match connection {
            Connection::User | Connection::UserClosed => Some(Self::Forwarded),
            Connection::None => None,
            Connection::Bridge(bridge) => Some(on(bridge)),
            Connection::Tap(tap) => Some(on(&master(Path::new(SYSFS), tap)?.unwrap_or_else(|| tap.clone()))),
        })
    }

    /// Under a host name, an IPv4 or an IPv6 address without brackets.
    ///
    /// # Errors
    /// [`SshError::InvalidArgument`] for what is none.
    pub fn named(name: &str) -> Result<Self, SshError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_name = name.len() <= 253 && !name.starts_with('-') && name.bytes().all(plain) && !name.is_empty();
        if is_name || name.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self::Named(name.to_owned()));
        }
        Err(SshError::InvalidArgument { what: "host", found: name.to_owned() })
    }

    /// As getaddrinfo(3) takes it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Forwarded => LOOPBACK.to_owned(),
            Self::OnLink { address, interface } => format!("{address}%{interface}"),
            Self::Named(name) => name.clone(),
        }
    }

    /// As it is shown, with its port.
    #[must_use]
    pub fn place(&self, port: u16) -> String {
        match self {
            Self::Forwarded => format!("{LOOPBACK}:{port}"),
            Self::Named(name) if !name.contains(':') => format!("{name}:{port}"),
            Self::OnLink { .. } | Self::Named(_) => format!("[{}]:{port}", self.name()),
        }
    }

    /// As `known_hosts` names it.
    #[must_use]
    pub fn known_as(&self, port: u16) -> String {
        match self {
            Self::Forwarded => format!("[{LOOPBACK}]:{port}"),
            Self::OnLink { .. } | Self::Named(_) => ALIAS.to_owned(),
        }
    }

    /// What ssh_config(5) calls it; the host on the command line is always the same, so that a path of scp is.
    pub(super) fn options(&self) -> Vec<String> {
        match self {
            Self::Forwarded => Vec::new(),
            Self::OnLink { .. } | Self::Named(_) => {
                vec![format!("HostName={}", self.name().replace('%', "%%")), format!("HostKeyAlias={ALIAS}")]
            }
        }
    }
}

/// The bridge that an interface is a port of: the host's address on the link is the bridge's. `None` when it is in none, or is not there.
pub(crate) fn master(sysfs: &Path, interface: &InterfaceName) -> Result<Option<InterfaceName>, SshError> {
    let path = sysfs.join(interface.as_str()).join("master");
    let failed = |source| SshError::Bridge { interface: interface.clone(), source };
    match fs::read_link(path) {
        Ok(link) => match link.file_name().and_then(|name| name.to_str()).map(str::parse) {
            Some(Ok(name)) => Ok(Some(name)),
            // The name of an interface that neither QEMU nor ssh could be told.
            _ => Err(failed(io::Error::new(io::ErrorKind::InvalidData, format!("it leads to {}", link.display())))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(interface: &str) -> Host {
        let connection = Connection::Bridge(interface.parse().unwrap());
        Host::of(&connection, "52:54:00:12:34:56".parse().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_machine_on_a_link_is_where_its_hardware_address_says() {
        assert_eq!(on("br0").place(22), "[fe80::5054:ff:fe12:3456%br0]:22");
        // `%` begins a token of ssh_config(5).
        let expected = ["HostName=fe80::5054:ff:fe12:3456%%br0", "HostKeyAlias=cloud-machine"];
        assert_eq!(on("br0").options(), expected);
        let mac = "52:54:00:12:34:56".parse().unwrap();
        assert_eq!(Host::of(&Connection::User, mac).unwrap().unwrap().place(2222), "127.0.0.1:2222");
        assert_eq!(Host::of(&Connection::None, mac).unwrap(), None);
    }

    #[test]
    fn a_machine_elsewhere_has_a_name_or_an_address() {
        for (name, place) in
            [("db.example", "db.example:22"), ("192.0.2.7", "192.0.2.7:22"), ("2001:db8::7", "[2001:db8::7]:22")]
        {
            let host = Host::named(name).unwrap();
            assert_eq!((host.place(22), host.known_as(22)), (place.to_owned(), "cloud-machine".to_owned()));
            assert_eq!(host.options()[0], format!("HostName={name}"));
        }
        for name in ["", "-oProxyCommand=x", "a b", "a@b", "[::1]", "fe80::1%eth0", "a%b", "a:b"] {
            assert!(Host::named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_tap_that_is_a_port_of_a_bridge_is_reached_through_the_bridge() {
        let sysfs = tempfile::tempdir().unwrap();
        for name in ["br7", "tap7", "tap8"] {
            fs::create_dir(sysfs.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("../br7", sysfs.path().join("tap7/master")).unwrap();
        let of = |name: &str| master(sysfs.path(), &name.parse().unwrap());
        assert_eq!(of("tap7").unwrap().map(String::from), Some("br7".to_owned()));
        assert!(of("tap8").unwrap().is_none() && of("tap9").unwrap().is_none());
    }

    #[test]
    fn a_link_that_is_there_and_names_no_bridge_is_an_error() {
        let sysfs = tempfile::tempdir().unwrap();
        fs::create_dir_all(sysfs.path().join("tap7/master")).unwrap();
        fs::create_dir(sysfs.path().join("tap8")).unwrap();
        std::os::unix::fs::symlink("../a,b", sysfs.path().join("tap8/master")).unwrap();
        for name in ["tap7", "tap8"] {
            let error = master(sysfs.path(), &name.parse().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read which bridge {name} is a port of"));
        }
    }
}
