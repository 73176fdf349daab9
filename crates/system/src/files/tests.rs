use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, lchown, symlink},
};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::{XattrFlags, lsetxattr};

use super::*;

/// Of every kind one, with what is easily lost. Needs root, as the agent has it.
fn furnish(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("usr/bin")).unwrap();
    fs::create_dir(at("usr/bin-")).unwrap();
    fs::write(at("usr/bin/tool"), vec![b'x'; 300_000]).unwrap();
    lchown(at("usr/bin/tool"), Some(7), Some(8)).unwrap();
    fs::set_permissions(at("usr/bin/tool"), Permissions::from_mode(0o4755)).unwrap();
    // cap_net_raw, effective and permitted (linux/capability.h, revision 2).
    let mut capability = vec![0; 20];
    (capability[3], capability[0], capability[5]) = (2, 1, 0x20);
    lsetxattr(at("usr/bin/tool"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    lsetxattr(at("usr/bin-"), "user.note", b"folder", XattrFlags::empty()).unwrap();
    // Who makes a file in here gives it this list, too.
    lsetxattr(at("usr/bin"), "system.posix_acl_default", &access_list(), XattrFlags::empty()).unwrap();
    fs::hard_link(at("usr/bin/tool"), at("usr/bin-/again")).unwrap();
    let mut holes = vec![0; 1 << 20];
    holes[700_000] = 1;
    fs::write(at("holes"), holes).unwrap();
    fs::write(at("empty"), []).unwrap();
    symlink("/nowhere/\u{fc}", at("link")).unwrap();
    lchown(at("link"), Some(1), Some(2)).unwrap();
    mknod(&at("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
    mknod(&at("block"), SFlag::S_IFBLK, Mode::from_bits_truncate(0o660), makedev(7, 200)).unwrap();
    mknod(&at("pipe"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0).unwrap();
    mknod(&at("socket"), SFlag::S_IFSOCK, Mode::from_bits_truncate(0o600), 0).unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o751)).unwrap();
}

/// Owner, user 5, group, mask and others (linux/posix_acl_xattr.h).
fn access_list() -> Vec<u8> {
    let none = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1_u16, 7_u16, none), (2, 7, 5), (4, 5, none), (16, 7, none), (32, 5, none)] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn read_all(root: &Path) -> Files {
    read(root, &|done, total| assert!(done <= total)).unwrap()
}

#[test]
fn a_copy_has_all_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    furnish(&from);
    let copied = copy(&from, &to, &|_, _| ()).unwrap();
    let (one, two) = (read_all(&from), read_all(&to));
    let differing: Vec<_> = one.differing(&two).into_iter().map(String::from_utf8_lossy).collect();
    assert_eq!(differing, Vec::<String>::new());
    assert_eq!((copied.digest(), one.digest()), (two.digest(), two.digest()));
    assert_eq!((two.count(), two.bytes()), (13, 300_000 + (1 << 20)));
    // Two names of one file, a hole where it had one, and the access list only where it was.
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("usr/bin/tool"), inode("usr/bin-/again"));
    assert!(fs::metadata(to.join("holes")).unwrap().blocks() * 512 < 600_000);
    assert_eq!(attributes(&to.join("usr/bin/tool")).unwrap().len(), 1);
    assert_eq!(attributes(&to.join("usr/bin")).unwrap()[0].0, b"system.posix_acl_default");
    assert!(copy(&from, &to, &|_, _| ()).unwrap_err().to_string().contains("cannot create"), "into a folder in use");
}

#[test]
fn whatever_a_job_does_to_a_file_is_seen() {
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 9] = [
        ("usr/bin/tool", |root| {
            let time = fs::metadata(root.join("usr/bin/tool")).unwrap().modified().unwrap();
            let mut content = fs::read(root.join("usr/bin/tool")).unwrap();
            content[299_999] ^= 1;
            fs::write(root.join("usr/bin/tool"), content).unwrap();
            fs::set_permissions(root.join("usr/bin/tool"), Permissions::from_mode(0o4755)).unwrap();
            fs::File::open(root.join("usr/bin/tool")).unwrap().set_modified(time).unwrap();
        }),
        ("holes", |root| fs::set_permissions(root.join("holes"), Permissions::from_mode(0o4711)).unwrap()),
        ("empty", |root| lchown(root.join("empty"), Some(9), None).unwrap()),
        ("empty", |root| lsetxattr(root.join("empty"), "user.x", b"", XattrFlags::empty()).unwrap()),
        ("empty", |root| {
            lsetxattr(root.join("empty"), "system.posix_acl_access", &access_list(), XattrFlags::empty()).unwrap()
        }),
        ("empty", |root| fs::File::open(root.join("empty")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()),
        ("planted", |root| symlink("/bin/sh", root.join("planted")).unwrap()),
        ("null", |root| {
            fs::remove_file(root.join("null")).unwrap();
            mknod(&root.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 1)).unwrap();
        }),
        ("pipe", |root| fs::remove_file(root.join("pipe")).unwrap()),
    ];
    for (name, deed) in deeds {
        let folder = tempfile::tempdir().unwrap();
        furnish(folder.path());
        let before = read_all(folder.path());
        deed(folder.path());
        let after = read_all(folder.path());
        let differing: Vec<_> = before.differing(&after).into_iter().map(String::from_utf8_lossy).collect();
        assert!(differing.iter().any(|path| path == name), "{name}: {differing:?}");
        assert_ne!(before.digest(), after.digest(), "{name}");
    }
}

#[test]
fn links_are_not_followed_and_depth_costs_no_stack() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/", folder.path().join("root")).unwrap();
    symlink(".", folder.path().join("itself")).unwrap();
    assert_eq!(read_all(folder.path()).count(), 3);
    let mut deep = folder.path().to_owned();
    for _ in 0..1900 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    assert_eq!(read_all(folder.path()).count(), 1903);
}

#[test]
fn another_filesystem_below_is_refused() {
    let error = read(Path::new("/dev"), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("another filesystem"), "{error}");
}
