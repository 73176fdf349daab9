//! The files of a layer: `config.yaml`, then `config.d/*.yaml` by name. Absent is no error; unreadable is one, and so
//! is a name that leads nowhere, and so is a name that was probably meant. Must not parse.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

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

#[cfg(test)]
mod tests {
    use cloud_machine_operation::documents;

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
        assert!(failure.causes()[0].starts_with("cannot list the folder "), "{:?}", failure.causes());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_not_an_absent_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent", folder.path().join("config.yaml")).unwrap();
        let paths = of_folder(folder.path()).unwrap();
        assert_eq!(paths.len(), 1);
        assert_eq!(Failure::from(documents::read(&paths[0]).unwrap_err()).kind, Kind::NotFound);
        assert_eq!(Failure::from(documents::read(folder.path()).unwrap_err()).kind, Kind::Failed);
    }
}
