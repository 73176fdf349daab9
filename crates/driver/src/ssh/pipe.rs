//! The streams of a program between this program and `ssh`, moved a piece at a time without waiting. Must not look into
//! them.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ChildStdin,
};

use rustix::{event::PollFlags, io::Errno};

use super::sink::Sink;

/// Bytes that are moved at once. A pipe or terminal that can be written takes so many without waiting (PIPE_BUF).
const PIECE: usize = 4096;
/// Bytes that wait for their reader before more are read.
const MAX_WAITING: usize = 256 << 10;

/// A descriptor, and what it is watched for.
pub(super) type Watched<'a> = Option<(BorrowedFd<'a>, PollFlags)>;

/// From `ssh` to a sink.
pub(super) struct Outlet<'a> {
    source: Option<OwnedFd>,
    sink: Sink<'a>,
    waiting: VecDeque<u8>,
    memory: Vec<u8>,
    /// Whether something did not reach the sink.
    cut: bool,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(source: Option<OwnedFd>, sink: Sink<'a>) -> io::Result<Self> {
        if let Some(source) = &source {
            rustix::io::ioctl_fionbio(source, true)?;
        }
        Ok(Self { source, sink, waiting: VecDeque::new(), memory: Vec::new(), cut: false })
    }

    /// Whether all is read, and written once the program has begun.
    pub(super) fn is_done(&self, begun: bool) -> bool {
        self.source.is_none() && (!begun || self.waiting.is_empty())
    }

    /// Whether something was read that nobody has taken yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_done(true) && !self.cut
    }

    pub(super) fn memory(self) -> Vec<u8> {
        self.memory
    }

    /// Before the program begins nothing is written.
    pub(super) fn waits_for(&self, begun: bool) -> Watched<'_> {
        match (&self.sink, &self.source) {
            (Sink::File(sink) | Sink::Reader(sink), _) if begun && !self.waiting.is_empty() => {
                Some((*sink, PollFlags::OUT))
            }
            (_, Some(source)) => Some((source.as_fd(), PollFlags::IN)),
            (_, None) => None,
        }
    }

    /// The reader that must not go away.
    pub(super) fn reader(&self) -> Watched<'_> {
        match self.sink {
            // That nobody reads any more is told whether or not it is asked for.
            Sink::Reader(sink) => Some((sink, PollFlags::empty())),
            Sink::File(_) | Sink::Memory(_) => None,
        }
    }

    /// Whether that reader has gone away.
    pub(super) fn is_unread(&self) -> io::Result<bool> {
        self.reader().map_or(Ok(false), |(sink, flags)| ready(sink, flags))
    }

    /// Reads a piece of what is there, an empty one at the end; `None` when nothing is to be read now.
    pub(super) fn read(&mut self, begun: bool) -> io::Result<Option<Vec<u8>>> {
        // Before the beginning nothing is written, so nothing may wait for that.
        if begun && self.waiting.len() > MAX_WAITING {
            return Ok(None);
        }
        let Some(source) = &self.source else { return Ok(None) };
        let mut piece = vec![0; PIECE];
        match rustix::io::read(source, &mut piece) {
            Ok(count) => {
                piece.truncate(count);
                if count == 0 {
                    self.source = None;
                }
                Ok(Some(piece))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds what is to be written.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// Writes what can be written now; whether anything was.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        match self.sink {
            Sink::Memory(most) => {
                let room = most.saturating_sub(self.memory.len());
                self.cut |= self.waiting.len() > room;
                self.memory.extend(self.waiting.drain(..).take(room));
                Ok(true)
            }
            Sink::File(sink) | Sink::Reader(sink) => self.write_to(sink),
        }
    }

    fn write_to(&mut self, sink: BorrowedFd<'_>) -> io::Result<bool> {
        if !can_write(sink)? {
            return Ok(false);
        }
        let (front, _) = self.waiting.as_slices();
        let piece = front.get(..PIECE).unwrap_or(front);
        match rustix::io::write(sink, piece) {
            Ok(count) => {
                self.waiting.drain(..count);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            // Nobody reads any more: the program learns it as from any pipe.
            Err(Errno::PIPE) => {
                self.waiting.clear();
                self.source = None;
                self.cut = true;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn can_write(sink: BorrowedFd<'_>) -> io::Result<bool> {
    ready(sink, PollFlags::OUT)
}

fn ready(descriptor: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut [rustix::event::PollFd::new(&descriptor, flags)], Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// From this program to `ssh`.
pub(super) struct Inlet<'a> {
    source: Option<BorrowedFd<'a>>,
    sink: Option<ChildStdin>,
    waiting: VecDeque<u8>,
}

impl<'a> Inlet<'a> {
    pub(super) fn new(source: BorrowedFd<'a>, sink: Option<ChildStdin>) -> io::Result<Self> {
        if let Some(sink) = &sink {
            rustix::io::ioctl_fionbio(sink, true)?;
        }
        Ok(Self { source: Some(source), sink, waiting: VecDeque::new() })
    }

    /// Puts the answer to the machine in front of everything else.
    pub(super) fn begin(&mut self, answer: Vec<u8>) {
        self.waiting = answer.into();
    }

    pub(super) fn waits_for(&self, begun: bool) -> Watched<'_> {
        match (&self.sink, self.source) {
            (Some(sink), _) if !self.waiting.is_empty() => Some((sink.as_fd(), PollFlags::OUT)),
            (Some(_), Some(source)) if begun => Some((source, PollFlags::IN)),
            _ => None,
        }
    }

    /// Moves what can be moved now. What lies in the input before the program begins stays there.
    pub(super) fn turn(&mut self, begun: bool) -> io::Result<()> {
        let Some(sink) = self.sink.as_ref().filter(|_| begun) else { return Ok(()) };
        if let (true, Some(source)) = (self.waiting.is_empty(), self.source)
            && ready(source, PollFlags::IN)?
        {
            let mut piece = [0; PIECE];
            match rustix::io::read(source, &mut piece) {
                Ok(0) => self.source = None,
                Ok(count) => self.waiting.extend(piece.get(..count).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // An input that cannot be read ends.
                Err(_) => self.source = None,
            }
        }
        let (front, _) = self.waiting.as_slices();
        if !front.is_empty() {
            match rustix::io::write(sink, front) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // ssh reads no more; how it ended tells why.
                Err(_) => {
                    self.sink = None;
                    return Ok(());
                }
            }
        }
        if self.waiting.is_empty() && self.source.is_none() {
            self.sink = None;
        }
        Ok(())
    }
}
