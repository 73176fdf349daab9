//! The traits through which this crate sees disks and files, and how it reports progress. Must not know what is
//! behind them.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use cloud_machine_protocol::Extent;

use crate::{AlignedBuffer, Device, ImageError, SECTOR_SIZE, Verb, extent, layout::UNIT};

/// Called with the bytes that are done and the bytes in total; from several threads, but never two calls at once, and
/// never with fewer bytes done than before.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Something of a fixed size that can be read at any offset, by several threads at once.
pub trait ReadBlocks: Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Bytes of a sector: what the addresses of a partition table on it count in.
    fn sector_size(&self) -> u64 {
        SECTOR_SIZE
    }

    /// Fills all of `buffer` with the bytes that begin at `offset`.
    ///
    /// # Errors
    /// When fewer bytes are there or they cannot be read; nothing is said about `buffer` then.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The first byte from `offset` on that may be something else than zero: all before it is known to be zero without
    /// reading, as a hole of a file is. [`ReadBlocks::size`] when no such byte follows.
    fn next_data(&self, offset: u64) -> u64 {
        offset
    }
}

/// A disk that can also be written.
pub trait WriteBlocks: ReadBlocks {
    /// Writes all of `buffer` at `offset`.
    ///
    /// # Errors
    /// When not all of it could be handed to the device; any part of the range may be written then.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the range read as zeros, by the cheapest way that the device has. Nobody believes it: the range is read
    /// back, and written with zeros when it is not zero.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] when the device has no such way; any other kind when it failed, and then any part
    /// of the range may be zero.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Tells that the range is no longer needed. Nobody believes that anything came of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] when the device has no such way; any other kind when it failed.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let _ = (offset, length);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns when everything written or zeroed before is durable.
    ///
    /// # Errors
    /// When it may not be durable.
    fn flush(&self) -> io::Result<()>;
}

/// Reads and says what it was that could not be read.
pub(crate) fn read(
    blocks: &(impl ReadBlocks + ?Sized),
    device: Device,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), ImageError> {
    let length = buffer.len() as u64;
    let error = |source| ImageError::Io { verb: Verb::Read, device, offset, length, source };
    blocks.read_at(buffer, offset).map_err(error)
}

/// The target of a rewrite or a wipe, with errors that name verb and range.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a>(pub(crate) &'a dyn WriteBlocks);

impl Target<'_> {
    pub(crate) fn size(self) -> u64 {
        self.0.size()
    }

    pub(crate) fn sector_size(self) -> u64 {
        self.0.sector_size()
    }

    pub(crate) fn read(self, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
        read(self.0, Device::Target, buffer, offset)
    }

    pub(crate) fn write(self, buffer: &[u8], offset: u64) -> Result<(), ImageError> {
        let error = io_error(Verb::Write, offset, buffer.len() as u64);
        self.0.write_at(buffer, offset).map_err(error)
    }

    /// Makes a range zero by the device's own way, or by writing where it has none.
    pub(crate) fn zero(self, offset: u64, length: u64) -> Result<(), ImageError> {
        match self.0.zero(offset, length) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeros(Extent { offset, length }),
            done => done.map_err(io_error(Verb::Zero, offset, length)),
        }
    }

    /// Tells that a range is no longer needed.
    pub(crate) fn discard(self, offset: u64, length: u64) -> Result<(), ImageError> {
        self.0.discard(offset, length).map_err(io_error(Verb::Discard, offset, length))
    }

    /// Writes zeros over a range of any length.
    pub(crate) fn write_zeros(self, range: Extent) -> Result<(), ImageError> {
        let zeros = AlignedBuffer::new(range.length.min(UNIT) as usize);
        let mut offset = range.offset;
        while offset < extent::end(&range) {
            let length = (extent::end(&range) - offset).min(UNIT);
            self.write(&zeros[..length as usize], offset)?;
            offset += length;
        }
        Ok(())
    }

    pub(crate) fn flush(self) -> Result<(), ImageError> {
        self.0.flush().map_err(|source| ImageError::Flush { source })
    }
}

fn io_error(verb: Verb, offset: u64, length: u64) -> impl FnOnce(io::Error) -> ImageError {
    move |source| ImageError::Io { verb, device: Device::Target, offset, length, source }
}

/// Adds up progress of several threads.
pub(crate) struct Meter<'a> {
    /// Bytes done and bytes in total.
    state: Mutex<(u64, u64)>,
    progress: Progress<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, progress: Progress<'a>) -> Self {
        progress(0, total);
        Self { state: Mutex::new((0, total)), progress }
    }

    pub(crate) fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += bytes;
        (self.progress)(state.0, state.1);
    }

    /// More is to be done than was known.
    pub(crate) fn extend(&self, bytes: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 += bytes;
    }
}
