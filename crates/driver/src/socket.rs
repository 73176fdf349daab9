//! Lines over a Unix socket, each with a limit and a deadline, from a path of any length. Must not know what the
//! lines say.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

/// Bytes read at once: the most that is held beyond a limit.
const CHUNK: usize = 8 << 10;

/// Bytes written at once: the kernel waits anew for every part of a longer write, so whoever reads slowly enough would hold it
/// far beyond any deadline.
const PIECE: usize = 16 << 10;

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum LineError {
    Closed,
    TimedOut,
    TooLong { limit: usize },
    Io(io::Error),
}

impl From<LineError> for io::Error {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed => io::ErrorKind::BrokenPipe.into(),
            LineError::TimedOut => io::ErrorKind::TimedOut.into(),
            LineError::TooLong { limit } => Self::other(format!("a line is longer than {limit} bytes")),
            LineError::Io(error) => error,
        }
    }
}

/// One end of a socket, and what of the next line has arrived.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
    searched: usize,
}

/// Connects to the socket at `path`. Its folder is opened first and the socket named through `/proc/self/fd`, since
/// a socket's address holds 107 bytes (unix(7)) and a state folder may be deeper than that.
pub(crate) fn open(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    let address = SocketAddrUnix::new(short)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            // The queue of the listener is full, and no event tells when it is not: ask again.
            Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0 }
    }

    /// The next line without its end. `limit` says from what has arrived how long the line may become; it is asked
    /// again with every piece, so no more than the limit and one piece is ever held.
    pub(crate) fn next(&mut self, deadline: Instant, limit: &dyn Fn(&[u8]) -> usize) -> Result<Vec<u8>, LineError> {
        let mut chunk = [0; CHUNK];
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let end = fresh.iter().position(|byte| *byte == b'\n').map(|index| self.searched + index);
            let line = self.buffer.get(..end.unwrap_or(self.buffer.len())).unwrap_or_default();
            let limit = limit(line);
            if line.len() > limit {
                return Err(LineError::TooLong { limit });
            }
            if let Some(end) = end {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            self.stream.set_read_timeout(Some(left(deadline)?)).map_err(LineError::Io)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(LineError::Closed),
                Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) => classify(error)?,
            }
        }
    }

    /// The next bytes, whatever they are.
    pub(crate) fn bytes(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, LineError> {
        let mut chunk = [0; CHUNK];
        while self.buffer.len() < length {
            self.stream.set_read_timeout(Some(left(deadline)?)).map_err(LineError::Io)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(LineError::Closed),
                Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) => classify(error)?,
            }
        }
        self.searched = 0;
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Bytes that are held for lines to come.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Writes one line and its end.
    pub(crate) fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), LineError> {
        self.send_bytes(&[line, b"\n"].concat(), deadline)
    }

    /// Writes bytes as they are.
    pub(crate) fn send_bytes(&mut self, mut rest: &[u8], deadline: Instant) -> Result<(), LineError> {
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?)).map_err(LineError::Io)?;
            let piece = rest.get(..PIECE).unwrap_or(rest);
            match self.stream.write(piece) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) => classify(error)?,
            }
        }
        Ok(())
    }
}

fn left(deadline: Instant) -> Result<Duration, LineError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(LineError::TimedOut) } else { Ok(left) }
}

fn classify(error: io::Error) -> Result<(), LineError> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        // How a socket says that its timeout has passed; the deadline is looked at before every call.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(LineError::TimedOut),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(LineError::Closed),
        _ => Err(LineError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_deeper_than_an_address_is_long_can_be_reached() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let link = folder.path().join("short");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        let listener = UnixListener::bind(link.join("s")).unwrap();
        let path = deep.join("s");
        assert!(path.as_os_str().len() > 200);
        let mut lines = Lines::new(open(&path, Instant::now()).unwrap());
        let (mut other, _) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        lines.send(b"hello", deadline).unwrap();
        let mut stderr = [0; 6];
        other.read_exact(&mut stderr).unwrap();
        assert_eq!(&stderr, b"hello\n");
    }

    #[test]
    fn whoever_reads_slowly_holds_a_writer_no_longer_than_its_deadline() {
        let (own, mut theirs) = UnixStream::pair().unwrap();
        let began = Instant::now();
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while theirs.read(&mut buffer).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_millis(200));
            }
        });
        let mut lines = Lines::new(own);
        let sent = lines.send_bytes(&vec![0; 4 << 20], began + Duration::from_secs(1));
        assert!(matches!(sent, Err(LineError::TimedOut)), "{sent:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        drop(lines);
        reader.join().unwrap();
    }

    #[test]
    fn an_absent_socket_and_a_full_queue_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert_eq!(open(&path, Instant::now()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let _listener = UnixListener::bind(&path).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match open(&path, Instant::now() + Duration::from_millis(60)) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 10_000, "the queue never fills");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
