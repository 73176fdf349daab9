//! The configuration that a machine was made from, read once for each operation. Must not read anything but the record.

use cloud_machine_config::{Config, ConfigErrors, Document, Merged, merge, validate};
use cloud_machine_store::MachineRecord;

use crate::{
    error::{ErrorKind, OperationError},
    refusal::Refusal,
};

/// What the host's layers gave when the machine was made.
pub struct Described {
    /// Each value with its origin.
    pub merged: Merged,
    /// The same as types.
    pub config: Config,
}

impl Described {
    /// The configuration in the machine's record.
    ///
    /// # Errors
    /// Of [`ErrorKind::Refused`]: the layers in the record are none, or say what cannot be.
    pub fn of(record: &MachineRecord) -> Result<Self, OperationError> {
        let layers =
            serde_json::to_vec(&record.layers).map_err(OperationError::during(ErrorKind::Failed, "read the layers"))?;
        let merged = merge(&[host_layers(&layers)?]).map_err(refused)?;
        let config = validate(&merged).map_err(refused)?;
        Ok(Self { merged, config })
    }
}

/// The layers of the host as they are kept and handed over.
pub(crate) fn host_layers(layers: &[u8]) -> Result<Document, OperationError> {
    Document::from_layers(layers).map_err(refused)
}

/// A refusal with all its errors, each pointing into its document.
#[must_use]
pub fn refused(errors: ConfigErrors) -> OperationError {
    refused_all(vec![errors])
}

/// [`refused`], of several documents at once.
#[must_use]
pub fn refused_all(documents: Vec<ConfigErrors>) -> OperationError {
    OperationError::new(ErrorKind::Refused, Refusal::new(documents))
}

/// A refusal of the configuration for what no document has.
#[must_use]
pub fn refusal(text: &str) -> OperationError {
    OperationError::new(ErrorKind::Refused, format!("the configuration is refused\n{text}"))
}
