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
    wait_for(&File::open(RANDOM).map_err(SystemError::io("open", RANDOM))?, deadline)
}

fn wait_for(device: &File, deadline: Instant) -> Result<(), SystemError> {
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

    #[test]
    fn a_machine_that_has_none_says_what_it_needs_when_the_time_is_over() {
        let (nothing, _writer) = std::io::pipe().unwrap();
        let device = File::from(std::os::fd::OwnedFd::from(nothing));
        let error = wait_for(&device, Instant::now() + std::time::Duration::from_millis(50)).unwrap_err();
        let text = cloud_machine_protocol::causes(&error);
        assert_eq!(text, "cannot get random numbers from /dev/random: give the machine a source, such as virtio-rng");
    }
}
