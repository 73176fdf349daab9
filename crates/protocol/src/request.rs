//! What the host asks of the agent, one request at a time. Must not decide how it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{DeviceSelector, Digest, DiskName, ParseError, SecretUrl, Tier, hex};

/// Contents of `cloud-machine/request.json` on the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`crate::FORMAT_VERSION`].
    pub version: u32,
    /// ULID of the request; several attempts may serve one request.
    pub id: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Made for this attempt, after the previous process of the machine had ended.
    pub nonce: Nonce,
    /// UUID of the machine that is meant.
    pub machine_uuid: String,
    /// What to do.
    pub action: Action,
    /// The image that the system disk holds, or shall hold.
    pub image: ImageRequest,
    /// How a reimage makes the system disk equal to the image. `None`: the agent chooses between [`Tier::Scan`] and
    /// [`Tier::Stream`]. Of the others it may only do more than is asked.
    pub tier: Option<Tier>,
    /// Volumes besides the pinned one whose documents are merged, in this order.
    pub drives: Vec<DriveRequest>,
    /// What the host's record says of the content of each disk; [`History::Unknown`] of one that is not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub histories: BTreeMap<DiskName, History>,
    /// Disks that a reimage keeps and no boot wipes, by the host's configuration.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<DiskName>,
    /// Paths below `cloud-machine` that the machine's driver does not honour: a document that requires one of them is
    /// refused in the machine, too.
    pub unsupported: Vec<String>,
    /// Seconds that the agent may take until its report.
    pub deadline_seconds: u64,
}

impl Request {
    /// What the host's record says of the content of the disk `name`.
    #[must_use]
    pub fn history(&self, name: &str) -> History {
        let named = |(disk, _): &(&DiskName, &History)| disk.as_str() == name;
        self.histories.iter().find(named).map(|(_, history)| *history).unwrap_or_default()
    }

    /// Whether the disk `name` may hold what a job left before the last reimage.
    #[must_use]
    pub fn is_kept(&self, name: &str) -> bool {
        self.kept.iter().any(|disk| disk.as_str() == name)
    }
}

/// What the host's record says of the content of a disk, whatever a look at the disk finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Nothing: there may be anybody's data on it.
    #[default]
    Unknown,
    /// The host made it full of zeros, and no report about it was accepted since: what is on it is at most what an attempt
    /// had begun to make.
    New,
    /// A report was accepted in which what was described had been made on it, or was found there.
    Made,
}

/// A volume labelled `CLOUD-INIT` that the host attached read-only, and vouches that it never was anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveRequest {
    /// Its device.
    pub device: DeviceSelector,
    /// SHA-256 of all its bytes.
    pub digest: Digest,
}

/// What the agent is asked to do before it starts the machine's own system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Make every disk what the configuration says for a reimage.
    Reimage,
    /// Start what is on the system disk, and apply only what the configuration says for every boot.
    Boot,
}

/// The image of the system disk. Its manifest is on the same volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRequest {
    /// Name of the image, for people.
    pub name: String,
    /// BLAKE3 digest of the raw image.
    pub digest: Digest,
    /// Bytes of the raw image.
    pub size: u64,
    /// Where the agent reads the packed image from.
    pub source: ImageSource,
    /// Lowest generation that the image's manifest may have.
    pub minimum_generation: u64,
    /// Rules of the host that an operator set aside for this image on this machine.
    pub exceptions: Vec<Exception>,
}

/// A rule of the host on images that an operator set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exception {
    /// The image may be of a lower generation than the highest that the host ever had.
    Downgrade,
    /// The image needs no signature of a configured key.
    Unsigned,
}

impl fmt::Display for Exception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Downgrade => "downgrade",
            Self::Unsigned => "unsigned",
        })
    }
}

/// What holds a packed image. Its bytes are only believed once they have the digests of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// A device that the host attached.
    Device(DeviceSelector),
    /// A server that serves ranges (RFC 9110, section 14).
    Url(ImageUrl),
    /// The host itself, over the connection to the agent on a rescue system ([`crate::AgentMessage::Read`]).
    Connection {
        /// Bytes of the packed image.
        size: u64,
    },
}

/// Address of a packed image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUrl {
    /// `http:` or `https:`. On the volume it is without what gives access; [`crate::Secrets`] has that.
    pub url: SecretUrl,
    /// CA certificates in PEM that an HTTPS server is held against, in place of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl ImageUrl {
    /// The address without what gives access: user, password, query and fragment.
    #[must_use]
    pub fn redacted(&self) -> String {
        self.url.redacted()
    }
}

/// 32 random bytes that bind a report to one attempt; in text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// From bytes of a secure random source.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A number made of it, for choices that must not be known before the attempt.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Nonce {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        hex::decode(text).map(Self).ok_or_else(|| ParseError::new("nonce", text, "64 hexadecimal digits"))
    }
}

impl TryFrom<String> for Nonce {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        nonce.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_in_json() {
        let device = ImageSource::Device(DeviceSelector::Serial("cm-image".to_owned()));
        let url = ImageSource::Url(ImageUrl { url: "https://images.example/x".parse().unwrap(), ca: None });
        for (source, json) in
            [(device, r#"{"device":"serial:cm-image"}"#), (url, r#"{"url":{"url":"https://images.example/x"}}"#)]
        {
            assert_eq!(serde_json::to_string(&source).unwrap(), json);
            assert_eq!(serde_json::from_str::<ImageSource>(json).unwrap(), source);
        }
    }
}
