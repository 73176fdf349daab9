//! What is shown in place of a secret: a digest that only this host can make, so that equal secrets look equal and
//! nobody else can try guesses against it. Must not decide what is a secret.

use std::{
    borrow::Cow,
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use cloud_machine_config::{Leaf, Merged};
use cloud_machine_store::{MAX_WORD, read as read_own};

use crate::failure::{Failure, Kind};

/// Name of the key in the state folder.
const KEY_FILE: &str = "redaction.key";
const KEY_BYTES: usize = 32;

/// The host's key.
pub(crate) struct Redaction([u8; KEY_BYTES]);

impl Redaction {
    /// Reads the key in the state folder `folder`; it is made the first time.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(KEY_FILE);
        if let Some(key) = read(&path)? {
            return Ok(Self(key));
        }
        make(folder, &path)?;
        // Another process may have been faster: the key that is there counts.
        read(&path)?.map(Self).ok_or_else(|| Failure::failed(format!("the key {} is gone", path.display())))
    }

    /// The text in place of a secret with these bytes: `[redacted 1a2b3c4d]`.
    pub(crate) fn mark(&self, secret: &[u8]) -> String {
        let digest = blake3::keyed_hash(&self.0, secret).to_hex();
        format!("[redacted {}]", digest.get(..8).unwrap_or_default())
    }
}

/// The same configuration without any secret, itself if it has none; `leaves` are those of `merged`. The key in the state
/// folder is only needed, and made, when there is a secret.
pub(crate) fn redacted<'a>(
    merged: &'a Merged,
    leaves: &[Leaf],
    folder: &dyn Fn() -> Result<PathBuf, Failure>,
) -> Result<Cow<'a, Merged>, Failure> {
    let secret = |leaf: &Leaf| leaf.secret || leaf.hidden.iter().any(|hidden| hidden.secret);
    if !leaves.iter().any(secret) {
        return Ok(Cow::Borrowed(merged));
    }
    let redaction = Redaction::open(&folder()?)?;
    Ok(Cow::Owned(merged.redacted(&|text| redaction.mark(text.as_bytes()))))
}

fn read(path: &Path) -> Result<Option<[u8; KEY_BYTES]>, Failure> {
    match read_own(path, MAX_WORD)? {
        Some(bytes) => match bytes.try_into() {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(Failure::failed(format!("the key {} is not of {KEY_BYTES} bytes", path.display()))
                .hint("delete it, and a new one is made; redacted values then look different")),
        },
        None => Ok(None),
    }
}

/// Makes the key whole or not at all, readable by the owner only, and never in place of another.
fn make(folder: &Path, path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::during(Kind::Failed, format!("make the key {}", path.display()))(error);
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(Failure::during(Kind::Failed, "read random bytes"))?;
    let mut file = tempfile::Builder::new()
        .prefix(".write.")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(&key).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn equal_secrets_look_equal_on_one_host_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Redaction::open(one.path()).unwrap();
        let mark = first.mark(b"hunter2");
        assert!(mark.starts_with("[redacted ") && mark.len() == "[redacted 1a2b3c4d]".len(), "{mark}");
        assert_eq!(Redaction::open(one.path()).unwrap().mark(b"hunter2"), mark);
        assert_ne!(first.mark(b"hunter3"), mark);
        assert_ne!(Redaction::open(two.path()).unwrap().mark(b"hunter2"), mark);
        let mode = fs::metadata(one.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_of_another_length_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), b"short").unwrap();
        let failure = Redaction::open(folder.path()).err().unwrap();
        assert!(failure.causes()[0].contains("is not of 32 bytes"), "{:?}", failure.causes());
        assert_eq!(fs::read(folder.path().join(KEY_FILE)).unwrap(), b"short");
    }
}
