//! Steps of a plan and how each ended. A step leaves no choice to whoever executes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, NewTable, PartitionLocation, Tier};

/// Stable name of a step, such as `reimage-system` or `wipe-scratch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

impl fmt::Display for StepId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Make a whole disk equal to an image and the rest of it zero, boot head last, everything that was written read
    /// back.
    Reimage {
        /// Kernel name of the disk.
        device: String,
        /// Bytes of the disk; all of them belong to the image or become zero.
        disk_size: u64,
        /// Kernel name of the device with the packed image, or its address without what gives access.
        source: String,
        /// BLAKE3 digest of the raw image.
        image: Digest,
        /// Bytes of the raw image.
        image_size: u64,
        /// How; `None` for a choice between [`Tier::Scan`] and [`Tier::Stream`] by what the disk holds.
        tier: Option<Tier>,
    },
    /// Make a whole disk unreadable as what it was.
    Wipe {
        /// Kernel name of the disk.
        device: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// How.
        method: WipeMethod,
    },
    /// Load a kernel module of the initramfs, and all that it needs.
    LoadModule {
        /// Its name.
        module: String,
    },
    /// Make the kernel refuse writes to a disk.
    SetReadOnly {
        /// Kernel name of the disk.
        device: String,
    },
    /// Mount the root filesystem of the system disk.
    MountRoot {
        /// Kernel name of the disk.
        device: String,
        /// Number of the partition in the table.
        partition: u32,
        /// First byte of the partition on the disk.
        offset: u64,
        /// Bytes of the partition.
        length: u64,
        /// Filesystem type; never guessed.
        filesystem: String,
    },
    /// Read all of a disk and find every byte equal to an image.
    CheckImage {
        /// Kernel name of the disk.
        device: String,
        /// BLAKE3 digest of the image.
        image: Digest,
        /// Bytes of the image, and of the disk.
        image_size: u64,
    },
    /// Copy the files of an image's root filesystem into a new dataset, which gets a snapshot when all of them are
    /// there. One that has the snapshot is left as it is.
    ReceiveRoot {
        /// Kernel name of the disk that is equal to the image.
        device: String,
        /// Number of the partition in the table.
        partition: u32,
        /// First byte of the partition on the disk.
        offset: u64,
        /// Bytes of the partition.
        length: u64,
        /// Filesystem type; never guessed.
        filesystem: String,
        /// The dataset, named by the image.
        dataset: String,
    },
    /// Clone received files and compare every one of them with the image's.
    CloneRoot {
        /// The dataset that was received.
        received: String,
        /// The new root, named by the request.
        dataset: String,
        /// Its properties, each `NAME=VALUE`.
        properties: Vec<String>,
        /// Whether the pool is new ([`Tier::Receive`]) or was kept ([`Tier::Clone`]).
        tier: Tier,
    },
    /// Mount the root from an imported pool.
    MountDataset {
        /// The pool.
        pool: String,
        /// The dataset; `None` for the one that `bootfs` of the pool names.
        dataset: Option<String>,
    },
    /// Let `bootfs` of a pool name the new root, and only then destroy what else is in the pool.
    CommitRoot {
        /// The pool.
        pool: String,
        /// The dataset that was received; it stays, with its snapshot.
        received: String,
        /// The new root.
        dataset: String,
    },
    /// Put a cipher over a whole disk, with a random key of this boot that is kept nowhere.
    Encrypt {
        /// Kernel name of the disk.
        device: String,
        /// Kernel name of the device through which it is used from then on.
        mapped: String,
        /// Cipher, in the words of dm-crypt.
        cipher: String,
        /// Bits of the key.
        key_bits: u32,
    },
    /// Write a GPT, and make zero both ends of every partition in it.
    WriteTable {
        /// Kernel name of the disk.
        device: String,
        /// What is written.
        table: NewTable,
    },
    /// Make an empty filesystem on a whole disk or in a partition.
    MakeFilesystem {
        /// Kernel name of the disk, or of the device through which it is used.
        device: String,
        /// The partition; `None` for the whole disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<PartitionLocation>,
        /// Its type.
        filesystem: String,
        /// Its label; `None` for none. Of a ZFS pool its name.
        label: Option<String>,
        /// Its identifier; `None` for one that its program chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
        /// More arguments of its program.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Properties of a ZFS pool's own dataset, each `NAME=VALUE`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        properties: Vec<String>,
    },
    /// Import a ZFS pool without mounting anything of it, and make datasets that it has not.
    ImportPool {
        /// Kernel name of the disk.
        device: String,
        /// Name of the pool.
        pool: String,
        /// GUID of the pool in decimal digits; `None` for one that has just been made.
        guid: Option<String>,
        /// Datasets below the pool's own.
        datasets: Vec<String>,
        /// Whether it is never written.
        read_only: bool,
    },
    /// Make datasets that an imported pool has not.
    MakeDatasets {
        /// The pool.
        pool: String,
        /// Datasets below the pool's own.
        datasets: Vec<String>,
    },
    /// Write units by which the booted system mounts filesystems and switches swap on.
    WriteMounts {
        /// What is mounted where.
        mounts: Vec<Mount>,
    },
    /// Write the identity into the mounted root.
    WriteIdentity {
        /// Host name that is written.
        hostname: String,
    },
}

/// A filesystem and where the booted system mounts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Kernel name of the disk, or of the device through which it is used. The same kernel goes on running, so the name
    /// still means it.
    pub device: String,
    /// The partition; `None` for the whole disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionLocation>,
    /// Its type.
    pub filesystem: String,
    /// Absolute path; `None` for swap.
    pub mountpoint: Option<String>,
    /// Options of the mount, or of the swap area.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What is mounted of an imported pool; `None` when the filesystem is on the device itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Whether it is grown to the size of what it lies on when it is mounted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grow: bool,
    /// Whether it is mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the system stops when it cannot be mounted or switched on.
    #[serde(default)]
    pub required: bool,
    /// The disk or the partition in the words of the configuration, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub described: String,
}

impl Mount {
    /// Kernel name of what is mounted.
    #[must_use]
    pub fn node(&self) -> &str {
        self.partition.as_ref().map_or(&self.device, |partition| &partition.node)
    }
}

/// How a disk is wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WipeMethod {
    /// Zeros over the whole range, by the device's own command or written, and read back.
    Zero,
    /// Signatures are made zero and read back, inside partitions too; the data between is not erased.
    Recreate,
    /// The whole range is discarded, then read; what is not zero is made zero and read back.
    Discard,
}

impl WipeMethod {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Discard => "discard",
            Self::Recreate => "recreate",
        }
    }

    /// What is left of the old content, printed beside the assurance; `None` when every byte was read as zero.
    #[must_use]
    pub const fn does_not_cover(self) -> Option<&'static str> {
        match self {
            Self::Zero | Self::Discard => None,
            Self::Recreate => Some("signatures were removed; the data between was not erased and can be read back"),
        }
    }

    /// Whether nothing can be left by this method that `other` would have ended. Zero and discard both end in a disk of
    /// which every byte was read as zero; of the two only zero has also written it.
    #[must_use]
    pub const fn leaves_no_more_than(self, other: Self) -> bool {
        self.strength() >= other.strength()
    }

    const fn strength(self) -> u8 {
        match self {
            Self::Recreate => 0,
            Self::Discard => 1,
            Self::Zero => 2,
        }
    }
}

impl fmt::Display for WipeMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// Something was written.
    Changed,
    /// It was already so.
    Unchanged,
    /// It did not work.
    Failed {
        /// Operation and object, then each cause.
        reason: String,
    },
}

/// A step, how it ended and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Which step.
    pub id: StepId,
    /// The step itself.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes read from the target and compared.
    pub compared_bytes: u64,
    /// Bytes written with data.
    pub written_bytes: u64,
    /// Bytes made zero.
    pub zeroed_bytes: u64,
    /// Bytes read back after they were written or made zero.
    pub read_back_bytes: u64,
    /// How long it took.
    pub milliseconds: u64,
}
