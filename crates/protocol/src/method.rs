//! What an attempt did with a disk, as a type: whoever asks what was kept or erased asks this, never a text. Must not say
//! why.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::WipeMethod;

/// What an attempt did with a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// Documents or the image were read from it.
    Read,
    /// It was not read.
    Ignored,
    /// The system disk: made equal to the image.
    Reimage,
    /// The system disk: started as it was.
    Booted,
    /// A disk that is never written: its content comes from the host.
    Medium {
        /// The described filesystem, in the words of the configuration.
        filesystem: Option<String>,
    },
    /// A data disk.
    Data {
        /// How its old content ended; `None` when it did not.
        wipe: Option<WipeMethod>,
        /// Whether it is used through a cipher whose key was made in this boot.
        encrypted: bool,
        /// What it holds afterwards.
        content: DataContent,
    },
}

/// What a data disk holds after an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataContent {
    /// What it held before, or what the wipe left: nothing is described.
    Raw,
    /// The described filesystem.
    Filesystem {
        /// Its type, in the words of the configuration.
        filesystem: String,
        /// Where it came from.
        provenance: Provenance,
    },
    /// The described partition table.
    Table {
        /// Where it came from.
        provenance: Provenance,
        /// Each partition that has a filesystem, by number.
        partitions: Vec<PartitionMethod>,
    },
}

/// A partition with a filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionMethod {
    /// Name in the table.
    pub name: String,
    /// Type of its filesystem, in the words of the configuration.
    pub filesystem: String,
    /// Whether the partition was made zero before.
    pub wiped: bool,
    /// Where the filesystem came from.
    pub provenance: Provenance,
}

/// Where a filesystem or a table came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// It was there, and is used with all that it holds.
    Reused,
    /// The attempt made it.
    Created,
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wipe, encrypted, content) = match self {
            Self::Data { wipe, encrypted, content } => (wipe, encrypted, content),
            Self::Medium { filesystem: Some(filesystem) } => {
                return formatter.pad(&format!("{} {filesystem}", Provenance::Reused));
            }
            Self::Medium { filesystem: None } => return formatter.pad("kept"),
            Self::Read => return formatter.pad("read"),
            Self::Ignored => return formatter.pad("ignored"),
            Self::Reimage => return formatter.pad("reimage"),
            Self::Booted => return formatter.pad("booted"),
        };
        let wipe = wipe.map(|method| format!("wipe {method}"));
        let cipher = encrypted.then(|| "encrypt".to_owned());
        let content = (*content != DataContent::Raw).then(|| content.to_string());
        let parts: Vec<String> = wipe.into_iter().chain(cipher).chain(content).collect();
        formatter.pad(&if parts.is_empty() { "kept".to_owned() } else { parts.join(", ") })
    }
}

impl fmt::Display for DataContent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => formatter.write_str("kept"),
            Self::Filesystem { filesystem, provenance } => write!(formatter, "{provenance} {filesystem}"),
            Self::Table { provenance, partitions } => {
                write!(formatter, "{provenance} table")?;
                partitions.iter().try_for_each(|partition| {
                    let PartitionMethod { name, filesystem, wiped, provenance } = partition;
                    let wipe = if *wiped { format!(", wipe {name} zero") } else { String::new() };
                    write!(formatter, "{wipe}, {provenance} {filesystem} on {name}")
                })
            }
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reused => "reuse",
            Self::Created => "create",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(wipe: Option<WipeMethod>, encrypted: bool, content: DataContent) -> Method {
        Method::Data { wipe, encrypted, content }
    }

    #[test]
    fn a_method_reads_as_what_was_done_in_order() {
        let filesystem = |provenance| DataContent::Filesystem { filesystem: "ext4".to_owned(), provenance };
        let partition = |name: &str, wiped, provenance| PartitionMethod {
            name: name.to_owned(),
            filesystem: "xfs".to_owned(),
            wiped,
            provenance,
        };
        let table = DataContent::Table {
            provenance: Provenance::Reused,
            partitions: vec![partition("a", false, Provenance::Reused), partition("b", true, Provenance::Created)],
        };
        for (method, text) in [
            (Method::Reimage, "reimage"),
            (Method::Booted, "booted"),
            (Method::Medium { filesystem: Some("iso9660".to_owned()) }, "reuse iso9660"),
            (Method::Medium { filesystem: None }, "kept"),
            (data(None, false, DataContent::Raw), "kept"),
            (data(Some(WipeMethod::Zero), false, DataContent::Raw), "wipe zero"),
            (data(None, false, filesystem(Provenance::Reused)), "reuse ext4"),
            (
                data(Some(WipeMethod::Recreate), true, filesystem(Provenance::Created)),
                "wipe recreate, encrypt, create ext4",
            ),
            (data(None, false, table), "reuse table, reuse xfs on a, wipe b zero, create xfs on b"),
        ] {
            assert_eq!(method.to_string(), text);
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method);
        }
    }
}
