//! Why an operation failed: a kind that callers act on, the error with its causes, and what is known besides or would help.
//! Must not know an exit code or a command line: front ends choose those.

use std::{error::Error, fmt};

use cloud_machine_driver::{DriverError, DriverErrorKind};
use cloud_machine_protocol::each_cause;
use cloud_machine_store::StoreError;

use crate::hint::Hint;

/// What callers act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It did not work.
    Failed,
    /// What was asked for is refused, before anything was touched.
    Refused,
    /// No such machine, image or file.
    NotFound,
    /// Evidence is missing, late, foreign, incomplete or too weak.
    Verification,
    /// A deadline passed.
    TimedOut,
    /// Another operation holds the lock.
    Locked,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
            Self::Verification => "verification",
            Self::TimedOut => "timed_out",
            Self::Locked => "locked",
        })
    }
}

/// Characters of one cause that are shown; the end of a console is one.
const MAX_TEXT: usize = 16 << 10;

/// An operation that failed.
#[derive(Debug)]
pub struct OperationError {
    /// What callers act on.
    pub kind: ErrorKind,
    /// What happened; its sources are the causes.
    pub error: Box<dyn Error + Send + Sync>,
    /// What is known besides, or would help, in the order in which it was found.
    pub hints: Vec<Hint>,
}

impl OperationError {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// An error of which nothing more can be said than that it did not work.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Failed, error)
    }

    /// For `map_err`: an error of `kind`, with its operation in front.
    pub fn during<E: Error + Send + Sync + 'static>(
        kind: ErrorKind,
        operation: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::new(kind, During::new(operation, source))
    }

    /// Adds what is known besides.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hints.push(hint);
        self
    }

    /// The error and its causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        chain(self.error.as_ref())
    }

    /// The error and its causes on one line.
    #[must_use]
    pub fn line(&self) -> String {
        self.causes().join(": ")
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl Error for OperationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<DriverError> for OperationError {
    fn from(error: DriverError) -> Self {
        let kind = match error.kind {
            DriverErrorKind::Refused => ErrorKind::Refused,
            DriverErrorKind::TimedOut => ErrorKind::TimedOut,
            DriverErrorKind::MissingTool { .. } | DriverErrorKind::Unproven { .. } | DriverErrorKind::Failed => {
                ErrorKind::Failed
            }
        };
        let hint = match error.kind {
            // What the driver itself knows comes before what follows from the kind.
            _ if error.way_out.is_some() => error.way_out.map(Hint::OfDriver),
            DriverErrorKind::MissingTool { package, programs } => Some(Hint::Install { package, programs }),
            DriverErrorKind::Unproven { pid: Some(pid) } => Some(Hint::LookAtProcess(pid)),
            DriverErrorKind::Unproven { pid: None } => Some(Hint::SeeAllProcesses),
            _ => None,
        };
        let failure = Self::new(kind, error.error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Locked { .. }
            | StoreError::ImageLocked { .. }
            | StoreError::Leased { .. }
            | StoreError::LeaseLost { .. }
            | StoreError::LeaseUnreadable { .. } => ErrorKind::Locked,
            StoreError::LeaseRefused { .. } => ErrorKind::Refused,
            StoreError::NoMachine { .. } | StoreError::NoImage { .. } => ErrorKind::NotFound,
            StoreError::GenerationLow { .. } | StoreError::GenerationTaken { .. } => ErrorKind::Refused,
            _ => ErrorKind::Failed,
        };
        let hint = match &error {
            StoreError::Locked { .. } | StoreError::ImageLocked { .. } => Some(Hint::WaitForOther),
            StoreError::Leased { .. } => Some(Hint::NameLease),
            StoreError::LeaseLost { .. } => Some(Hint::TakeLease),
            StoreError::LeaseUnreadable { path, .. } => Some(Hint::RemoveLease(path.clone())),
            StoreError::Io { path, .. } if error.is_full() => Some(Hint::FullFileSystem(path.clone())),
            StoreError::NoMachine { .. } => Some(Hint::ListMachines),
            StoreError::NoImage { .. } => Some(Hint::ListImages),
            StoreError::GenerationLow { .. } => Some(Hint::HigherGeneration),
            StoreError::GenerationTaken { .. } => Some(Hint::HigherGenerationOrReplace),
            _ => None,
        };
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// An error and its causes on one line, outermost first.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    chain(error).join(": ")
}

/// An error and its causes, outermost first.
#[must_use]
pub fn chain(error: &dyn Error) -> Vec<String> {
    each_cause(error).map(|text| bounded(&text)).collect()
}

/// The beginning of a text: a parser may quote all of what it read.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What could not be done, above the reason: `cannot read /x`.
#[derive(Debug)]
pub struct During {
    operation: String,
    source: Box<dyn Error + Send + Sync>,
}

impl During {
    /// `operation` begins with a verb.
    pub fn new<E: Error + Send + Sync + 'static>(operation: String, source: E) -> Self {
        Self { operation, source: Box::new(source) }
    }
}

impl fmt::Display for During {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}", self.operation)
    }
}

impl Error for During {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_file_system_is_told_with_the_way_out_whatever_was_written() {
        let full = |kind: io::ErrorKind| OperationError::from(StoreError::io("write", "/x/y")(kind.into())).hints;
        let expected = vec![Hint::FullFileSystem("/x/y".into())];
        assert_eq!(full(io::ErrorKind::StorageFull), expected);
        assert_eq!(full(io::ErrorKind::QuotaExceeded), expected);
        assert_eq!(full(io::ErrorKind::NotFound), []);
    }

    #[test]
    fn every_cause_is_told_once_and_none_without_end() {
        let source = io::Error::other("x".repeat(MAX_TEXT + 1));
        let error = OperationError::during(ErrorKind::Failed, "read it")(source);
        let causes = error.causes();
        assert_eq!((causes.len(), causes[0].as_str()), (2, "cannot read it"));
        assert_eq!(causes[1].chars().count(), MAX_TEXT + 1);
        assert!(causes[1].ends_with("x…"));
        assert_eq!(error.to_string(), "cannot read it");
        assert_eq!(error.source().map(ToString::to_string), Some("x".repeat(MAX_TEXT + 1)));
    }
}
