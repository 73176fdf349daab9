//! The traits through which this crate sees disks and files, and how it reports progress. Must not know what is
//! behind them.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use crate::{Device, ImageError, Verb};

/// Called with the bytes that are done and the bytes in total; from several threads, but never two calls at once, and
/// never with fewer bytes done than before.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Something of a fixed size that can be read at any offset, by several threads at once.
pub trait ReadBlocks: Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Fills all of `buffer` with the bytes that begin at `offset`.
    ///
    /// # Errors
    /// When fewer bytes are there or they cannot be read; nothing is said about `buffer` then.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A disk that can also be written.
pub trait WriteBlocks: ReadBlocks {
    /// Writes all of `buffer` at `offset`.
    ///
    /// # Errors
    /// When not all of it could be handed to the device; any part of the range may be written then.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the range read as zeros, by the device's own command where that is reliable.
    ///
    /// # Errors
    /// When not all of the range is zero; any part of it may be.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

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

    pub(crate) fn read(self, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
        read(self.0, Device::Target, buffer, offset)
    }

    pub(crate) fn write(self, buffer: &[u8], offset: u64) -> Result<(), ImageError> {
        let error = io_error(Verb::Write, offset, buffer.len() as u64);
        self.0.write_at(buffer, offset).map_err(error)
    }

    pub(crate) fn zero(self, offset: u64, length: u64) -> Result<(), ImageError> {
        let error = io_error(Verb::Zero, offset, length);
        self.0.zero(offset, length).map_err(error)
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
    done: Mutex<u64>,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, progress: Progress<'a>) -> Self {
        progress(0, total);
        Self { done: Mutex::new(0), total, progress }
    }

    pub(crate) fn add(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += bytes;
        (self.progress)(*done, self.total);
    }
}
