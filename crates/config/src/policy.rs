//! The policy of an agent that lies in an image: what a volume or an address may tell it, and what it may do to disks.
//! Must not look for volumes, disks or programs.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use cloud_machine_protocol::{ByteSize, DeviceSelector, Disk};

use crate::{config::FilesystemType, error::ConfigErrors, url::CloudInitUrl};

/// Where the policy lies in an initramfs.
pub const POLICY: &str = "/etc/cloud-machine/agent.yaml";

/// Longest time that may be waited for a volume.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// Smallest recovery partition: kernel and initramfs take most of it.
pub const MIN_RECOVERY: ByteSize = ByteSize(64 * ByteSize::MIB);
/// Largest recovery partition.
pub const MAX_RECOVERY: ByteSize = ByteSize(64 * ByteSize::GIB);

/// Time that is waited for a volume that is required, unless the policy says otherwise.
const WAIT_WHEN_REQUIRED: Duration = Duration::from_secs(30);

/// What the agent of an image may do. The default changes nothing without a volume: no other document is read, and
/// the system boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which volumes count, and whether there must be one.
    pub volume: VolumePolicy,
    /// Which addresses may be read.
    pub address: AddressPolicy,
    /// Which disks may lose what they hold.
    pub wipe: WipePolicy,
    /// Filesystems that may be made, each once and in the order of their type; none of them is a medium.
    pub filesystems: Vec<FilesystemType>,
    /// What becomes of a boot with neither a volume nor an address.
    pub without_configuration: WithoutConfiguration,
    /// Bytes of the partition from which the machine reimages itself, at least [`MIN_RECOVERY`] and at most [`MAX_RECOVERY`]; without
    /// it there is none, and no such request counts.
    pub recovery: Option<ByteSize>,
}

/// Which volumes labelled `CLOUD-INIT` count, and whether there must be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePolicy {
    /// Whether the boot stops when no volume counts.
    pub required: bool,
    /// Whole seconds that are waited for one after all devices that are there have settled, at most [`MAX_WAIT`].
    pub wait: Duration,
    /// Volumes that count: each that is one of these, which are there once and in the order of their type.
    pub accept: Vec<Accept>,
    /// Whose signature makes a volume count: lines `ssh-ed25519 BASE64`, with or without a comment. None unless
    /// [`Accept::Signed`] is accepted, at least one when it is.
    pub keys: Vec<String>,
}

/// A reason for which a volume counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// SMBIOS or fw_cfg state its SHA-256.
    Pinned,
    /// One of the policy's keys has signed it.
    Signed,
    /// It is a whole device that cannot be written.
    ReadOnly,
}

/// Which addresses may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    /// What an address has to begin with, in the form that a parsed address has: `https://` or `http://`, alone or with
    /// a host, a slash and a path. None is allowed when there are none.
    pub allowed: Vec<String>,
    /// What is read when no document has an address; one of those that are allowed.
    pub default: Option<CloudInitUrl>,
}

/// Which disks may lose what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WipePolicy {
    /// Those that the accepted configuration declares.
    #[default]
    Declared,
    /// None.
    None,
    /// Those of the declared ones that one of these names. No selector is a label.
    Only(Vec<DeviceSelector>),
}

/// What becomes of a boot with neither a volume nor an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutConfiguration {
    /// It goes on, and nothing is changed.
    #[default]
    Boot,
    /// It stops.
    Stop,
}

impl Policy {
    /// Reads a policy; `name` names it in errors, such as a path. An empty document is [`Policy::default`].
    ///
    /// # Errors
    /// All that can be found, each with its place: what [`parse`](crate::parse()) refuses, tags, unknown keys, values of another type or
    /// range, and what contradicts itself.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ConfigErrors> {
        read::policy(name, bytes)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            volume: VolumePolicy::default(),
            address: AddressPolicy::default(),
            wipe: WipePolicy::Declared,
            filesystems: vec![FilesystemType::Ext4],
            without_configuration: WithoutConfiguration::Boot,
            recovery: None,
        }
    }
}

impl Default for VolumePolicy {
    fn default() -> Self {
        Self { required: false, wait: Duration::ZERO, accept: vec![Accept::Pinned, Accept::ReadOnly], keys: Vec::new() }
    }
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self { allowed: vec!["https://".to_owned()], default: None }
    }
}

impl AddressPolicy {
    /// Whether the document at `url` may be read. The address of a file never may: it names one of a host.
    #[must_use]
    pub fn allows(&self, url: &CloudInitUrl) -> bool {
        let url = url.url.reveal();
        // A server may take either for a slash, and so step out of the folder that is allowed.
        let path = url.path().to_ascii_lowercase();
        let hides = path.contains("%2f") || path.contains("%5c");
        self.allowed.iter().any(|beginning| {
            let folder = beginning.matches('/').count() > "https://host/".matches('/').count();
            url.as_str().starts_with(beginning.as_str()) && !(folder && hides)
        })
    }
}

impl WipePolicy {
    /// Whether `disk`, which the configuration declares and the root does not lie on, may lose what it holds.
    #[must_use]
    pub fn allows(&self, disk: &Disk) -> bool {
        match self {
            Self::Declared => true,
            Self::None => false,
            Self::Only(selectors) => selectors.iter().any(|selector| disk.matches(selector)),
        }
    }
}
