//! Ranges of a disk, read and written with errors that name them. What was written is durable and was read back.

use cloud_machine_image::{AlignedBuffer, ReadBlocks, WriteBlocks};

use crate::RecoveryError;

/// Reads a range.
pub(crate) fn read(disk: &dyn ReadBlocks, offset: u64, length: u64) -> Result<AlignedBuffer, RecoveryError> {
    let mut buffer = AlignedBuffer::new(usize::try_from(length).unwrap_or(usize::MAX));
    disk.read_at(&mut buffer, offset).map_err(|source| RecoveryError::Io { verb: "read", offset, length, source })?;
    Ok(buffer)
}

/// Writes a range, makes it durable and reads it back. What is there already is left alone.
pub(crate) fn write(disk: &dyn WriteBlocks, offset: u64, bytes: &[u8]) -> Result<(), RecoveryError> {
    let length = bytes.len() as u64;
    let error = |verb| move |source| RecoveryError::Io { verb, offset, length, source };
    if *read(disk, offset, length)? == *bytes {
        return disk.flush().map_err(error("flush"));
    }
    disk.write_at(&AlignedBuffer::from(bytes), offset).map_err(error("write"))?;
    disk.flush().map_err(error("flush"))?;
    if *read(disk, offset, length)? == *bytes { Ok(()) } else { Err(RecoveryError::ReadBack { offset, length }) }
}
