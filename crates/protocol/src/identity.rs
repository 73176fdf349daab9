//! The typed identity of a machine, held by the host since its creation. Must not hold a private key.

use std::{collections::BTreeMap, fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{MachineName, NicName, ParseError, hex};

/// What a machine keeps when it is reimaged. Every value comes from the host's record, never from a disk that a job
/// could write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Host name and name of the machine.
    pub name: MachineName,
    /// UUID of the machine, also in its SMBIOS table.
    pub machine_uuid: String,
    /// Contents of `/etc/machine-id` (machine-id(5)).
    pub machine_id: MachineId,
    /// Hardware address of the network interface.
    pub mac: MacAddress,
    /// Hardware addresses of further network interfaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nics: BTreeMap<NicName, MacAddress>,
    /// Lines of root's `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// What happens to the SSH host key at a reimage.
    pub ssh_host_keys: SecretPolicy,
}

/// What happens to a secret of the machine at a reimage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretPolicy {
    /// A new one is made; earlier jobs could read the old one.
    #[default]
    Rotate,
    /// It stays, so every job since could know it.
    Keep,
}

impl fmt::Display for SecretPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Rotate => "rotate",
            Self::Keep => "keep",
        })
    }
}

/// 128 bits in 32 lower-case hexadecimal digits, not all zero (machine-id(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId([u8; 16]);

impl MachineId {
    /// From 16 random bytes; version and variant bits of a v4 UUID are set, as systemd does.
    #[must_use]
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The identifier that gethostid(3) gives and by which ZFS knows a machine: the first four bytes, never zero.
    #[must_use]
    pub const fn hostid(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        match u32::from_be_bytes([a, b, c, d]) {
            0 => 1,
            id => id,
        }
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for MachineId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match hex::decode(text) {
            Some(bytes) if bytes != [0; 16] => Ok(Self(bytes)),
            _ => Err(ParseError::new("machine-id", text, "32 hexadecimal digits, not all zero")),
        }
    }
}

impl TryFrom<String> for MachineId {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.to_string()
    }
}

/// A unicast Ethernet address, in text six pairs of lower-case hexadecimal digits with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// A locally administered unicast address with QEMU's prefix 52:54:00 and three random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 3]) -> Self {
        Self([0x52, 0x54, 0x00, bytes[0], bytes[1], bytes[2]])
    }

    /// The six bytes in the order of the wire.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// The link-local address that an interface gives itself by this one (RFC 4291, appendix A; RFC 4862, 5.3).
    #[must_use]
    pub const fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;

        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            u16::from_be_bytes([a ^ 2, b]),
            u16::from_be_bytes([c, 0xff]),
            u16::from_be_bytes([0xfe, d]),
            u16::from_be_bytes([e, f]),
        )
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        formatter.write_str(&pairs.join(":"))
    }
}

impl FromStr for MacAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let shaped = text.len() == 17 && text.bytes().skip(2).step_by(3).all(|byte| byte == b':');
        match hex::decode::<6>(&text.replace(':', "")) {
            Some(bytes) if shaped && bytes[0] & 1 == 0 && bytes != [0; 6] => Ok(Self(bytes)),
            _ => Err(ParseError::new("MAC address", text, "a unicast address such as 52:54:00:12:34:56")),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_id_and_mac_have_a_grammar() {
        assert!("0".repeat(32).parse::<MachineId>().is_err());
        assert!("evil\nPermitRootLogin yes".parse::<MachineId>().is_err());
        assert_eq!(MachineId::from_random([0xff; 16]).to_string(), "ffffffffffff4fffbfffffffffffffff");
        assert_eq!("52:54:00:AB:cd:01".parse::<MacAddress>().unwrap().to_string(), "52:54:00:ab:cd:01");
        let link_local = "52:54:00:AB:cd:01".parse::<MacAddress>().unwrap().link_local();
        assert_eq!(link_local.to_string(), "fe80::5054:ff:feab:cd01");
        for text in ["", "52:54:00:ab:cd", "01:00:00:00:00:00", "52-54-00-ab-cd-01", "5:254:00:ab:cd:01"] {
            assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
        }
    }
}
