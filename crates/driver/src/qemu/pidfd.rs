//! A process that stays the same process however its number is reused (pidfd_open(2)). Must not start one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A handle to a process, not necessarily a child.
#[derive(Debug)]
pub(super) struct Pidfd {
    pid: i32,
    descriptor: OwnedFd,
}

impl Pidfd {
    /// `None` when there is no process of that number.
    pub(super) fn open(pid: i32) -> io::Result<Option<Self>> {
        // Zero and negative numbers mean other things than a process; rustix asserts that it gets no negative one.
        let Some(number) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(Self { pid, descriptor })),
            // EINVAL: the number is of a thread, not of a process.
            Err(Errno::SRCH | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the process has ended; `false` when the deadline came first. A past deadline only looks.
    pub(super) fn ended(&self, deadline: Instant) -> io::Result<bool> {
        readable(self.descriptor.as_fd(), deadline)
    }

    /// Sends a signal; a process that has ended is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits until `descriptor` can be read; `false` when the deadline came first.
pub(super) fn readable(descriptor: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
