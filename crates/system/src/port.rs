//! The virtio-serial port to the host as a channel: found by name. Must not know the messages.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{SystemError, channel::Channel};

const SYSFS: &str = "/sys/class/virtio-ports";

/// An open port.
#[derive(Debug)]
pub struct Port {
    file: File,
    pending: Vec<u8>,
}

impl Port {
    /// Opens the port called `name`.
    ///
    /// # Errors
    /// [`SystemError::PortAbsent`] when no port has that name, [`SystemError::Io`] when it cannot be opened.
    pub fn open(name: &str) -> Result<Self, SystemError> {
        let absent = || SystemError::PortAbsent { name: name.to_owned() };
        let entries = match fs::read_dir(SYSFS) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            Err(error) => return Err(SystemError::io("list", SYSFS)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(SystemError::io("list", SYSFS))?;
            let attribute = entry.path().join("name");
            let object = attribute.display().to_string();
            let found = match fs::read_to_string(&attribute) {
                Ok(found) => found,
                // A port without a name has no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SystemError::io("read", object)(error)),
            };
            if found.trim_end() == name {
                let path = format!("/dev/{}", entry.file_name().to_string_lossy());
                let file =
                    OpenOptions::new().read(true).write(true).open(&path).map_err(SystemError::io("open", &path))?;
                return Ok(Self { file, pending: Vec::new() });
            }
        }
        Err(absent())
    }

    fn wait_readable(&self, deadline: Instant) -> Result<bool, SystemError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, timeout).map(|ready| ready > 0).map_err(SystemError::io("wait for", "the host's port"))
    }
}

impl Channel for Port {
    fn send(&mut self, line: &[u8]) -> Result<(), SystemError> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(SystemError::io("write to", "the host's port"))
    }

    fn receive(&mut self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        let failed = |kind, text: &str| SystemError::io("read from", "the host's port")(io::Error::new(kind, text));
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            if self.pending.len() > limit {
                return Err(failed(io::ErrorKind::InvalidData, "the line is too long"));
            }
            if !self.wait_readable(deadline)? {
                return Err(failed(io::ErrorKind::TimedOut, "no answer before the deadline"));
            }
            let mut buffer = [0; 4096];
            let count = self.file.read(&mut buffer).map_err(SystemError::io("read from", "the host's port"))?;
            if count == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof, "the host closed it"));
            }
            self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }
}
