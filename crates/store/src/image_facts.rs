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
