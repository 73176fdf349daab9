//! The token of the API: where it is, and reading it from there. Must not let it into an error, a log or the arguments of
//! a program.

use std::{
    collections::BTreeMap,
    env, fmt,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_child::{Bounds, ChildError};
use cloud_machine_protocol::escape;
use cloud_machine_store::{StoreError, file};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

/// Bytes that hold a token; those of the provider have 64.
const LONGEST: u64 = 4096;
/// How long a program may take to say it: somebody may have to touch a key.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the token is. In documents `{env: NAME}`, `{file: PATH}` or `{command: [PROGRAM, ARGUMENT]}`.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// An environment variable of this program.
    Environment(String),
    /// A file that nobody but its owner can read; the owner is this user or root.
    File(PathBuf),
    /// A program that says it on its standard output, and its arguments; no shell is between.
    Command(Vec<String>),
}

/// What can be wrong with a token before the provider sees it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A variable that is not set.
    #[error("the environment variable {0} with the token is not set: export it, or name a file or a program")]
    Unset(String),
    /// A file that is not there.
    #[error("there is no file {} with the token: write it there, with mode 0600", .0.display())]
    NoFile(PathBuf),
    /// Something that is there and cannot be read.
    #[error("cannot read the token from the file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<StoreError>,
    },
    /// A file that others may read.
    #[error("the file {} with the token has mode {mode:04o}, so others may read it: chmod 600 it, and make a new token", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file of somebody else, who knows the token then.
    #[error("the file {} with the token belongs to user {owner}: it must be yours or root's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A program that could not be run.
    #[error("cannot run {program}, which is to say the token")]
    Program {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: Box<ChildError>,
    },
    /// A program that did not say it. What it said instead is not repeated: it may hold the token.
    #[error("{program}, which is to say the token, {failure}: run it by hand to see why")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        failure: String,
    },
    /// Nothing but white space.
    #[error("the token in {0} is empty: the provider's console makes one under Security, API tokens")]
    Empty(TokenSource),
    /// Something that cannot be a token.
    #[error("what is in {source_of} is no token: {why}; it must be one line of letters, digits and signs")]
    Invalid {
        /// Where it is.
        source_of: TokenSource,
        /// Why not.
        why: &'static str,
    },
}

/// The token itself. Forgotten when it is dropped.
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl TokenSource {
    /// Whether the token can be read from there, before the deadline where a program says it. What the provider makes of it is not
    /// asked.
    ///
    /// # Errors
    /// Any [`TokenError`].
    pub fn check(&self, until: Instant) -> Result<(), TokenError> {
        self.read(until).map(drop)
    }

    /// Reads the token, before the deadline where a program says it.
    pub(crate) fn read(&self, until: Instant) -> Result<Token, TokenError> {
        let bytes = match self {
            Self::Environment(name) => {
                let value = env::var_os(name).ok_or_else(|| TokenError::Unset(name.clone()))?;
                Zeroizing::new(value.into_encoded_bytes())
            }
            Self::File(path) => from_file(path)?,
            Self::Command(arguments) => from_program(arguments, until)?,
        };
        self.checked(&bytes)
    }

    fn checked(&self, bytes: &[u8]) -> Result<Token, TokenError> {
        let invalid = |why| TokenError::Invalid { source_of: self.clone(), why };
        let text = bytes.trim_ascii();
        if text.is_empty() {
            return Err(TokenError::Empty(self.clone()));
        }
        if text.len() as u64 > LONGEST {
            return Err(invalid("it is longer than 4096 bytes"));
        }
        if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(invalid("it has several lines"));
        }
        match std::str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Token(Zeroizing::new(text.to_owned()))),
            _ => Err(invalid("it has white space or other characters within")),
        }
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source: Box::new(source) };
    let opened = file::open_elsewhere(path).map_err(|error| match &error {
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            TokenError::NoFile(path.to_owned())
        }
        _ => unreadable(error),
    })?;
    // Of what was opened: another file may be there by now.
    let found = opened.metadata().map_err(StoreError::io("look at", path)).map_err(unreadable)?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed { path: path.to_owned(), mode });
    }
    let owner = found.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(TokenError::Foreign { path: path.to_owned(), owner });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path)).map_err(unreadable)?;
    Ok(bytes)
}

fn from_program(arguments: &[String], until: Instant) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let [program, arguments @ ..] = arguments else {
        return Err(TokenError::Failed {
            program: "a program without a name".to_owned(),
            failure: "cannot be".to_owned(),
        });
    };
    let shown = escape::line(program.as_bytes(), 100);
    let failed = |failure: String| TokenError::Failed { program: shown.clone(), failure };
    let limit = until.saturating_duration_since(Instant::now()).min(PATIENCE);
    let bounds = Bounds { limit, output: 64 << 10 };
    let output =
        cloud_machine_child::run(Command::new(program).args(arguments), bounds).map_err(|error| match error {
            // It repeats what the program said.
            ChildError::TimedOut { limit, .. } => failed(format!("did not end within {} s", limit.as_secs())),
            error => TokenError::Program { program: shown.clone(), source: Box::new(error) },
        })?;
    let bytes = Zeroizing::new(output.stdout);
    drop(Zeroizing::new(output.stderr));
    if output.status.success() { Ok(bytes) } else { Err(failed(format!("ended with {}", output.status))) }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => {
                write!(formatter, "the environment variable {}", escape::line(name.as_bytes(), 100))
            }
            Self::File(path) => {
                write!(formatter, "the file {}", escape::line(path.as_os_str().as_encoded_bytes(), 300))
            }
            // Its arguments may open the place where the token is kept.
            Self::Command(arguments) => {
                let program = arguments.first().map_or("", String::as_str);
                write!(formatter, "the output of {}", escape::line(program.as_bytes(), 100))
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The one form of a document that is right.
const FORM: &str = "a token is {env: NAME}, {file: /PATH} or {command: [PROGRAM, ARGUMENT]}";

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What stands there may be the token itself, which the parser's own error would repeat.
        let refused = || D::Error::custom(FORM);
        let words: BTreeMap<String, Word> = Deserialize::deserialize(deserializer).map_err(|_| refused())?;
        let mut words = words.into_iter();
        match (words.next(), words.next()) {
            (Some((key, Word::One(name))), None) if key == "env" && is_variable(&name) => Ok(Self::Environment(name)),
            (Some((key, Word::One(path))), None) if key == "file" && path.starts_with('/') => {
                Ok(Self::File(path.into()))
            }
            (Some((key, Word::Several(arguments))), None)
                if key == "command" && arguments.first().is_some_and(|program| !program.is_empty()) =>
            {
                Ok(Self::Command(arguments))
            }
            _ => Err(refused()),
        }
    }
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, word) = match self {
            Self::Environment(name) => ("env", Word::One(name.clone())),
            Self::File(path) => ("file", Word::One(path.to_string_lossy().into_owned())),
            Self::Command(arguments) => ("command", Word::Several(arguments.clone())),
        };
        BTreeMap::from([(key, word)]).serialize(serializer)
    }
}

/// A name that a shell can export; a token that was written in its place has other characters or a digit first, or is
/// longer.
fn is_variable(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.len() < 64
        && name.bytes().next().is_some_and(is_first)
        && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
