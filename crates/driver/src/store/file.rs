//! Files that are whole or not there, also after a power cut: written aside, flushed, renamed, folder flushed.
//! Must not know what is in them.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cloud_machine_protocol::{Algorithm, Digest};
use sha2::{Digest as _, Sha256};

use super::StoreError;

/// Largest record that is read; a larger one is not ours.
pub(crate) const MAX_RECORD: u64 = 16 << 20;

/// Puts `bytes` at `path` in one step, readable by the owner only.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = parent(path)?;
    let mut file = tempfile::Builder::new()
        .prefix(".write.")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(StoreError::io("make a file beside", path))?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.as_file().sync_all().map_err(StoreError::io("flush", path))?;
    file.persist(path).map_err(|error| StoreError::io("replace", path)(error.error))?;
    flush_folder(folder)
}

/// Flushes the entries of a folder, without which a rename may be lost at a power cut.
pub(crate) fn flush_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StoreError::io("flush the folder", folder))
}

/// Makes a folder of mode 0700 and its parents where they are missing.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::io("make the folder", path))
}

/// Reads a whole small file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > MAX_RECORD {
        let reason = format!("it has more than {MAX_RECORD} bytes");
        return Err(StoreError::InvalidRecord { path: path.to_owned(), reason });
    }
    Ok(Some(bytes))
}

/// Where the bytes of an installed file come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A file of the host.
    File(&'a Path),
    /// An open file, all of it; it may have no name.
    Open(&'a File),
    /// Bytes in memory.
    Bytes(&'a [u8]),
}

/// Writes `content` to a new file of mode 0600, flushes it and says its SHA-256.
pub(crate) fn copy(content: Content<'_>, target: &Path) -> Result<Digest, StoreError> {
    let (mut source, origin): (Box<dyn Read + '_>, &Path) = match content {
        Content::File(path) => (Box::new(File::open(path).map_err(StoreError::io("open", path))?), path),
        Content::Open(file) => {
            let mut file = file;
            file.rewind().map_err(StoreError::io("read what becomes", target))?;
            (Box::new(file), target)
        }
        Content::Bytes(bytes) => (Box::new(bytes), target),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .map_err(StoreError::io("make", target))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = source.read(&mut buffer).map_err(StoreError::io("read", origin))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        file.write_all(piece).map_err(StoreError::io("write", target))?;
    }
    file.sync_all().map_err(StoreError::io("flush", target))?;
    Ok(Digest::new(Algorithm::Sha256, hasher.finalize().into()))
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// SHA-256 of a file of any size.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be opened or read.
pub fn digest(path: &Path) -> Result<Digest, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(StoreError::io("read", path))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
    }
    Ok(Digest::new(Algorithm::Sha256, hasher.finalize().into()))
}

/// Takes a folder away in one step, then removes it; what a cut leaves is hidden and removed at the next call.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    let folder = parent(path)?;
    clear_hidden(path)?;
    let aside = hidden(path, ".deleted.")?;
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("take away", path)(error)),
    }
    flush_folder(folder)?;
    fs::remove_dir_all(&aside).map_err(StoreError::io("remove", &aside))?;
    flush_folder(folder)
}

/// Makes an empty hidden folder beside `path`, to be filled and renamed to it.
pub(crate) fn prepare_folder(path: &Path) -> Result<PathBuf, StoreError> {
    clear_hidden(path)?;
    let aside = hidden(path, ".new.")?;
    make_folder(&aside)?;
    Ok(aside)
}

/// Removes what an interrupted [`remove_folder`] or [`prepare_folder`] of the same path left.
fn clear_hidden(path: &Path) -> Result<(), StoreError> {
    for prefix in [".deleted.", ".new."] {
        let aside = hidden(path, prefix)?;
        match fs::remove_dir_all(&aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("remove", aside)(error)),
        }
    }
    Ok(())
}

fn hidden(path: &Path, prefix: &str) -> Result<PathBuf, StoreError> {
    let mut name = OsString::from(prefix);
    name.push(path.file_name().ok_or_else(|| nameless(path))?);
    Ok(path.with_file_name(name))
}

pub(crate) fn parent(path: &Path) -> Result<&Path, StoreError> {
    path.parent().ok_or_else(|| nameless(path))
}

fn nameless(path: &Path) -> StoreError {
    StoreError::io("find the folder of", path)(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_one_whole_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn replace_in_a_missing_folder_names_operation_and_path() {
        let error = replace(Path::new("/nonexistent/a.json"), b"").unwrap_err();
        assert_eq!(error.to_string(), "make a file beside /nonexistent/a.json");
    }

    #[test]
    fn absent_is_not_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("none")).unwrap().is_none());
        let error = read(folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("read /"), "{error}");
    }

    #[test]
    fn an_oversized_record_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        File::create(&path).unwrap().set_len(MAX_RECORD + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("it has more than 16777216 bytes"));
    }

    #[test]
    fn copy_hashes_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        let made = copy(Content::Bytes(b"abc"), &target).unwrap();
        assert_eq!(made.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest(&target).unwrap(), made);
        assert!(copy(Content::Bytes(b"abc"), &target).is_err(), "an existing file is never overwritten");
    }
}
