//! The walk through folders, the same for both filesystems, and its limits: files, folders, lengths of paths. Must not
//! know how a filesystem stores them.

use std::io;

use cloud_machine_protocol::volume::{MAX_FILE, MAX_FILES};

use crate::{VolumeError, error::damaged};

/// Most entries that one call looks at: a folder that contains itself must come to an end.
const MAX_ENTRIES: usize = 4096;
/// Longest path in a list, in bytes.
const MAX_PATH: usize = 1024;

/// What an entry of a folder is.
pub(crate) enum Kind {
    /// A file with so many bytes.
    File(u64),
    Folder,
    /// Something that is neither, and what it is.
    Other(&'static str),
}

/// One entry of a folder.
pub(crate) struct Entry<N> {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Where its content is, as the filesystem has it.
    pub(crate) node: N,
}

/// A filesystem of folders, which lives for `'t`.
pub(crate) trait Tree<'t> {
    type Node;

    /// Entries of a folder, of the root without one.
    fn entries(
        &'t self,
        folder: Option<&Self::Node>,
    ) -> io::Result<impl Iterator<Item = io::Result<Entry<Self::Node>>>>;

    /// Whether an entry with this name is the one that is wanted.
    fn is_named(&self, name: &str, wanted: &str) -> bool;

    /// All `size` bytes of a file.
    fn content(&self, file: &Self::Node, size: u64) -> io::Result<Vec<u8>>;
}

/// Content of the file at `path`.
pub(crate) fn read<'t, T: Tree<'t>>(tree: &'t T, path: &str) -> Result<Vec<u8>, VolumeError> {
    let failed = |source| VolumeError::File { path: path.to_owned(), source };
    let mut looked_at = 0;
    let mut folder: Option<T::Node> = None;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let Some(entry) = find(tree, folder.as_ref(), part, &mut looked_at)? else { break };
        match (entry.kind, parts.peek()) {
            (Kind::Folder, Some(_)) => folder = Some(entry.node),
            (Kind::File(size), None) if size > MAX_FILE => {
                return Err(VolumeError::FileTooLarge { path: path.to_owned() });
            }
            (Kind::File(size), None) => return tree.content(&entry.node, size).map_err(failed),
            (Kind::Other(what), _) => return Err(failed(damaged(what))),
            (Kind::Folder, None) | (Kind::File(_), Some(_)) => break,
        }
    }
    Err(VolumeError::NoFile { path: path.to_owned() })
}

fn find<'t, T: Tree<'t>>(
    tree: &'t T,
    folder: Option<&T::Node>,
    wanted: &str,
    looked_at: &mut usize,
) -> Result<Option<Entry<T::Node>>, VolumeError> {
    for entry in tree.entries(folder).map_err(VolumeError::Filesystem)? {
        let entry = entry.map_err(VolumeError::Filesystem)?;
        count(looked_at)?;
        if tree.is_named(&entry.name, wanted) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Paths and bytes of all files, sorted by path.
pub(crate) fn list<'t, T: Tree<'t>>(tree: &'t T) -> Result<Vec<(String, u64)>, VolumeError> {
    let mut looked_at = 0;
    let mut files = Vec::new();
    let mut folders: Vec<(String, Option<T::Node>)> = vec![(String::new(), None)];
    while let Some((prefix, folder)) = folders.pop() {
        for entry in tree.entries(folder.as_ref()).map_err(VolumeError::Filesystem)? {
            let entry = entry.map_err(VolumeError::Filesystem)?;
            count(&mut looked_at)?;
            let path = format!("{prefix}{}", entry.name);
            if entry.name.contains(['/', '\0']) || path.len() > MAX_PATH {
                return Err(VolumeError::Filesystem(damaged("a name has a slash or a zero byte, or is too long")));
            }
            match entry.kind {
                Kind::Folder => folders.push((format!("{path}/"), Some(entry.node))),
                Kind::File(_) | Kind::Other(_) if files.len() == MAX_FILES => return Err(VolumeError::TooManyFiles),
                Kind::File(size) => files.push((path, size)),
                Kind::Other(_) => files.push((path, 0)),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn count(looked_at: &mut usize) -> Result<(), VolumeError> {
    *looked_at += 1;
    if *looked_at > MAX_ENTRIES { Err(VolumeError::TooManyFiles) } else { Ok(()) }
}
