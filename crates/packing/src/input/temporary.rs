//! Files without a name, for what has to be read at any offset. Must not write to one.

use std::{fs::File, path::Path};

use super::InputError;

/// A file without a name on the filesystem of `folder`: nothing is left of it when it is closed, however that comes.
pub(super) fn temporary(folder: &Path) -> Result<File, InputError> {
    tempfile::tempfile_in(folder).map_err(|source| InputError::Temporary { folder: folder.to_owned(), source })
}
