//! Room for records on a full file system: a file with nothing in it that is given up when a record finds no room. Must not
//! be used for anything that a machine writes, nor for leases and the journal: they would eat what stopping and deleting a
//! machine needs.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{StoreError, file, free::free};

/// Bytes that are kept: some hundred records and reports.
pub(super) const SIZE: u64 = 4 << 20;

/// Where it lies below the state folder `root`.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}

/// Makes it where it is missing and there is room for more than it. Without it all works, until the file system is full.
pub(super) fn keep(root: &Path) {
    let path = path(root);
    let is_whole = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.blocks() * 512 >= SIZE);
    if is_whole || free(root).is_ok_and(|free| free < 2 * SIZE) {
        return;
    }
    if let Err(error) = make(root, &path) {
        tracing::debug!(path = %path.display(), %error, "no room is reserved for records");
    }
}

fn make(root: &Path, path: &Path) -> io::Result<()> {
    let new = file::aside(root)?;
    fallocate(new.as_file(), FallocateFlags::empty(), 0, SIZE)?;
    new.persist(path).map(drop).map_err(|error| error.error)
}

/// Writes a record; when there is no room for it, what is reserved below `root` is given up and it is tried once more.
pub(super) fn with<T>(root: &Path, write: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    match write() {
        Err(error) if error.is_full() => {
            let path = path(root);
            if !path.try_exists().unwrap_or_default() {
                return Err(error);
            }
            file::remove_file(&path)?;
            write()
        }
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs};

    use super::*;

    fn full() -> StoreError {
        StoreError::io("write", "/x")(io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn a_record_that_finds_no_room_takes_what_is_reserved_and_it_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path());
        assert!(fs::metadata(path(folder.path())).unwrap().blocks() * 512 >= SIZE);
        let tries = Cell::new(0);
        let written = with(folder.path(), || {
            tries.set(tries.get() + 1);
            if path(folder.path()).exists() { Err(full()) } else { Ok(()) }
        });
        assert_eq!((written.is_ok(), tries.get()), (true, 2));
        let again = with(folder.path(), || Err::<(), _>(full()));
        assert!(again.unwrap_err().is_full(), "with nothing reserved the first answer stands");
        keep(folder.path());
        assert!(path(folder.path()).exists());
        let other = with(folder.path(), || Err::<(), _>(StoreError::io("write", "/x")(io::ErrorKind::NotFound.into())));
        assert!(other.is_err() && path(folder.path()).exists(), "only a full file system takes it");
    }
}
