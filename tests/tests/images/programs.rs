//! Programs for the initramfs: what `image pack --programs` takes and refuses, and that the golden image's own programs
//! run from the archive alone.

use cloud_machine_system::{NewFilesystem, maker};

use crate::{BARE, PACK, Workspace};

/// A folder of programs as a distribution lays it out.
const FOLDER: &str = "
    mkdir -p good/usr/sbin good/usr/lib/x good/etc
    printf program > good/usr/sbin/mkfs; chmod 4711 good/usr/sbin/mkfs
    printf library > good/usr/lib/x/library.so.1.0; chmod 600 good/usr/lib/x/library.so.1.0
    ln -s library.so.1.0 good/usr/lib/x/library.so.1
    ln -s usr/lib good/lib; ln -s usr/sbin good/sbin; ln -s /lib/x/library.so.1 good/usr/lib/loader
    printf settings > good/etc/mke2fs.conf";

const INITRAMFS: &str = "state/images/demo/initramfs";

#[test]
fn programs_are_in_the_initramfs_as_they_are_in_the_folder() {
    let workspace = Workspace::new();
    workspace.shell(FOLDER);
    workspace.shell(&format!("{PACK} disk.raw --programs good; cp {INITRAMFS} first"));
    let listed = workspace.shell("cpio -tv --quiet < first | sed -E 's/ +/ /g' | cut -d' ' -f1,3-5,9-");
    for line in [
        "drwxr-xr-x root root 0 usr/sbin",
        "-rwxr-xr-x root root 7 usr/sbin/mkfs",
        "-rw-r--r-- root root 7 usr/lib/x/library.so.1.0",
        "lrwxrwxrwx root root 14 usr/lib/x/library.so.1 -> library.so.1.0",
        "lrwxrwxrwx root root 7 lib -> usr/lib",
        "lrwxrwxrwx root root 19 usr/lib/loader -> /lib/x/library.so.1",
        "-rw-r--r-- root root 8 etc/mke2fs.conf",
    ] {
        assert!(listed.lines().any(|listed| listed == line), "expected {line:?} in\n{listed}");
    }
    workspace.shell("mkdir out; cd out; cpio -id --quiet --no-absolute-filenames < ../first; cmp usr/sbin/mkfs ../good/usr/sbin/mkfs");

    workspace.shell(&format!("cp -r good again; touch -d 2001-01-01 again/etc; {PACK} disk.raw --programs again"));
    workspace.shell(&format!("cmp first {INITRAMFS}"));
    workspace.shell(&format!("{PACK} disk.raw; cpio -t --quiet < {INITRAMFS} > without; ! grep usr without"));
}

#[test]
fn each_wrong_folder_of_programs_has_its_message_and_nothing_stays_of_it() {
    let workspace = Workspace::new();
    for (make, code, texts) in [
        ("true", 4, ["list the programs in bad", "No such file"]),
        ("touch bad", 1, ["list the programs in bad", "Not a directory"]),
        ("mkdir bad; mkfifo bad/pipe", 1, ["bad/pipe is a named pipe, no program", "plain files and symbolic links"]),
        ("mkdir bad; mknod bad/null c 1 3", 1, ["bad/null is a device, no program", "hint: "]),
        (
            "mkdir bad; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"bad/socket\")'",
            1,
            ["bad/socket is a socket, no program", "hint: "],
        ),
        (
            "mkdir bad; touch bad/init",
            1,
            ["take bad/init", "\"/init\" of the programs is a path of the initramfs itself"],
        ),
        ("mkdir -p bad/modules", 1, ["take bad/modules", "is a path of the initramfs itself"]),
        ("mkdir bad; ln -s usr bad/dev", 1, ["take bad/dev", "is a path of the initramfs itself"]),
        (
            "mkdir -p bad/etc; ln -s ../../../etc/passwd bad/etc/out",
            1,
            [
                "symbolic link \"/etc/out\" to \"../../../etc/passwd\"",
                "does not lead to a file or folder of the programs",
            ],
        ),
        ("mkdir bad; ln -s /etc/passwd bad/out", 1, ["symbolic link \"/out\" to \"/etc/passwd\"", "does not lead"]),
        ("mkdir bad; ln -s circle bad/circle", 1, ["symbolic link \"/circle\" to \"circle\"", "does not lead"]),
        ("mkdir bad; touch bad/\"$(printf 'a\\377')\"", 1, ["file name \"a\\xFF\" in the programs of bad", "UTF-8"]),
        ("mkdir bad; touch bad/\"$(printf 'a\\033[31m')\"", 1, ["invalid path \"a\\u{1b}[31m\"", "control character"]),
        (
            "mkdir bad; truncate -s 200M bad/one; truncate -s 100M bad/two",
            1,
            ["take bad/two", "more than 256 MiB, the most that goes into an initramfs"],
        ),
    ] {
        workspace.shell(&format!("rm -rf bad; {make}"));
        workspace.refused(&format!("{PACK} disk.raw --programs bad"), code, &texts);
        assert_eq!(workspace.state(), BARE, "{make}");
    }
}

#[test]
fn the_golden_images_programs_make_filesystems_from_the_initramfs_alone() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw --programs programs; mkdir root"));
    workspace.shell(&format!("cd root; cpio -id --quiet --no-absolute-filenames < ../{INITRAMFS}"));
    // The agent's own calls, with a label and without.
    for kind in ["ext4", "xfs", "btrfs", "vfat", "swap"] {
        for label in [None, Some("data")] {
            let new = NewFilesystem { label, ..NewFilesystem::of(kind) };
            let call = maker(&new, "/disk").unwrap().join(" ");
            // btrfs looks for mounts in /proc, as there is one in the initramfs.
            let script = format!(
                "rm -f root/disk; truncate -s 512M root/disk
                unshare --mount sh -ec 'mount -t proc proc root/proc
                exec env -i PATH=/usr/sbin LC_ALL=C chroot root {call}'
                blkid -p -s TYPE -o value root/disk; blkid -p -s LABEL -o value root/disk"
            );
            let expected = match (kind, label) {
                ("vfat", Some(_)) => "vfat\nDATA\n".to_owned(),
                (_, Some(label)) => format!("{kind}\n{label}\n"),
                (_, None) => format!("{kind}\n"),
            };
            let said = workspace.shell(&script);
            assert!(said.ends_with(&expected), "{call}: {said}");
        }
    }
}
