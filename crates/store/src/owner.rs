//! What this state folder calls itself at providers, so that what was made for it can be told from what is somebody else's. Must not
//! change once it was made.

use crate::{Store, StoreError, file, identity};

/// Letters and digits of the word.
const LETTERS: usize = 26;

impl Store {
    /// The word: 26 letters and digits, made at the first call and kept in the file `owner`.
    ///
    /// # Errors
    /// [`StoreError::Random`], [`StoreError::InvalidRecord`] when what is kept is no such word, or [`StoreError::Io`].
    pub fn owner(&self) -> Result<String, StoreError> {
        if let Some(word) = self.kept_owner()? {
            return Ok(word);
        }
        let path = self.root().join("owner");
        let word = identity::request_id(jiff::Timestamp::now()).map_err(StoreError::Random)?;
        file::create(&path, word.as_bytes())?;
        // Another program may have been first; the word that is there counts.
        self.kept_owner()?.ok_or_else(|| StoreError::InvalidRecord { path, reason: "it is gone again".to_owned() })
    }

    /// The word, if it was ever made: without one nothing carries it.
    ///
    /// # Errors
    /// [`StoreError::InvalidRecord`] when what is kept is no such word, or [`StoreError::Io`].
    pub fn kept_owner(&self) -> Result<Option<String>, StoreError> {
        let path = self.root().join("owner");
        let Some(bytes) = file::read(&path, file::MAX_WORD)? else { return Ok(None) };
        let word = String::from_utf8_lossy(&bytes).trim().to_owned();
        if word.len() == LETTERS && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Some(word));
        }
        Err(StoreError::InvalidRecord { path, reason: format!("an owner has {LETTERS} letters and digits") })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn it_is_made_once_and_what_is_none_is_refused() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let store = Store::open(one.path().join("state")).unwrap();
        assert_eq!(store.kept_owner().unwrap(), None);
        let words: Vec<String> = thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| store.owner().unwrap())).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        assert_ne!(Store::open(other.path().join("state")).unwrap().owner().unwrap(), words[0]);
        fs::write(store.root().join("owner"), "me").unwrap();
        assert!(store.owner().unwrap_err().to_string().contains("26 letters and digits"));
    }
}
