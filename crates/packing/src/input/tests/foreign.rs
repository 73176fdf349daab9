//! Images of other programs, archives and other compressions are told as what they are. With the real programs.

use super::*;

/// Each is made by the program whose format it is.
#[test]
fn images_of_other_programs_and_archives_have_their_name_and_a_way_out() {
    let folders = Folders::new();
    let raw = folders.raw();
    folders.run(
        "for format in vpc vhdx vmdk vdi qed qcow2; do qemu-img convert -O $format disk.raw disk.$format; done
        qemu-img convert -O vpc -o subformat=fixed,force_size=on disk.raw fixed.vpc
        qemu-img convert -O vmdk -o subformat=monolithicFlat disk.raw flat.vmdk
        tar -cf disk.tar disk.raw; zip -q disk.zip disk.raw; lz4 -q disk.raw disk.lz4; lz4 -ql disk.raw legacy.lz4
        bzip2 -k disk.raw; xz -0 --format=lzma -c disk.raw > disk.lzma
        gzip -k disk.qcow2; xz -0 -k disk.vmdk; zstd -q disk.vdi; gzip -k disk.tar; gzip -c disk.raw | xz -0 > twice.xz
        gzip -k fixed.vpc",
    );
    for (name, what, way_out) in [
        ("disk.vpc", "a dynamic VHD image", "qemu-img convert -f vpc -O raw"),
        ("fixed.vpc", "a VHD image of fixed size, a raw disk with a footer", "qemu-img convert -f vpc -O raw"),
        ("disk.vhdx", "a VHDX image", "qemu-img convert -f vhdx -O raw"),
        ("disk.vmdk", "a VMDK image", "qemu-img convert -f vmdk -O raw"),
        ("flat.vmdk", "the description of a VMDK image", "qemu-img convert -f vmdk -O raw"),
        ("disk.vdi", "a VDI image", "qemu-img convert -f vdi -O raw"),
        ("disk.qed", "a QED image", "qemu-img convert -f qed -O raw"),
        ("disk.tar", "a tar archive", "tar -xf"),
        ("disk.zip", "a zip archive", "unzip"),
        ("disk.lz4", "compressed by lz4", "lz4 -dc"),
        ("legacy.lz4", "compressed by lz4", "lz4 -dc"),
        ("disk.raw.bz2", "compressed by bzip2", "bzip2 -dc"),
        ("disk.lzma", "compressed by lzma", "xz --format=lzma -dc"),
        ("disk.qcow2.gz", "a qcow2 image, inside gzip", "`gzip -dc FILE > unpacked` decompresses it"),
        ("disk.vmdk.xz", "a VMDK image, inside xz", "qemu-img convert -f vmdk -O raw"),
        ("disk.vdi.zst", "a VDI image, inside zstd", "`zstd -dc FILE > unpacked` decompresses it"),
        ("disk.tar.gz", "a tar archive, inside gzip", "tar -xf"),
        (
            "fixed.vpc.gz",
            "a VHD image of fixed size, a raw disk with a footer that is no part of it, inside gzip",
            "-f vpc",
        ),
        ("twice.xz", "compressed once more, inside xz", "`xz -dc FILE > unpacked` decompresses it"),
    ] {
        let text = folders.refused(name);
        assert!(text.starts_with(&format!("{name} is {what}")), "{text}");
        let Err(InputError::Foreign { way_out: told, .. }) = folders.open(name) else { panic!("{name}") };
        assert!(told.contains(way_out), "{name}: {told}");
        // What is told is done, where it is one command.
        let command = told.split('`').nth(1).unwrap().replace("FILE", name);
        if told.contains("-O raw FILE disk.raw` makes") && !name.ends_with(".gz") && !told.contains("unpacked") {
            folders.run(&command.replace("disk.raw", "out.raw"));
            let out = bytes(&folders.open("out.raw").unwrap());
            // Some formats round the size of a disk up.
            assert!(out.starts_with(&raw) && out[raw.len()..].iter().all(|byte| *byte == 0), "{name}");
        }
    }
}

#[test]
fn a_form_that_was_named_is_believed() {
    let mut folders = Folders::new();
    folders.raw();
    folders.run("tar -cf disk.tar disk.raw");
    folders.format = Some(Format::Raw);
    assert_eq!(bytes(&folders.open("disk.tar").unwrap()), fs::read(folders.path("disk.tar")).unwrap());
}
