//! Why a command failed: kind, error and hints. The kind alone decides the exit code; must not print.

use std::{error::Error, fmt};

use cloud_machine_driver::store::StoreError;

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

/// Characters of one cause that are shown; the end of a console is one.
const MAX_TEXT: usize = 16 << 10;

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
        move |source| Self::new(kind, During { operation, source: Box::new(source) })
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
}

/// An error and its causes on one line, outermost first.
pub(crate) fn causes(error: &dyn Error) -> String {
    chain(error).join(": ")
}

fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![bounded(&error.to_string())];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(bounded(&cause.to_string()));
        source = cause.source();
    }
    texts
}

/// The beginning of a text: a parser may quote all of what it read.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// An operation that failed for a reason of its own.
#[derive(Debug)]
struct During {
    operation: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for During {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.operation)
    }
}

impl Error for During {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Locked { .. } | StoreError::ImageLocked { .. } => Kind::Locked,
            StoreError::NoMachine { .. } | StoreError::NoImage { .. } => Kind::NotFound,
            StoreError::GenerationLow { .. } | StoreError::GenerationTaken { .. } => Kind::Refused,
            _ => Kind::Failed,
        };
        let hint = match &error {
            StoreError::Locked { .. } | StoreError::ImageLocked { .. } => Some("wait for it to end, then try again"),
            StoreError::NoMachine { .. } => Some("see `cloud-machine list`; `cloud-machine create` makes one"),
            StoreError::NoImage { .. } => Some("see `cloud-machine image list`; `cloud-machine image pack` makes one"),
            StoreError::GenerationLow { .. } => {
                Some("give a --generation that grows from build to build; --allow-downgrade takes the older image")
            }
            StoreError::GenerationTaken { .. } => {
                Some("give this build a higher --generation; --replace puts it in the place of the other one")
            }
            _ => None,
        };
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
