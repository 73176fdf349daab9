//! Why a driver could not do something. Must not add words to what the driver said.

use std::{error::Error, fmt};

/// What callers act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverErrorKind {
    /// Programs that the driver needs are absent.
    MissingTool {
        /// The Debian package that brings them.
        package: &'static str,
        /// Their names.
        programs: &'static str,
    },
    /// What was asked for is refused.
    Refused,
    /// A deadline passed.
    TimedOut,
    /// It cannot be proved that nothing of the machine runs.
    Unproven {
        /// The process that may be it.
        pid: Option<i32>,
    },
    /// It did not work.
    Failed,
}

/// An error of a driver. Shown as the error in it, whose causes are its own.
#[derive(Debug)]
pub struct DriverError {
    /// What callers act on.
    pub kind: DriverErrorKind,
    /// What happened.
    pub error: Box<dyn Error + Send + Sync>,
    /// What would help, where only the driver knows that.
    pub way_out: Option<String>,
}

impl DriverError {
    /// An error of `kind`.
    pub fn new(kind: DriverErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), way_out: None }
    }

    /// Adds what would help.
    #[must_use]
    pub fn with_way_out(mut self, way_out: Option<String>) -> Self {
        self.way_out = way_out;
        self
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
