//! Golden disks of the store: where they lie, how their files looked when they were last right, and who works on one.
//! Must not read or write what is on them.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use cloud_machine_protocol::Digest;
use serde::{Deserialize, Serialize};

use super::{Lock, RECORD_VERSION, Store, StoreError, file, lock, read_record, write_record};

/// A golden disk, whether it is there or not: an image as it lies on a disk of one size. It belongs to no machine and to no name
/// of an image, so deleting either leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenFolder {
    name: String,
    path: PathBuf,
}

/// `golden.json`: how the file looked when every byte of it had been right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// BLAKE3 digest of the raw image.
    pub image: Digest,
    /// Looks of the file.
    pub stamp: Stamp,
    /// Whether it was held against a manifest of which the zeros were proved; records of before that was done do not say
    /// so.
    #[serde(default)]
    pub proved: bool,
}

/// What changes with a file when somebody writes or replaces it (inode(7)). Who can set a clock or write below the
/// filesystem can forge it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Number of the inode.
    pub inode: u64,
    /// Seconds and nanoseconds of the last modification.
    pub modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of the file or its inode.
    pub changed: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let found = fs::metadata(path).map_err(StoreError::io("look at", path))?;
        Ok(Self {
            size: found.len(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl From<&rustix::fs::Stat> for Stamp {
    fn from(found: &rustix::fs::Stat) -> Self {
        Self {
            size: found.st_size.cast_unsigned(),
            inode: found.st_ino,
            modified: (found.st_mtime, found.st_mtime_nsec.cast_signed()),
            changed: (found.st_ctime, found.st_ctime_nsec.cast_signed()),
        }
    }
}

impl GoldenFolder {
    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk, a raw sparse file.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.raw")
    }

    /// Whether the disk is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn exists(&self) -> Result<bool, StoreError> {
        let disk = self.disk();
        disk.try_exists().map_err(StoreError::io("look for", disk))
    }

    /// What was recorded of it; `None` when there is no record.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::InvalidJson`] or [`StoreError::Io`].
    pub fn record(&self) -> Result<Option<GoldenRecord>, StoreError> {
        read_record(&self.path.join("golden.json"))
    }

    /// Records that every byte of the disk is right now.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_record(&self, image: Digest, stamp: Stamp) -> Result<(), StoreError> {
        let record = GoldenRecord { version: RECORD_VERSION, image, stamp, proved: true };
        write_record(&self.path.join("golden.json"), "the record of a golden disk", &record)
    }

    /// Makes a folder of the same names beside it, to be filled and then given to [`Self::put_in_place`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn prepare(&self) -> Result<Self, StoreError> {
        Ok(Self { name: self.name.clone(), path: file::prepare_folder(&self.path)? })
    }

    /// Puts a folder that [`Self::prepare`] made in its place. There must be none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_in_place(&self, new: &Self) -> Result<(), StoreError> {
        file::flush_folder(&new.path)?;
        fs::rename(&new.path, &self.path).map_err(StoreError::io("put in place", &self.path))?;
        file::flush_folder(file::parent(&self.path)?)
    }
}

impl Store {
    /// The golden disk of an image on a disk of `size` bytes.
    #[must_use]
    pub fn golden(&self, image: &Digest, size: u64) -> GoldenFolder {
        let name = format!("{}-{size}", image.hex());
        GoldenFolder { path: self.root.join("golden").join(&name), name }
    }

    /// The golden disks of an image, of all sizes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn golden_disks(&self, image: &Digest) -> Result<Vec<GoldenFolder>, StoreError> {
        let folder = self.root.join("golden");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::io("list", &folder))?,
        };
        let mut disks = Vec::new();
        for entry in entries {
            let name = entry.map_err(StoreError::io("list", &folder))?.file_name();
            let size = name.to_str().and_then(|name| name.strip_prefix(image.hex().as_str())?.strip_prefix('-'));
            if let Some(size) = size.and_then(|size| size.parse().ok()) {
                disks.push(self.golden(image, size));
            }
        }
        disks.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(disks)
    }

    /// Removes a golden disk, when nobody works on it any more; one that is not there is no error. Whether a machine
    /// stands on it is for the caller.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete_golden(&self, golden: &GoldenFolder) -> Result<(), StoreError> {
        let _lock = self.lock_golden(golden)?;
        file::remove_folder(&golden.path)
    }

    /// Waits until nobody else makes or compares a golden disk, and keeps others waiting until the file is dropped.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn lock_golden(&self, golden: &GoldenFolder) -> Result<Lock, StoreError> {
        for folder in [self.root.join("golden"), self.root.join("locks/golden")] {
            file::make_folder(&folder)?;
        }
        let path = self.root.join("locks/golden").join(&golden.name);
        loop {
            // Made by the first try; waited for afterwards.
            if let Some(file) = lock::try_lock(&path)? {
                return Ok(file);
            }
            match File::open(&path).and_then(|file| file.lock()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(StoreError::io("lock", &path)(error));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    fn digest(byte: &str) -> Digest {
        format!("blake3:{}", byte.repeat(32)).parse().unwrap()
    }

    #[test]
    fn a_golden_disk_is_there_whole_with_its_record_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let golden = store.golden(&digest("ab"), 8192);
        assert!(!golden.exists().unwrap());
        let lock = store.lock_golden(&golden).unwrap();
        let new = golden.prepare().unwrap();
        fs::write(new.disk(), [7; 8192]).unwrap();
        new.write_record(digest("ab"), Stamp::of(&new.disk()).unwrap()).unwrap();
        assert!(!golden.exists().unwrap() && golden.record().unwrap().is_none());
        golden.put_in_place(&new).unwrap();
        drop(lock);
        assert!(golden.exists().unwrap());
        assert_ne!(golden.path(), store.golden(&digest("ab"), 4096).path());
        assert_ne!(golden.path(), store.golden(&digest("cd"), 8192).path());

        let other = store.golden(&digest("ab"), 4096);
        fs::create_dir_all(other.path()).unwrap();
        assert_eq!(store.golden_disks(&digest("ab")).unwrap(), [other.clone(), golden.clone()]);
        assert!(store.golden_disks(&digest("cd")).unwrap().is_empty());
        store.delete_golden(&other).unwrap();
        store.delete_golden(&other).unwrap();
        assert_eq!(store.golden_disks(&digest("ab")).unwrap(), std::slice::from_ref(&golden));

        // Its own name is no part of how a file looks; everything that a writer leaves is.
        let stamp = || Stamp::of(&golden.disk()).unwrap();
        let recorded = golden.record().unwrap().unwrap();
        assert_eq!((recorded.image, &recorded.stamp), (digest("ab"), &stamp()));
        fs::read(golden.disk()).unwrap();
        assert_eq!(recorded.stamp, stamp());
        let file = File::options().write(true).open(golden.disk()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        file.write_all_at(b"x", 4096).unwrap();
        assert_ne!(recorded.stamp, stamp());
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(recorded.stamp.changed, stamp().changed, "a time that was set back changes the inode");
        fs::set_permissions(golden.disk(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_second_user_of_a_golden_disk_waits() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let golden = store.golden(&digest("ab"), 8192);
        let lock = store.lock_golden(&golden).unwrap();
        let (other, wanted) = (store.clone(), golden.clone());
        let waiting = std::thread::spawn(move || drop(other.lock_golden(&wanted).unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!waiting.is_finished());
        drop(lock);
        waiting.join().unwrap();
    }

    #[test]
    fn a_record_of_another_version_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let golden = store.golden(&digest("ab"), 8192);
        fs::create_dir_all(golden.path()).unwrap();
        for (text, said) in
            [("{\"version\": 9}", "has version 9"), ("{", "read the record"), ("{\"version\": 1}", "read the record")]
        {
            fs::write(golden.path().join("golden.json"), text).unwrap();
            let error = golden.record().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
