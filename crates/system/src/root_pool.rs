//! A root in a ZFS pool: received from an image, cloned for each reimage, named by `bootfs` at last. Must not believe
//! anything that the pool says of itself: whoever compares the files does.

use std::path::Path;

use cloud_machine_image::{Files, Progress};

use crate::{
    SystemError, files,
    mounts::{IMAGE_ROOT, NEW_ROOT, mount_dataset, mount_image, unmount},
    pool::{read_anew, zfs, zpool},
};

/// The snapshot that says that all files were received.
const SNAPSHOT: &str = "image";
/// Folder of the pool in which roots are; `bootfs` names none elsewhere.
const ROOTS: &str = "root";

/// Reads the files of the image's root filesystem on `/dev/<partition>`, and copies them into `dataset`, unless they
/// were received before. Gives what was read of the image, and whether it was copied.
///
/// # Errors
/// A program that fails, such as for want of room; [`SystemError::Io`].
pub fn receive(
    partition: &str,
    filesystem: &str,
    dataset: &str,
    progress: Progress<'_>,
) -> Result<(Files, bool), SystemError> {
    mount_image(partition, filesystem)?;
    let image = Path::new(IMAGE_ROOT);
    let received = is_received(dataset)?;
    let files = if received { files::read(image, progress)? } else { copy(image, dataset, progress)? };
    unmount(IMAGE_ROOT)?;
    Ok((files, !received))
}

/// Whether `dataset` has the snapshot, and depends on no other: what a job made in its place is not one that was
/// received.
fn is_received(dataset: &str) -> Result<bool, SystemError> {
    let all = all_of(pool(dataset), "filesystem,snapshot")?;
    let has = |name: &str| all.iter().any(|found| found == name);
    Ok(has(&snapshot(dataset)) && zfs(&["get", "-H", "-o", "value", "origin", dataset])? == ["-"])
}

fn copy(image: &Path, dataset: &str, progress: Progress<'_>) -> Result<Files, SystemError> {
    remove(dataset)?;
    // So that lists of permissions are taken, and attributes lie where the file does.
    zfs(&["create", "-p", "-o", "acltype=posix", "-o", "xattr=sa", dataset])?;
    mount_dataset(dataset, false)?;
    let files = files::copy(image, Path::new(NEW_ROOT), progress)?;
    unmount(NEW_ROOT)?;
    zfs(&["snapshot", &snapshot(dataset)])?;
    read_anew(pool(dataset))?;
    Ok(files)
}

/// Clones `received` as `dataset` with `properties`, and reads every file of it.
///
/// # Errors
/// A program that fails; [`SystemError::Io`]; [`SystemError::Unexpected`] when a dataset above has properties that
/// nobody described: the clone would have them, too.
pub fn clone_root(
    received: &str,
    dataset: &str,
    properties: &[String],
    progress: Progress<'_>,
) -> Result<Files, SystemError> {
    inherits_only(received, dataset, properties)?;
    remove(dataset)?;
    let mut words = vec!["clone", "-p"];
    words.extend(properties.iter().flat_map(|property| ["-o", property.as_str()]));
    let snapshot = snapshot(received);
    words.extend([snapshot.as_str(), dataset]);
    zfs(&words)?;
    mount_dataset(dataset, true)?;
    let files = files::read(Path::new(NEW_ROOT), progress)?;
    unmount(NEW_ROOT)?;
    Ok(files)
}

/// Refuses a pool in which somebody set a property that the new root would inherit.
fn inherits_only(received: &str, dataset: &str, properties: &[String]) -> Result<(), SystemError> {
    let all = all_of(pool(dataset), "filesystem")?;
    let above = |name: &&String| {
        [received, dataset]
            .iter()
            .any(|below| below.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    for name in all.iter().filter(above) {
        let set = zfs(&["get", "-H", "-s", "local,received", "-o", "property", "all", name])?;
        if let Some(property) = undescribed(&set, properties) {
            return Err(SystemError::unexpected(
                format!("the dataset {name}"),
                &format!("the property {property}"),
                "no property that is not described",
            ));
        }
    }
    Ok(())
}

/// The first of the names `set` that is not one of `properties`.
fn undescribed<'a>(set: &'a [String], properties: &[String]) -> Option<&'a String> {
    let described = |name: &String| properties.iter().any(|property| property.split('=').next() == Some(name));
    set.iter().find(|name| !described(name))
}

/// The dataset that `bootfs` of the pool names.
///
/// # Errors
/// [`SystemError::Unexpected`] when it names none, or one that is no root.
pub fn root_of(pool: &str) -> Result<String, SystemError> {
    let named = zpool(&["get", "-H", "-o", "value", "bootfs", pool])?.concat();
    let is_root =
        named.strip_prefix(pool).and_then(|rest| rest.strip_prefix('/')).and_then(|rest| rest.strip_prefix(ROOTS));
    match is_root {
        Some(rest) if rest.starts_with('/') => Ok(named),
        _ => Err(SystemError::unexpected(
            format!("bootfs of the pool {pool}"),
            &named,
            "a dataset below its folder `root`",
        )),
    }
}

/// Lets `bootfs` name `dataset`; then destroys all that is in the pool besides it, `received` and its snapshot.
///
/// # Errors
/// A program that fails, such as for something that is held.
pub fn commit(received: &str, dataset: &str) -> Result<(), SystemError> {
    let pool = pool(dataset);
    zpool(&["set", &format!("bootfs={dataset}"), pool])?;
    zpool(&["sync", pool])?;
    let snapshot = snapshot(received);
    let kept = [received, dataset, &snapshot];
    while let Some(name) = surplus(&all_of(pool, "filesystem,volume,snapshot")?, &kept) {
        zfs(&["destroy", "-R", &name])?;
    }
    zpool(&["sync", pool]).map(|_| ())
}

/// The first of `all` that is neither kept nor above something that is.
fn surplus(all: &[String], kept: &[&str]) -> Option<String> {
    let is_above = |name: &str, other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    let stays = |name: &&String| kept.iter().any(|kept| kept == name || is_above(name, kept));
    all.iter().find(|name| !stays(name)).cloned()
}

/// Removes `dataset` and all that depends on it, when it is there.
fn remove(dataset: &str) -> Result<(), SystemError> {
    if all_of(pool(dataset), "filesystem,volume")?.iter().any(|name| name == dataset) {
        zfs(&["destroy", "-R", dataset])?;
    }
    Ok(())
}

fn all_of(pool: &str, kinds: &str) -> Result<Vec<String>, SystemError> {
    zfs(&["list", "-H", "-o", "name", "-t", kinds, "-r", pool])
}

fn snapshot(dataset: &str) -> String {
    format!("{dataset}@{SNAPSHOT}")
}

fn pool(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_nobody_described_is_found() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let described = texts(&["mountpoint=legacy", "org.example:note=a=b"]);
        assert_eq!(undescribed(&texts(&["mountpoint", "org.example:note"]), &described), None);
        for planted in ["sync", "mount", "org.example:note=a"] {
            assert_eq!(undescribed(&texts(&["mountpoint", planted]), &described).map(String::as_str), Some(planted));
        }
    }

    #[test]
    fn all_but_the_root_and_what_it_was_cloned_from_is_surplus() {
        let kept = ["p/image/a", "p/root/2", "p/image/a@image"];
        let stays = ["p", "p/image", "p/image/a", "p/image/a@image", "p/root", "p/root/2"];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(surplus(&names(&stays), &kept), None);
        for planted in [
            "p@job",
            "p/image@job",
            "p/image/a@job",
            "p/image/ab",
            "p/root/1",
            "p/root/2@job",
            "p/root/2/x",
            "p/docker",
        ] {
            let mut all = names(&stays);
            all.push(planted.to_owned());
            assert_eq!(surplus(&all, &kept).as_deref(), Some(planted));
        }
    }
}
