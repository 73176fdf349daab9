//! The project's document: in the working folder or the nearest folder above it, inside the repository and the mount.
//! Must not read it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Kind};

use super::files::{present, refuse_others};

/// Name of the document.
const FILE: &str = "cloud-machine.yaml";
/// Names that look like it.
const OTHERS: [&str; 3] = ["cloud-machine.yml", "cloud_machine.yaml", "cloud_machine.yml"];
/// What the root of a repository has: a folder, or a file in a worktree or submodule.
const REPOSITORY: &str = ".git";

/// The nearest document from `folder` upwards; only its name when it is in `folder` itself.
///
/// The search ends after a folder that is the root of a repository, and before one on another device. The latter is
/// how git(1) finds its repository (`GIT_DISCOVERY_ACROSS_FILESYSTEM`); a bind mount of the same filesystem cannot be
/// seen this way.
pub(super) fn nearest(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    let found = search(folder, &|path| Ok(look(path)?.dev()))?;
    if let Some(path) = &found {
        trusted(&folder.join(path))?;
    }
    Ok(found)
}

/// In a folder in which everybody may write, such as /tmp, anybody can put a document in the way of others.
fn trusted(path: &Path) -> Result<(), Failure> {
    const WRITABLE_BY_OTHERS: u32 = 0o002;
    let folder = path.parent().unwrap_or(path);
    let owner = look(path)?.uid();
    // The kernel gives a process's folder to its effective user (proc(5)).
    let own = owner == 0 || owner == look(Path::new("/proc/self"))?.uid();
    if own || look(folder)?.mode() & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    let text =
        format!("configuration {} belongs to user {owner}, and everybody may write in its folder", path.display());
    Err(Failure::new(Kind::Refused, text).hint("work in another folder, or give the document with --config"))
}

fn look(path: &Path) -> Result<fs::Metadata, Failure> {
    fs::metadata(path).map_err(Failure::during(Kind::Failed, format!("look at {}", path.display())))
}

fn search(start: &Path, device: &dyn Fn(&Path) -> Result<u64, Failure>) -> Result<Option<PathBuf>, Failure> {
    let own = device(start)?;
    for folder in start.ancestors() {
        if device(folder)? != own {
            return Ok(None);
        }
        refuse_others(folder, &OTHERS, FILE)?;
        if let Some(path) = present(folder.join(FILE))? {
            return Ok(Some(if folder == start { PathBuf::from(FILE) } else { path }));
        }
        if present(folder.join(REPOSITORY))?.is_some() {
            return Ok(None);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder `a/b/c`, with an empty file at each of `files`; the second and later are below a `.git` when named so.
    fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        for file in files {
            fs::write(folder.path().join(file), b"").unwrap();
        }
        (folder, deep)
    }

    fn found(files: &[&str]) -> Option<String> {
        let (folder, deep) = tree(files);
        let path = nearest(&deep).unwrap()?;
        Some(path.strip_prefix(folder.path()).unwrap_or(&path).display().to_string())
    }

    #[test]
    fn the_nearest_document_wins() {
        assert_eq!(found(&["a/cloud-machine.yaml", "cloud-machine.yaml"]).as_deref(), Some("a/cloud-machine.yaml"));
        assert_eq!(found(&["a/b/c/cloud-machine.yaml", "a/cloud-machine.yaml"]).as_deref(), Some("cloud-machine.yaml"));
    }

    #[test]
    fn a_document_under_a_name_that_is_not_read_is_refused_in_each_folder_that_is_looked_into() {
        for files in [["a/cloud-machine.yml", "b"].as_slice(), &["a/b/c/cloud-machine.yml", "a/b/c/cloud-machine.yaml"]]
        {
            let (_folder, deep) = tree(files);
            let failure = nearest(&deep).unwrap_err();
            assert_eq!(failure.kind, Kind::Refused);
            assert!(failure.causes()[0].ends_with("is not read: it would be under the name cloud-machine.yaml"));
        }
        assert_eq!(found(&["cloud-machine.yml", "a/cloud-machine.yaml"]).as_deref(), Some("a/cloud-machine.yaml"));
    }

    #[test]
    fn the_root_of_a_repository_is_the_last_folder() {
        assert_eq!(found(&["a/cloud-machine.yaml", "a/.git"]).as_deref(), Some("a/cloud-machine.yaml"));
        assert_eq!(found(&["a/cloud-machine.yaml", "a/b/.git"]), None);
        assert_eq!(found(&["a/cloud-machine.yaml", "a/b/c/.git"]), None);
    }

    #[test]
    fn another_device_is_not_entered() {
        let (folder, deep) = tree(&["a/cloud-machine.yaml"]);
        let mounted = folder.path().join("a/b");
        let device = |path: &Path| Ok(u64::from(path.starts_with(&mounted)));
        assert_eq!(search(&deep, &device).unwrap(), None);
        assert!(search(&deep, &|_| Ok(7)).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_looked_into_is_an_error() {
        assert!(nearest(Path::new("/nonexistent/folder")).is_err());
    }
}
