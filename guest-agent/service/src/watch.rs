//! Waits until a report may have come, changed or gone, by inotify(7). Must not read it.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
    io::Errno,
};

use crate::error::ServiceError;

/// A watch over the folder of a file, and over the folder above it, in which that one may come and go.
pub(crate) struct Watch {
    descriptor: OwnedFd,
    above: PathBuf,
    folder: PathBuf,
}

impl Watch {
    /// Watches for `file`. Its folder need not be there; the one above it must.
    ///
    /// # Errors
    /// [`ServiceError::Watch`].
    pub(crate) fn new(file: &Path) -> Result<Self, ServiceError> {
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let above = folder.parent().unwrap_or(Path::new("/")).to_owned();
        let failed = |source: Errno| failed(&above, source.into());
        let descriptor = inotify::init(CreateFlags::CLOEXEC).map_err(failed)?;
        let entries = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
        inotify::add_watch(&descriptor, &above, entries).map_err(failed)?;
        let watch = Self { descriptor, above, folder };
        watch.add_folder()?;
        Ok(watch)
    }

    /// Returns when something happened in one of the folders. Whoever reads the file then misses nothing: the folder is watched
    /// before this returns.
    ///
    /// # Errors
    /// [`ServiceError::Watch`].
    pub(crate) fn wait(&self) -> Result<(), ServiceError> {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.descriptor, &mut space);
        loop {
            match reader.next() {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&self.above, error.into())),
            }
        }
        self.add_folder()
    }

    /// A folder that is watched already stays so, and one that came is watched, too.
    fn add_folder(&self) -> Result<(), ServiceError> {
        let contents = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.descriptor, &self.folder, contents) {
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(failed(&self.folder, error.into())),
        }
    }
}

fn failed(folder: &Path, source: io::Error) -> ServiceError {
    ServiceError::Watch { folder: folder.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn a_file_that_comes_changes_and_goes_is_seen_with_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        let file = folder.join("report.json");
        let watch = Watch::new(&file).unwrap();
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || while watch.wait().is_ok_and(|()| sender.send(()).is_ok()) {});
        let wakes = |what: &str| {
            seen.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{what} was not seen"));
            // One change may be several events.
            while seen.recv_timeout(Duration::from_millis(100)).is_ok() {}
        };
        fs::create_dir(&folder).unwrap();
        wakes("the folder");
        fs::write(&file, "a").unwrap();
        wakes("the file");
        fs::write(&file, "b").unwrap();
        wakes("other content");
        fs::rename(&file, folder.join("other")).unwrap();
        wakes("that it went");
        fs::remove_dir_all(&folder).unwrap();
        wakes("that the folder went");
        fs::create_dir(&folder).unwrap();
        wakes("that the folder came again");
        fs::write(&file, "c").unwrap();
        wakes("the file in the new folder");
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_named() {
        let error = Watch::new(Path::new("/proc/self/none/a/report.json")).err().unwrap().to_string();
        assert_eq!(error, "cannot watch /proc/self/none for a report");
    }
}
