//! Files that are whole or not there, also after a power cut: written aside, flushed, renamed, folder flushed; and the
//! one way in which files of the state folder are opened and read. Must not know what is in them.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cloud_machine_protocol::{Algorithm, Digest};
use rustix::{fs::OFlags, io::Errno};
use sha2::{Digest as _, Sha256};

use super::StoreError;

/// How the names of files begin that are written aside; what is left of them: `sweep.rs`.
pub(crate) const ASIDE: &str = ".write.";
/// Largest record, or evidence, that is read; a larger one is not ours.
pub const MAX_RECORD: u64 = 16 << 20;
/// Largest file with one word or key in it: a process id, a private key, `known_hosts`.
pub const MAX_WORD: u64 = 16 << 10;

/// Puts `bytes` at `path` in one step, readable by the owner only.
///
/// # Errors
/// [`StoreError::Io`]; what was there stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let file = flushed_beside(path, bytes)?;
    file.persist(path).map_err(|error| StoreError::io("replace", path)(error.error))?;
    flush_folder(parent(path)?)
}

/// Puts `bytes` at `path` in one step, readable by the owner only, unless something is there already.
///
/// # Errors
/// [`StoreError::Io`].
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match flushed_beside(path, bytes)?.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("make", path)(error.error))
        }
        _ => flush_folder(parent(path)?),
    }
}

/// A new file in `folder`, readable by the owner only and locked, that is removed unless it is given a name.
pub(crate) fn aside(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().prefix(ASIDE).permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
    // Where a file system has no locks its age has to do.
    let _age_is_left = file.as_file().try_lock();
    Ok(file)
}

/// A file with `bytes` in the folder of `path`, on stable storage and without a name of its own that stays.
fn flushed_beside(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, StoreError> {
    let mut file = aside(parent(path)?).map_err(StoreError::io("make a file beside", path))?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.as_file().sync_all().map_err(StoreError::io("flush", path))?;
    Ok(file)
}

/// Flushes the entries of a folder, without which a rename may be lost at a power cut.
///
/// # Errors
/// [`StoreError::Io`].
pub fn flush_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StoreError::io("flush the folder", folder))
}

/// Makes a folder of mode 0700 and its parents where they are missing.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::io("make the folder", path))
}

/// Opens a file of the state folder for reading; `None` when there is none. What is not an ordinary file was not put
/// there by this program: a link is not followed, a named pipe not waited for, a device not read.
///
/// # Errors
/// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
pub fn open(path: &Path) -> Result<Option<File>, StoreError> {
    let opened = opened(path, OFlags::NOFOLLOW | OFlags::NONBLOCK);
    match opened {
        Ok(file) => ordinary(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Err(StoreError::NotOrdinary { path: path.to_owned(), found: "a symbolic link" })
        }
        // A socket cannot be opened at all.
        Err(error) => match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                Err(StoreError::NotOrdinary { path: path.to_owned(), found: "a socket" })
            }
            _ => Err(StoreError::io("open", path)(error)),
        },
    }
}

/// Opens a file that lies elsewhere and may be reached over a link; it must be an ordinary file, too, and be there.
///
/// # Errors
/// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
pub fn open_elsewhere(path: &Path) -> Result<File, StoreError> {
    ordinary(opened(path, OFlags::NONBLOCK).map_err(StoreError::io("open", path))?, path)
}

/// Reads a whole file of the state folder of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// [`StoreError::TooLarge`] or those of [`open`].
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    open(path)?.map(|file| read_up_to(file, path, limit)).transpose()
}

/// Reads a file that an operator names, of at most `limit` bytes. It may be a pipe, as shells make them, and is then
/// waited for.
///
/// # Errors
/// [`StoreError::TooLarge`] or [`StoreError::Io`].
pub fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    read_up_to(File::open(path).map_err(StoreError::io("open", path))?, path, limit)
}

/// Reads all of `file`, which was opened at `path`, when it has at most `limit` bytes.
///
/// # Errors
/// [`StoreError::TooLarge`] or [`StoreError::Io`].
pub(crate) fn read_up_to(file: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large; its size cannot, since it may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// The last bytes, `limit` at most, of a file of the state folder; `None` when there is none.
///
/// # Errors
/// Those of [`open`].
pub fn read_end(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut file) = open(path)? else { return Ok(None) };
    let failed = |source| StoreError::io("read", path)(source);
    let size = file.seek(io::SeekFrom::End(0)).map_err(failed)?;
    file.seek(io::SeekFrom::Start(size.saturating_sub(limit))).map_err(failed)?;
    let mut end = Vec::new();
    file.take(limit).read_to_end(&mut end).map_err(failed)?;
    Ok(Some(end))
}

fn opened(path: &Path, flags: OFlags) -> io::Result<File> {
    // Opening a named pipe would otherwise wait for its writer; reading an ordinary file is not changed by it.
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// `file`, unless it is something else than its name promised.
fn ordinary(file: File, path: &Path) -> Result<File, StoreError> {
    let kind = file.metadata().map_err(StoreError::io("look at", path))?.file_type();
    let found = match kind {
        kind if kind.is_file() => return Ok(file),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(StoreError::NotOrdinary { path: path.to_owned(), found })
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
        Content::File(path) => (Box::new(open_elsewhere(path)?), path),
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

/// SHA-256 of an ordinary file of any size.
///
/// # Errors
/// [`StoreError::NotOrdinary`], or [`StoreError::Io`] when it cannot be opened or read.
pub fn digest(path: &Path) -> Result<Digest, StoreError> {
    let mut file = open_elsewhere(path)?;
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
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn replace_in_a_missing_folder_names_operation_and_path() {
        let error = replace(Path::new("/nonexistent/a.json"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot make a file beside /nonexistent/a.json");
    }

    #[test]
    fn absent_is_not_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("none"), MAX_RECORD).unwrap().is_none());
        assert!(read_end(&folder.path().join("none"), MAX_RECORD).unwrap().is_none());
        let beyond = folder.path().join("file");
        fs::write(&beyond, "").unwrap();
        let error = read(&beyond.join("x"), MAX_RECORD).unwrap_err();
        assert!(error.to_string().starts_with("cannot open /"), "{error}");
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"12345");
        assert_eq!(read_end(&path, 3).unwrap().unwrap(), b"345");
        assert_eq!(read_end(&path, 9).unwrap().unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err().to_string();
        assert_eq!(error, format!("{} has more than 4 bytes", path.display()));
    }

    /// Without a look at what was opened the first of these waits for a writer, and the second never ends.
    #[test]
    fn what_is_no_ordinary_file_is_named_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link-to-a-file")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, found) in [
            ("pipe", "a named pipe"),
            ("link", "a symbolic link"),
            ("link-to-a-file", "a symbolic link"),
            ("socket", "a socket"),
            (".", "a folder"),
            ("/dev/zero", "a device"),
        ] {
            let path = at(name);
            let expected = format!("{} is {found}, an ordinary file is expected", path.display());
            assert_eq!(read(&path, MAX_RECORD).unwrap_err().to_string(), expected);
            assert_eq!(read_end(&path, MAX_RECORD).unwrap_err().to_string(), expected);
        }
        for name in ["pipe", "link", ".", "/dev/zero"] {
            assert!(matches!(open_elsewhere(&at(name)), Err(StoreError::NotOrdinary { .. })), "{name}");
            assert!(matches!(digest(&at(name)), Err(StoreError::NotOrdinary { .. })), "{name}");
            let copied = copy(Content::File(&at(name)), &at("copy"));
            assert!(matches!(copied, Err(StoreError::NotOrdinary { .. })), "{name}");
        }
        open_elsewhere(&at("link-to-a-file")).unwrap();
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
