//! What real programs make is read as they were given it.

use std::os::unix::fs::symlink;

use cloud_machine_protocol::volume::{MAX_FILE, MAX_FILES};
use cloud_machine_volume::{Format, Volume, VolumeError};

use crate::made::{FILES, USER_DATA, Workspace, run};

/// All files come back, and what is not there is absent.
fn complete(bytes: &[u8], format: Format) {
    let volume = Volume::open(bytes).unwrap();
    assert_eq!(volume.format(), format);
    assert!(volume.label().eq_ignore_ascii_case("cidata"), "{:?}", volume.label());
    let expected: Vec<(String, u64)> =
        FILES.iter().map(|(path, content)| ((*path).to_owned(), content.len() as u64)).collect();
    assert_eq!(volume.list().unwrap(), expected);
    absent_or_whole(&volume);
}

fn absent_or_whole(volume: &Volume<&[u8]>) {
    for (path, content) in FILES {
        assert_eq!(volume.read(path).unwrap(), content, "{path}");
    }
    for path in
        ["vendor-data", "cloud-machine", "cloud-machine/none", "none/user-data", "user-data/x", "", "/", ".", ".."]
    {
        let error = volume.read(path).unwrap_err();
        assert!(matches!(error, VolumeError::NoFile { .. }), "{path:?}: {error:?}");
    }
}

#[test]
fn vfat_of_every_kind() {
    let workspace = Workspace::new();
    for (mebibytes, options) in [(1, &[][..]), (1, &["-F", "12"]), (16, &["-F", "16"]), (36, &["-F", "32", "-s", "1"])]
    {
        complete(&workspace.vfat(mebibytes, options), Format::Vfat);
    }
}

#[test]
fn iso_with_rock_ridge_or_joliet_or_both() {
    let workspace = Workspace::new();
    for options in [&["-rock"][..], &["--norock", "-joliet"], &["-joliet", "-rock"], &["-joliet", "-rational-rock"]] {
        complete(&workspace.xorriso(options), Format::Iso9660);
    }
    for options in [&["-rock"][..], &["-joliet"], &["-joliet", "-rock"], &["-iso-level", "4"]] {
        complete(&workspace.genisoimage(options), Format::Iso9660);
    }
}

#[test]
fn plain_iso_with_the_names_that_are_left() {
    let workspace = Workspace::new();
    for (bytes, listed) in [
        (workspace.xorriso(&["--norock"]), "user_dat"),
        (workspace.genisoimage(&[]), "user_dat"),
        (workspace.xorriso(&["--norock", "-iso-level", "3"]), "user_data"),
        (workspace.genisoimage(&["-iso-level", "3"]), "user_data"),
    ] {
        let volume = Volume::open(bytes.as_slice()).unwrap();
        absent_or_whole(&volume);
        assert!(volume.list().unwrap().contains(&(listed.to_owned(), USER_DATA.len() as u64)));
    }
}

#[test]
fn a_long_name_is_continued_elsewhere() {
    let workspace = Workspace::new();
    let long = "x".repeat(255);
    workspace.add(&long, b"long");
    for bytes in [workspace.xorriso(&["-rock"]), workspace.genisoimage(&["-rock"]), workspace.vfat(1, &[])] {
        let volume = Volume::open(bytes.as_slice()).unwrap();
        assert_eq!(volume.read(&long).unwrap(), b"long");
        assert!(volume.list().unwrap().contains(&(long.clone(), 4)));
    }
}

#[test]
fn a_link_is_no_file_and_not_an_empty_one() {
    let workspace = Workspace::new();
    symlink("user-data", workspace.tree().join("vendor-data")).unwrap();
    for bytes in [workspace.xorriso(&["-rock"]), workspace.genisoimage(&["-rock"])] {
        let volume = Volume::open(bytes.as_slice()).unwrap();
        let error = volume.read("vendor-data").unwrap_err();
        assert_eq!(error.to_string(), "cannot read vendor-data on the volume");
        assert!(matches!(error, VolumeError::File { source, .. } if source.to_string() == "it is a symbolic link"));
        assert_eq!(volume.list().unwrap().len(), FILES.len() + 1);
    }
}

#[test]
fn limits_are_those_of_a_volume() {
    let workspace = Workspace::new();
    workspace.add("full", &vec![1; MAX_FILE as usize]);
    workspace.add("larger", &vec![2; MAX_FILE as usize + 1]);
    // The smallest clusters: the most work that an honest volume can be.
    for bytes in [workspace.xorriso(&["-rock"]), workspace.vfat(36, &["-F", "32", "-s", "1"])] {
        let volume = Volume::open(bytes.as_slice()).unwrap();
        assert!(volume.read("full").unwrap() == vec![1; MAX_FILE as usize]);
        let error = volume.read("larger").unwrap_err();
        assert_eq!(error.to_string(), "file larger on the volume has more than 16777216 bytes");
    }
    let workspace = Workspace::new();
    for index in FILES.len()..MAX_FILES {
        workspace.add(&format!("f{}/{index:03}{}", index % 7, "x".repeat(150)), b"");
    }
    let make = |workspace: &Workspace| [workspace.xorriso(&["-rock"]), workspace.vfat(8, &["-s", "1"])];
    for bytes in make(&workspace) {
        assert_eq!(Volume::open(bytes.as_slice()).unwrap().list().unwrap().len(), MAX_FILES);
    }
    workspace.add("one-more", b"");
    for bytes in make(&workspace) {
        let error = Volume::open(bytes.as_slice()).unwrap().list().unwrap_err();
        assert_eq!(error.to_string(), "the volume has more than 256 files, or too many folders");
    }
}

#[test]
fn the_label_that_was_changed_later_counts_and_none_is_empty() {
    let workspace = Workspace::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let label = |options: &[&str]| {
        run("fatlabel", "dosfstools", &[&[path.to_str().unwrap()], options].concat());
        Volume::open(std::fs::read(&path).unwrap()).unwrap().label().to_owned()
    };
    std::fs::write(&path, workspace.vfat(1, &[])).unwrap();
    assert_eq!(label(&["OTHER"]), "OTHER");
    assert_eq!(label(&["--reset"]), "");
}

#[test]
fn bytes_may_be_owned() {
    let volume: Volume<Vec<u8>> = Volume::open(Workspace::new().vfat(1, &[])).unwrap();
    assert_eq!(volume.read("USER-DATA").unwrap(), USER_DATA);
}
