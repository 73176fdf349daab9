//! A program on a machine, followed from the host: what goes in and out, how it ended, and that it cannot hold or flood
//! the host. Must not decide what an end means for the caller.

use std::{
    os::fd::BorrowedFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_child::{ChildError, Group, interrupt::Held};
use cloud_machine_protocol::escape;
use cloud_machine_store::identity;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    command::quoted_word,
    marks::{Mark, Marks, SCRIPT},
    pipe::{Inlet, Outlet},
    sink::Sink,
};

/// Bytes that a machine may say before it runs the program.
const MAX_GREETING: usize = 64 << 10;
/// How long nothing may come after the end of the program, while something of it holds the output open.
const QUIET: Duration = Duration::from_secs(2);
/// Bytes that may come after the end of the program. Its own output that is under way has less: the window of an SSH
/// channel has 2 MiB.
const MAX_REST: usize = 16 << 20;
/// How long ssh may take to end when it has closed its output.
const END: Duration = Duration::from_secs(10);
/// Bytes of the last words that are kept to explain an end.
const MAX_STDERR: usize = 2 << 10;

/// How long a program may take, and where its streams lead.
pub struct Job<'a> {
    /// `ssh` with its destination, from [`super::command`].
    pub ssh: Command,
    /// The program and its arguments; each arrives as it is given.
    pub words: &'a [String],
    /// How long the machine may take until the program begins.
    pub start: Duration,
    /// How long all of it may take; `None` for as long as it likes.
    pub limit: Option<Duration>,
    /// The program's standard input.
    pub input: BorrowedFd<'a>,
    /// Where its standard output goes.
    pub output: Sink<'a>,
    /// Where its standard error goes.
    pub errors: Sink<'a>,
}

/// What became of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It ended by itself; 128 and the number of a signal for one that a signal ended.
    Exited(u8),
    /// It was never begun, and why.
    NotBegun(NotBegun),
    /// The connection ended first. It may have run, be running, or have ended. The text is what was said last.
    Lost(String),
    /// The time was over first; it may be running.
    TimedOut,
    /// A signal asked this program to end; it may be running.
    Interrupted(i32),
    /// Nobody reads its output any more, of [`Sink::Reader`].
    Unread,
}

/// Why a program was never begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBegun {
    /// `ssh` failed, and what it said, safe to show.
    Ssh(String),
    /// The machine accepted the login and runs something else, or nothing.
    Foreign(String),
    /// It did not get ready in time.
    TimedOut,
    /// It said more than [`MAX_GREETING`] bytes before.
    Flood,
    /// A signal asked this program to end.
    Interrupted(i32),
}

/// How a followed program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// What became of it.
    pub end: JobEnd,
    /// Its standard output, of [`Sink::Memory`].
    pub output: Vec<u8>,
    /// Its standard error, of [`Sink::Memory`].
    pub errors: Vec<u8>,
    /// Whether all of both reached their sinks. It does not when a process that the program left behind holds them open.
    pub is_complete: bool,
}

impl Job<'_> {
    /// Runs the program and follows it to its end. No `ssh` is left when this returns.
    ///
    /// # Errors
    /// [`ChildError::Run`] when `ssh` cannot be run or watched.
    pub fn follow(mut self) -> Result<Followed, ChildError> {
        let failed = |source| ChildError::Run { program: "ssh".to_owned(), source };
        let random = identity::nonce().map_err(|error| failed(std::io::Error::other(error)))?.to_string();
        let nonce = random.get(..32).unwrap_or(&random).to_owned();
        self.ssh.arg(remote_command(&nonce, self.words));
        // Before the start, so that no signal can end this program and leave ssh.
        let held = Held::begin().map_err(failed)?;
        self.ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(&mut self.ssh).map_err(failed)?;
        let (input, output, errors) = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
        let now = Instant::now();
        let mut talk = Talk {
            inlet: Inlet::new(self.input, input).map_err(failed)?,
            output: Outlet::new(output.map(Into::into), self.output).map_err(failed)?,
            errors: Outlet::new(errors.map(Into::into), self.errors).map_err(failed)?,
            marks: Marks::new(&nonce),
            nonce,
            begun: false,
            code: None,
            greeting: 0,
            rest: 0,
            moved: now,
            stderr: Vec::new(),
            deadline: self.limit.map(|limit| now + limit),
            start: now + self.start,
        };
        let stopped = talk.run(&held).map_err(failed)?;
        let end = match stopped {
            Some(end) => end,
            None => {
                group.ended(Instant::now() + END).map_err(failed)?;
                let status = group.end().map_err(failed)?;
                talk.end(status.code())
            }
        };
        group.end().map_err(failed)?;
        // A signal that came is told by the end, and by the exit code of whoever called.
        let _told = held.take();
        let is_complete = talk.output.is_complete() && talk.errors.is_complete();
        Ok(Followed { end, output: talk.output.memory(), errors: talk.errors.memory(), is_complete })
    }
}

/// What the shell of the machine is to run; each word is quoted.
fn remote_command(nonce: &str, words: &[String]) -> String {
    let all = ["sh", "-c", SCRIPT, "cloud-machine-exec", nonce].into_iter().chain(words.iter().map(String::as_str));
    all.map(quoted_word).collect::<Vec<_>>().join(" ")
}

/// One conversation.
struct Talk<'a> {
    inlet: Inlet<'a>,
    output: Outlet<'a>,
    errors: Outlet<'a>,
    marks: Marks,
    nonce: String,
    begun: bool,
    code: Option<u8>,
    greeting: usize,
    rest: usize,
    /// When something last came or went.
    moved: Instant,
    stderr: Vec<u8>,
    deadline: Option<Instant>,
    start: Instant,
}

impl Talk<'_> {
    /// Goes on until both streams have ended, or until there is a reason to wait no longer.
    fn run(&mut self, held: &Held) -> std::io::Result<Option<JobEnd>> {
        loop {
            if self.output.is_done(self.begun) && self.errors.is_done(self.begun) {
                return Ok(None);
            }
            if let Some(end) = self.stop(Instant::now(), held) {
                return Ok(Some(end));
            }
            if self.output.is_unread()? || self.errors.is_unread()? {
                return Ok(Some(JobEnd::Unread));
            }
            self.wait(held)?;
            self.turn()?;
        }
    }

    /// The reason to wait no longer.
    fn stop(&mut self, now: Instant, held: &Held) -> Option<JobEnd> {
        if let Some(signal) = held.take() {
            return Some(match (self.code, self.begun) {
                (Some(code), _) => JobEnd::Exited(code),
                (None, true) => JobEnd::Interrupted(signal),
                (None, false) => JobEnd::NotBegun(NotBegun::Interrupted(signal)),
            });
        }
        let flooded = self.greeting > MAX_GREETING;
        if let Some(code) = self.code {
            // Something that the program left behind holds the output. A slow reader of ours is waited for.
            let quiet = now.saturating_duration_since(self.moved) >= QUIET && !self.is_waiting();
            let over = self.deadline.is_some_and(|deadline| now >= deadline);
            return (quiet || over || self.rest > MAX_REST).then_some(JobEnd::Exited(code));
        }
        if !self.begun && (flooded || now >= self.start) {
            let reason = if flooded { NotBegun::Flood } else { NotBegun::TimedOut };
            return Some(JobEnd::NotBegun(reason));
        }
        match (self.deadline.is_some_and(|deadline| now >= deadline), self.begun) {
            (false, _) => None,
            (true, true) => Some(JobEnd::TimedOut),
            (true, false) => Some(JobEnd::NotBegun(NotBegun::TimedOut)),
        }
    }

    fn is_waiting(&self) -> bool {
        self.output.is_waiting() || self.errors.is_waiting()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let start = (!self.begun).then_some(self.start);
        let quiet = (self.code.is_some() && !self.is_waiting()).then(|| self.moved + QUIET);
        [self.deadline, start, quiet].into_iter().flatten().min()
    }

    fn wait(&self, held: &Held) -> std::io::Result<()> {
        let bell = held.bell()?;
        let mut watched = vec![PollFd::new(&bell, PollFlags::IN)];
        let places = [
            self.inlet.waits_for(self.begun),
            self.output.waits_for(self.begun),
            self.errors.waits_for(self.begun),
            self.output.reader(),
            self.errors.reader(),
        ];
        for (descriptor, flags) in places.iter().flatten() {
            watched.push(PollFd::new(descriptor, *flags));
        }
        let left = self.next_deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut watched, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves what can be moved without waiting.
    fn turn(&mut self) -> std::io::Result<()> {
        let begun = self.begun;
        if let Some(piece) = self.errors.read(begun)? {
            self.moved = Instant::now();
            self.count(piece.len());
            let mut passed = Vec::new();
            let mut mark = self.marks.take(&piece, &mut passed);
            while let Some(found) = mark {
                match found {
                    Mark::Begins => {
                        self.begun = true;
                        self.inlet.begin(format!("{}\n", self.nonce).into_bytes());
                    }
                    Mark::Ended(code) => self.code = Some(code),
                }
                mark = self.marks.take(b"", &mut passed);
            }
            if piece.is_empty() {
                self.marks.rest(&mut passed);
            }
            self.keep(&passed);
            self.errors.add(&passed);
        }
        if let Some(piece) = self.output.read(begun)? {
            self.moved = Instant::now();
            self.count(piece.len());
            self.output.add(&piece);
        }
        // Nothing of a machine that does not do as it is asked reaches a sink.
        if self.begun && (self.output.write()? | self.errors.write()?) {
            self.moved = Instant::now();
        }
        self.inlet.turn(self.begun)
    }

    fn count(&mut self, bytes: usize) {
        if !self.begun {
            self.greeting += bytes;
        } else if self.code.is_some() {
            self.rest += bytes;
        }
    }

    fn keep(&mut self, passed: &[u8]) {
        self.stderr.extend_from_slice(passed);
        let surplus = self.stderr.len().saturating_sub(MAX_STDERR);
        self.stderr.drain(..surplus);
    }

    /// What became of the program when ssh has ended with `status`.
    fn end(&self, status: Option<i32>) -> JobEnd {
        let stderr = || escape::tail(&self.stderr, 5);
        match (self.code, self.begun, status.and_then(|code| u8::try_from(code).ok())) {
            (Some(code), _, _) => JobEnd::Exited(code),
            // It was a shell's own word that ended the shell, such as `exit`.
            (None, true, Some(code)) if code < 255 => JobEnd::Exited(code),
            (None, true, _) => JobEnd::Lost(stderr()),
            (None, false, Some(255)) | (None, false, None) => JobEnd::NotBegun(NotBegun::Ssh(stderr())),
            (None, false, Some(_)) => JobEnd::NotBegun(NotBegun::Foreign(stderr())),
        }
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
