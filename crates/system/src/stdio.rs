//! Standard input and output as the channel to the host, as a connection by SSH gives them. Must not know the messages.

use std::{io, os::fd::AsFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{SystemError, channel::Channel, descriptors::Descriptors};

/// What a person calls it.
const NAME: &str = "the connection to the host";

/// Takes both.
///
/// # Errors
/// [`SystemError::Io`] when one of them is closed.
pub fn open() -> Result<Box<dyn Channel>, SystemError> {
    let open = || SystemError::io("open", NAME);
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(open())?;
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(open())?;
    Ok(Box::new(Descriptors::new(input.into(), output.into(), NAME)))
}

/// Waits until whoever is at the other end of standard input is gone for good: what arrived and nobody has read does not
/// matter. A file has no other end, and is not waited for.
///
/// # Errors
/// [`SystemError::Io`] when it cannot be waited for.
pub fn wait_for_hangup() -> Result<(), SystemError> {
    let input = io::stdin();
    loop {
        // A hang-up is told whatever is asked for (poll(2)).
        let mut descriptors = [PollFd::new(input.as_fd(), PollFlags::empty())];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(SystemError::io("wait for the end of", NAME)(error)),
        }
    }
}
