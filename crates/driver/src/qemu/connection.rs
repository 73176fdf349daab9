//! Whether this host has what a machine's network interface is to be connected to, and may use it. Must not change anything
//! there, nor be taken for more than an early word: QEMU is the one that opens it.

use std::{fs, io, path::Path};

use cloud_machine_protocol::{Connection, InterfaceName};

use super::bridge_rules::{self, Objection};
use crate::{
    error::{DriverError, DriverErrorKind},
    ssh::master,
};

const SYSFS: &str = "/sys/class/net";
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";
/// IFF_UP of linux/if.h.
const UP: u32 = 1;
/// IFF_TAP of linux/if_tun.h: what is no tap is a tun, which carries no Ethernet.
const TAP: u32 = 2;

/// Refuses what a machine cannot be connected to.
///
/// # Errors
/// Of [`DriverErrorKind::Refused`], with the way out.
pub(crate) fn check(connection: &Connection) -> Result<(), DriverError> {
    let user = rustix::process::geteuid().as_raw();
    look(Path::new(SYSFS), Path::new(SETTINGS), user, connection)?;
    let Connection::Bridge(name) = connection else { return Ok(()) };
    match bridge_rules::objection(name) {
        None => Ok(()),
        Some(Objection { why, way_out }) => {
            let text = format!("cannot connect a machine to {connection}: {why}");
            Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out)))
        }
    }
}

fn look(sysfs: &Path, settings: &Path, user: u32, connection: &Connection) -> Result<(), DriverError> {
    let Some(name) = connection.interface() else { return Ok(()) };
    let refuse = |why: String, way_out: String| {
        let text = format!("cannot connect a machine to {connection}: {why}");
        Err(DriverError::new(DriverErrorKind::Refused, text).with_way_out(Some(way_out)))
    };
    let folder = sysfs.join(name.as_str());
    let Some(flags) = attribute(&folder.join("flags"))? else {
        let way_out = match connection {
            Connection::Tap(_) => format!("make it: `ip tuntap add {name} mode tap`, and connect it"),
            _ => format!("make it: `ip link add {name} type bridge && ip link set {name} up`"),
        };
        return refuse("this host has no interface of that name".to_owned(), way_out);
    };
    match connection {
        Connection::Tap(_) => {
            let of_tap = attribute(&folder.join("tun_flags"))?.and_then(|flags| number(&flags));
            if of_tap.is_none_or(|flags| flags & TAP == 0) {
                return refuse(
                    "it is no tap device".to_owned(),
                    "name a tap device, or the bridge as `bridge`".to_owned(),
                );
            }
            let owner = attribute(&folder.join("owner"))?.and_then(|owner| owner.parse::<i64>().ok()).unwrap_or(-1);
            if user != 0 && owner != -1 && owner != i64::from(user) {
                return refuse(
                    format!("it belongs to user {owner}"),
                    format!("make it with `ip tuntap add {name} mode tap user {user}`"),
                );
            }
        }
        _ if !folder.join("bridge").is_dir() => {
            return refuse("it is no bridge".to_owned(), "name a bridge, or a tap device as `tap`".to_owned());
        }
        _ => {}
    }
    if number(&flags).is_none_or(|flags| flags & UP == 0) {
        return refuse("it is down".to_owned(), format!("bring it up: `ip link set {name} up`"));
    }
    let way = master(sysfs, name)
        .map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?
        .unwrap_or_else(|| name.clone());
    match disables_ipv6(settings, &way)? {
        false => Ok(()),
        true => refuse(
            format!("{way} has no IPv6, by whose link-local addresses this host reaches its machines"),
            format!("`sysctl net.ipv6.conf.{way}.disable_ipv6=0`"),
        ),
    }
}

fn disables_ipv6(settings: &Path, name: &InterfaceName) -> Result<bool, DriverError> {
    // A kernel without IPv6 has no such file.
    Ok(attribute(&settings.join(name.as_str()).join("disable_ipv6"))?.is_none_or(|value| value != "0"))
}

/// The text in a file of the kernel; `None` when there is none.
fn attribute(path: &Path) -> Result<Option<String>, DriverError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        // An attribute of something that is another kind of interface, or that goes away just now.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => {
            let (operation, path) = ("read", path.to_owned());
            Err(super::QemuError::Io { operation, path, source }.into())
        }
    }
}

fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these files below `net` and `conf`.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn tried(host: &tempfile::TempDir, user: u32, connection: &str) -> Result<(), (String, String)> {
        let connection: Connection = serde_json::from_str(connection).unwrap();
        look(&host.path().join("net"), &host.path().join("conf"), user, &connection)
            .map_err(|error| (error.to_string(), error.way_out.unwrap_or_default()))
    }

    const BRIDGE: [(&str, &str); 3] =
        [("net/br0/flags", "0x1003\n"), ("net/br0/bridge/stp_state", "0\n"), ("conf/br0/disable_ipv6", "0\n")];
    const TAP0: [(&str, &str); 4] = [
        ("net/tap0/flags", "0x1003\n"),
        ("net/tap0/tun_flags", "0x1002\n"),
        ("net/tap0/owner", "1000\n"),
        ("conf/tap0/disable_ipv6", "0\n"),
    ];

    #[test]
    fn a_bridge_and_a_tap_that_are_up_will_do_and_so_does_what_needs_no_interface() {
        assert_eq!(tried(&host(&BRIDGE), 1000, r#"{"bridge": "br0"}"#), Ok(()));
        for user in [0, 1000] {
            assert_eq!(tried(&host(&TAP0), user, r#"{"tap": "tap0"}"#), Ok(()));
        }
        for none in [r#""user""#, r#""none""#] {
            assert_eq!(tried(&host(&[]), 1000, none), Ok(()));
        }
    }

    #[test]
    fn what_a_machine_cannot_be_connected_to_is_refused_with_the_way_out() {
        let all = [BRIDGE.as_slice(), TAP0.as_slice()].concat();
        let with = |more: &[(&'static str, &'static str)]| host(&[all.as_slice(), more].concat());
        for (host, connection, why, way_out) in [
            (
                with(&[]),
                r#"{"bridge": "br1"}"#,
                "to bridge br1: this host has no interface",
                "ip link add br1 type bridge",
            ),
            (with(&[]), r#"{"tap": "tap1"}"#, "to tap tap1: this host has no interface", "ip tuntap add tap1 mode tap"),
            (with(&[]), r#"{"bridge": "tap0"}"#, "it is no bridge", "as `tap`"),
            (with(&[]), r#"{"tap": "br0"}"#, "it is no tap device", "as `bridge`"),
            (with(&[("net/tap0/tun_flags", "0x1001")]), r#"{"tap": "tap0"}"#, "it is no tap device", "as `bridge`"),
            (with(&[("net/tap0/owner", "7")]), r#"{"tap": "tap0"}"#, "it belongs to user 7", "user 1000"),
            (with(&[("net/br0/flags", "0x1002")]), r#"{"bridge": "br0"}"#, "it is down", "ip link set br0 up"),
            (with(&[("conf/br0/disable_ipv6", "1")]), r#"{"bridge": "br0"}"#, "br0 has no IPv6", "disable_ipv6=0"),
        ] {
            let (text, hint) = tried(&host, 1000, connection).unwrap_err();
            assert!(text.starts_with("cannot connect a machine to ") && text.contains(why), "{text}");
            assert!(hint.contains(way_out), "{hint}");
        }
    }
    #[test]
    fn a_bridge_that_qemus_helper_may_not_use_is_refused_with_the_way_out() {
        use std::os::unix::process::ExitStatusExt;
        // As QEMU 7.2 says it.
        let stderr = "failed to parse default acl file `/etc/qemu/bridge.conf'; qemu-system-x86_64: -netdev bridge,id=net0,br=br0: \
            bridge helper failed";
        let error = crate::qemu::QemuError::Refused {
            program: "qemu-system-x86_64".to_owned(),
            arguments: Vec::new(),
            status: std::process::ExitStatus::from_raw(1 << 8),
            stderr: stderr.to_owned(),
        };
        let way_out = DriverError::from(error).way_out.unwrap();
        assert!(way_out.contains("`allow NAME` in /etc/qemu/bridge.conf"), "{way_out}");
    }
}
