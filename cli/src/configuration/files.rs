//! The files of a layer: `config.yaml`, then `config.d/*.yaml` by name. Absent is no error; unreadable is one, and so
//! is a name that leads nowhere, and so is a name that was probably meant. Must not parse.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use cloud_machine_config::MAX_DOCUMENT;
use cloud_machine_driver::store::{StoreError, open_elsewhere};

use crate::{
    failure::{Failure, Kind},
    folders,
};

/// Names in a layer's folder that look like that of its document.
const OTHERS: [&str; 4] = ["config.yml", "config.json", "cloud-machine.yaml", "cloud-machine.yml"];

/// The documents of `folder` that are there, in their order.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    refuse_others(folder, &OTHERS, "config.yaml")?;
    paths.extend(present(folder.join("config.yaml"))?);
    let drop_ins = folder.join("config.d");
    let failed = |error| Failure::during(Kind::Failed, format!("list the folder {}", drop_ins.display()))(error);
    let mut names = Vec::new();
    if let Some(drop_ins) = present(drop_ins.clone())? {
        for entry in fs::read_dir(&drop_ins).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let Some(extension) = path.extension().filter(|_| !hidden) else { continue };
            if extension == "yaml" {
                names.push(path);
            } else if ["yml", "yaml"].iter().any(|near| extension.eq_ignore_ascii_case(near)) {
                return Err(not_read(&path, "*.yaml"));
            }
        }
    }
    names.sort();
    paths.extend(names);
    Ok(paths)
}

/// `$XDG_CONFIG_HOME/cloud-machine` or `~/.config/cloud-machine`; `None` for a user without a home.
pub(super) fn user_folder() -> Result<Option<PathBuf>, Failure> {
    folders::base("XDG_CONFIG_HOME", ".config")
}

/// Refuses what has one of `names` in `folder`: somebody wrote it to be read, and it is not.
pub(super) fn refuse_others(folder: &Path, names: &[&str], right: &str) -> Result<(), Failure> {
    for name in names {
        if let Some(path) = present(folder.join(name))? {
            return Err(not_read(&path, right));
        }
    }
    Ok(())
}

fn not_read(path: &Path, right: &str) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("configuration {} is not read: it would be under the name {right}", path.display()),
    )
    .hint("rename it, or move it away; --config takes a document of any name")
}

/// `path`, when something has that name, even if it leads nowhere.
pub(super) fn present(path: PathBuf) -> Result<Option<PathBuf>, Failure> {
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Failure::during(Kind::Failed, format!("look for configuration {}", path.display()))(error)),
    }
}

/// The bytes of a document that an operator named, which may be a pipe of the shell. One byte more than a document may
/// have is enough to refuse it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    bounded(File::open(path).map_err(failed(path))?, path, MAX_DOCUMENT as u64 + 1)
}

/// The bytes of a document that is read because of its place or because a document names it: an ordinary file, or
/// whoever can make a named pipe there could keep every command waiting.
pub(super) fn read_found(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = open_elsewhere(path).map_err(StoreError::into_io).map_err(failed(path))?;
    bounded(file, path, MAX_DOCUMENT as u64 + 1)
}

/// The bytes of a file that has at most `limit` bytes.
pub(super) fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let bytes = bounded(File::open(path).map_err(failed(path))?, path, limit + 1)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::failed(format!("{} has more than the {limit} bytes of a volume", path.display())));
    }
    Ok(bytes)
}

/// At most the first `limit` bytes of a file. Its size is only a hint, since a device has none.
fn bounded(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let size = file.metadata().map_err(failed(path))?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(1));
    file.take(limit).read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(bytes)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let operation = format!("read configuration {}", path.display());
    move |error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, operation)(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        of_folder(folder).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn the_file_comes_first_and_then_the_drop_ins_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(names(folder.path()).is_empty() && names(&folder.path().join("absent")).is_empty());
        fs::create_dir(folder.path().join("config.d")).unwrap();
        for name in ["config.yaml", "config.d/20-b.yaml", "config.d/10-a.yaml", "config.d/9.yaml", "config.d/.x.yaml"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        for name in ["config.d/.x.yml", "config.d/30.yaml~", "config.d/README", "other.yaml"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(
            names(folder.path()),
            ["config.yaml", "config.d/10-a.yaml", "config.d/20-b.yaml", "config.d/9.yaml"]
        );
    }

    #[test]
    fn a_document_under_a_name_that_is_not_read_is_refused() {
        for name in ["config.yml", "cloud-machine.yaml", "config.d/30.yml", "config.d/30.YAML"] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("config.d")).unwrap();
            for name in [name, "config.yaml", "config.d/10.yaml"] {
                fs::write(folder.path().join(name), b"").unwrap();
            }
            let failure = of_folder(folder.path()).unwrap_err();
            assert_eq!(failure.kind, Kind::Refused);
            assert!(failure.causes()[0].contains(&format!("{name} is not read")), "{:?}", failure.causes());
        }
    }

    #[test]
    fn a_folder_of_drop_ins_that_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.d"), b"").unwrap();
        let failure = of_folder(folder.path()).unwrap_err();
        assert_eq!(failure.kind, Kind::Failed);
        assert!(failure.causes()[0].starts_with("list the folder "), "{:?}", failure.causes());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_not_an_absent_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent", folder.path().join("config.yaml")).unwrap();
        let paths = of_folder(folder.path()).unwrap();
        assert_eq!(paths.len(), 1);
        assert_eq!(read(&paths[0]).unwrap_err().kind, Kind::NotFound);
        assert_eq!(read(folder.path()).unwrap_err().kind, Kind::Failed);
    }

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
