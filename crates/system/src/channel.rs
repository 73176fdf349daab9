//! Lines to and from whoever asked for the work, and bytes that follow some of them, whatever carries them. Must not know the
//! messages.

use std::{fmt, time::Instant};

use crate::SystemError;

/// A way to talk with the host. Several threads may send; a line is never torn. Whoever receives makes sure that it is its turn.
pub trait Channel: fmt::Debug + Send + Sync {
    /// Sends `line`.
    ///
    /// # Errors
    /// [`SystemError::Io`] when it cannot be sent.
    fn send(&self, line: &[u8]) -> Result<(), SystemError>;

    /// Receives one line of at most `limit` bytes before `deadline`.
    ///
    /// # Errors
    /// [`SystemError::Io`]: timed out, closed, too long or failed.
    fn receive(&self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError>;

    /// Receives the next `length` bytes before `deadline`.
    ///
    /// # Errors
    /// [`SystemError::Io`]: timed out, closed or failed.
    fn receive_bytes(&self, length: usize, deadline: Instant) -> Result<Vec<u8>, SystemError>;
}
