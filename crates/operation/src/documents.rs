//! Reading the documents that an operator wrote: bounded, and by their place never anything but an ordinary file. Must not
//! parse.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use cloud_machine_config::MAX_DOCUMENT;
use cloud_machine_store::{StoreError, open_elsewhere};

use crate::error::{ErrorKind, OperationError};

/// The bytes of a document that an operator named, which may be a pipe of the shell. One byte more than a document may
/// have is enough to refuse it.
pub fn read(path: &Path) -> Result<Vec<u8>, OperationError> {
    bounded(File::open(path).map_err(failed(path))?, path, MAX_DOCUMENT as u64 + 1)
}

/// The bytes of a document that is read because of its place or because a document names it: an ordinary file, or
/// whoever can make a named pipe there could keep every command waiting.
pub fn read_found(path: &Path) -> Result<Vec<u8>, OperationError> {
    let file = open_elsewhere(path).map_err(StoreError::into_io).map_err(failed(path))?;
    bounded(file, path, MAX_DOCUMENT as u64 + 1)
}

/// The bytes of a file that has at most `limit` bytes.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, OperationError> {
    let bytes = bounded(File::open(path).map_err(failed(path))?, path, limit + 1)?;
    if bytes.len() as u64 > limit {
        return Err(OperationError::failed(format!("{} has more than the {limit} bytes of a volume", path.display())));
    }
    Ok(bytes)
}

/// At most the first `limit` bytes of a file. Its size is only a hint, since a device has none.
fn bounded(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, OperationError> {
    let size = file.metadata().map_err(failed(path))?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(1));
    file.take(limit).read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(bytes)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OperationError {
    let operation = format!("read configuration {}", path.display());
    move |error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Failed };
        OperationError::during(kind, operation)(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_pipe_in_the_place_of_a_document_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let causes = read_found(&path).unwrap_err().causes();
        assert!(causes[1].ends_with("config.yaml is a named pipe, an ordinary file is expected"), "{causes:?}");
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero")).unwrap();
        assert!(read_found(&folder.path().join("zero")).unwrap_err().causes()[1].contains("is a device"));
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap().len(), MAX_DOCUMENT + 1);
        let failure = read_up_to(Path::new("/dev/zero"), 10).unwrap_err();
        assert!(failure.causes()[0].contains("more than the 10 bytes"), "{:?}", failure.causes());
    }
}
