//! Kernel modules for the initramfs: as distributions compress them, and what is refused.

use crate::{BARE, PACK, Workspace};

const INITRAMFS: &str = "state/images/demo/initramfs";

/// A copy of the kernel's folder as `depmod` leaves it when all modules are compressed by the program `$1` to files that
/// end with `$2`; only those that are loaded are kept.
const COMPRESSED: &str = "compressed() {
        mkdir compressed; cp modules/modules.builtin compressed
        sed -E \"s/\\.ko\\b/.ko$2/g\" modules/modules.dep > compressed/modules.dep
        for path in $(sed -E 's/[:]//g' modules/modules.dep | tr ' ' '\\n' | grep -E \"/($wanted)\\.ko$\" | sort -u); do
            mkdir -p compressed/${path%/*}; $1 < modules/$path > compressed/$path$2
        done
    }";

/// The modules in the initramfs of the plain folder, as a pattern.
const WANTED: &str = "wanted=$(cpio -t --quiet < first | sed -nE 's,^modules/[0-9]+-(.*)\\.ko$,\\1,p' | paste -sd '|')";

#[test]
fn compressed_modules_give_the_initramfs_of_plain_ones() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw; cp {INITRAMFS} first"));
    for (program, ending) in
        [("xz --check=crc32 --lzma2=dict=1MiB", ".xz"), ("zstd -q -19", ".zst"), ("gzip -n", ".gz")]
    {
        workspace.shell(&format!(
            "{WANTED}; {COMPRESSED}; rm -rf compressed; compressed '{program}' {ending}
            cloud-machine image pack demo --kernel vmlinuz --modules compressed --quiet --input disk.raw
            cmp first {INITRAMFS}"
        ));
    }
}

#[test]
fn a_damaged_module_is_named_and_nothing_stays_of_the_image() {
    let workspace = Workspace::new();
    workspace.shell(
        "cp -r \"$(readlink -f modules)\" damaged; chmod -R u+w damaged
        path=$(grep -o '^[^:]*/virtio_ring\\.ko' damaged/modules.dep || grep -o '^[^:]*/virtio_net\\.ko' damaged/modules.dep)
        name=${path##*/}
        sed -i \"s/$name/$name.xz/g\" damaged/modules.dep
        xz < damaged/$path | head -c 1000 > damaged/$path.xz",
    );
    workspace.refused(
        "cloud-machine image pack demo --kernel vmlinuz --modules damaged --quiet --input disk.raw",
        1,
        &["take damaged/kernel/drivers/", "cannot decompress module \"virtio_"],
    );
    workspace.refused(
        "sed -i 's/\\.ko\\.xz/.ko.lz4/g' damaged/modules.dep
        cloud-machine image pack demo --kernel vmlinuz --modules damaged --quiet --input disk.raw",
        1,
        &["is neither a .ko file nor one that xz, zstd or gzip compressed", "decompress it and run depmod again"],
    );
    assert_eq!(workspace.state(), BARE);
}
