//! What programs that were killed left of the files that they wrote aside, to be renamed. Must not remove one that somebody writes.
//!
//! The rule: whoever writes such a file has it locked (flock(2)) for as long as it has its name, and the kernel gives the lock back
//! when the writer ends, however it ends. Removed is what is not locked and was last written an hour ago: a writer locks its file
//! right after making it, and programs of before did not lock theirs but wrote them within seconds. A time that lies an hour ahead is
//! that of a clock that was wrong. Of two programs that sweep at once
//! one has the lock. A writer that was taken for dead all the same finds its file gone, and its change is refused, not lost.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use super::file::{self, ASIDE};

/// Since when nobody may have written one that is removed.
const LEFT: Duration = Duration::from_secs(3600);

/// Removes what programs that are no more left in `folder`, unless that is a link: it may lead out of the state folder. What cannot
/// be removed stays: nothing depends on it.
pub(super) fn sweep(folder: &Path) {
    if !is_folder(folder) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        sweep_one(&entry);
    }
}

/// The same of a folder in the place of a machine's, and of those in it that are written to.
pub(super) fn sweep_machine(folder: &Path, inner: [&Path; 2]) {
    if is_folder(folder) {
        [folder].into_iter().chain(inner).for_each(sweep);
    }
}

/// Removes `entry` when a program that is no more left it.
pub(super) fn sweep_one(entry: &fs::DirEntry) {
    if entry.file_name().as_encoded_bytes().starts_with(ASIDE.as_bytes()) {
        remove_left(&entry.path(), SystemTime::now());
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn remove_left(path: &Path, now: SystemTime) {
    let Ok(Some(file)) = file::open(path) else { return };
    let modified = file.metadata().and_then(|found| found.modified());
    let distance = |at: SystemTime| now.duration_since(at).unwrap_or_else(|ahead| ahead.duration());
    let is_old = modified.is_ok_and(|at| distance(at) > LEFT);
    if is_old && file.try_lock().is_ok() {
        match fs::remove_file(path) {
            Ok(()) => tracing::debug!(path = %path.display(), "a file that was left half written is removed"),
            Err(error) => tracing::debug!(path = %path.display(), %error, "a file that was left half written stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{Store, file::aside, machine_record};

    /// As one that was made two hours ago.
    fn age(file: &fs::File) {
        file.set_modified(SystemTime::now() - 2 * LEFT).unwrap();
    }

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_somebody_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".write.left");
        age(&fs::File::create(&left).unwrap());
        let young = folder.path().join(".write.young");
        fs::write(&young, "").unwrap();
        let other = folder.path().join("demo.json");
        age(&fs::File::create(&other).unwrap());
        let written = aside(folder.path()).unwrap();
        age(written.as_file());
        sweep(folder.path());
        assert!(!left.exists());
        assert!(young.exists() && other.exists() && written.path().exists());
        let path = written.path().to_owned();
        // As kill -9 leaves it: the kernel closes the file, and nobody removes its name.
        let (file, name) = written.keep().unwrap();
        drop(file);
        assert_eq!(name, path);
        sweep(folder.path());
        assert!(!path.exists());
    }

    #[test]
    fn programs_that_sweep_at_once_take_nothing_that_is_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.json");
        let is_written = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_written.load(Ordering::Relaxed) {
                        sweep(folder.path());
                    }
                });
            }
            let written = (0..200_u32).try_for_each(|number| {
                let file = aside(folder.path())?;
                fs::write(file.path(), number.to_string())?;
                age(file.as_file());
                file.persist(&path).map(drop).map_err(|error| error.error)
            });
            is_written.store(true, Ordering::Relaxed);
            written.unwrap();
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "199");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn each_folder_is_swept_where_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        let (store, name) = (Store::open(&root).unwrap(), "demo".parse().unwrap());
        let machine = store.create(&store.lock(&name).unwrap(), &machine_record("demo")).unwrap();
        store.take_lease(&name, "a", LEFT).unwrap();
        let left = |folder: &Path| {
            let path = folder.join(".write.left");
            age(&fs::File::create(&path).unwrap());
            path
        };
        for folder in [root.clone(), root.join("generations")] {
            let path = left(&folder);
            Store::open(&root).unwrap();
            assert!(!path.exists(), "{}", path.display());
        }
        for folder in [machine.path().to_owned(), machine.reports(), machine.ssh()] {
            let path = left(&folder);
            drop(store.lock(&name).unwrap());
            assert!(!path.exists(), "{}", path.display());
        }
        let path = left(&root.join("leases"));
        assert_eq!(store.leases().unwrap().len(), 1);
        assert!(!path.exists());
        for list in [|store: &Store| store.list().unwrap().len(), |store: &Store| store.summaries().unwrap().len()] {
            let path = left(&root.join("machines"));
            assert_eq!(list(&store), 1);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_time_ahead_is_that_of_a_clock_that_was_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (far, near) = (folder.path().join(".write.far"), folder.path().join(".write.near"));
        for (path, ahead) in [(&far, 2 * LEFT), (&near, LEFT / 2)] {
            fs::File::create(path).unwrap().set_modified(SystemTime::now() + ahead).unwrap();
        }
        sweep(folder.path());
        assert!(!far.exists() && near.exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, name) = (Store::open(folder.path().join("state")).unwrap(), "demo".parse().unwrap());
        let machine = store.create(&store.lock(&name).unwrap(), &machine_record("demo")).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        for place in [machine.ssh(), machine.path().to_owned()] {
            fs::rename(&place, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
            let inner = elsewhere.join("reports");
            fs::create_dir_all(&inner).unwrap();
            let files = [elsewhere.join(".write.left"), inner.join(".write.left")];
            files.iter().for_each(|path| age(&fs::File::create(path).unwrap()));
            drop(store.lock(&name).unwrap());
            assert!(files.iter().all(|path| path.exists()), "{}", place.display());
            fs::remove_file(&place).unwrap();
            fs::rename(&elsewhere, &place).unwrap();
        }
    }
}
