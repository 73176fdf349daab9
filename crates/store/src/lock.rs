//! One lock for each machine and image, held by an open file. Must not be removed with what it protects: a removed
//! lock file would let two operations hold "the" lock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::MachineName;
use rustix::fs::OFlags;

use super::{StoreError, file};

/// The right to change one machine, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct MachineLock {
    name: MachineName,
    _lock: Lock,
}

impl MachineLock {
    pub(super) fn new(name: MachineName, lock: Lock) -> Self {
        Self { name, _lock: lock }
    }

    /// The machine that is locked.
    #[must_use]
    pub fn name(&self) -> &MachineName {
        &self.name
    }
}

/// A locked file, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a child that another thread has forked and that has not called execve(2) yet has the
        // same open file, and the lock would last until then (flock(2)). If it fails, closing is what is left.
        let _closing_is_left = self.0.unlock();
    }
}

/// How long somebody who only looks whether a lock is held may be in the way.
const LOOKED_AT: Duration = Duration::from_millis(50);

/// Tries until nobody can only be looking; `None` when somebody else holds it.
pub(super) fn lock(path: &Path) -> Result<Option<Lock>, StoreError> {
    let until = Instant::now() + LOOKED_AT;
    loop {
        match try_lock(path)? {
            None if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            found => return Ok(found),
        }
    }
}

/// Whether somebody holds it. Makes nothing, and whatever cannot be looked at is held by nobody who could write here.
pub(super) fn is_locked(path: &Path) -> bool {
    let Ok(Some(file)) = file::open(path) else { return false };
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    // As soon as possible, not when a child of another thread has closed it.
    let _closing_is_left = file.unlock();
    held
}

/// Tries once; `None` when somebody else holds it.
pub(super) fn try_lock(path: &Path) -> Result<Option<Lock>, StoreError> {
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
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_makes_nothing_and_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_locked(&path) && !path.exists());
        let held = lock(&path).unwrap().unwrap();
        assert!(is_locked(&path));
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(!is_locked(&path));
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| (0..2000).filter(|_| is_locked(&path)).count());
            while !looker.is_finished() {
                drop(lock(&path).unwrap().expect("nobody but the looker has it"));
            }
        });
    }

    #[test]
    fn a_lock_that_is_dropped_is_free_though_a_child_still_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = try_lock(&path).unwrap().unwrap();
        // What a fork leaves in the child until it calls execve(2).
        let copy = lock.0.try_clone().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(lock);
        assert!(try_lock(&path).unwrap().is_some());
        drop(copy);
    }
}
