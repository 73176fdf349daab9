use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::FileBlocks;

const SIZE: u64 = 16 << 20;
/// Where partitions 1 and 2 begin in the disk of a test.
const FIRST: u64 = 1 << 20;
const SECOND: u64 = FIRST + SIZE;

/// The bytes of a kernel that says its release in its header, or not.
fn kernel(release: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0x5a; 2000];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&[0, if release.is_some() { 2 } else { 0 }]);
    let text = format!("{} (builder@example) #1 SMP\0", release.unwrap_or_default());
    bytes[0x400..0x400 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A kernel in /boot, named after its release.
fn boot(root: &Path, release: &str) {
    write(root, &format!("boot/vmlinuz-{release}"), kernel(Some(release)));
}

fn modules(root: &Path, release: &str) {
    write(root, &format!("usr/lib/modules/{release}/modules.dep"), format!("kernel/{release}.ko.xz:\n"));
}

/// A disk of one or two partitions with the trees that `fill` makes, by the real mke2fs(8).
struct Disk {
    folder: tempfile::TempDir,
    partitions: Vec<Partition>,
}

impl Disk {
    fn new(root: impl Fn(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::File::create(folder.path().join("disk")).unwrap().set_len(SECOND + SIZE).unwrap();
        let mut disk = Self { folder, partitions: Vec::new() };
        disk.add(FIRST, "root", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", root);
        disk
    }

    /// Another partition, of a type and with a name.
    fn and(mut self, name: &str, type_guid: &str, fill: impl Fn(&Path)) -> Self {
        self.add(SECOND, name, type_guid, fill);
        self
    }

    fn add(&mut self, offset: u64, name: &str, type_guid: &str, fill: impl Fn(&Path)) {
        let number = self.partitions.len() as u32 + 1;
        let tree = self.folder.path().join(format!("tree-{number}"));
        fs::create_dir_all(&tree).unwrap();
        fill(&tree);
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={offset}"), "-d"])
            .args([&tree, &self.path()])
            .arg("16M")
            .output()
            .expect("mke2fs (package e2fsprogs)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.partitions.push(Partition {
            number,
            name: name.to_owned(),
            type_guid: type_guid.to_owned(),
            unique_guid: format!("00000000-0000-4000-8000-00000000000{number}"),
            offset,
            length: SIZE,
        });
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn find(&self, wanted: Option<&str>) -> Result<OwnKernel, KernelError> {
        find(&Arc::new(FileBlocks::open(&self.path()).unwrap()), &self.partitions, 1, wanted)
    }

    /// The release and place that are found, and the others.
    fn found(&self, wanted: Option<&str>) -> (String, String, Vec<String>) {
        let own = self.find(wanted).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(own.bytes, kernel(Some(&own.release)));
        (own.release, own.place, own.others)
    }

    fn refused(&self, wanted: Option<&str>) -> String {
        self.find(wanted).map(|own| own.place).expect_err("no kernel can be taken").to_string()
    }
}

const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

#[test]
fn one_kernel_in_boot_is_found_with_its_modules_behind_the_link_of_a_merged_usr() {
    let disk = Disk::new(|root| {
        boot(root, "6.12.1-amd64");
        modules(root, "6.12.1-amd64");
        write(root, "usr/lib/modules/6.12.1-amd64/kernel/a.ko.xz", "xz");
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("boot/vmlinuz-6.12.1-amd64", root.join("vmlinuz")).unwrap();
    });
    let place = "/boot/vmlinuz-6.12.1-amd64 of partition 1 (root)".to_owned();
    assert_eq!(disk.found(None), ("6.12.1-amd64".to_owned(), place, Vec::new()));
    let own = disk.find(None).unwrap();
    assert_eq!(own.module_file("modules.dep", 100).unwrap(), b"kernel/6.12.1-amd64.ko.xz:\n");
    assert_eq!(own.module_file("kernel/a.ko.xz", 2).unwrap(), b"xz");
    assert_eq!(own.modules("x"), "/usr/lib/modules/6.12.1-amd64/x of partition 1 (root)");
}

#[test]
fn a_kernel_beside_its_modules_is_found_where_boot_has_none() {
    let disk = Disk::new(|root| {
        modules(root, "6.11.4-301.fc41.x86_64");
        write(root, "usr/lib/modules/6.11.4-301.fc41.x86_64/vmlinuz", kernel(Some("6.11.4-301.fc41.x86_64")));
    });
    assert_eq!(disk.found(None).1, "/usr/lib/modules/6.11.4-301.fc41.x86_64/vmlinuz of partition 1 (root)");
}

#[test]
fn a_boot_partition_comes_before_the_folder_that_it_hides_and_other_partitions_come_last() {
    let root = |root: &Path| {
        boot(root, "6.1.0-9");
        ["6.1.0-9", "6.1.0-8"].iter().for_each(|release| modules(root, release));
    };
    let other = |top: &Path| write(top, "vmlinuz-6.1.0-8", kernel(Some("6.1.0-8")));
    for (name, guid, expected) in [
        ("", BOOT_TYPE, "/vmlinuz-6.1.0-8 of partition 2"),
        ("BOOT", LINUX, "/vmlinuz-6.1.0-8 of partition 2 (BOOT)"),
        ("data", LINUX, "/boot/vmlinuz-6.1.0-9 of partition 1 (root)"),
    ] {
        assert_eq!(Disk::new(root).and(name, guid, other).found(None).1, expected);
    }
    let disk = Disk::new(|root| modules(root, "6.1.0-8")).and("data", LINUX, other);
    assert_eq!(disk.found(None).1, "/vmlinuz-6.1.0-8 of partition 2 (data)");
}

#[test]
fn of_several_kernels_the_linked_one_is_taken_or_the_newest_or_the_one_that_is_named() {
    let several = |root: &Path| {
        for release in ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-10-amd64"] {
            boot(root, release);
            modules(root, release);
        }
        // A rescue kernel has no modules of its own, and is none that is booted.
        write(root, "boot/vmlinuz-9-rescue", kernel(None));
    };
    let disk = Disk::new(several);
    let (release, _, others) = disk.found(None);
    assert_eq!((release.as_str(), others), ("6.1.0-56-amd64", vec!["6.1.0-10-amd64".into(), "6.1.0-9-amd64".into()]));
    assert_eq!(disk.found(Some("6.1.0-9-amd64")).0, "6.1.0-9-amd64");
    let linked = Disk::new(|root| {
        several(root);
        symlink("vmlinuz-6.1.0-10-amd64", root.join("boot/vmlinuz")).unwrap();
    });
    assert_eq!(linked.found(None).0, "6.1.0-10-amd64");
    assert_eq!(
        disk.refused(Some("6.2")),
        "cannot find kernel 6.2 in the image: it has 6.1.0-9-amd64, 6.1.0-10-amd64, 6.1.0-56-amd64, 9-rescue"
    );
}

#[test]
fn the_release_is_what_the_kernel_says_and_not_what_its_file_is_called() {
    let disk = Disk::new(|root| {
        write(root, "boot/vmlinuz-virt", kernel(Some("6.6.4-0-virt")));
        modules(root, "6.6.4-0-virt");
    });
    assert_eq!(disk.found(None).0, "6.6.4-0-virt");
}

#[test]
fn an_image_without_a_kernel_says_all_places_where_one_was_looked_for() {
    let told = Disk::new(|_| ()).and("data", LINUX, |_| ()).refused(None);
    let expected = "cannot find a kernel in the image: there is none at /boot/vmlinuz-* of partition 1 (root), \
        /usr/lib/modules/*/vmlinuz of partition 1 (root), /vmlinuz-* of partition 2 (data)";
    assert_eq!(told, expected);
}

#[test]
fn a_kernel_without_modules_and_what_is_no_kernel_are_refused() {
    let told = Disk::new(|root| boot(root, "6.1.0-9")).refused(None);
    let expected = "cannot take /boot/vmlinuz-6.1.0-9 of partition 1 (root): the image has no modules for it, no folder \
        /usr/lib/modules/6.1.0-9";
    assert_eq!(told, expected);
    let told = Disk::new(|root| {
        write(root, "boot/vmlinuz-6.1.0-9", "text");
        modules(root, "6.1.0-9");
    })
    .refused(None);
    assert!(told.ends_with("it is no kernel, since it has no header of a bzImage"), "{told}");
}

#[test]
fn modules_that_are_absent_special_too_large_or_outside_are_refused() {
    let disk = Disk::new(|root| {
        boot(root, "6");
        modules(root, "6");
        let folder = root.join("usr/lib/modules/6");
        write(&folder, "large.ko", vec![1; 101]);
        fifo(&folder.join("pipe.ko"));
        symlink("pipe.ko", folder.join("link.ko")).unwrap();
        // Leads to the root of the image, not of the host, where there is such a file.
        symlink("/etc/passwd", folder.join("outside.ko")).unwrap();
        symlink("../../../../../../../../etc/passwd", folder.join("above.ko")).unwrap();
        symlink("circle.ko", folder.join("circle.ko")).unwrap();
    });
    let own = disk.find(None).unwrap();
    for (file, expected) in [
        ("large.ko", "it has more than 100 bytes"),
        ("pipe.ko", "cannot read /usr/lib/modules/6/pipe.ko of partition 1"),
        ("link.ko", "cannot read /usr/lib/modules/6/link.ko of partition 1"),
        ("outside.ko", "there is no such file"),
        ("above.ko", "there is no such file"),
        ("circle.ko", "there is no such file"),
        ("none.ko", "there is no such file"),
    ] {
        let told = own.module_file(file, 100).unwrap_err().to_string();
        assert!(told.contains(expected), "{file}: {told}");
    }
    assert_eq!(own.module_file("large.ko", 101).unwrap().len(), 101);
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_damaged_filesystem_is_an_error_with_its_partition() {
    let disk =
        Disk::new(|root| modules(root, "6")).and("boot", LINUX, |top| write(top, "vmlinuz-6", kernel(Some("6"))));
    let file = fs::OpenOptions::new().write(true).open(disk.path()).unwrap();
    // All of the superblock but its magic number.
    file.write_all_at(&[0xff; 56], SECOND + 1024).unwrap();
    assert_eq!(disk.refused(None), "cannot read / of partition 2");
    file.write_all_at(&[0xff; 56], FIRST + 1024).unwrap();
    assert_eq!(disk.refused(None), "cannot read / of partition 1");
}
