//! The packed image in the hands of the host, of which only the wanted ranges cross the connection. Must not judge the bytes.

use std::io;

use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::{MAX_READ, causes};

use crate::host::Line;

/// A packed image of `size` bytes at the other end of the connection.
pub(crate) struct HostImage {
    pub(crate) line: Line,
    pub(crate) size: u64,
}

impl ReadBlocks for HostImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let most = usize::try_from(MAX_READ).unwrap_or(usize::MAX);
        for part in buffer.chunks_mut(most) {
            let length = part.len() as u64;
            let bytes = self.line.read(offset, length).map_err(|error| io::Error::other(causes(&error)))?;
            part.copy_from_slice(&bytes);
            offset = offset.saturating_add(length);
        }
        Ok(())
    }
}
