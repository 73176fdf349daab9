//! What is kept in memory between the time when the disks are made and the time when the root is mounted. Must not give it a meaning.

use std::path::Path;

use cloud_machine_system::root::{self, RootFile};

use crate::{error::AgentError, layers::Layers};

/// What `disks` keeps for `handover`, in memory that only root reads.
pub(super) const FOLDER: &str = "/run/cloud-machine/handover";
pub(super) const LAYERS: &str = "/run/cloud-machine/handover/layers.json";

/// The other files of a NoCloud volume, as they are on it.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) meta_data: Option<Vec<u8>>,
    pub(super) network_config: Option<Vec<u8>>,
    pub(super) vendor_data: Option<Vec<u8>>,
}

impl Handed {
    /// Those that `read` finds by their names.
    pub(super) fn of(
        mut read: impl FnMut(&'static str) -> Result<Option<Vec<u8>>, AgentError>,
    ) -> Result<Self, AgentError> {
        Ok(Self {
            meta_data: read("meta-data")?,
            network_config: read("network-config")?,
            vendor_data: read("vendor-data")?,
        })
    }

    /// Those that are kept.
    pub(super) fn kept() -> Result<Self, AgentError> {
        Self::of(|name| Ok(root::read(Path::new("/"), &format!("{FOLDER}/{name}"))?))
    }

    /// Keeps them, and the configuration, until the root is mounted.
    pub(super) fn keep(&self, layers: &Layers) -> Result<(), AgentError> {
        let file = |name: &str, content: &[u8]| RootFile {
            path: format!("{FOLDER}/{name}"),
            content: content.to_vec(),
            mode: 0o600,
        };
        root::write_run(&RootFile { path: LAYERS.to_owned(), content: layers.merged().to_layers(), mode: 0o600 })?;
        for (name, content) in [
            ("meta-data", &self.meta_data),
            ("network-config", &self.network_config),
            ("vendor-data", &self.vendor_data),
        ] {
            if let Some(content) = content {
                root::write_run(&file(name, content))?;
            }
        }
        Ok(())
    }
}
