//! The stream of a caller, read with a limit of time: one that says nothing must not hold a turn, or a lock against shutdown, for ever.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// A pipe, a socket or a file.
pub(crate) struct Stream {
    descriptor: OwnedFd,
    silence: Duration,
}

impl Stream {
    /// Reads `descriptor`, which may be silent for `silence`.
    pub(crate) fn new(descriptor: OwnedFd, silence: Duration) -> Self {
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
