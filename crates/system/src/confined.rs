//! A child process that looks at bytes which nobody vouches for: it is this program again, gets its input,
//! and answers, all within a limit. Must not know what the child is for, and must not wait for one that hangs.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What one look may take: a drive that spins up needs ten seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a child that was told to end is waited for.
const END: Duration = Duration::from_millis(200);

/// What a child may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For all of it.
    pub(crate) time: Duration,
    /// Bytes of its answer.
    pub(crate) answer: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// It could not be started.
    #[error("cannot start the confined process: {0}")]
    Start(io::Error),
    /// It took too long.
    #[error("the confined process did not answer within {} s", _0.as_secs())]
    Slow(Duration),
    /// It said more than it may.
    #[error("the answer of the confined process is too long")]
    TooLong,
    /// It did not succeed.
    #[error("the confined process ended with {0}")]
    Ended(ExitStatus),
    /// Its pipes failed.
    #[error("lost the confined process: {0}")]
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Lost {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

/// Runs this program with `arguments` and `input`, and gives what it answers.
///
/// No device is opened for it: that can take as long as the device likes, so the child does it.
pub(crate) fn ask(arguments: &[&str], input: &[u8], limits: Limits) -> Result<Vec<u8>, Lost> {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    run(command, input, limits)
}

fn run(mut command: Command, input: &[u8], limits: Limits) -> Result<Vec<u8>, Lost> {
    let deadline = Instant::now() + limits.time;
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Guard(command.spawn().map_err(Lost::Start)?);
    let slow = |lost| if matches!(lost, Lost::Slow(_)) { Lost::Slow(limits.time) } else { lost };
    let answer = converse(&mut child.0, input, deadline, limits.answer).map_err(slow)?;
    match wait(&mut child.0, deadline)? {
        Some(status) if status.success() => Ok(answer),
        Some(status) => Err(Lost::Ended(status)),
        None => Err(Lost::Slow(limits.time)),
    }
}

/// A child that does not outlive its parent's interest in it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // One that waits for a dead drive ends only with the drive's answer: it is told to, and left behind. Both calls fail
        // only when it is gone already.
        self.0.kill().unwrap_or_default();
        drop(wait(&mut self.0, Instant::now() + END));
    }
}

/// Its status; `None` at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Writes the input and reads the answer at the same time, so that neither waits for the other.
fn converse(child: &mut Child, bytes: &[u8], deadline: Instant, limit: usize) -> Result<Vec<u8>, Lost> {
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
        if can_read && !take(&mut output, &mut answer, limit)? {
            return Ok(answer);
        }
    }
}

/// Waits until something can be done; an end of the other side counts as such.
fn ready(input: Option<&ChildStdin>, output: &ChildStdout, deadline: Instant) -> Result<(bool, bool), Lost> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Lost::Slow(left));
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
    if left.is_empty() {
        return Ok(false);
    }
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
fn take(output: &mut ChildStdout, answer: &mut Vec<u8>, limit: usize) -> Result<bool, Lost> {
    let mut chunk = [0; 1 << 16];
    let count = match output.read(&mut chunk) {
        Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
        other => other?,
    };
    answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
    if answer.len() > limit { Err(Lost::TooLong) } else { Ok(count > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &[u8], time: Duration) -> Result<Vec<u8>, Lost> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, input, Limits { time, answer: 1 << 10 })
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_child_is_given_its_input_and_answers() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(shell("wc -c", &input, LONG).unwrap(), b"1048576\n");
        assert_eq!(shell("cat", b"", LONG).unwrap(), b"");
        // One that wants nothing of it is asked all the same.
        assert_eq!(shell("echo done", &input, LONG).unwrap(), b"done\n");
    }

    #[test]
    fn a_child_that_does_not_answer_is_left_after_its_time() {
        for script in ["exec sleep 1000", "echo half; exec sleep 1000", "exec >&-; exec sleep 1000"] {
            assert!(matches!(shell(script, b"", SHORT), Err(Lost::Slow(SHORT))), "{script}");
        }
    }

    #[test]
    fn a_child_that_fails_or_talks_without_end_gives_no_answer() {
        assert!(matches!(shell("echo x; exit 3", b"", LONG), Err(Lost::Ended(_))));
        assert!(matches!(shell("kill -9 $$", b"", LONG), Err(Lost::Ended(_))));
        assert!(matches!(shell("yes", b"", LONG), Err(Lost::TooLong)));
    }
}
