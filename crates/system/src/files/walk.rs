//! Every name of one filesystem, each folder before what is in it and names in the order of their bytes. Must not
//! recurse: how deep folders lie is for whoever wrote them to choose.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::SystemError;

/// A name that was found.
pub(super) struct Name {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where it is below the root of the walk; empty for the root.
    pub(super) relative: PathBuf,
    /// Of the name itself, when it is a link.
    pub(super) metadata: Metadata,
    /// The name below the root by which the same file was met before.
    pub(super) first: Option<PathBuf>,
}

impl Name {
    pub(super) fn object(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn failed<E: Into<io::Error>>(&self, verb: &'static str) -> impl FnOnce(E) -> SystemError {
        SystemError::io(verb, self.object())
    }

    /// The content of a file.
    pub(super) fn open(&self) -> Result<File, SystemError> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(&self.path).map_err(self.failed("open"))
    }
}

/// `root` and everything below it.
///
/// # Errors
/// [`SystemError::Io`] naming what cannot be looked at, and [`SystemError::Unexpected`] where another filesystem
/// begins.
pub(super) fn names(root: &Path) -> Result<Vec<Name>, SystemError> {
    let mut names: Vec<Name> = Vec::new();
    let mut device = None;
    // By inode number the first name of files that have several.
    let mut firsts: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(relative) = left.pop() {
        let path = root.join(&relative);
        let object = || path.display().to_string();
        let metadata = fs::symlink_metadata(&path).map_err(SystemError::io("examine", object()))?;
        if *device.get_or_insert(metadata.dev()) != metadata.dev() {
            return Err(SystemError::unexpected(object(), "another filesystem", "files of one"));
        }
        if metadata.is_dir() {
            let begin = left.len();
            for entry in fs::read_dir(&path).map_err(SystemError::io("list", object()))? {
                left.push(relative.join(entry.map_err(SystemError::io("list", object()))?.file_name()));
            }
            // The last one is taken first.
            left[begin..].sort_unstable_by(|one, other| other.cmp(one));
        }
        let several = !metadata.is_dir() && metadata.nlink() > 1;
        let first = firsts.get(&metadata.ino()).filter(|_| several).cloned();
        if several && first.is_none() {
            firsts.insert(metadata.ino(), relative.clone());
        }
        names.push(Name { path, relative, metadata, first });
    }
    Ok(names)
}
