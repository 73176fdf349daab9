//! What a machine's network interface is connected to on its host. Owns the grammar of an interface's name; must not look
//! at an interface.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ParseError;

/// What a machine's network interface is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// The driver's own network, without privileges on the host.
    #[default]
    User,
    /// The driver's own network, through which nothing on the host's loopback interface is reached.
    UserClosed,
    /// Nothing: the machine has no interface.
    None,
    /// A bridge of the host.
    Bridge(InterfaceName),
    /// A tap device of the host, which somebody else has made.
    Tap(InterfaceName),
}

impl Connection {
    /// Whether it is the driver's own network, open or closed.
    #[must_use]
    pub const fn is_user(&self) -> bool {
        matches!(self, Self::User | Self::UserClosed)
    }

    /// Whether it is what a record means that does not name it: the user network as it was before it could be closed.
    #[must_use]
    pub const fn is_open_user(&self) -> bool {
        matches!(self, Self::User)
    }

    /// The interface of the host that it goes through, where it is one that has a name.
    #[must_use]
    pub const fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::User | Self::UserClosed | Self::None => None,
            Self::Bridge(name) | Self::Tap(name) => Some(name),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User | Self::UserClosed => formatter.write_str("user"),
            Self::None => formatter.write_str("none"),
            Self::Bridge(name) => write!(formatter, "bridge {name}"),
            Self::Tap(name) => write!(formatter, "tap {name}"),
        }
    }
}

/// Name of a network interface of the host: 1 to 15 of a-z, A-Z, 0-9, `.`, `_` and `-`, the first a letter or digit. The
/// kernel allows more, but neither the options of QEMU nor those of ssh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= 15 {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseError::new(
            "interface name",
            text,
            "1 to 15 of a-z, A-Z, 0-9, ., _ and -, the first a letter or digit",
        ))
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_interface_is_no_path_no_option_and_no_list() {
        for name in ["br0", "virbr0", "eth0.100", "a", "tap-build_7", "123456789012345"] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().as_str(), name);
        }
        for name in ["", "1234567890123456", "-br0", ".", "..", "a/b", "a,b", "a=b", "a b", "a%b", "a:1", "bü"] {
            assert!(name.parse::<InterfaceName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_connection_keeps_its_form_in_a_record() {
        let name: InterfaceName = "br0".parse().unwrap();
        for (connection, text) in [
            (Connection::User, "\"user\""),
            (Connection::UserClosed, "\"user-closed\""),
            (Connection::None, "\"none\""),
            (Connection::Bridge(name.clone()), "{\"bridge\":\"br0\"}"),
            (Connection::Tap(name), "{\"tap\":\"br0\"}"),
        ] {
            assert_eq!(serde_json::to_string(&connection).unwrap(), text);
            assert_eq!(serde_json::from_str::<Connection>(text).unwrap(), connection);
        }
    }
}
