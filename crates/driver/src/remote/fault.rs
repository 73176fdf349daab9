//! Errors of machines that are elsewhere, which no part of another one is. Must not know whose they are.

use crate::error::{DriverError, DriverErrorKind};

pub(super) fn failed(text: impl Into<String>) -> DriverError {
    DriverError::new(DriverErrorKind::Failed, text.into())
}

pub(super) fn timed_out(text: impl Into<String>) -> DriverError {
    DriverError::new(DriverErrorKind::TimedOut, text.into())
}

pub(super) fn refused(text: impl Into<String>) -> DriverError {
    DriverError::new(DriverErrorKind::Refused, text.into())
}

pub(super) fn no_snapshots() -> DriverError {
    refused("the machine's disk is kept nowhere: nothing of its driver does that")
}
