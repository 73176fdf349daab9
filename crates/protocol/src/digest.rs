//! A digest that always says which hash function made it. Must not compute one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ParseError, hex};

/// The hash functions that the project uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// FIPS 180-4; of volumes, files and documents, since every tool can recompute it.
    Sha256,
    /// The BLAKE3 tree; of disk images, since its subtrees are the block digests.
    Blake3,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
        }
    }
}

/// 32 bytes and the algorithm that made them; in text `sha256:<64 hex digits>` or `blake3:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// Names `bytes` as the output of `algorithm`.
    #[must_use]
    pub const fn new(algorithm: Algorithm, bytes: [u8; 32]) -> Self {
        Self { algorithm, bytes }
    }

    /// The algorithm that made it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The 64 digits without the algorithm's name, as `sha256sum` and `b3sum` print them.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(&self.bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let invalid = || ParseError::new("digest", text, "sha256: or blake3: and 64 hexadecimal digits");
        let (name, digits) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "blake3" => Algorithm::Blake3,
            _ => return Err(invalid()),
        };
        Ok(Self { algorithm, bytes: hex::decode(digits).ok_or_else(invalid)? })
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_names_the_algorithm() {
        let text = format!("blake3:{}", "0f".repeat(32));
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Blake3);
        assert_eq!(digest.to_string(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "sha256:", "md5:00", &format!("sha256:{}", "0".repeat(63)), &"0".repeat(64)] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
        assert!(format!("sha256:+{}", "0".repeat(63)).parse::<Digest>().is_err());
    }
}
