use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::FileBlocks;

/// Where the filesystem begins in the disk of a test, as a partition would.
const OFFSET: u64 = 1 << 20;
const SIZE: u64 = 16 << 20;

/// A system as Debian's packages lay it out.
fn debian(root: &Path) {
    for (path, text) in [
        ("usr/lib/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ("usr/lib/systemd/systemd", "init"),
        ("usr/lib/systemd/systemd-networkd", "network"),
        ("usr/lib/systemd/system-generators/systemd-fstab-generator", ""),
        ("usr/lib/systemd/system-generators/cloud-init-generator", ""),
        ("etc/systemd/system-generators/own", ""),
        ("usr/lib/modules/6.1.0-1-amd64/modules.dep", ""),
        ("usr/bin/cloud-init", "python"),
        (
            "usr/lib/python3/dist-packages/cloudinit/version.py",
            "__VERSION__ = \"22.4.2\"\n_PACKAGED_VERSION = \"22.4.2-1+deb12u4\"\n",
        ),
        ("usr/sbin/dockerd", "docker"),
        ("opt/rke2/bin/rke2", "rke2"),
        (
            "var/lib/dpkg/status",
            "Package: docker.io-doc\nStatus: install ok installed\nVersion: 1\n\nPackage: docker.io\nStatus: hold ok \
             installed\nVersion: 20.10.24+dfsg1-1\n",
        ),
    ] {
        write(root, path, text);
    }
    symlink("usr/sbin", root.join("sbin")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A disk with a filesystem of what `fill` makes, by the real mke2fs(8).
fn disk(folder: &Path, options: &[&str], fill: impl Fn(&Path)) -> PathBuf {
    let (root, disk) = (folder.join("root"), folder.join("disk"));
    fs::create_dir_all(&root).unwrap();
    fill(&root);
    fs::File::create(&disk).unwrap().set_len(OFFSET + SIZE).unwrap();
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={OFFSET}"), "-d"])
        .arg(&root)
        .args(options)
        .arg(&disk)
        .arg("16M")
        .output()
        .expect("mke2fs (package e2fsprogs)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    disk
}

fn facts(disk: &Path) -> Result<SystemFacts, FactsError> {
    of_root(Arc::new(FileBlocks::open(disk).unwrap()), Extent { offset: OFFSET, length: SIZE }, "ext4")
}

#[test]
fn what_a_system_has_is_found_behind_its_links() {
    let folder = tempfile::tempdir().unwrap();
    for options in [&[][..], &["-O", "^metadata_csum,^64bit", "-I", "128"], &["-b", "1024", "-O", "^extents,^64bit"]] {
        let found = facts(&disk(folder.path(), options, |root| {
            fs::remove_dir_all(root).unwrap();
            debian(root);
        }));
        let version = |text: &str| Some(Installed { version: Some(text.to_owned()) });
        let wanted = SystemFacts {
            system: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            init: Some("systemd".to_owned()),
            cloud_init: version("22.4.2-1+deb12u4"),
            docker: version("20.10.24+dfsg1-1"),
            rancher: Some(vec!["rke2".to_owned()]),
            kernels: vec!["6.1.0-1-amd64".to_owned()],
            network: vec!["systemd-networkd".to_owned()],
            generators: vec!["cloud-init-generator".to_owned(), "own".to_owned()],
        };
        assert_eq!(found.unwrap(), wanted, "{options:?}");
    }
}

#[test]
fn what_is_not_there_is_no_error_and_what_says_no_version_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = SystemFacts { rancher: Some(Vec::new()), ..SystemFacts::default() };
    assert_eq!(facts(&disk(folder.path(), &[], |_| ())).unwrap(), nothing);

    let folder = tempfile::tempdir().unwrap();
    let found = facts(&disk(folder.path(), &[], |root| {
        // What a package has not filled in, links that lead nowhere and in a circle, a folder in the place of a file.
        write(root, "usr/bin/cloud-init", "");
        write(
            root,
            "usr/lib/python3.12/site-packages/cloudinit/version.py",
            "_PACKAGED_VERSION = '@@PACKAGED_VERSION@@'\n__VERSION__ = '24.1'\n",
        );
        write(root, "usr/bin/dockerd/file", "");
        write(root, "usr/lib/modules/README", "");
        // So many names that the version above would be lost if they were counted before it is looked for.
        for number in 0..100 {
            write(root, &format!("usr/lib/a{number}/x"), "");
            write(root, &format!("etc/systemd/system-generators/{number:03}\u{1b}[2J"), "");
        }
        symlink("os-release", root.join("etc/os-release")).unwrap();
        fs::create_dir_all(root.join("sbin")).unwrap();
        symlink("/nowhere", root.join("sbin/init")).unwrap();
    }));
    let wanted = SystemFacts {
        cloud_init: Some(Installed { version: Some("24.1".to_owned()) }),
        generators: (0..64).map(|number| format!("{number:03}[2J")).chain(["and 36 more".to_owned()]).collect(),
        ..nothing
    };
    assert_eq!(found.unwrap(), wanted);
}

#[test]
fn what_cannot_be_read_is_told_apart_from_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path(), &[], debian);
    let blocks = || Arc::new(FileBlocks::open(&disk).unwrap());
    let whole = Extent { offset: OFFSET, length: SIZE };
    let other = of_root(blocks(), whole, "xfs").unwrap_err().to_string();
    assert_eq!(other, "the root filesystem is xfs, and only ext4 is read");
    for part in [Extent { offset: 0, ..whole }, Extent { length: 4096, ..whole }, Extent { length: 512, ..whole }] {
        let error = of_root(blocks(), part, "ext4").unwrap_err();
        assert!(matches!(error, FactsError::Read { .. }), "{part:?}: {error}");
    }
}

#[test]
fn a_damaged_filesystem_ends_in_facts_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    // Without checksums, so that what is damaged is used.
    let disk = disk(folder.path(), &["-O", "^metadata_csum"], debian);
    let good = fs::read(&disk).unwrap();
    let used: Vec<usize> = (OFFSET as usize..good.len()).filter(|at| good[*at] != 0).collect();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut errors = 0;
    for _ in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..40 {
            bytes[used[random(used.len())]] = random(256) as u8;
        }
        fs::write(&disk, &bytes).unwrap();
        errors += usize::from(facts(&disk).is_err());
    }
    assert!(errors > 0, "nothing was damaged");
}
