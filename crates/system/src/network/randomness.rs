//! Whether the kernel has random numbers yet. Early in a boot without a source of them whoever asks for one waits, for as long as it
//! takes; must not ask.

use std::{fs::File, io, os::fd::AsFd, time::Instant};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::SystemError;

/// Can be read once there are some (random(4)).
const RANDOM: &str = "/dev/random";

/// Waits until there are some.
///
/// # Errors
/// [`SystemError::Io`] when there are none by `deadline`.
pub(super) fn wait(deadline: Instant) -> Result<(), SystemError> {
    let device = File::open(RANDOM).map_err(SystemError::io("open", RANDOM))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(device.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => {
                let none = io::Error::new(io::ErrorKind::TimedOut, "give the machine a source, such as virtio-rng");
                return Err(SystemError::io("get random numbers from", RANDOM)(none));
            }
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(SystemError::io("wait for", RANDOM)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_has_been_up_has_some_at_once() {
        wait(Instant::now()).unwrap();
    }
}
