//! The key of the state folder and what it seals: a stored file is told from one that was changed, exchanged or copied from
//! another state folder. Must not say anything against whoever may read the folder: the key lies in it.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, file};
use crate::identity;

const KEY_BYTES: usize = 32;

/// A message authentication code: BLAKE3 in its keyed mode (section 2.3 of its specification), in text 64 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seal(blake3::Hash);

impl fmt::Display for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<Seal> for String {
    fn from(seal: Seal) -> Self {
        seal.to_string()
    }
}

impl TryFrom<String> for Seal {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let lower = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        let hash = blake3::Hash::from_hex(&text).ok().filter(|_| lower);
        hash.map(Self).ok_or("a seal has 64 hexadecimal digits")
    }
}

impl Store {
    fn key_path(&self) -> PathBuf {
        self.root().join("evidence.key")
    }

    /// The seal of `bytes`. The first call makes the key.
    ///
    /// # Errors
    /// [`StoreError::Random`], [`StoreError::InvalidRecord`] for a key that is none, or [`StoreError::Io`].
    pub fn seal(&self, bytes: &[u8]) -> Result<Seal, StoreError> {
        let key = match self.key()? {
            Some(key) => key,
            None => {
                file::create(&self.key_path(), &identity::random::<KEY_BYTES>().map_err(StoreError::Random)?)?;
                // Another program may have been first; the key that is there counts.
                self.key()?.ok_or_else(|| StoreError::KeyAbsent { path: self.key_path() })?
            }
        };
        Ok(Seal(blake3::keyed_hash(&key, bytes)))
    }

    /// Whether `seal` is that of `bytes`.
    ///
    /// # Errors
    /// [`StoreError::KeyAbsent`] when there is no key, so nothing can be said; those of [`Store::seal`].
    pub fn is_sealed(&self, bytes: &[u8], seal: Seal) -> Result<bool, StoreError> {
        let key = self.key()?.ok_or_else(|| StoreError::KeyAbsent { path: self.key_path() })?;
        // Compared in constant time by the type.
        Ok(Seal(blake3::keyed_hash(&key, bytes)) == seal)
    }

    fn key(&self) -> Result<Option<[u8; KEY_BYTES]>, StoreError> {
        let path = self.key_path();
        let Some(bytes) = file::read(&path, KEY_BYTES as u64)? else { return Ok(None) };
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice());
        key.map(Some).map_err(|_| StoreError::InvalidRecord { path, reason: format!("a key has {KEY_BYTES} bytes") })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_seal_is_of_one_folder_and_of_the_very_bytes() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [one, other] = folders.each_ref().map(|folder| Store::open(folder.path().join("state")).unwrap());
        let seal = one.seal(b"report").unwrap();
        assert!(one.is_sealed(b"report", seal).unwrap());
        assert_eq!(one.seal(b"report").unwrap(), seal, "the key stays");
        assert!(!one.is_sealed(b"reporT", seal).unwrap());
        assert_ne!(other.seal(b"report").unwrap(), seal);
        let mode = fs::metadata(one.root().join("evidence.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = serde_json::to_string(&seal).unwrap();
        assert_eq!(serde_json::from_str::<Seal>(&text).unwrap(), seal);
        assert!(serde_json::from_str::<Seal>(&text.to_uppercase()).is_err());
        assert!(serde_json::from_str::<Seal>("\"ab\"").is_err());
    }

    #[test]
    fn a_key_that_is_absent_and_one_that_is_none_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let seal = store.seal(b"report").unwrap();
        let key = store.root().join("evidence.key");
        fs::write(&key, b"short").unwrap();
        assert!(matches!(store.is_sealed(b"report", seal), Err(StoreError::InvalidRecord { .. })));
        fs::remove_file(&key).unwrap();
        assert!(matches!(store.is_sealed(b"report", seal), Err(StoreError::KeyAbsent { .. })));
    }
}
