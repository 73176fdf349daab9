//! All files of a mounted filesystem: read for comparison, or copied to another one. Must not follow a link, and must
//! not cross into another filesystem.

mod attributes;
mod copy;
mod walk;

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use cloud_machine_image::{FileEntry, FileKind, Files, Progress};
use nix::sys::{
    stat::{major, minor},
    statvfs::statvfs,
};

use crate::SystemError;

pub use copy::copy;

use attributes::{Attributes, attributes};
use walk::{Name, names};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;
/// Threads that read: most of the time each waits for a disk.
const THREADS: usize = 4;

/// Reads every file below `root`.
///
/// # Errors
/// [`SystemError::Io`] naming the file that cannot be read; [`SystemError::Unexpected`] when another filesystem is
/// mounted below.
pub fn read(root: &Path, progress: Progress<'_>) -> Result<Files, SystemError> {
    let names = names(root)?;
    let reader = Reader::new(root, progress)?;
    each(&names.iter().collect::<Vec<_>>(), |name, buffer| {
        let content = if name.metadata.is_file() { Some(name.open()?) } else { None };
        reader.add(name, content, buffer, |_| Ok(())).map(|_| ())
    })?;
    Ok(reader.files())
}

/// Does `work` for all of `names`, several at a time, each with a buffer; not for more of them once it has failed.
fn each(names: &[&Name], work: impl Fn(&Name, &mut [u8]) -> Result<(), SystemError> + Sync) -> Result<(), SystemError> {
    let next = AtomicUsize::new(0);
    let thread = || {
        let mut buffer = vec![0; PIECE];
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(name, &mut buffer).inspect_err(|_| next.store(names.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(thread)).collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// What was read so far.
struct Reader<'a> {
    files: Mutex<Files>,
    /// Bytes that the filesystem says are used.
    used: u64,
    done: Mutex<u64>,
    progress: Progress<'a>,
}

impl<'a> Reader<'a> {
    fn new(root: &Path, progress: Progress<'a>) -> Result<Self, SystemError> {
        let space = statvfs(root).map_err(SystemError::io("examine", root.display().to_string()))?;
        let used = space.blocks().saturating_sub(space.blocks_free()).saturating_mul(space.fragment_size());
        Ok(Self { files: Mutex::default(), used, done: Mutex::new(0), progress })
    }

    fn files(self) -> Files {
        self.files.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a name and gives its attributes; of a file, each piece of its content is also given to `taken`.
    fn add(
        &self,
        name: &Name,
        content: Option<File>,
        buffer: &mut [u8],
        taken: impl FnMut(&[u8]) -> Result<(), SystemError>,
    ) -> Result<Attributes, SystemError> {
        let metadata = &name.metadata;
        let attributes = attributes(&name.path)?;
        let target;
        let kind = match (&name.first, content) {
            (Some(first), _) => FileKind::SameAs(bytes(first)),
            (None, Some(content)) => self.read(name, content, buffer, taken)?,
            (None, None) if metadata.is_symlink() => {
                target = std::fs::read_link(&name.path).map_err(name.failed("read the link"))?;
                FileKind::Link(bytes(&target))
            }
            (None, None) => special(name)?,
        };
        self.files.lock().unwrap_or_else(PoisonError::into_inner).add(&FileEntry {
            path: bytes(&name.relative),
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            attributes: &attributes,
        });
        Ok(attributes)
    }

    fn read(
        &self,
        name: &Name,
        mut content: File,
        buffer: &mut [u8],
        mut taken: impl FnMut(&[u8]) -> Result<(), SystemError>,
    ) -> Result<FileKind<'static>, SystemError> {
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
        loop {
            let count = content.read(buffer).map_err(name.failed("read"))?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return Ok(FileKind::File { size, content: *hasher.finalize().as_bytes() });
            }
            hasher.update(piece);
            let length = piece.len() as u64;
            size += length;
            taken(piece)?;
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += length;
            // Files with holes hold more than what they use.
            (self.progress)((*done).min(self.used), self.used);
        }
    }
}

fn special(name: &Name) -> Result<FileKind<'static>, SystemError> {
    let (kind, number) = (name.metadata.file_type(), name.metadata.rdev());
    let device = |block| FileKind::Device { block, number: (major(number), minor(number)) };
    Ok(match () {
        () if kind.is_dir() => FileKind::Folder,
        () if kind.is_block_device() => device(true),
        () if kind.is_char_device() => device(false),
        () if kind.is_fifo() => FileKind::Pipe,
        () if kind.is_socket() => FileKind::Socket,
        () => return Err(SystemError::unexpected(name.object(), &format!("{kind:?}"), "a kind of file that is known")),
    })
}

fn bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

#[cfg(test)]
mod tests;
