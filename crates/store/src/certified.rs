//! Which host keys the certificate authority of the state folder has certified, and until when: one file for each, which outlives its
//! machine. Must not sign, nor say which of them still counts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cloud_machine_protocol::MachineName;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, file, sweep};

/// A host key that was certified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certified {
    /// For which machine: the one name that the certificate is good for.
    pub machine: MachineName,
    /// The public key, one line.
    pub key: String,
    /// Serial number of the certificate.
    pub serial: u64,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// Until when it counts, in seconds since 1970.
    pub until: u64,
}

impl Store {
    /// The private key of the authority.
    #[must_use]
    pub fn host_ca(&self) -> PathBuf {
        self.root().join("host_ca_ed25519")
    }

    fn certificates(&self) -> PathBuf {
        self.root().join("host_certificates")
    }

    /// Notes a certificate, and forgets those that had ended when it was made. It is on stable storage when this returns.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::InvalidRecord`].
    pub fn note_certified(&self, certified: &Certified) -> Result<(), StoreError> {
        let folder = self.certificates();
        file::make_folder(&folder)?;
        sweep::sweep(&folder);
        for (path, until) in listed(&folder)? {
            if until <= certified.issued {
                file::remove_file(&path)?;
            }
        }
        let path = folder.join(format!("{}-{:016x}.json", certified.until, certified.serial));
        let bytes = serde_json::to_vec(certified).map_err(invalid(&path))?;
        file::replace(&path, &bytes)
    }

    /// The certificates that have not ended at `now`, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError::Io`], or [`StoreError::InvalidRecord`] for one that cannot be read: what it named would be left out.
    pub fn certified(&self, now: u64) -> Result<Vec<Certified>, StoreError> {
        let mut found = Vec::new();
        for (path, until) in listed(&self.certificates())? {
            // Another program may have forgotten it in the meantime.
            if until > now
                && let Some(bytes) = file::read(&path, file::MAX_WORD)?
            {
                found.push(serde_json::from_slice::<Certified>(&bytes).map_err(invalid(&path))?);
            }
        }
        found.sort_by_key(|one| (one.issued, one.serial));
        Ok(found)
    }
}

/// Each file in the folder of certificates, and until when its name says that it counts; none where there is no folder.
fn listed(folder: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        let until = path.file_stem().and_then(|name| name.to_str()?.split_once('-')?.0.parse().ok());
        // What another program is writing has another name.
        found.extend(until.filter(|_| path.extension().is_some_and(|end| end == "json")).map(|until| (path, until)));
    }
    Ok(found)
}

fn invalid(path: &Path) -> impl FnOnce(serde_json::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::InvalidRecord { path, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_listed_until_they_end_and_a_damaged_one_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        assert_eq!(store.certified(0).unwrap(), []);
        let one = |serial, issued| Certified {
            machine: "demo".parse().unwrap(),
            key: format!("ssh-ed25519 {serial}"),
            serial,
            issued,
            until: issued + 10,
        };
        let (early, late) = (one(u64::MAX, 100), one(1, 105));
        store.note_certified(&late).unwrap();
        store.note_certified(&early).unwrap();
        assert_eq!(store.certified(109).unwrap(), [early, late.clone()]);
        assert_eq!(store.certified(110).unwrap(), [late]);
        assert_eq!(store.certified(200).unwrap(), []);
        let later = one(2, 115);
        store.note_certified(&later).unwrap();
        assert_eq!(fs::read_dir(store.certificates()).unwrap().count(), 1, "what has ended is forgotten");
        assert_eq!(store.certified(115).unwrap(), [later]);
        fs::write(store.certificates().join("300-0.json"), "{").unwrap();
        assert!(matches!(store.certified(0), Err(StoreError::InvalidRecord { .. })));
    }
}
