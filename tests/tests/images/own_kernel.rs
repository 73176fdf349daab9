//! The image's own kernel: what `image pack` takes out of a real disk is what its recipe put beside it.

use crate::{BARE, Workspace};

/// `image pack` of the golden image's disk as `$1` from the file `$2`, without a flag but the file.
const OWN: &str = "own() { cloud-machine image pack $1 --quiet --input $2 > /dev/null; }";

#[test]
fn kernel_and_initramfs_out_of_the_image_are_those_of_its_recipe() {
    let workspace = Workspace::new();
    let disk = workspace.golden();
    workspace.shell(&format!(
        "{OWN}
        cloud-machine image pack given --quiet --input {disk} --kernel vmlinuz --modules modules > /dev/null
        own raw {disk}
        qemu-img convert -f raw -O qcow2 {disk} disk.qcow2; own qcow2 disk.qcow2; rm disk.qcow2
        for image in raw qcow2; do
            for file in kernel initramfs; do cmp state/images/given/$file state/images/$image/$file; done
        done
        cmp vmlinuz state/images/raw/kernel"
    ));
    let release = |image: &str| workspace.shell(&format!("cloud-machine image inspect {image} | grep ^kernel"));
    let given = release("given");
    assert!(given.contains("cloud-amd64"), "{given}");
    assert_eq!([release("raw"), release("qcow2")], [given.clone(), given]);
}

#[test]
fn what_gives_no_kernel_is_refused_with_the_way_out_and_nothing_stays() {
    let workspace = Workspace::new();
    let disk = workspace.golden();
    let pack = format!("cloud-machine image pack own --quiet --input {disk}");
    workspace.refused(
        &format!("{pack} --kernel-release 9.9"),
        4,
        &["cannot find kernel 9.9 in the image: it has 6.", "hint: --kernel-release RELEASE"],
    );
    workspace.refused(&format!("{pack} --kernel vmlinuz"), 2, &["--modules <FOLDER>"]);
    workspace.refused(&format!("{pack} --modules modules"), 2, &["--kernel <FILE>"]);
    let both = format!("{pack} --kernel vmlinuz --modules modules --kernel-release 6");
    workspace.refused(&both, 2, &["cannot be used with", "--kernel-release"]);

    // What has a table and no filesystem but its magic number.
    workspace.refused(
        "cloud-machine image pack own --quiet --input disk.raw",
        1,
        &["cannot read / of partition 1", "--kernel FILE and --modules FOLDER"],
    );
    // A root that is empty, and one of another type.
    workspace.refused(
        "mke2fs -q -F -t ext4 -E offset=1048576 disk.raw 2M
        cloud-machine image pack own --quiet --input disk.raw",
        4,
        &["there is none at /boot/vmlinuz-* of partition 1 (root)", "hint: --kernel FILE and --modules FOLDER"],
    );
    workspace.refused(
        "dd if=/dev/zero of=disk.raw bs=1M seek=1 count=2 conv=notrunc status=none
        cloud-machine image pack own --quiet --input disk.raw",
        1,
        &["partition 1 holds no ext4 filesystem", "hint: the root of an image has to be ext4"],
    );
    assert_eq!(workspace.state(), BARE);
}
