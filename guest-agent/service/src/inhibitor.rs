//! The lock of logind that holds off a shutdown (`Inhibit` of org.freedesktop.login1(5)). Must not be held longer than something is
//! written.

use zbus::{Connection, DBusError, OwnedFd};

use crate::staging::StagingError;

/// Holds a shutdown off until it is dropped; nothing where there is no logind, which then shuts nothing down either.
#[derive(Debug)]
pub(crate) struct Inhibitor {
    _lock: Option<OwnedFd>,
}

impl Inhibitor {
    /// Asks for it.
    ///
    /// # Errors
    /// [`StagingError::Failed`] when there is a logind that does not give it.
    pub(crate) async fn take(connection: &Connection) -> Result<Self, StagingError> {
        let words = ("shutdown", "cloud-machine-agentd", "a request for a reimage is being written", "block");
        let answer = connection
            .call_method(
                Some("org.freedesktop.login1"),
                "/org/freedesktop/login1",
                Some("org.freedesktop.login1.Manager"),
                "Inhibit",
                &words,
            )
            .await;
        match answer.and_then(|answer| answer.body().deserialize::<OwnedFd>()) {
            Ok(lock) => Ok(Self { _lock: Some(lock) }),
            Err(zbus::Error::FDO(error)) if error.name().as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" => {
                Ok(Self { _lock: None })
            }
            Err(error) => Err(StagingError::Failed(format!("cannot hold off a shutdown by logind: {error}"))),
        }
    }
}
