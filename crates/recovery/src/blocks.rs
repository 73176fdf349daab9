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
    match read(disk, offset, length) {
        Ok(found) if *found == *bytes => return disk.flush().map_err(error("flush")),
        Err(cause) if !is_lost(&cause) => return Err(cause),
        // A disk gives a sector that it lost a new place when it is written.
        Ok(_) | Err(_) => {}
    }
    disk.write_at(&AlignedBuffer::from(bytes), offset).map_err(error("write"))?;
    disk.flush().map_err(error("flush"))?;
    if *read(disk, offset, length)? == *bytes { Ok(()) } else { Err(RecoveryError::ReadBack { offset, length }) }
}

/// Whether the disk has lost what lay there, so that it can be written and not read: Linux says one of these (`blk_errors` in
/// `block/blk-core.c`), `EIO` through the page cache.
pub(crate) fn is_lost(error: &RecoveryError) -> bool {
    const EIO: i32 = 5;
    const ENODATA: i32 = 61;
    const EILSEQ: i32 = 84;
    let RecoveryError::Io { verb: "read", source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(EIO | ENODATA | EILSEQ))
}
