//! Reading a file of a volume that nobody vouches for: the bytes go to a child process without privileges, which parses
//! them and answers with the content. Must not parse a volume here, and must not trust or wait for the child.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::volume::{MAX_FILE, MAX_SIZE};
use cloud_machine_volume::{Volume, VolumeError};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{SystemError, sandbox};

/// Argument that makes the agent's binary the reading child; the path of the file follows it, and the volume is its
/// standard input.
pub const CHILD_ARGUMENT: &str = "read-volume";
/// What the child may take for all of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest reason of the child that is passed on, in characters before escaping.
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
    let deadline = Instant::now() + PATIENCE;
    let child = Command::new("/proc/self/exe")
        .args([CHILD_ARGUMENT, path])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Guard(child.map_err(SystemError::io("start", CHILD))?);
    let answer = converse(&mut child.0, bytes, deadline)?;
    let status = wait(&mut child.0, deadline)?;
    if !status.success() {
        return Err(SystemError::ReaderEnded { status });
    }
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

/// Why a conversation with the child ended.
enum Lost {
    Slow,
    Talkative,
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Lost {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl From<Lost> for SystemError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Slow => Self::ReaderSlow { seconds: PATIENCE.as_secs() },
            Lost::Talkative => Self::ReaderAnswer,
            Lost::Io(source) => Self::Io { verb: "talk to", object: CHILD.to_owned(), source },
        }
    }
}

/// A text of the child that can neither move a cursor nor fill a report.
fn shown(reason: &[u8]) -> String {
    let reason = String::from_utf8_lossy(reason);
    let ascii = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    reason.chars().take(MAX_REASON).map(ascii).collect()
}

/// A child that does not outlive its parent's interest in it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.0.kill().unwrap_or_default();
        let _ = self.0.wait();
    }
}

/// Writes the volume and reads the answer at the same time, so that neither waits for the other.
fn converse(child: &mut Child, bytes: &[u8], deadline: Instant) -> Result<Vec<u8>, Lost> {
    let (mut input, output) = (child.stdin.take(), child.stdout.take());
    let mut output = output.ok_or(Lost::Io(ErrorKind::BrokenPipe.into()))?;
    if let Some(input) = &input {
        // A write must not wait for a child that does not read.
        fcntl(input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let (mut left, mut answer) = (bytes, Vec::new());
    loop {
        let (can_write, can_read) = ready(input.as_ref(), &output, deadline)?;
        if can_write && !feed(&mut input, &mut left)? {
            input = None;
        }
        // One tag and one byte more than a file may have: the limit itself must be seen to be passed.
        if can_read && !take(&mut output, &mut answer, MAX_FILE + 2)? {
            return Ok(answer);
        }
    }
}

/// Waits until something can be done; an end of the other side counts as such.
fn ready(input: Option<&ChildStdin>, output: &ChildStdout, deadline: Instant) -> Result<(bool, bool), Lost> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Lost::Slow);
    }
    let mut descriptors = vec![PollFd::new(output.as_fd(), PollFlags::POLLIN)];
    descriptors.extend(input.map(|input| PollFd::new(input.as_fd(), PollFlags::POLLOUT)));
    let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut descriptors, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let happened = |index: usize| descriptors.get(index).and_then(PollFd::any).unwrap_or(false);
    Ok((happened(1), happened(0)))
}

/// Writes what fits; `false` when all is written, or the child wants no more.
fn feed(input: &mut Option<ChildStdin>, left: &mut &[u8]) -> Result<bool, Lost> {
    let Some(pipe) = input else { return Ok(false) };
    match pipe.write(left) {
        Ok(written) => {
            *left = left.get(written..).unwrap_or_default();
            Ok(!left.is_empty())
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
        // Its answer or its status tells why.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there; `false` at the end.
fn take(output: &mut ChildStdout, answer: &mut Vec<u8>, limit: u64) -> Result<bool, Lost> {
    let mut chunk = [0; 1 << 16];
    let count = match output.read(&mut chunk) {
        Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
        other => other?,
    };
    answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
    if answer.len() as u64 >= limit { Err(Lost::Talkative) } else { Ok(count > 0) }
}

/// Its status. The answer is complete, so that it is about to end, or lies.
fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, Lost> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(Lost::Slow);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Body of the child: gives up its privileges, reads a volume from standard input and answers for the file at `path`.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child(path: &str) -> Result<(), String> {
    let confined = |error: &dyn std::error::Error| format!("cannot confine the reading process: {error}");
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
        Err(error) => tagged(answer::UNREADABLE, chain(&error).as_bytes()),
    })
}

fn tagged(tag: u8, text: &[u8]) -> Vec<u8> {
    [&[tag], text].concat()
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{source}")
}
