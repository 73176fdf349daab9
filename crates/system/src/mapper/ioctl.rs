//! The one ioctl call of the device mapper (linux/dm-ioctl.h). The only unsafe code of this crate; must not know what a
//! message says beyond its length.
#![expect(unsafe_code, reason = "ioctl(2) has no safe form; the wrapper checks the length that the kernel trusts")]

use std::{fs::File, io, os::fd::AsRawFd};

use nix::libc;

/// What is asked of the device mapper, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Version = 0,
    Create = 3,
    Remove = 4,
    /// Suspends, and without the flag for it resumes.
    Suspend = 6,
    Load = 9,
}

/// Bytes of `struct dm_ioctl`, with which every message begins.
pub(super) const HEADER: usize = 312;
/// Where the header says how long the whole message is.
pub(super) const SIZE_AT: usize = 12;

/// Sends `message` and lets the kernel write its answer over it.
///
/// # Errors
/// The kernel's, and [`io::ErrorKind::InvalidInput`] for a message that is not as long as it says.
pub(super) fn send(control: &File, command: Command, message: &mut [u8]) -> io::Result<()> {
    let stated = message.get(SIZE_AT..SIZE_AT + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    if message.len() < HEADER || stated.map(|size| size as usize) != Some(message.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let request = nix::request_code_readwrite!(0xfd, command as u8, HEADER);
    // SAFETY: the descriptor is open for the whole call; the kernel reads and writes at most as many bytes as the message
    // states, which are those of the slice.
    let answer = unsafe { libc::ioctl(control.as_raw_fd(), request, message.as_mut_ptr()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
