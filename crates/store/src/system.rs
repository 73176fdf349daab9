//! What a machine's system disk is made of on the host, and how it became so. Must not touch the files.

use std::fmt;

use cloud_machine_protocol::{Digest, RescueHostKey, Tier};
use serde::{Deserialize, Serialize};

/// The system disk of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemDisk {
    /// Its files.
    pub backing: DiskBacking,
    /// The image that it was equal to when the machine's last reimage was accepted, while its dirty map recorded. Taken
    /// away with the intent of the next reimage: a map counts only after an attempt that was accepted.
    pub mapped_since: Option<Digest>,
    /// The last accepted reimage.
    pub last: Option<LastReimage>,
}

/// The files of a system disk. Its raw file is the one that the record of the disk names; the others lie beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum DiskBacking {
    /// A raw file.
    #[default]
    Raw,
    /// A raw file, and a map in which the host marks what is written to it.
    Mapped,
    /// An overlay above a golden disk of the store.
    Overlay {
        /// BLAKE3 digest of the golden disk's image.
        golden: Digest,
    },
}

/// How a system disk last became the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastReimage {
    /// What the host did.
    pub strategy: Strategy,
    /// What the agent did, as its report says; `None` when none did anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// What was known before of the host key of the rescue system that it was made on; `None` when it was made on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue_host_key: Option<RescueHostKey>,
}

/// How the host makes a reimage short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A fresh overlay on a golden disk.
    Overlay,
    /// The agent looks at what the host's map names.
    Hinted,
    /// The agent looks at everything.
    Rewrite,
    /// The agent clones files that it received before into the pool on the disk.
    Clone,
    /// The machine's provider writes a snapshot of the clean disk over it; no agent runs.
    Rebuild,
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Overlay => "overlay",
            Self::Hinted => "hinted",
            Self::Rewrite => "rewrite",
            Self::Clone => "clone",
            Self::Rebuild => "rebuild",
        })
    }
}

impl fmt::Display for DiskBacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => formatter.write_str("raw file"),
            Self::Mapped => formatter.write_str("raw file with a dirty map"),
            Self::Overlay { golden } => write!(formatter, "overlay on the golden disk of {golden}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_same_in_json_and_in_text() {
        for strategy in [Strategy::Overlay, Strategy::Hinted, Strategy::Rewrite, Strategy::Clone, Strategy::Rebuild] {
            assert_eq!(serde_json::to_string(&strategy).unwrap(), format!("\"{strategy}\""));
        }
    }

    #[test]
    fn every_backing_comes_back_from_json() {
        let golden = format!("blake3:{}", "ab".repeat(32)).parse().unwrap();
        for backing in [DiskBacking::Raw, DiskBacking::Mapped, DiskBacking::Overlay { golden }] {
            let system = SystemDisk { backing, mapped_since: Some(golden), last: None };
            let text = serde_json::to_string(&system).unwrap();
            assert_eq!(serde_json::from_str::<SystemDisk>(&text).unwrap(), system);
        }
        assert!(serde_json::from_str::<SystemDisk>("{\"backing\": {\"kind\": \"zfs\"}}").is_err());
    }
}
