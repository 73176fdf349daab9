//! What a request for a reimage of this machine by itself is put into, as far as this service needs to know. Must not know how it is
//! written: [`crate::recovery`] does.

use std::io::Read;

use zbus::{BoxDBusError, DBusError};

/// A place for one request.
pub(crate) trait Staging: Send + Sync + 'static {
    /// Puts the request that `stream` has there, and gives its token. It counts from the end of this on, and not before.
    ///
    /// # Errors
    /// [`StagingError`]; no request is there then that was not there before.
    fn stage(&self, stream: &mut dyn Read) -> Result<String, StagingError>;

    /// Takes the request with this token away.
    ///
    /// # Errors
    /// [`StagingError`].
    fn cancel(&self, token: &str) -> Result<(), StagingError>;

    /// The token of the request that waits for the next start of the machine, if one does.
    ///
    /// # Errors
    /// [`StagingError`].
    fn staged(&self) -> Result<Option<String>, StagingError>;
}

/// Why nothing was staged or cancelled. The names are part of the interface, as those of [`crate::error::CallError`].
#[derive(Clone, Debug, PartialEq, Eq, DBusError)]
#[zbus(prefix = "org.cloud_machine.Agent1.Error")]
pub(crate) enum StagingError {
    /// The machine cannot do it: there is no recovery partition.
    NoRecovery(String),
    /// The request, the token, or the moment is wrong.
    Refused(String),
    /// It could not be read or written.
    Failed(String),
}

impl From<StagingError> for BoxDBusError {
    fn from(error: StagingError) -> Self {
        Box::new(error)
    }
}
