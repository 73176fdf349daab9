//! What this driver keeps in a machine's record: the proof of which process it was started as, stored before that process may
//! do anything. Must not look at processes.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

/// One process of one boot of the host, which no other process can be mistaken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRecord {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks since the host's boot.
    pub started: u64,
    /// Id of the host's boot.
    pub boot_id: String,
    /// The namespace in which its number counts, as the kernel numbers it.
    pub namespace: u64,
    /// The disks' files that it had.
    pub disks: Vec<FileId>,
}

/// A file as the kernel knows it, whatever its path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileId {
    /// The device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl From<&Metadata> for FileId {
    fn from(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}
