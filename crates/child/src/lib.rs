//! Programs that are run and waited for: bounded in time and in what they say, ended with all their
//! descendants of the same group, and reaped. Must not know what a program is for.

mod foreground;
mod inherited;
pub mod interrupt;
mod suspend;

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_protocol::escape;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};

pub use foreground::{ForegroundEnd, run_in_foreground};
pub use inherited::keep_inherited;
pub use suspend::Suspension;

use crate::interrupt::Held;

/// How long the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a program that shares our group may take to end its own children and then itself.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Lines of a program's words that an error carries.
const MAX_STDERR: usize = 5;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long it may run.
    pub limit: Duration,
    /// Bytes that it may say on each of standard output and standard error.
    pub output: usize,
}

/// What a program gave that ended within its bounds.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It could not be started or watched.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It did not end in time.
    #[error("{program} did not end within {} s and was ended{}", limit.as_secs(), after(stderr))]
    TimedOut {
        /// The program.
        program: String,
        /// How long it was given.
        limit: Duration,
        /// The end of what it said on standard error, safe to show.
        stderr: String,
    },
    /// It said more than it may.
    #[error("{program} said more than {limit} bytes and was ended")]
    TooMuch {
        /// The program.
        program: String,
        /// Bytes that it may say.
        limit: usize,
    },
    /// A signal asked this program to end.
    #[error("{program} was ended by signal {signal} to this program")]
    Interrupted {
        /// The program.
        program: String,
        /// The signal.
        signal: i32,
    },
}

fn after(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

/// Runs a program to its end, with nothing on its standard input. Whatever comes of it, no process of its group is left.
///
/// # Errors
/// Any [`ChildError`].
pub fn run(command: &mut Command, bounds: Bounds) -> Result<Output, ChildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| ChildError::Run { program: program.clone(), source };
    let deadline = Instant::now() + bounds.limit;
    // Before the start, so that no signal can end this program and leave the child.
    let held = Held::begin().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command).map_err(failed)?;
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let mut streams = [Stream::new(stdout).map_err(failed)?, Stream::new(stderr).map_err(failed)?];
    loop {
        let ended = wait(&group, &held, &streams, Some(deadline)).map_err(failed)?;
        for stream in &mut streams {
            // Once it has ended, what lies in the pipes is all that counts: somebody else may hold them open.
            while stream.read().map_err(failed)? && ended && stream.received.len() <= bounds.output {}
        }
        if streams.iter().any(|stream| stream.received.len() > bounds.output) {
            return Err(ChildError::TooMuch { program, limit: bounds.output });
        }
        if ended {
            break;
        }
        if let Some(signal) = held.take() {
            drop(group);
            held.obey(signal);
            // Reached only where the signal does not end this program.
            return Err(ChildError::Interrupted { program, signal });
        }
        if Instant::now() >= deadline {
            let [_, stderr] = streams;
            let stderr = escape::tail(&stderr.received, MAX_STDERR).replace('\n', "; ");
            return Err(ChildError::TimedOut { program, limit: bounds.limit, stderr });
        }
    }
    let status = group.end().map_err(failed)?;
    let [stdout, stderr] = streams.map(|stream| stream.received);
    Ok(Output { status, stdout, stderr })
}

/// Waits until something is to be done; whether the program has ended.
fn wait(group: &Group, held: &Held, streams: &[Stream], deadline: Option<Instant>) -> io::Result<bool> {
    let bell = held.bell()?;
    let open: Vec<BorrowedFd<'_>> = streams.iter().filter_map(Stream::descriptor).collect();
    let mut watched = vec![PollFd::new(&group.handle, PollFlags::IN), PollFd::new(&bell, PollFlags::IN)];
    watched.extend(open.iter().map(|stream| PollFd::new(stream, PollFlags::IN)));
    match poll(&mut watched, deadline.map(left).as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(watched.first().is_some_and(|ended| !ended.revents().is_empty())),
        Err(error) => Err(error.into()),
    }
}

fn left(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}

/// One pipe of a program, read without waiting.
struct Stream {
    source: Option<Box<dyn Source>>,
    received: Vec<u8>,
}

trait Source: Read + AsFd {}

impl<T: Read + AsFd> Source for T {}

impl Stream {
    fn new<T: Source + 'static>(source: Option<T>) -> io::Result<Self> {
        if let Some(source) = &source {
            rustix::io::ioctl_fionbio(source, true)?;
        }
        Ok(Self { source: source.map(|source| Box::new(source) as Box<dyn Source>), received: Vec::new() })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(|source| source.as_fd())
    }

    /// Reads one piece of what is there; whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        let Some(source) = &mut self.source else { return Ok(false) };
        let mut piece = [0; 16 << 10];
        match source.read(&mut piece) {
            Ok(0) => {
                self.source = None;
                Ok(false)
            }
            Ok(count) => {
                self.received.extend_from_slice(piece.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// A program in a process group of its own. When this is dropped the whole group is killed and the program reaped.
#[derive(Debug)]
pub struct Group {
    /// The program, for its pipes. It is reaped by [`Group::end`] and nothing else.
    pub child: Child,
    handle: OwnedFd,
    status: Option<ExitStatus>,
    /// Whether the group is that of this program, which must not be killed.
    is_shared: bool,
}

impl Group {
    /// Starts a program.
    ///
    /// # Errors
    /// That of the system.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Self::spawn(command.process_group(0), false)
    }

    fn spawn(command: &mut Command, is_shared: bool) -> io::Result<Self> {
        let mut child = command.spawn()?;
        // It is not reaped yet, so the number is still its own.
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { child, handle, status: None, is_shared }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Whether the program has ended before the deadline; a past one only looks.
    ///
    /// # Errors
    /// That of the system.
    pub fn ended(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&left(deadline))) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills what is left of the group and says how the program ended, by itself or now.
    ///
    /// # Errors
    /// That of the system; [`io::ErrorKind::TimedOut`] when the kernel does not end it.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // The program is not reaped before, so its number and that of its group cannot mean another one.
        let program = Pid::from_child(&self.child);
        if self.is_shared {
            // Asked first, since it has children that nobody else ends.
            sent(kill_process(program, Signal::TERM))?;
            if !self.ended(Instant::now() + ASK_LIMIT)? {
                sent(kill_process(program, Signal::KILL))?;
            }
        } else {
            sent(kill_process_group(program, Signal::KILL))?;
        }
        if !self.ended(Instant::now() + KILL_LIMIT)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

/// A signal to what has ended already is none too few.
fn sent(signal: rustix::io::Result<()>) -> io::Result<()> {
    match signal {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(pid = self.child.id(), %error, "a child process could not be ended");
        }
    }
}

#[cfg(test)]
mod tests;
