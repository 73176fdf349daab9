//! One lock for each machine and image, held by an open file. Must not be removed with what it protects: a removed
//! lock file would let two operations hold "the" lock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use cloud_machine_protocol::MachineName;
use rustix::fs::OFlags;

use super::StoreError;

/// The right to change one machine, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct MachineLock {
    name: MachineName,
    _file: File,
}

impl MachineLock {
    pub(super) fn new(name: MachineName, file: File) -> Self {
        Self { name, _file: file }
    }

    /// The machine that is locked.
    #[must_use]
    pub fn name(&self) -> &MachineName {
        &self.name
    }
}

/// Tries once; `None` when somebody else holds it.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, StoreError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        // Neither through a link nor into a named pipe, which would wait for a reader.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(StoreError::io("open the lock", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}
