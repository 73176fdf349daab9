//! What the system in an image has, kept beside the image since it was packed. Must not look into an image.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is known of the system in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFacts {
    /// It was looked at when the image was packed.
    Known(SystemFacts),
    /// It could not be looked at, and why.
    Unknown(String),
}

/// What a system has. The texts are the system's own and may hold anything but control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemFacts {
    /// What the distribution calls itself (os-release(5), `PRETTY_NAME`).
    pub system: Option<String>,
    /// File name of the program that the kernel starts as init.
    pub init: Option<String>,
    /// cloud-init.
    pub cloud_init: Option<Installed>,
    /// Docker's daemon.
    pub docker: Option<Installed>,
    /// Which of k3s and rke2; `None` when the image was packed before that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rancher: Option<Vec<String>>,
    /// Releases of the kernels for which there are modules, sorted.
    pub kernels: Vec<String>,
    /// Programs that set up the network, sorted.
    pub network: Vec<String>,
    /// Generators of systemd beside its own (systemd.generator(7)), sorted.
    pub generators: Vec<String>,
}

/// Where an image came from that was packed from a machine's disk, over SSH. The texts are the machine's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// User, host and port.
    pub from: String,
    /// Fingerprint of the host key that answered there.
    pub host_key: String,
    /// The disk, by its kernel name and, where it says one, its serial number.
    pub disk: String,
    /// What used the disk while it was read. When anything did, the copy is of no one moment, and nothing proves what wrote it.
    pub in_use: Vec<String>,
}

impl fmt::Display for Captured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}, host key {}", self.disk, self.from, self.host_key)?;
        if self.in_use.is_empty() {
            return Ok(());
        }
        write!(formatter, "; unproven source: it was in use ({})", self.in_use.join(", "))
    }
}

/// A program that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its version, as far as a file says so.
    pub version: Option<String>,
}

impl fmt::Display for Installed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.version.as_deref().unwrap_or("version not known"))
    }
}
