//! The part of the object that stages a reimage of the machine by itself. Must not judge a request, and must not hold off a shutdown
//! longer than it is written.

use std::sync::Arc;

use cloud_machine_stager::{SILENCE, Stream};
use zbus::{BoxDBusError, Connection, OwnedFd, fdo, interface, message::Header, object_server::SignalEmitter};

use crate::{
    caller::is_root,
    inhibitor::Inhibitor,
    staging::{Staging, StagingError},
    turn::Turn,
};

/// Name of the interface.
pub(crate) const INTERFACE: &str = "org.cloud_machine.Agent1.Reimage";

/// Requests for a place.
pub(crate) struct Reimage<S> {
    staging: Arc<S>,
    turn: Turn,
}

impl<S: Staging> Reimage<S> {
    /// Puts them into `staging`.
    pub(crate) fn new(staging: S) -> Self {
        Self { staging: Arc::new(staging), turn: Turn::default() }
    }

    /// Writes the request of `stream`, and drops `held` when that ended, however it did.
    async fn write<H: Send + 'static>(&self, mut stream: Stream, held: H) -> Result<String, StagingError> {
        let staging = Arc::clone(&self.staging);
        let work = move || {
            let _held = held;
            staging.stage(&mut stream)
        };
        self.turn.take(work)?.await
    }

    async fn take_away(&self, token: String) -> Result<(), StagingError> {
        let staging = Arc::clone(&self.staging);
        self.turn.take(move || staging.cancel(&token))?.await
    }

    async fn waiting(&self) -> Result<String, StagingError> {
        Ok(self.staging.staged()?.unwrap_or_default())
    }
}

#[interface(name = "org.cloud_machine.Agent1.Reimage")]
impl<S: Staging> Reimage<S> {
    /// Puts the request that the stream has into the recovery partition, reads it back, and gives its token: the next start of the
    /// machine reimages it. A shutdown is held off meanwhile. It may take minutes. Errors, all of them below
    /// org.cloud_machine.Agent1.Error: NoRecovery, Refused, Failed.
    #[zbus(out_args("token"))]
    async fn stage(
        &self,
        stream: OwnedFd,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<String, BoxDBusError> {
        is_root(connection, Some(&header)).await?;
        let inhibitor = Inhibitor::take(connection).await?;
        let token = self.write(Stream::new(stream.into(), SILENCE), inhibitor).await?;
        self.staged_invalidate(&emitter).await?;
        Ok(token)
    }

    /// Takes the staged request with this token away, so that the machine starts as before. Errors as those of Stage.
    async fn cancel(
        &self,
        token: String,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BoxDBusError> {
        is_root(connection, Some(&header)).await?;
        self.take_away(token).await?;
        Ok(self.staged_invalidate(&emitter).await?)
    }

    /// Token of the request that waits for the next start of the machine, or nothing.
    #[zbus(property(emits_changed_signal = "invalidates"))]
    async fn staged(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> fdo::Result<String> {
        is_root(connection, header.as_ref()).await?;
        self.waiting().await.map_err(|error| fdo::Error::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
