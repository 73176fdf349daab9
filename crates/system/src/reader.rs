//! Reading a file of a volume that nobody vouches for: the bytes go to a child process without privileges, which parses
//! them and answers with the content. Must not parse a volume here, and must not trust or wait for the child.

use std::io::{self, Read, Write};

use cloud_machine_protocol::{
    causes, escaped,
    volume::{MAX_FILE, MAX_SIZE},
};
use cloud_machine_volume::{Volume, VolumeError};

use crate::{
    SystemError,
    confined::{Limits, Lost, PATIENCE, ask},
    sandbox,
};

/// Argument that makes the agent's binary the reading child; the path of the file follows it, and the volume is its
/// standard input.
pub const CHILD_ARGUMENT: &str = "read-volume";
/// Longest reason of the child that is passed on, in characters.
const MAX_REASON: usize = 300;
/// The parent's name of the child in errors.
const CHILD: &str = "the process that reads the volume";

/// First byte of the child's answer.
mod answer {
    /// The content follows.
    pub(super) const CONTENT: u8 = b'+';
    /// There is no such file.
    pub(super) const ABSENT: u8 = b'-';
    /// The file is too large.
    pub(super) const LARGE: u8 = b'>';
    /// Anything else; a reason follows.
    pub(super) const UNREADABLE: u8 = b'!';
}

/// Content of the file at `path` on the volume that is `bytes`, read in a child process. What the caller has hashed is
/// what is parsed.
///
/// # Errors
/// [`SystemError::Volume`] when the file is absent or too large, [`SystemError::ForeignVolume`] when the child could
/// not read it, [`SystemError::ReaderEnded`], [`SystemError::ReaderSlow`] or [`SystemError::ReaderAnswer`] when the
/// child failed, [`SystemError::Io`] when it could not be run.
pub fn read_untrusted(bytes: &[u8], path: &str) -> Result<Vec<u8>, SystemError> {
    // One tag and one byte more than a file may have: the limit itself must be seen to be passed.
    let longest = usize::try_from(MAX_FILE + 1).unwrap_or(usize::MAX);
    let answer = ask(&[CHILD_ARGUMENT, path], bytes, Limits { time: PATIENCE, answer: longest })?;
    match answer.split_first() {
        Some((&answer::CONTENT, content)) => Ok(content.to_vec()),
        Some((&answer::ABSENT, [])) => Err(VolumeError::NoFile { path: path.to_owned() }.into()),
        Some((&answer::LARGE, [])) => Err(VolumeError::FileTooLarge { path: path.to_owned() }.into()),
        Some((&answer::UNREADABLE, reason)) => Err(SystemError::ForeignVolume { reason: shown(reason) }),
        _ => Err(SystemError::ReaderAnswer),
    }
}

/// [`read_untrusted`] of a file that need not be there.
///
/// # Errors
/// As there, but not for an absent file.
pub fn read_untrusted_if_there(bytes: &[u8], path: &str) -> Result<Option<Vec<u8>>, SystemError> {
    match read_untrusted(bytes, path) {
        Err(SystemError::Volume(VolumeError::NoFile { .. })) => Ok(None),
        read => read.map(Some),
    }
}

impl From<Lost> for SystemError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Start(source) => Self::Io { verb: "start", object: CHILD.to_owned(), source },
            Lost::Slow(limit) => Self::ReaderSlow { seconds: limit.as_secs() },
            Lost::TooLong => Self::ReaderAnswer,
            Lost::Ended(status) => Self::ReaderEnded { status },
            Lost::Io(source) => Self::Io { verb: "talk to", object: CHILD.to_owned(), source },
        }
    }
}

/// A text of the child that can neither move a cursor nor fill a report.
fn shown(reason: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(reason)).chars().take(MAX_REASON).collect()
}

/// Body of the child: gives up its privileges, reads a volume from standard input and answers for the file at `path`.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child(path: &str) -> Result<(), String> {
    let confined = |error: &dyn std::error::Error| format!("cannot confine the reading process: {}", causes(error));
    sandbox::confine().map_err(|error| confined(&error))?;
    sandbox::forbid_files().map_err(|error| confined(&error))?;
    let answer = answer_for(path).map_err(|error| format!("cannot read standard input: {error}"))?;
    io::stdout().write_all(&answer).map_err(|error| format!("cannot answer: {error}"))
}

fn answer_for(path: &str) -> io::Result<Vec<u8>> {
    // At once, since a buffer that grows has twice the size for a moment.
    let mut bytes = Vec::with_capacity(usize::try_from(MAX_SIZE + 1).map_err(io::Error::other)?);
    io::stdin().lock().take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Ok(tagged(answer::UNREADABLE, b"it is larger than a volume may be"));
    }
    Ok(match Volume::open(bytes).and_then(|volume| volume.read(path)) {
        Ok(content) => tagged(answer::CONTENT, &content),
        Err(VolumeError::NoFile { .. }) => tagged(answer::ABSENT, b""),
        Err(VolumeError::FileTooLarge { .. }) => tagged(answer::LARGE, b""),
        Err(error) => tagged(answer::UNREADABLE, causes(&error).as_bytes()),
    })
}

fn tagged(tag: u8, text: &[u8]) -> Vec<u8> {
    [&[tag], text].concat()
}
