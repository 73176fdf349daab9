//! The standard input of a program, written with a limit of time that begins anew with each piece that is taken. Must not know what is
//! written.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    process::ChildStdin,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

/// A pipe to a program that may take nothing for a while, and for no longer.
#[derive(Debug)]
pub(super) struct Paced {
    pipe: OwnedFd,
    silence: Duration,
    until: Instant,
    stalled: bool,
}

impl Paced {
    /// Writes to `pipe`, of which nothing may be taken for `silence`, and nothing more after `until`.
    pub(super) fn new(pipe: ChildStdin, silence: Duration, until: Instant) -> Self {
        Self { pipe: pipe.into(), silence, until, stalled: false }
    }

    /// Whether it took nothing more in time.
    pub(super) fn stalled(&self) -> bool {
        self.stalled
    }

    fn wait(&mut self) -> io::Result<()> {
        let end = self.until.min(Instant::now() + self.silence);
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            let mut events = [PollFd::new(&self.pipe, PollFlags::OUT)];
            match poll(&mut events, Some(&left)) {
                Ok(0) => {
                    self.stalled = true;
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more of it was taken in time"));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Paced {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // A write of more than there is room for would wait for ever in a pipe that blocks (pipe(7)).
        fcntl_setfl(&self.pipe, fcntl_getfl(&self.pipe)? | OFlags::NONBLOCK)?;
        loop {
            self.wait()?;
            match rustix::io::write(&self.pipe, buffer) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn program(script: &str) -> (Child, ChildStdin) {
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        (child, input)
    }

    #[test]
    fn one_that_takes_nothing_more_is_an_error_in_time() {
        for (silence, until) in [(Duration::from_millis(200), LONG), (LONG, Duration::from_millis(200))] {
            // More than a pipe holds.
            let (mut child, input) = program("exec sleep 60");
            let began = Instant::now();
            let mut paced = Paced::new(input, silence, began + until);
            let error = paced.write_all(&vec![0; 1 << 20]).unwrap_err();
            assert_eq!((error.kind(), paced.stalled()), (io::ErrorKind::TimedOut, true));
            assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_slow_one_and_one_that_ends_have_not_stalled() {
        // Each piece takes a third of the silence that is allowed, and all of them more than it.
        let (mut child, input) =
            program("for _ in 1 2 3 4 5 6 7 8; do head -c 65536 >/dev/null; sleep 0.3; done; exec cat >/dev/null");
        let began = Instant::now();
        let mut paced = Paced::new(input, Duration::from_secs(1), began + LONG);
        paced.write_all(&vec![0; 10 << 16]).unwrap();
        assert!(!paced.stalled());
        drop(paced);
        assert!(child.wait().unwrap().success());
        let (mut child, input) = program("exit 0");
        child.wait().unwrap();
        let mut paced = Paced::new(input, LONG, Instant::now() + LONG);
        let error = paced.write_all(&[0; 100]).unwrap_err();
        assert_eq!((error.kind(), paced.stalled()), (io::ErrorKind::BrokenPipe, false));
    }
}
