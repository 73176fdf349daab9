//! What `image pack` reads, and what it refuses; nothing stays of a refused image.

use std::{fs, io::Write, os::unix::process::ExitStatusExt, process::Stdio};

use crate::{BARE, PACK, Workspace};

#[test]
fn every_form_of_a_disk_gives_the_same_packed_file_which_standard_tools_read() {
    let workspace = Workspace::new();
    workspace.shell(
        "cp --sparse=always disk.raw sparse.raw; cp --sparse=never disk.raw full.raw
        zstd -q disk.raw; gzip -k disk.raw; xz -0 -k disk.raw; qemu-img convert -O qcow2 disk.raw disk.qcow2",
    );
    workspace.shell(&format!("{PACK} disk.raw"));
    let packed = fs::read(workspace.packed("demo")).unwrap();
    for input in [
        "sparse.raw",
        "full.raw",
        "disk.raw.zst",
        "disk.raw.gz",
        "disk.raw.xz",
        "disk.qcow2",
        "disk.raw --format raw",
        "disk.raw.gz --format gzip",
        "- < disk.raw",
        "- < disk.qcow2",
        "- < disk.raw.xz",
        "/dev/stdin < disk.raw.zst",
    ] {
        let piped = input.replace("- < ", "").replace("/dev/stdin < ", "");
        let script = if input == piped {
            format!("{PACK} {input}")
        } else {
            format!("cat {piped} | {PACK} {}", &input[..input.find(" <").unwrap()])
        };
        workspace.shell(&script);
        assert!(fs::read(workspace.packed("demo")).unwrap() == packed, "{input}");
    }
    let image = workspace.packed("demo").display().to_string();
    workspace.shell(&format!("zstd -dc {image} | cmp - disk.raw"));
    let digest = workspace.shell(&format!("zstd -dc {image} | b3sum --no-names"));
    let inspected = workspace.shell("cloud-machine image inspect demo --output json");
    assert!(inspected.contains(&format!("\"digest\": \"blake3:{}\"", digest.trim())), "{digest}{inspected}");
}

#[test]
fn each_wrong_input_has_its_message_and_nothing_stays_of_it() {
    let workspace = Workspace::new();
    workspace.shell(
        "gzip -k disk.raw; head -c 500000 disk.raw.gz > cut.gz; (cat disk.raw.gz; echo garbage) > behind.gz
        zstd -q disk.raw; head -c 500000 disk.raw.zst > cut.zst; (cat disk.raw.zst; echo garbage) > behind.zst
        xz -0 -k disk.raw; head -c 500000 disk.raw.xz > cut.xz; (cat disk.raw.xz; echo garbage) > behind.xz
        : > empty; mkdir folder; truncate -s 4194305 odd.raw; truncate -s 4194816 sectors.raw; truncate -s 4M zeros.raw
        qemu-img convert -O qcow2 disk.raw whole.qcow2; head -c 1000000 whole.qcow2 > cut.qcow2
        qemu-img create -q -f qcow2 -b whole.qcow2 -F qcow2 backed.qcow2
        truncate -s 64M bomb; gzip bomb",
    );
    for (input, code, texts) in [
        ("absent.raw", 4, ["open absent.raw", "No such file"]),
        ("folder", 1, ["folder is a folder, not a disk image", ""]),
        ("empty", 1, ["empty is empty", ""]),
        ("- < /dev/null", 1, ["standard input is empty", ""]),
        ("odd.raw", 1, ["raw image of 4194305 bytes is not a multiple of 4096 bytes", "truncate -s %4096"]),
        ("sectors.raw", 1, ["raw image of 4194816 bytes is not a multiple of 4096 bytes", "truncate -s %4096"]),
        ("zeros.raw", 1, ["pack zeros.raw", "raw image has no GPT"]),
        ("cut.gz", 1, ["decompress cut.gz as gzip, after ", "hint: the image is damaged, cut off"]),
        ("cut.zst", 1, ["decompress cut.zst as zstd, after ", "hint: "]),
        ("cut.xz", 1, ["decompress cut.xz as xz, after ", "hint: "]),
        ("behind.gz", 1, ["decompress behind.gz as gzip, after 4194304 bytes", "hint: "]),
        ("behind.zst", 1, ["decompress behind.zst as zstd, after 4194304 bytes", "hint: "]),
        ("behind.xz", 1, ["decompress behind.xz as xz, after 4194304 bytes", "hint: "]),
        ("backed.qcow2", 1, ["backed.qcow2 cannot be converted: it has a backing file", "qemu-img"]),
        ("cut.qcow2", 1, ["qemu-img check -f qcow2", "ended with exit status: 2"]),
        ("bomb.gz --max-size 16MiB", 1, ["bomb.gz is a disk of more than 16777216 bytes", "--max-size"]),
        ("disk.raw --max-size 1MiB", 1, ["disk.raw is a disk of more than 1048576 bytes", "--max-size"]),
        ("disk.raw --format xz", 1, ["decompress disk.raw as xz, after 0 bytes", "format not recognized"]),
        ("disk.raw --format tar", 2, ["invalid value 'tar'", "auto, raw, qcow2"]),
        ("disk.raw --max-size 5", 2, ["invalid size \"5\"", ""]),
    ] {
        workspace.refused(&format!("{PACK} {input}"), code, &texts);
        let state = workspace.state();
        assert!(state == BARE || (state.is_empty() && code == 2), "{input}: {state:?}");
    }
    workspace.refused(
        &format!("mkdir bin; ln -s $(command -v cloud-machine) bin; PATH=$PWD/bin; {PACK} whole.qcow2"),
        1,
        &["run qemu-img", "No such file", "hint: `apt-get install qemu-utils` brings it"],
    );
    assert_eq!(workspace.state(), BARE);
}

#[test]
fn what_is_no_disk_or_no_whole_one_has_its_name_and_its_way_out_is_one() {
    let workspace = Workspace::new();
    workspace.shell(
        "qemu-img convert -O vpc -o subformat=fixed,force_size=on disk.raw fixed.vhd
        qemu-img convert -O vmdk disk.raw disk.vmdk; qemu-img convert -O qcow2 disk.raw disk.qcow2; gzip disk.qcow2
        cp disk.raw grown.raw; truncate -s 6M grown.raw; cp fixed.vhd obeyed.raw; truncate -s %4096 obeyed.raw
        cp disk.raw damaged.raw; printf x | dd of=damaged.raw bs=1 seek=4193860 conv=notrunc status=none
        truncate -s 4M dos.raw; echo 'start=2048, size=4096, type=83' | sfdisk -q --label dos dos.raw",
    );
    for (input, texts) in [
        (
            "fixed.vhd",
            ["fixed.vhd is a VHD image of fixed size", "hint: `qemu-img convert -f vpc -O raw FILE disk.raw`"],
        ),
        ("disk.vmdk", ["disk.vmdk is a VMDK image", "hint: `qemu-img convert -f vmdk"]),
        ("disk.qcow2.gz", ["disk.qcow2.gz is a qcow2 image, inside gzip", "hint: `gzip -dc FILE > unpacked`"]),
        ("grown.raw", ["its backup is at sector 8191, and sector 12287 is the last one", "hint: "]),
        ("obeyed.raw", ["its backup is at sector 8191, and sector 8199 is the last one", "sfdisk --relocate"]),
        ("damaged.raw", ["its backup at sector 8191 is damaged", "hint: `sfdisk --relocate gpt-bak-std FILE`"]),
        ("dos.raw", ["raw image has no GPT: it has a DOS partition table", "sgdisk --mbrtogpt FILE"]),
    ] {
        workspace.refused(&format!("{PACK} {input}"), 1, &texts);
        assert_eq!(workspace.state(), BARE, "{input}");
    }
    workspace.shell(&format!("qemu-img convert -f vpc -O raw fixed.vhd out.raw; cmp out.raw disk.raw; {PACK} out.raw"));
    for mended in ["grown.raw", "damaged.raw"] {
        workspace.shell(&format!("sfdisk -q --relocate gpt-bak-std {mended}; {PACK} {mended} --replace"));
    }
}

#[test]
fn a_root_among_several_partitions_is_named_by_its_number() {
    let workspace = Workspace::new();
    workspace.shell(
        "printf 'label: gpt\nstart=2048, size=2048, type=linux\nstart=4096, size=2048, type=linux\n' > table
        truncate -s 4M two.raw; sfdisk -q two.raw < table
        printf '\\123\\357' | dd of=two.raw bs=1 seek=$((2097152 + 1080)) conv=notrunc status=none",
    );
    workspace.refused(
        &format!("{PACK} two.raw"),
        1,
        &["2 partitions could be the root", "hint: --root-partition NUMBER names it"],
    );
    workspace.refused(&format!("{PACK} two.raw --root-partition 1"), 1, &["partition 1 holds no ext4 filesystem"]);
    workspace.refused(&format!("{PACK} two.raw --root-partition 3"), 1, &["root partition 3 does not exist", "hint: "]);
    let packed = workspace.shell(&format!("{PACK} two.raw --root-partition 2"));
    assert!(packed.contains("partition    2"), "{packed}");
}

#[test]
fn a_terminal_is_no_disk_image() {
    let workspace = Workspace::new();
    // script(1) gives the program a terminal, and passes on its exit code.
    let called = workspace.call(&format!("script -qec '{PACK} -' /dev/null"));
    assert_eq!(called.code, 1, "{}", called.output);
    assert!(called.output.contains("standard input is a terminal, not a disk image"), "{}", called.output);
    assert!(called.output.contains("hint: give a file with --input, or a pipe"), "{}", called.output);
}

/// Runs a script with the state folder on a filesystem of 2 MiB in a mount namespace of its own.
fn on_a_small_filesystem(workspace: &Workspace, script: &str) -> cloud_machine_tests::program::Called {
    workspace.call(&format!(
        "mkdir -p small; exec unshare --mount sh -ec 'mount -t tmpfs -o size=2m,mode=700 tmpfs small
        export CLOUD_MACHINE_STATE=$PWD/small; {script}'"
    ))
}

#[test]
fn a_full_disk_is_told_and_nothing_stays() {
    let workspace = Workspace::new();
    workspace.shell("head -c 4M /dev/urandom > noise.raw; zstd -q noise.raw; cp disk.raw large.raw");
    // A pipe is spooled: 4 MiB of data do not fit. A file is not; its packed image of 1 MiB fits, but not twice.
    for (input, text) in [
        ("cat noise.raw | ", "write the raw image of standard input to a temporary file"),
        ("cat noise.raw.zst | ", "write the raw image of standard input to a temporary file"),
    ] {
        let called =
            on_a_small_filesystem(&workspace, &format!("{input} {PACK} - && exit 99; ls -A small small/images"));
        assert!(called.errors.contains(text) && called.errors.contains("No space left on device"), "{}", called.errors);
        assert!(called.errors.contains("hint: nothing is left of it"), "{}", called.errors);
        let listed: Vec<&str> = called.output.split_whitespace().collect();
        assert_eq!(listed, ["small:", "generations", "images", "locks", "machines", "small/images:"]);
    }
    // What the program says that converts it is no file of the full filesystem.
    workspace.shell("qemu-img convert -f raw -O qcow2 noise.raw noise.qcow2");
    let called = on_a_small_filesystem(&workspace, &format!("{PACK} noise.qcow2 && exit 99; ls -A small/images"));
    assert!(called.errors.contains("No space left on device"), "{}", called.errors);
    assert!(called.errors.contains("hint: nothing is left of it"), "{}", called.errors);
    assert_eq!(called.output, "");
    let called = on_a_small_filesystem(
        &workspace,
        &format!("{PACK} disk.raw && exit 99; ls -A small/images; df --output=used small"),
    );
    assert!(called.errors.contains("No space left on device"), "{}", called.errors);
    let used: u64 = called.output.split_whitespace().last().unwrap().parse().unwrap();
    assert!(used < 64, "{used} KiB stay\n{}", called.output);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told() {
    let workspace = Workspace::new();
    let script = format!("cloud-machine image list > /dev/null; mount -o remount,ro small; {PACK} disk.raw");
    let called = on_a_small_filesystem(&workspace, &script);
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(called.errors.contains("Read-only file system"), "{}", called.errors);
}

#[test]
fn an_interrupted_pack_leaves_nothing() {
    let workspace = Workspace::new();
    let mut program = workspace.program.command();
    program.args(PACK.split(' ').skip(1)).arg("-").stdin(Stdio::piped());
    let mut program = program.spawn().unwrap();
    let mut pipe = program.stdin.take().unwrap();
    pipe.write_all(&fs::read(workspace.folder.join("disk.raw")).unwrap()).unwrap();
    // The pipe stays open, so the program waits for more, with a temporary file, when the signal comes.
    let open = format!("find /proc/{}/fd -lname '*state/*deleted*'", program.id());
    while workspace.shell(&open).is_empty() {
        assert!(program.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    workspace.shell(&format!("kill -INT {}", program.id()));
    assert_eq!(program.wait().unwrap().signal(), Some(2));
    assert_eq!(workspace.state(), BARE);
    drop(pipe);
}
