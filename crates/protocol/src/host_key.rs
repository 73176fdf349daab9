//! The private SSH host key that a machine keeps over its reimages, as the host hands it to the agent. Must not show it: it is
//! serialized for the message that carries it, and for nothing else.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::hex;

/// The 32 bytes from which an Ed25519 key is made (RFC 8032, section 5.1.5).
#[derive(Clone, PartialEq, Eq)]
pub struct HostKeySeed([u8; 32]);

impl HostKeySeed {
    /// Of a key that the host keeps.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The private key itself, for whoever writes it where the machine's SSH server reads it.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for HostKeySeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HostKeySeed(not shown)")
    }
}

impl Serialize for HostKeySeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HostKeySeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text is a private key: no error repeats it.
        hex::decode(&text).map(Self).ok_or_else(|| D::Error::custom("a host key is 64 hexadecimal digits"))
    }
}
