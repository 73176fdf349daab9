//! The two descriptors of a channel: lines to the host, and lines and bytes from it, each before a deadline. Must not know the
//! messages.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{SystemError, channel::Channel};

/// Bytes read at once: the most that is held beyond what was asked for.
const CHUNK: usize = 32 << 10;

/// Both descriptors, as the channel that they are.
#[derive(Debug)]
pub(crate) struct Descriptors {
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Descriptors {
    /// `name` is what a person calls them.
    pub(crate) fn new(input: File, output: File, name: &'static str) -> Self {
        Self { outgoing: Outgoing::new(output, name), incoming: Incoming::new(input, name) }
    }
}

impl Channel for Descriptors {
    fn send(&self, line: &[u8]) -> Result<(), SystemError> {
        self.outgoing.line(line)
    }

    fn receive(&self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.incoming.line(limit, deadline)
    }

    fn receive_bytes(&self, length: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.incoming.bytes(length, deadline)
    }
}

/// A descriptor to write lines to, which several threads may do.
#[derive(Debug)]
struct Outgoing {
    file: Mutex<File>,
    /// What a person calls it.
    name: &'static str,
}

impl Outgoing {
    fn new(file: File, name: &'static str) -> Self {
        Self { file: Mutex::new(file), name }
    }

    fn line(&self, line: &[u8]) -> Result<(), SystemError> {
        let bytes = [line, b"\n"].concat();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes).map_err(SystemError::io("write to", self.name))
    }
}

/// A descriptor to read from, and what of the next line or bytes has arrived.
#[derive(Debug)]
struct Incoming(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    file: File,
    pending: Vec<u8>,
    /// What a person calls it.
    name: &'static str,
}

impl Incoming {
    fn new(file: File, name: &'static str) -> Self {
        Self(Mutex::new(Pending { file, pending: Vec::new(), name }))
    }

    /// The next line, without its end.
    fn line(&self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.lock().line(limit, deadline)
    }

    /// The next `length` bytes.
    fn bytes(&self, length: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.lock().bytes(length, deadline)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn line(&mut self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        let mut searched = 0;
        loop {
            let fresh = self.pending.get(searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let mut line = self.take(searched + end + 1);
                line.pop();
                return Ok(line);
            }
            searched = self.pending.len();
            if searched > limit {
                return Err(self.failed(io::ErrorKind::InvalidData, "the line is too long"));
            }
            self.fill(deadline)?;
        }
    }

    fn bytes(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        while self.pending.len() < length {
            self.fill(deadline)?;
        }
        Ok(self.take(length))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.pending.split_off(length);
        std::mem::replace(&mut self.pending, rest)
    }

    /// Waits for more.
    fn fill(&mut self, deadline: Instant) -> Result<(), SystemError> {
        if !self.is_readable(deadline)? {
            return Err(self.failed(io::ErrorKind::TimedOut, "no answer before the deadline"));
        }
        let mut buffer = [0; CHUNK];
        let count = self.file.read(&mut buffer).map_err(SystemError::io("read from", self.name))?;
        if count == 0 {
            return Err(self.failed(io::ErrorKind::UnexpectedEof, "the host closed it"));
        }
        self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(())
    }

    fn is_readable(&self, deadline: Instant) -> Result<bool, SystemError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, timeout).map(|ready| ready > 0).map_err(SystemError::io("wait for", self.name))
    }

    fn failed(&self, kind: io::ErrorKind, text: &str) -> SystemError {
        SystemError::io("read from", self.name)(io::Error::new(kind, text))
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::OwnedFd, thread};

    use super::*;

    fn pipe() -> (Incoming, File) {
        let (reader, writer) = io::pipe().unwrap();
        (Incoming::new(File::from(OwnedFd::from(reader)), "the pipe"), File::from(OwnedFd::from(writer)))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn lines_and_bytes_follow_each_other_however_they_arrive() {
        let (incoming, mut writer) = pipe();
        let data: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let sent = data.clone();
        let sender = thread::spawn(move || {
            for part in [b"fir".as_slice(), b"st\nsecond\n\n".as_slice(), &sent, b"third\n".as_slice()] {
                writer.write_all(part).unwrap();
            }
        });
        assert_eq!(incoming.line(10, soon()).unwrap(), b"first");
        assert_eq!(incoming.line(10, soon()).unwrap(), b"second");
        assert_eq!(incoming.line(10, soon()).unwrap(), b"");
        assert!(incoming.bytes(data.len(), soon()).unwrap() == data);
        assert_eq!(incoming.line(10, soon()).unwrap(), b"third");
        sender.join().unwrap();
        let end = incoming.line(10, soon()).unwrap_err();
        assert!(matches!(&end, SystemError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn nobody_waits_longer_than_the_deadline_or_holds_more_than_the_limit() {
        let (incoming, mut writer) = pipe();
        let kind = |error: SystemError| match error {
            SystemError::Io { source, .. } => source.kind(),
            other => panic!("{other}"),
        };
        writer.write_all(b"no end of a line").unwrap();
        assert_eq!(kind(incoming.line(100, Instant::now()).unwrap_err()), io::ErrorKind::TimedOut);
        assert_eq!(kind(incoming.line(10, soon()).unwrap_err()), io::ErrorKind::InvalidData);
        assert_eq!(kind(incoming.bytes(17, Instant::now()).unwrap_err()), io::ErrorKind::TimedOut);
        assert_eq!(incoming.bytes(16, soon()).unwrap(), b"no end of a line");
    }
}
