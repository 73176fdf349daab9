//! Every way in gives the same raw image, and what is damaged, cut off or too large is told as what it is. With the
//! real programs.

use std::{
    cell::{Cell, RefCell},
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    process::Command,
};

use cloud_machine_image::ReadBlocks;

use super::*;

mod foreign;

const MIB: u64 = 1 << 20;

/// A folder with images and another one for temporary files.
struct Folders {
    images: tempfile::TempDir,
    temporary: tempfile::TempDir,
    phases: RefCell<Vec<Phase>>,
    format: Option<Format>,
    max_size: Cell<u64>,
    qemu_img: &'static str,
}

impl Folders {
    fn new() -> Self {
        let folder = || tempfile::tempdir().unwrap();
        Self {
            images: folder(),
            temporary: folder(),
            phases: RefCell::default(),
            format: None,
            max_size: Cell::new(1 << 40),
            qemu_img: "qemu-img",
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.images.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// A raw image of 8 MiB with holes, data and zeros that were written, as `disk.raw`.
    fn raw(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8 << 20];
        for (index, byte) in bytes.iter_mut().enumerate().skip(1 << 20).take(1 << 20) {
            *byte = (index.wrapping_mul(2_654_435_761) >> 13) as u8;
        }
        bytes[(8 << 20) - 1] = 9;
        let file = File::create(self.path("disk.raw")).unwrap();
        file.set_len(8 * MIB).unwrap();
        file.write_all_at(&bytes[1 << 20..3 << 20], MIB).unwrap();
        file.write_all_at(&bytes[(8 << 20) - 4096..], 8 * MIB - 4096).unwrap();
        bytes
    }

    fn run(&self, command: &str) {
        let output = Command::new("sh").args(["-ec", command]).current_dir(self.images.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn open(&self, name: &str) -> Result<RawImage, InputError> {
        let tell = |phase, _, _| {
            if self.phases.borrow().last() != Some(&phase) {
                self.phases.borrow_mut().push(phase);
            }
        };
        let input = Input {
            folder: self.temporary.path(),
            format: self.format,
            max_size: self.max_size.get(),
            qemu_img: Path::new(self.qemu_img),
            progress: &tell,
        };
        input.open(&Source::Path(self.path(name)))
    }

    /// The error of an image with its causes; and that nothing of the attempt is left.
    fn refused(&self, name: &str) -> String {
        let error = self.open(name).expect_err(name);
        assert_eq!(fs::read_dir(self.temporary.path()).unwrap().count(), 0, "{name}");
        let mut text = error.to_string().replace(&format!("{}/", self.images.path().display()), "");
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

fn bytes(image: &RawImage) -> Vec<u8> {
    let mut bytes = vec![1; image.size() as usize];
    image.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn every_format_gives_the_same_disk_and_leaves_no_file() {
    let folders = Folders::new();
    let raw = folders.raw();
    folders.run(
        "cp --sparse=never disk.raw full.raw
        zstd -q disk.raw -o disk.raw.zst; gzip -k disk.raw; xz -0 -k disk.raw
        head -c 3000000 disk.raw > head; tail -c +3000001 disk.raw > tail
        for program in 'zstd -q' gzip 'xz -0'; do
            (cat head | $program; cat tail | $program) > \"two.${program%% *}\"
        done
        printf '\\120\\052\\115\\030\\004\\000\\000\\000skip' > skipped.zst; cat disk.raw.zst >> skipped.zst
        qemu-img convert -O qcow2 disk.raw disk.qcow2; qemu-img convert -c -O qcow2 disk.raw compressed.qcow2
        qemu-img convert -O qcow2 -o compat=0.10 disk.raw old.qcow2
        qemu-img convert -O qcow2 -o extended_l2=on disk.raw extended.qcow2
        mkfifo pipe",
    );
    for (name, phase) in [
        ("disk.raw", None),
        ("full.raw", None),
        ("disk.raw.zst", Some(Phase::Decompress)),
        ("disk.raw.gz", Some(Phase::Decompress)),
        ("disk.raw.xz", Some(Phase::Decompress)),
        ("two.zstd", Some(Phase::Decompress)),
        ("two.gzip", Some(Phase::Decompress)),
        ("two.xz", Some(Phase::Decompress)),
        ("skipped.zst", Some(Phase::Decompress)),
        ("disk.qcow2", Some(Phase::Convert)),
        ("compressed.qcow2", Some(Phase::Convert)),
        ("old.qcow2", Some(Phase::Convert)),
        ("extended.qcow2", Some(Phase::Convert)),
    ] {
        folders.phases.borrow_mut().clear();
        let image = folders.open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(bytes(&image) == raw, "{name}");
        image.unchanged().unwrap();
        assert_eq!(folders.phases.borrow().first().copied(), phase, "{name}");
        let most = if name == "full.raw" { 8 * MIB } else { 5 * MIB / 2 };
        assert!(image.data_bytes() <= most, "{name} has {} bytes of data", image.data_bytes());
        assert_eq!(fs::read_dir(folders.temporary.path()).unwrap().count(), 0, "{name}");
    }
    for (source, phases) in [
        ("disk.raw", vec![Phase::Spool]),
        ("disk.raw.xz", vec![Phase::Decompress]),
        ("disk.qcow2", vec![Phase::Spool, Phase::Convert]),
    ] {
        folders.phases.borrow_mut().clear();
        let (from, to) = (folders.path(source), folders.path("pipe"));
        let writer = std::thread::spawn(move || fs::write(to, fs::read(from).unwrap()).unwrap());
        assert!(bytes(&folders.open("pipe").unwrap()) == raw, "{source} through a pipe");
        writer.join().unwrap();
        assert_eq!(*folders.phases.borrow(), phases, "{source} through a pipe");
    }
}

#[test]
fn a_format_can_be_forced() {
    let mut folders = Folders::new();
    folders.raw();
    folders.run("gzip -k disk.raw");
    folders.format = Some(Format::Raw);
    assert_eq!(bytes(&folders.open("disk.raw.gz").unwrap()), fs::read(folders.path("disk.raw.gz")).unwrap());
    for (format, expected) in [
        (Format::Gzip, "cannot decompress disk.raw as gzip, after 0 bytes of the disk: invalid gzip header"),
        (Format::Zstd, "cannot decompress disk.raw as zstd, after 0 bytes of the disk: Unknown frame descriptor"),
        (Format::Xz, "cannot decompress disk.raw as xz, after 0 bytes of the disk: stream/file format not recognized"),
        (Format::Qcow2, "disk.raw cannot be converted: it is no qcow2 image: it does not begin with its magic number"),
    ] {
        folders.format = Some(format);
        let error = folders.refused("disk.raw");
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_no_image_is_told_as_what_it_is() {
    let folders = Folders::new();
    folders.write("empty", b"");
    fs::create_dir(folders.path("folder")).unwrap();
    assert_eq!(folders.refused("empty"), "empty is empty");
    assert_eq!(folders.refused("folder"), "folder is a folder, not a disk image");
    assert_eq!(folders.refused("absent"), "cannot open absent: No such file or directory (os error 2)");
    folders.run("mkfifo pipe; (exec > /dev/null 2>&1; : > pipe) &");
    assert_eq!(folders.refused("pipe"), "pipe is empty");
}

#[test]
fn a_truncated_stream_and_one_with_something_behind_it_are_refused() {
    let folders = Folders::new();
    folders.raw();
    folders.run("zstd -q disk.raw -o zstd; gzip -c disk.raw > gzip; xz -0 -c disk.raw > xz");
    for format in ["zstd", "gzip", "xz"] {
        let whole = fs::read(folders.path(format)).unwrap();
        for length in [7, 500, whole.len() / 2, whole.len() - 1] {
            folders.write("cut", &whole[..length]);
            let error = folders.refused("cut");
            assert!(
                error.starts_with(&format!("cannot decompress cut as {format}, after ")),
                "{format} {length}: {error}"
            );
        }
        for behind in [&b"x"[..], b"garbage", &[0xff; 5000]] {
            folders.write("behind", &[&whole[..], behind].concat());
            let error = folders.refused("behind");
            assert!(error.starts_with(&format!("cannot decompress behind as {format}, after ")), "{format}: {error}");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x10;
        folders.write("damaged", &damaged);
        let error = folders.refused("damaged");
        assert!(error.starts_with(&format!("cannot decompress damaged as {format}, after ")), "{format}: {error}");
    }
}

#[test]
fn zeros_behind_gzip_are_padding_and_nothing_else_is() {
    let folders = Folders::new();
    let raw = folders.raw();
    folders.run(
        "gzip -c disk.raw > disk; head -c 5000 /dev/zero > zeros
        head -c 3000000 disk.raw | gzip > two; tail -c +3000001 disk.raw | gzip >> two
        for name in disk two; do cat $name zeros > $name.padded; done
        (cat disk zeros; echo x) > behind; cat disk zeros disk > between; gzip -dc disk.padded | cmp - disk.raw
        cp disk.padded long; truncate -s +65M long",
    );
    for name in ["disk.padded", "two.padded"] {
        assert!(bytes(&folders.open(name).unwrap()) == raw, "{name}");
    }
    for (name, told) in [
        ("behind", "something follows its zero padding"),
        ("between", "something follows its zero padding"),
        ("long", "more than 67108864 zeros follow it"),
    ] {
        assert_eq!(
            folders.refused(name),
            format!("cannot decompress {name} as gzip, after 8388608 bytes of the disk: {told}"),
        );
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let folders = Folders::new();
    folders.max_size.set(16 * MIB);
    folders.run("truncate -s 64M zeros; zstd -q zeros -o zstd; gzip -c zeros > gzip; xz -0 -c zeros > xz");
    folders.run("qemu-img create -q -f qcow2 qcow2 64M");
    for name in ["zeros", "zstd", "gzip", "xz", "qcow2"] {
        assert_eq!(folders.refused(name), format!("{name} is a disk of more than {} bytes", 16 * MIB));
    }
    folders.max_size.set(64 * MIB);
    let image = folders.open("zstd").unwrap();
    assert_eq!((image.size(), image.data_bytes()), (64 * MIB, 0));
}

#[test]
fn a_stream_that_wants_too_much_memory_is_refused() {
    let folders = Folders::new();
    folders.raw();
    folders.run("xz -0 -c disk.raw > xz");
    let mut xz = fs::read(folders.path("xz")).unwrap();
    // The .xz file format, 3.1 and 5.3.1: the header of the first block, of 12 bytes, with the size of the dictionary,
    // here 1.5 GiB, and a CRC32 at its end.
    assert_eq!(xz[12..16], [2, 0, 0x21, 1]);
    xz[16] = 37;
    let sum = xz[12..20].iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    });
    xz[20..24].copy_from_slice(&(!sum).to_le_bytes());
    folders.write("xz", &xz);
    let error = folders.refused("xz");
    assert_eq!(
        error,
        "cannot decompress xz as xz: it needs a window of 1610612736 bytes, at most 268435456 bytes are allowed"
    );
    // RFC 8878, 3.1.1: a frame with a window of 2 GiB and a block of one byte.
    folders.write("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 9, 0, 0, b'A']);
    let error = folders.refused("zstd");
    assert_eq!(
        error,
        "cannot decompress zstd as zstd: it needs a window of 2147483648 bytes, at most 134217728 bytes are allowed"
    );
    // Behind a frame that decoders skip, and behind one that is as it should be.
    folders.run("(printf 'P*M\\030\\001\\000\\000\\000x'; cat zstd) > skipped; (zstd -c disk.raw; cat zstd) > second");
    for name in ["skipped", "second"] {
        let error = folders.refused(name);
        assert!(error.ends_with("it needs a larger window, at most 134217728 bytes are allowed"), "{error}");
    }
}

#[test]
fn a_qcow2_image_that_is_not_whole_in_itself_is_refused_before_anything_is_opened() {
    let folders = Folders::new();
    folders.raw();
    folders.run(
        "qemu-img convert -O qcow2 disk.raw base.qcow2
        qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 backed.qcow2
        qemu-img create -q -f qcow2 -o data_file=data.bin external.qcow2 8M
        qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s aes.qcow2 8M
        cp base.qcow2 snapshot.qcow2; qemu-img snapshot -c before snapshot.qcow2",
    );
    // `qemu-img create` measures its key derivation for LUKS in processor time, and gives up where a machine counts that
    // too coarsely; the header of such an image differs in its method.
    fs::copy(folders.path("aes.qcow2"), folders.path("luks.qcow2")).unwrap();
    let luks = File::options().write(true).open(folders.path("luks.qcow2")).unwrap();
    luks.write_all_at(&2_u32.to_be_bytes(), 32).unwrap();
    for (name, reason) in [
        ("backed.qcow2", "it has a backing file"),
        ("external.qcow2", "its data is in another file"),
        ("aes.qcow2", "it is encrypted"),
        ("luks.qcow2", "it is encrypted"),
        ("snapshot.qcow2", "it has internal snapshots"),
    ] {
        let error = folders.refused(name);
        assert!(error.starts_with(&format!("{name} cannot be converted: {reason}")), "{error}");
    }
}

/// `qemu-img convert` reads what is missing as zeros and ends with 0.
#[test]
fn a_truncated_qcow2_image_is_refused_wherever_it_is_cut() {
    let folders = Folders::new();
    folders.raw();
    folders.run("qemu-img convert -O qcow2 disk.raw whole.qcow2; qemu-img convert -c -O qcow2 disk.raw small.qcow2");
    for whole in ["whole.qcow2", "small.qcow2"] {
        let length = fs::metadata(folders.path(whole)).unwrap().size();
        // What follows the last compressed cluster is no part of it.
        let last = if whole == "small.qcow2" { 1024 } else { 1 };
        for length in [10, 100, 70_000, 200_000, length / 2, length - 70_000, length - last] {
            fs::copy(folders.path(whole), folders.path("cut.qcow2")).unwrap();
            File::options().write(true).open(folders.path("cut.qcow2")).unwrap().set_len(length).unwrap();
            let error = folders.refused("cut.qcow2");
            let told =
                ["qemu-img check", "qemu-img convert", "it is truncated"].iter().any(|text| error.contains(text));
            assert!(told, "{whole} {length}: {error}");
        }
    }
}

/// QEMU writes the list of bitmaps, their tables and the first level of the map to their own end, not to that of their
/// cluster.
#[test]
fn a_qcow2_image_that_ends_inside_the_cluster_of_a_table_is_whole() {
    let folders = Folders::new();
    let raw = folders.raw();
    folders.run(
        "qemu-img convert -O qcow2 disk.raw bitmap.qcow2; qemu-img bitmap --add bitmap.qcow2 backup0
        cp bitmap.qcow2 bitmaps.qcow2; qemu-img bitmap --add bitmaps.qcow2 a-second-one
        cp bitmaps.qcow2 removed.qcow2; qemu-img bitmap --remove removed.qcow2 backup0
        cp bitmap.qcow2 used.qcow2; qemu-io -c 'read 0 64k' -c 'write -P 7 2M 64k' -c 'write -z 2M 64k' used.qcow2
        qemu-img convert -O qcow2 disk.raw grown.qcow2; qemu-img resize -q grown.qcow2 1T
        qemu-img create -q -f qcow2 empty.qcow2 8M",
    );
    for name in ["bitmap.qcow2", "bitmaps.qcow2", "removed.qcow2", "used.qcow2"] {
        assert!(bytes(&folders.open(name).unwrap()) == raw, "{name}");
    }
    assert_eq!(folders.open("grown.qcow2").unwrap().size(), 1 << 40);
    assert_eq!(folders.open("empty.qcow2").unwrap().data_bytes(), 0);
    for name in ["bitmap.qcow2", "grown.qcow2"] {
        let length = fs::metadata(folders.path(name)).unwrap().size();
        assert_ne!(length % 65_536, 0, "{name} ends with a cluster, so nothing is tried");
        for less in [1, 70_000] {
            fs::copy(folders.path(name), folders.path("cut.qcow2")).unwrap();
            File::options().write(true).open(folders.path("cut.qcow2")).unwrap().set_len(length - less).unwrap();
            let error = folders.refused("cut.qcow2");
            assert!(["qemu-img check", "it is truncated"].iter().any(|text| error.contains(text)), "{name}: {error}");
        }
    }
}

#[test]
fn the_program_is_told_when_it_is_missing_and_when_it_fails() {
    let mut folders = Folders::new();
    folders.raw();
    folders.run("qemu-img convert -O qcow2 disk.raw disk.qcow2; printf '\\377' | dd of=disk.qcow2 bs=1 seek=196610 conv=notrunc");
    let error = folders.refused("disk.qcow2");
    assert!(error.starts_with("qemu-img check -f qcow2 --output json /proc/"), "{error}");
    assert!(error.contains(" ended with exit status: "), "{error}");
    folders.qemu_img = "/nonexistent/qemu-img";
    assert_eq!(
        folders.refused("disk.qcow2"),
        "cannot run /nonexistent/qemu-img: No such file or directory (os error 2)"
    );
}

#[test]
fn the_magic_numbers_are_those_of_the_formats() {
    assert_eq!(Format::of(b"QFI\xfb\0\0"), Format::Qcow2);
    assert_eq!(Format::of(&[0x28, 0xb5, 0x2f, 0xfd, 4, 5]), Format::Zstd);
    assert_eq!(Format::of(&[0x50, 0x2a, 0x4d, 0x18]), Format::Zstd);
    assert_eq!(Format::of(&[0x5f, 0x2a, 0x4d, 0x18]), Format::Zstd);
    for raw in [&b""[..], b"Q", b"QFI", &[0x60, 0x2a, 0x4d, 0x18], &[0x2a, 0x4d, 0x18, 0], &[0xeb, 0x63, 0x90]] {
        assert_eq!(Format::of(raw), Format::Raw, "{raw:?}");
    }
}
