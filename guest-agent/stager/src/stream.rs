//! The stream of a request, read with a limit of time that begins anew with each piece: one that says nothing must not hold the
//! partition, or a lock against shutdown, for ever. Must not know what a request is.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// How long whoever stages a request may send nothing of it.
pub const SILENCE: Duration = Duration::from_secs(60);

/// A pipe, a socket or a file.
#[derive(Debug)]
pub struct Stream {
    descriptor: OwnedFd,
    silence: Duration,
}

impl Stream {
    /// Reads `descriptor`, which may be silent for `silence`.
    #[must_use]
    pub fn new(descriptor: OwnedFd, silence: Duration) -> Self {
        Self { descriptor, silence }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = Timespec::try_from(self.silence).map_err(io::Error::other)?;
        loop {
            let mut events = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut events, Some(&limit)) {
                Ok(0) => {
                    let seconds = self.silence.as_secs();
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {seconds} s")));
                }
                Ok(_) => match rustix::io::read(&self.descriptor, &mut *buffer) {
                    // One that does not block may have been read by somebody else.
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    other => return Ok(other?),
                },
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Write, pipe},
        thread,
    };

    use super::*;

    #[test]
    fn silence_is_an_error_and_slow_progress_is_none() {
        let (reader, mut writer) = pipe().unwrap();
        let mut stream = Stream::new(OwnedFd::from(reader), Duration::from_millis(600));
        let slow = thread::spawn(move || {
            for _ in 0..8 {
                writer.write_all(b"a").unwrap();
                thread::sleep(Duration::from_millis(100));
            }
            writer
        });
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, *b"aaaaaaaa");
        let _open = slow.join().unwrap();
        let error = stream.read(&mut bytes).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "nothing came for 0 s"));
    }
}
