//! The state folder: records, locks, disks and images, every change whole or not there. Must not start, stop or
//! judge a machine.

mod attempt;
mod certified;
mod error;
pub mod file;
mod free;
mod generation;
mod golden;
pub mod identity;
mod image;
mod image_facts;
mod index;
mod journal;
mod lease;
mod lock;
mod machine;
mod older;
mod owner;
mod record;
mod reserve;
mod seal;
mod space;
mod standing;
mod state;
mod summary;
mod sweep;
mod system;

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

pub use attempt::AttemptFolder;
pub use certified::Certified;
pub use cloud_machine_protocol::ImageName;
pub use error::StoreError;
pub use file::{Content, MAX_RECORD, MAX_WORD, digest, open, open_elsewhere, read, read_end, read_named};
pub use generation::{GenerationRecord, Replacement};
pub use golden::{GoldenFolder, GoldenRecord, Stamp};
pub use image::{BootRecord, ImageFolder, ImageRow, ImageSource, InstalledImage};
pub use image_facts::{Captured, ImageFacts, Installed, SystemFacts};
pub use index::MachineSummary;
pub use journal::{Begun, Journal, JournalEntry, JournalFailure, Outcome};
pub use lease::{Lease, LeaseRow, lease_owner};
pub use lock::{Lock, MachineLock};
#[cfg(test)]
use machine::tests::record as machine_record;
pub use machine::{MachineFolder, MachineRow};
pub use older::renamed;
pub use record::{
    AcceptedRecord, DiskRecord, DriveRecord, DriverState, ImageRecord, MachineRecord, MachineState, MediumRecord,
    RECORD_VERSION, RemoteRecord, RequestRecord, SignatureRecord, SnapshotRecord, Wanted,
};
pub use seal::Seal;
pub use space::Room;
pub use standing::Standing;
pub use state::State;
pub use summary::SummaryRow;
pub use system::{DiskBacking, LastReimage, Strategy, SystemDisk};

/// An opened state folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// The lease that whoever has this value acts under.
    lease: Option<u64>,
}

impl Store {
    /// Opens the state folder at `root` and makes it, mode 0700, when it is missing. An existing folder must belong
    /// to the caller or to root and must not be writable by others.
    ///
    /// # Errors
    /// [`StoreError::Exposed`], [`StoreError::Foreign`], or [`StoreError::Io`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        file::make_folder(&root)?;
        // Absolute, since QEMU gets paths below it and runs in another folder.
        let root = fs::canonicalize(&root).map_err(StoreError::io("resolve", &root))?;
        let metadata = fs::metadata(&root).map_err(StoreError::io("read the permissions of", &root))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(StoreError::Exposed { path: root, mode });
        }
        let owner = metadata.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Foreign { path: root, owner });
        }
        let store = Self { root, lease: None };
        let locks = ["locks/machines", "locks/images"].map(|locks| store.root.join(locks));
        // Those of leases come with the first one: a folder of before there were any can be read where nothing can be made.
        for folder in [store.machines(), store.images(), store.generations()].iter().chain(&locks) {
            file::make_folder(folder)?;
        }
        for folder in [&store.root, &store.generations()] {
            sweep::sweep(folder);
        }
        reserve::keep(&store.root);
        Ok(store)
    }

    /// Opens the state folder at `root` for somebody who looks: where nothing was ever stored nothing is made, and it reads
    /// as one without machines and images.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { root: root.into(), lease: None };
        if store.is_there()? { Self::open(store.root) } else { Ok(store) }
    }

    /// Whether something was ever stored here.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn is_there(&self) -> Result<bool, StoreError> {
        let machines = self.machines();
        machines.try_exists().map_err(StoreError::io("look for", machines))
    }

    /// The folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether something can be stored now: makes a file in the folder and in that of the machines, and removes both.
    ///
    /// # Errors
    /// [`StoreError::Io`], such as that of a filesystem that is read-only or full.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.machines()] {
            let written = file::aside(&folder)
                .and_then(|mut file| file.write_all(&[0; 4096]).and_then(|()| file.as_file().sync_all()));
            written.map_err(StoreError::io("write to", folder))?;
        }
        Ok(())
    }

    /// Where the verdict about KVM is remembered.
    #[must_use]
    pub fn kvm_verdicts(&self) -> PathBuf {
        self.root.join("kvm.json")
    }

    fn machines(&self) -> PathBuf {
        self.root.join("machines")
    }

    fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    fn leases_folder(&self) -> PathBuf {
        self.root.join("leases")
    }

    fn images(&self) -> PathBuf {
        self.root.join("images")
    }
}

/// Reads a record of version [`RECORD_VERSION`]; `None` when there is no file.
fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = file::read(path, MAX_RECORD)? else { return Ok(None) };
    let invalid = |source| StoreError::InvalidJson { path: path.to_owned(), source };
    let found = cloud_machine_protocol::version_of(&bytes).map_err(invalid)?;
    match found {
        RECORD_VERSION => serde_json::from_slice(&bytes).map(Some),
        1 => serde_json::from_slice(&bytes).and_then(of_version_1).and_then(serde_json::from_value).map(Some),
        _ => return Err(StoreError::UnknownVersion { path: path.to_owned(), found, known: RECORD_VERSION }),
    }
    .map_err(invalid)
}

/// A record of version 1 as one of today.
fn of_version_1(old: serde_json::Value) -> Result<serde_json::Value, serde_json::Error> {
    let mut record = renamed(old)?;
    if let Some(version) = record.get_mut("version") {
        *version = RECORD_VERSION.into();
    }
    Ok(record)
}

/// Puts a record in its place.
fn write_record<T: serde::Serialize>(path: &Path, what: &'static str, record: &T) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(|source| StoreError::ToJson { what, source })?;
    bytes.push(b'\n');
    file::replace(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_makes_private_folders_and_is_repeatable() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let store = Store::open(&root).unwrap();
        Store::open(&root).unwrap();
        for path in [store.root().to_owned(), store.machines(), store.images()] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn whoever_only_looks_makes_nothing_and_finds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let name: cloud_machine_protocol::MachineName = "demo".parse().unwrap();
        for root in [folder.path().to_owned(), folder.path().join("a/b")] {
            let store = Store::open_existing(&root).unwrap();
            assert!(!store.is_there().unwrap());
            assert!(store.list().unwrap().is_empty() && store.list_images().unwrap().is_empty());
            assert!(store.summaries().unwrap().is_empty() && store.leases().unwrap().is_empty());
            assert!(store.journal(None).unwrap().entries.is_empty());
            assert!(matches!(store.read(&name), Err(StoreError::NoMachine { .. })));
            assert!(matches!(store.lock(&name), Err(StoreError::NoMachine { .. })));
            assert!(matches!(store.give_back_lease(&name, 1), Err(StoreError::LeaseLost { .. })));
            assert!(matches!(store.image(&"x".parse().unwrap()), Err(StoreError::NoImage { .. })));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Store::open(folder.path()).unwrap();
        assert!(Store::open_existing(folder.path()).unwrap().is_there().unwrap());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("can be written by other users (mode 0777)"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(Store::open(&path).unwrap_err().to_string(), format!("cannot make the folder {}", path.display()));
    }
}
