//! Waiting for the kernel to announce a device, with a deadline instead of a sleep. Must not interpret the event.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};

use crate::SystemError;

/// Multicast group of the kernel itself; group 2 is udev's.
const KERNEL_GROUP: u32 = 1;

/// A socket that hears of new and changed devices. Open it before looking, so that nothing falls between.
#[derive(Debug)]
pub struct UeventSocket {
    socket: OwnedFd,
}

impl UeventSocket {
    /// Subscribes to the kernel's events.
    ///
    /// # Errors
    /// [`SystemError::Io`] when the socket cannot be made.
    pub fn open() -> Result<Self, SystemError> {
        let object = "the uevent socket";
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .map_err(SystemError::io("open", object))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP)).map_err(SystemError::io("bind", object))?;
        Ok(Self { socket })
    }

    /// Waits until something happened or `deadline` passed; `false` when it passed.
    ///
    /// # Errors
    /// [`SystemError::Io`] when the socket fails.
    pub fn wait(&self, deadline: Instant) -> Result<bool, SystemError> {
        let object = "the uevent socket";
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(60));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(SystemError::io("wait for", object)(error)),
        }
        self.drain()?;
        Ok(true)
    }

    fn drain(&self) -> Result<(), SystemError> {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(SystemError::io("read", "the uevent socket")(error)),
            }
        }
    }
}
