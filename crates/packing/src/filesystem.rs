//! An ext4 filesystem in a part of a disk image: files, folders and links, read and never mounted. Bounds what it takes into
//! memory; must not know what any file is for.

use std::{error::Error, sync::Arc};

use cloud_machine_image::ReadBlocks;
use cloud_machine_protocol::Extent;
use ext4_view::{Ext4, Ext4Error, Ext4Read};

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// A filesystem, or a file in it, that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct Unreadable {
    /// Which file; `/` for the filesystem itself.
    pub path: String,
    /// What is wrong.
    #[source]
    pub source: Ext4Error,
}

/// Part of a disk, as the reader of filesystems takes it.
struct Part<R> {
    raw: Arc<R>,
    part: Extent,
}

impl<R: ReadBlocks> Ext4Read for Part<R> {
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let end = start.checked_add(buffer.len() as u64).filter(|end| *end <= self.part.length);
        end.ok_or_else(|| format!("{} bytes at {start} lie behind the end of the partition", buffer.len()))?;
        Ok(self.raw.read_at(buffer, self.part.offset + start)?)
    }
}

/// A filesystem. Symbolic links lead to its own files only, also absolute ones and those with `..`.
pub(crate) struct Filesystem(Ext4);

impl Filesystem {
    pub(crate) fn open<R: ReadBlocks + Send + Sync + 'static>(raw: Arc<R>, part: Extent) -> Result<Self, Unreadable> {
        let failed = |source| Unreadable { path: "/".to_owned(), source };
        Ext4::load(Box::new(Part { raw, part })).map(Self).map_err(failed)
    }

    /// What `read` gives, or nothing where no file is at `path`: not even a folder on the way, or a link that leads nowhere.
    fn at<T>(&self, path: &str, read: impl FnOnce(&Ext4) -> Result<T, Ext4Error>) -> Result<Option<T>, Unreadable> {
        match read(&self.0) {
            Ok(found) => Ok(Some(found)),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory | Ext4Error::TooManySymlinks) => Ok(None),
            Err(source) => Err(Unreadable { path: path.to_owned(), source }),
        }
    }

    pub(crate) fn is_file(&self, path: &str) -> Result<bool, Unreadable> {
        let kind = self.at(path, |root| Ok(root.metadata(path)?.file_type()))?;
        Ok(kind.is_some_and(|kind| kind.is_regular_file()))
    }

    /// Bytes of a plain file, `most` at most: of a larger one one more, without the rest. A special file is an error.
    pub(crate) fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Unreadable> {
        self.at(path, |root| {
            let mut file = root.open(path)?;
            let mut bytes = vec![0; usize::try_from(file.metadata().len().min(most + 1)).unwrap_or(usize::MAX)];
            let mut done = 0;
            while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
                match file.read_bytes(rest)? {
                    0 => break,
                    read => done += read,
                }
            }
            bytes.truncate(done);
            Ok(bytes)
        })
    }

    /// A file that is a text; one that is no plain file or has more than `most` bytes says nothing.
    pub(crate) fn text(&self, path: &str, most: u64) -> Result<Option<String>, Unreadable> {
        if !self.is_file(path)? {
            return Ok(None);
        }
        let bytes = self.read(path, most)?.filter(|bytes| bytes.len() as u64 <= most);
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Names in a folder, in no order; none where there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>, Unreadable> {
        let listed = |root: &Ext4| {
            let entries = root.read_dir(folder)?.take(MAX_ENTRIES);
            let names = entries.map(|entry| entry.map(|entry| entry.file_name().display().to_string()));
            names.collect::<Result<Vec<_>, _>>()
        };
        let mut names = self.at(folder, listed)?.unwrap_or_default();
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        Ok(names)
    }

    /// Where a path ends behind all links.
    pub(crate) fn leads_to(&self, path: &str) -> Result<Option<String>, Unreadable> {
        Ok(self.at(path, |root| root.canonicalize(path))?.map(|found| found.display().to_string()))
    }

    /// What a link says, whether or not there is something; nothing where there is no link.
    pub(crate) fn link(&self, path: &str) -> Result<Option<String>, Unreadable> {
        if self.at(path, |root| Ok(root.symlink_metadata(path)?.is_symlink()))? != Some(true) {
            return Ok(None);
        }
        Ok(self.at(path, |root| root.read_link(path))?.map(|target| target.display().to_string()))
    }
}
