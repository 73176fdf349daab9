//! What a look at a device found. A failed look is a value of its own: it never reads as "nothing there".

use serde::{Deserialize, Serialize};

/// Result of probing a whole device for signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Probe {
    /// No signature is known there, and every byte that was looked at is zero: all of them on a small device, the ends
    /// and a sample of a large one.
    Empty,
    /// No signature is known there, and there is something: whose it is, nobody can tell.
    Unknown,
    /// One consistent answer.
    Found(Signature),
    /// Several signatures contradict each other; never to be guessed between.
    Ambivalent,
    /// The device could not be read or the probing process died.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The device did not answer in time.
    Silent {
        /// The time that it had.
        seconds: u64,
    },
}

/// What libblkid says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Filesystem or RAID type (`TYPE`).
    pub filesystem: Option<String>,
    /// Label (`LABEL`).
    pub label: Option<String>,
    /// Identifier (`UUID`); a pool's GUID in decimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Partition table type (`PTTYPE`).
    pub partition_table: Option<String>,
}
