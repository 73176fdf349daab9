//! Names that people choose, each with its grammar, so that no other text can reach a path, a command line or a
//! terminal. Owns the grammars; must not look anything up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is not what its place in the vocabulary allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {found:?}: expected {allowed}")]
pub struct ParseError {
    /// What the text should have been.
    pub what: &'static str,
    /// The text itself, shortened.
    pub found: String,
    /// What is allowed there.
    pub allowed: &'static str,
}

impl ParseError {
    /// An error about `found`, shortened to 80 characters.
    #[must_use]
    pub fn new(what: &'static str, found: &str, allowed: &'static str) -> Self {
        Self { what, found: found.chars().take(80).collect(), allowed }
    }
}

fn is_label(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal, $fits:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                if $fits(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseError::new($what, text, $allowed))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseError;

            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

label! {
    /// Name and host name of a machine: one RFC 1123 label, lower case.
    MachineName, "machine name", |text| is_label(text, 63), "1 to 63 of a-z, 0-9 and -, not first or last a -"
}

label! {
    /// Name of a disk in the configuration. At most 20 bytes, since it is the default serial of a virtio disk
    /// (VIRTIO 1.2, 5.2.6: a device id string of 20 bytes).
    DiskName, "disk name", |text| is_label(text, 20), "1 to 20 of a-z, 0-9 and -, not first or last a -"
}

label! {
    /// Name of a further network interface, which the machine's system calls it by. Its VLAN is called NAME.NUMBER, and the kernel has
    /// room for 15 bytes (IFNAMSIZ of linux/if.h, with a final NUL).
    NicName, "interface name", |text| is_label(text, 10) && !is_given(text),
    "1 to 10 of a-z, 0-9 and -, the first a letter and the last no -, and no name that systems give by themselves, such as eth0"
}

/// How names begin that the kernel, systemd or a program gives, which go on with a number.
const GIVEN: [&str; 28] = [
    "", "bond", "br", "cni", "docker", "dummy", "end", "eno", "enp", "ens", "enx", "eth", "ib", "ifb", "lxcbr", "sit",
    "tap", "team", "tun", "tunl", "usb", "veth", "virbr", "vlan", "wg", "wlan", "wlp", "wwan",
];

/// Whether systems give an interface this name by themselves, or mean something else by it: the kernel has settings of `all` and
/// `default` (Linux, ip-sysctl), and a number is an index.
fn is_given(name: &str) -> bool {
    match name.find(|character: char| character.is_ascii_digit()).and_then(|digit| name.get(..digit)) {
        None => ["lo", "all", "default"].contains(&name),
        Some(stem) => GIVEN.contains(&stem),
    }
}

/// How a configuration points to a device of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSelector {
    /// `/dev/NAME`: the kernel's name, which depends on the order of discovery.
    Path(String),
    /// `serial:TEXT`: what the device says of itself; production uses this.
    Serial(String),
    /// `wwn:TEXT`: the world wide name.
    Wwn(String),
    /// `label:TEXT`: the label of the filesystem on the whole device. Whoever can write a device can give it any label.
    Label(String),
    /// `/dev/disk/by-id/NAME`: what udev calls it by what the device says of itself.
    ById(String),
}

/// Where udev's links of that kind are.
const BY_ID: &str = "/dev/disk/by-id/";

impl FromStr for DeviceSelector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let allowed = "/dev/NAME, /dev/disk/by-id/NAME, serial:TEXT, wwn:TEXT or label:TEXT, printable ASCII without spaces or commas";
        let invalid = || ParseError::new("device", text, allowed);
        let printable =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        let plain = |name: &str| printable(name) && !name.contains('/') && !name.starts_with('.');
        if let Some(name) = text.strip_prefix(BY_ID) {
            return if plain(name) { Ok(Self::ById(name.to_owned())) } else { Err(invalid()) };
        }
        if let Some(name) = text.strip_prefix("/dev/") {
            return if plain(name) { Ok(Self::Path(name.to_owned())) } else { Err(invalid()) };
        }
        match text.split_once(':') {
            Some(("serial", serial)) if printable(serial) => Ok(Self::Serial(serial.to_owned())),
            Some(("wwn", wwn)) if printable(wwn) => Ok(Self::Wwn(wwn.to_owned())),
            Some(("label", label)) if printable(label) => Ok(Self::Label(label.to_owned())),
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for DeviceSelector {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<DeviceSelector> for String {
    fn from(selector: DeviceSelector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for DeviceSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(formatter, "/dev/{name}"),
            Self::Serial(serial) => write!(formatter, "serial:{serial}"),
            Self::Wwn(wwn) => write!(formatter, "wwn:{wwn}"),
            Self::Label(label) => write!(formatter, "label:{label}"),
            Self::ById(name) => write!(formatter, "{BY_ID}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_could_reach_a_path_a_line_or_a_terminal() {
        for text in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a\nb", "a\u{1b}[31m", &"a".repeat(64)] {
            assert!(text.parse::<MachineName>().is_err(), "{text:?}");
        }
        assert_eq!("demo-1".parse::<MachineName>().unwrap().as_str(), "demo-1");
        assert!("a".repeat(21).parse::<DiskName>().is_err());
    }

    #[test]
    fn an_interface_has_no_name_that_a_system_gives_to_another_one() {
        for text in ["storage", "a", "net-2", "lan0", "mgmt", "ens", "storage-10"] {
            assert_eq!(text.parse::<NicName>().unwrap().as_str(), text);
        }
        for text in [
            "lo",
            "all",
            "default",
            "eth0",
            "ens3",
            "enp0s3",
            "vlan7",
            "docker0",
            "7",
            "10g",
            "cni0",
            "virbr0",
            "wlan0",
            "storage-net",
            "a.7",
        ] {
            assert!(text.parse::<NicName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn device_selectors_round_trip() {
        for text in
            ["/dev/vda", "/dev/disk/by-id/virtio-system", "serial:system", "wwn:0x5000c500a0b1c2d3", "label:TOOLS"]
        {
            assert_eq!(text.parse::<DeviceSelector>().unwrap().to_string(), text);
        }
        for text in [
            "vda",
            "/dev/",
            "/dev/../etc",
            "/dev/disk/by-label/x",
            "/dev/disk/by-id/",
            "/dev/disk/by-id/../x",
            "serial:",
            "serial:a,b",
            "uuid:1",
            "serial:a b",
        ] {
            assert!(text.parse::<DeviceSelector>().is_err(), "{text:?}");
        }
    }
}
