//! Why a command failed: kind, error and hints. The kind alone decides the exit code; must not print.

use std::error::Error;

use cloud_machine_operation::{During, ErrorKind, OperationError, Refusal, RefusedPlace, chain};
use cloud_machine_store::StoreError;

use crate::hints;

/// Exit codes of the program, documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// It did not work.
    Failed = 1,
    /// The command line says too little, or too much.
    Usage = 2,
    /// The configuration is refused.
    Refused = 3,
    /// No such machine, image or file.
    NotFound = 4,
    /// Evidence is missing, late, foreign, incomplete or too weak.
    Verification = 5,
    /// A deadline passed.
    TimedOut = 6,
    /// Some of several machines failed.
    Partial = 7,
    /// Another operation holds the lock.
    Locked = 8,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, error)
    }

    /// For `map_err`: an error of `kind`, with its operation in front.
    pub(crate) fn during<E: Error + Send + Sync + 'static>(
        kind: Kind,
        operation: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::new(kind, During::new(operation, source))
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The error and its causes, outermost first.
    pub(crate) fn causes(&self) -> Vec<String> {
        chain(self.error.as_ref())
    }

    /// Where the configuration is wrong; none when it is another failure.
    pub(crate) fn places(&self) -> Vec<RefusedPlace> {
        self.error.downcast_ref::<Refusal>().map(Refusal::places).unwrap_or_default()
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let kind = match error.kind {
            ErrorKind::Failed => Kind::Failed,
            ErrorKind::Refused => Kind::Refused,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Verification => Kind::Verification,
            ErrorKind::TimedOut => Kind::TimedOut,
            ErrorKind::Locked => Kind::Locked,
        };
        Self { kind, error: error.error, hints: error.hints.iter().map(hints::text).collect() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        OperationError::from(error).into()
    }
}
