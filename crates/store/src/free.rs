//! Free room of a file system. Must not make any.

use std::path::Path;

use super::StoreError;

/// Free bytes on the file system of `path`.
pub(super) fn free(path: &Path) -> Result<u64, StoreError> {
    let found = rustix::fs::statvfs(path).map_err(|error| StoreError::io("ask for the room of", path)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
