//! The folder of one attempt: everything that one process of a machine needs or leaves. Owns the file names; must
//! not look into the files.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{StoreError, file};

/// One attempt to run a machine: one process, one nonce, one volume. Its name is `attempt-NNN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFolder {
    number: u32,
    path: PathBuf,
}

impl AttemptFolder {
    /// An existing folder that is not part of a store, as tests need it.
    #[must_use]
    pub fn at(path: PathBuf, number: u32) -> Self {
        Self { number, path }
    }

    /// Number of the attempt, from 1, unique in the life of the machine's record.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Socket of the agent's virtio-serial port.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Socket of QEMU's monitor.
    #[must_use]
    pub fn qmp_socket(&self) -> PathBuf {
        self.path.join("qmp.sock")
    }

    /// Socket of the serial console, for one reader and writer at a time.
    #[must_use]
    pub fn console_socket(&self) -> PathBuf {
        self.path.join("console.sock")
    }

    /// All that the serial console has said. Untrusted: show it escaped.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// The volume of the attempt.
    #[must_use]
    pub fn volume(&self) -> PathBuf {
        self.path.join("volume.img")
    }

    /// Writes the volume, for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_volume(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.volume();
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).map_err(StoreError::io("write the volume", path))
    }

    /// The process's id, written by QEMU.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.path.join("pid")
    }

    /// What QEMU said on stderr.
    #[must_use]
    pub fn qemu_log(&self) -> PathBuf {
        self.path.join("qemu.log")
    }
}

/// The attempts below `run`, oldest first.
pub(super) fn list(run: &Path) -> Result<Vec<AttemptFolder>, StoreError> {
    let entries = match fs::read_dir(run) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", run)(error)),
    };
    let mut attempts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", run))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("attempt-")).map(str::parse);
        if let Some(Ok(number)) = number {
            attempts.push(AttemptFolder { number, path: entry.path() });
        }
    }
    attempts.sort_by_key(|attempt| attempt.number);
    Ok(attempts)
}

/// Makes the next attempt's folder, then removes the oldest beyond `keep`.
pub(super) fn next(run: &Path, keep: usize) -> Result<AttemptFolder, StoreError> {
    let existing = list(run)?;
    let number = existing.last().map_or(0, |last| last.number).saturating_add(1);
    let path = run.join(format!("attempt-{number:03}"));
    file::make_folder(&path)?;
    file::flush_folder(run)?;
    let surplus = existing.len().saturating_sub(keep.saturating_sub(1));
    for old in existing.iter().take(surplus) {
        file::remove_folder(&old.path)?;
    }
    Ok(AttemptFolder { number, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow_and_old_attempts_go() {
        let run = tempfile::tempdir().unwrap();
        assert!(list(&run.path().join("none")).unwrap().is_empty());
        for number in 1..=7 {
            assert_eq!(next(run.path(), 3).unwrap().number(), number);
        }
        let left: Vec<u32> = list(run.path()).unwrap().iter().map(AttemptFolder::number).collect();
        assert_eq!(left, [5, 6, 7]);
        assert!(run.path().join("attempt-007").is_dir());
    }
}
