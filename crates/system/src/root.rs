//! Files of the new root and the step into it. Writes exactly what it is given and reads it back.

mod switch;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use crate::{SystemError, label, mounts};
pub use switch::{switch, switch_to};

/// A file for the new root.
#[derive(Clone, PartialEq, Eq)]
pub struct RootFile {
    /// Absolute path in the new root.
    pub path: String,
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

impl RootFile {
    /// A file of text at the absolute `path`, with the permission bits `mode`.
    #[must_use]
    pub fn text(path: &str, mode: u32, content: impl Into<String>) -> Self {
        Self { path: path.to_owned(), content: content.into().into_bytes(), mode }
    }
}

/// Where the new root is mounted.
#[must_use]
pub fn new_root() -> &'static Path {
    Path::new(mounts::NEW_ROOT)
}

/// As [`write`], for a file below `/run`, which the new system takes over as it is.
///
/// # Errors
/// As [`write`].
pub fn write_run(file: &RootFile) -> Result<(), SystemError> {
    if !file.path.starts_with("/run/") {
        return Err(SystemError::unexpected("path of a file for the running system", &file.path, "one below /run"));
    }
    write(Path::new("/"), file)
}

/// Writes `file` below `root`, replaces what is there, flushes it and reads it back. Parent folders are made with mode 0755, or
/// 0700 where the file itself is for its owner only. Symbolic links on the way are refused. Where files have labels of SELinux,
/// this one has that of what it replaces, or else of its folder.
///
/// # Errors
/// [`SystemError::Io`], or [`SystemError::Unexpected`] when the file reads back as something else.
pub fn write(root: &Path, file: &RootFile) -> Result<(), SystemError> {
    let path = resolve(root, file)?;
    let object = path.display().to_string();
    let label = label::inherited(&path)?;
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(SystemError::io("replace", &object)(error)),
    }
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode)
        .open(&path)
        .map_err(SystemError::io("create", &object))?;
    output
        .set_permissions(Permissions::from_mode(file.mode))
        .and_then(|()| output.write_all(&file.content))
        .and_then(|()| output.sync_all())
        .map_err(SystemError::io("write", &object))?;
    label::set(&path, label)?;
    let read = fs::read(&path).map_err(SystemError::io("read back", &object))?;
    if read == file.content { Ok(()) } else { Err(SystemError::unexpected(object, "other bytes", "what was written")) }
}

/// The path below `root`, its parents made, none of them a link.
fn resolve(root: &Path, file: &RootFile) -> Result<PathBuf, SystemError> {
    let folder_mode = if file.mode & 0o077 == 0 { 0o700 } else { 0o755 };
    let relative = Path::new(&file.path);
    let mut path = root.to_owned();
    let parts: Vec<_> = relative.components().collect();
    for (index, part) in parts.iter().enumerate() {
        match part {
            Component::RootDir => continue,
            Component::Normal(name) => path.push(name),
            _ => return Err(SystemError::unexpected("path of a root file", &file.path, "a plain absolute path")),
        }
        if index + 1 == parts.len() {
            break;
        }
        let object = path.display().to_string();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(SystemError::unexpected(object, "no folder", "a folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir(&path)
                    .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(folder_mode)))
                    .map_err(SystemError::io("create", object))?;
                label::set(&path, label::inherited(&path)?)?;
            }
            Err(error) => return Err(SystemError::io("examine", object)(error)),
        }
    }
    Ok(path)
}

/// Whether `path` is there below `root`, without following a link at its end.
///
/// # Errors
/// [`SystemError::Io`] when that cannot be told.
pub fn exists(root: &Path, path: &str) -> Result<bool, SystemError> {
    let inside = below(root, path);
    match fs::symlink_metadata(&inside) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SystemError::io("examine", inside)(error)),
    }
}

fn below(root: &Path, path: &str) -> String {
    format!("{}{path}", root.display())
}

/// Removes `path` below `root` with all that is in it, if it is there. A link goes without what it leads to; one on the way is
/// refused.
///
/// # Errors
/// [`SystemError::Io`] naming what could not be removed, [`SystemError::Unexpected`] for what is no folder on the way.
pub fn remove(root: &Path, path: &str) -> Result<(), SystemError> {
    let mut inside = root.to_owned();
    let mut parts = Path::new(path.trim_start_matches('/')).components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(SystemError::unexpected("path of a root file", path, "a plain absolute path"));
        };
        inside.push(name);
        let object = inside.display().to_string();
        let found = match fs::symlink_metadata(&inside) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(SystemError::io("examine", object)(error)),
        };
        let removed = match (parts.peek(), found.is_dir()) {
            (Some(_), true) => continue,
            (Some(_), false) => return Err(SystemError::unexpected(object, "no folder", "a folder")),
            (None, true) => {
                empty(&inside, found.dev())?;
                fs::remove_dir(&inside)
            }
            (None, false) => fs::remove_file(&inside),
        };
        removed.map_err(SystemError::io("remove", object))?;
    }
    Ok(())
}

/// Removes what lies in `folder` below `root` under a name that begins with one of `starts`, as [`remove`] does.
///
/// # Errors
/// Those of [`remove`], and [`SystemError::Io`] for a folder that cannot be listed.
pub fn remove_named(root: &Path, folder: &str, starts: &[&str]) -> Result<(), SystemError> {
    let inside = below(root, folder);
    let entries = match fs::read_dir(&inside) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SystemError::io("list", inside)(error)),
    };
    for entry in entries {
        let name = entry.map_err(SystemError::io("list", &inside))?.file_name();
        if let Some(name) = name.to_str().filter(|name| starts.iter().any(|start| name.starts_with(start))) {
            remove(root, &format!("{folder}/{name}"))?;
        }
    }
    Ok(())
}

/// The content of the file `path` below `root`; `None` when there is none. What is no plain file counts as none.
///
/// # Errors
/// [`SystemError::Io`] when it cannot be read.
pub fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>, SystemError> {
    let inside = below(root, path);
    match fs::symlink_metadata(&inside) {
        Ok(found) if found.is_file() => fs::read(&inside).map(Some).map_err(SystemError::io("read", inside)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SystemError::io("examine", inside)(error)),
    }
}

/// Flushes the filesystem of the new root.
///
/// # Errors
/// [`SystemError::Io`] when the kernel cannot write it all.
pub fn flush() -> Result<(), SystemError> {
    let root = File::open(mounts::NEW_ROOT).map_err(SystemError::io("open", mounts::NEW_ROOT))?;
    nix::unistd::syncfs(&root).map_err(SystemError::io("flush", mounts::NEW_ROOT))
}

/// Removes what is in `folder` and on `device`. A link goes without what it leads to, and what is mounted in the folder
/// stays, with the folders above it.
fn empty(folder: &Path, device: u64) -> Result<(), SystemError> {
    let object = |path: &Path| path.display().to_string();
    for entry in fs::read_dir(folder).map_err(SystemError::io("list", object(folder)))? {
        let path = entry.map_err(SystemError::io("list", object(folder)))?.path();
        let found = fs::symlink_metadata(&path).map_err(SystemError::io("examine", object(&path)))?;
        if found.dev() != device {
            continue;
        }
        let removed = if found.is_dir() {
            empty(&path, device)?;
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            // Something is mounted in there.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            other => other.map_err(SystemError::io("remove", object(&path)))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn file(path: &str) -> RootFile {
        RootFile { path: path.to_owned(), content: b"content\n".to_vec(), mode: 0o600 }
    }

    #[test]
    fn a_file_replaces_what_was_there_with_its_mode() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/hostname")).unwrap();
        write(root.path(), &file("/etc/hostname")).unwrap();
        let written = root.path().join("etc/hostname");
        assert!(fs::symlink_metadata(&written).unwrap().is_file());
        assert_eq!(fs::read(&written).unwrap(), b"content\n");
        assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn private_files_get_private_folders() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &file("/root/.ssh/authorized_keys")).unwrap();
        assert_eq!(fs::metadata(root.path().join("root/.ssh")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_on_the_way_and_a_way_up_are_refused() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", root.path().join("etc")).unwrap();
        assert!(matches!(write(root.path(), &file("/etc/hostname")), Err(SystemError::Unexpected { .. })));
        assert!(matches!(write(root.path(), &file("/../hostname")), Err(SystemError::Unexpected { .. })));
    }

    #[test]
    fn a_folder_is_emptied_and_what_its_links_lead_to_stays() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("file"), "stays").unwrap();
        fs::create_dir_all(root.path().join("usr/lib/deep")).unwrap();
        fs::write(root.path().join("usr/lib/deep/library"), "goes").unwrap();
        fs::write(root.path().join("init"), "goes").unwrap();
        for link in ["lib", "usr/lib/deep/out"] {
            std::os::unix::fs::symlink(other.path(), root.path().join(link)).unwrap();
        }
        std::os::unix::fs::symlink("/nonexistent", root.path().join("nowhere")).unwrap();
        let device = fs::symlink_metadata(root.path()).unwrap().dev();
        empty(root.path(), device + 1).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4, "nothing of another filesystem goes");
        empty(root.path(), device).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert_eq!(fs::read(other.path().join("file")).unwrap(), b"stays");
    }

    #[test]
    fn what_is_removed_goes_with_all_that_is_in_it_and_nothing_that_a_link_leads_to() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("lib/old/deep")).unwrap();
        fs::write(root.path().join("lib/old/deep/file"), "goes").unwrap();
        fs::create_dir_all(root.path().join("kept")).unwrap();
        fs::write(root.path().join("kept/file"), "stays").unwrap();
        std::os::unix::fs::symlink("../kept", root.path().join("lib/link")).unwrap();
        std::os::unix::fs::symlink("kept", root.path().join("other")).unwrap();
        for path in ["/lib/old", "/lib/link", "/lib/absent", "/absent/file"] {
            remove(root.path(), path).unwrap();
        }
        assert_eq!(fs::read_dir(root.path().join("lib")).unwrap().count(), 0);
        assert!(matches!(remove(root.path(), "/other/file"), Err(SystemError::Unexpected { .. })));
        assert!(matches!(remove(root.path(), "/lib/../kept/file"), Err(SystemError::Unexpected { .. })));
        assert_eq!(fs::read(root.path().join("kept/file")).unwrap(), b"stays");
    }

    #[test]
    fn of_a_folder_only_what_is_named_so_goes() {
        let root = tempfile::tempdir().unwrap();
        remove_named(root.path(), "/etc/network", &["ours"]).unwrap();
        fs::create_dir_all(root.path().join("etc/network/ours.d/in")).unwrap();
        for name in ["ours", "ours-lan", "theirs", "not-ours"] {
            fs::write(root.path().join("etc/network").join(name), "").unwrap();
        }
        remove_named(root.path(), "/etc/network", &["absent", "ours"]).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(root.path().join("etc/network")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["not-ours", "theirs"]);
        std::os::unix::fs::symlink("etc", root.path().join("other")).unwrap();
        assert!(remove_named(root.path(), "/other/network", &["theirs"]).is_err(), "a link on the way");
    }

    /// Name by which the next test runs itself, and the variable that tells it that it may.
    const INSIDE: (&str, &str) = ("root::tests::what_is_mounted_stays", "CLOUD_MACHINE_TEST_ROOT");

    /// A mount needs a namespace, which only a process without threads can enter: the test starts itself in one.
    #[test]
    fn what_is_mounted_stays() {
        let Some(root) = std::env::var_os(INSIDE.1).map(PathBuf::from) else {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("usr/mounted")).unwrap();
            fs::write(root.path().join("usr/file"), "goes").unwrap();
            let script = "mount -t tmpfs tmpfs \"$0/usr/mounted\"; touch \"$0/usr/mounted/file\"; exec \"$@\"";
            let output = Command::new("unshare")
                .args(["--map-root-user", "--mount", "sh", "-ec", script])
                .arg(root.path())
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", INSIDE.0, "--nocapture"])
                .env(INSIDE.1, root.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test did not run inside");
            assert!(root.path().join("usr/mounted").is_dir() && !root.path().join("usr/file").exists());
            return;
        };
        empty(&root, fs::symlink_metadata(&root).unwrap().dev()).unwrap();
        assert!(root.join("usr/mounted/file").is_file(), "what is mounted stays");
        assert!(!root.join("usr/file").exists());
    }
}
