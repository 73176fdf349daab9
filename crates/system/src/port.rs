//! The virtio-serial port to the host as a channel: found by name. Must not know the messages.

use std::{
    fs::{self, OpenOptions},
    io,
    time::Instant,
};

use crate::{
    SystemError,
    channel::Channel,
    incoming::{Incoming, Outgoing},
};

const SYSFS: &str = "/sys/class/virtio-ports";
/// What a person calls it.
const NAME: &str = "the host's port";

/// An open port.
#[derive(Debug)]
pub struct Port {
    outgoing: Outgoing,
    incoming: Incoming,
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
                let incoming = Incoming::new(file.try_clone().map_err(SystemError::io("open", &path))?, NAME);
                return Ok(Self { outgoing: Outgoing::new(file, NAME), incoming });
            }
        }
        Err(absent())
    }
}

impl Channel for Port {
    fn send(&self, line: &[u8]) -> Result<(), SystemError> {
        self.outgoing.line(line)
    }

    fn receive(&self, limit: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.incoming.line(limit, deadline)
    }

    fn receive_bytes(&self, length: usize, deadline: Instant) -> Result<Vec<u8>, SystemError> {
        self.incoming.bytes(length, deadline)
    }
}
