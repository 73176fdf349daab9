//! Which daemon is meant: libvirt's URI of one on this host. Must not connect.

use std::{ffi::OsStr, fmt};

use super::{LibvirtError, words::VARIABLE};

/// A daemon on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    uri: String,
    /// Whether it is the system's, which starts machines as any user.
    system: bool,
}

impl Connection {
    pub(super) fn is_system(&self) -> bool {
        self.system
    }

    /// What would help when it does not answer.
    pub(super) fn way_out(&self) -> String {
        let daemon = if self.system {
            "`systemctl start libvirtd` starts its daemon and `apt-get install libvirt-daemon-system` brings it"
        } else {
            "`apt-get install libvirt-daemon libvirt-daemon-driver-qemu` brings its daemon"
        };
        format!("{daemon}; {VARIABLE} names another one")
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri)
    }
}

/// The daemon that is `given`; without one the system's for root and the session's for others, as `virsh` chooses itself.
pub(super) fn of(given: Option<&OsStr>) -> Result<Connection, LibvirtError> {
    match given.filter(|given| !given.is_empty()) {
        Some(given) => parse(&given.to_string_lossy()),
        None if rustix::process::geteuid().is_root() => parse("qemu:///system"),
        None => parse("qemu:///session"),
    }
}

/// Files and sockets of machines are on this host, so the daemon has to be.
fn parse(uri: &str) -> Result<Connection, LibvirtError> {
    let invalid = || LibvirtError::Connection { found: uri.chars().take(200).collect() };
    let rest = uri.strip_prefix("qemu+unix:///").or_else(|| uri.strip_prefix("qemu:///")).ok_or_else(invalid)?;
    let system = match rest.split('?').next() {
        Some("system") => true,
        Some("session") => false,
        _ => return Err(invalid()),
    };
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid());
    }
    Ok(Connection { uri: uri.to_owned(), system })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_of_this_host_is_taken_and_any_other_refused() {
        for (uri, system) in [
            ("qemu:///system", true),
            ("qemu:///session", false),
            ("qemu+unix:///system?socket=/run/x/libvirt-sock", true),
            ("qemu:///session?socket=/run/x", false),
        ] {
            let connection = of(Some(OsStr::new(uri))).unwrap();
            assert_eq!((connection.to_string().as_str(), connection.is_system()), (uri, system));
        }
        for uri in
            ["qemu://host/system", "qemu+ssh://host/system", "test:///default", "qemu:///embed", "qemu:///system x"]
        {
            let error = of(Some(OsStr::new(uri))).unwrap_err().to_string();
            assert!(error.starts_with("cannot use ") && error.contains(VARIABLE), "{uri}: {error}");
        }
    }
}
