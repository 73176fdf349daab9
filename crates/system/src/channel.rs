//! Lines to and from whoever asked for the work, whatever carries them. Must not know the messages.

use std::{fmt, time::Instant};

use crate::SystemError;

/// A way to talk with the host.
pub trait Channel: fmt::Debug + Send {
    /// Sends `line`.
    ///
    /// # Errors
    /// [`SystemError::Io`] when it cannot be sent.
    fn send(&mut self, line: &[u8]) -> Result<(), SystemError>;

    /// Receives one line of at most `limit` bytes before `deadline`.
    ///
    /// # Errors
    /// [`SystemError::Io`]: timed out, closed, too long or failed.
    fn receive(&mut self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError>;
}
