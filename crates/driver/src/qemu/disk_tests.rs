use std::{
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::Extent;

use super::{tools::run, *};
use crate::qemu::QemuError;

const MIB: u64 = 1 << 20;
const LEAF: u64 = 64 << 10;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        // Commas and quotes are what QEMU's options are read by.
        Self { folder: tempfile::Builder::new().prefix("a,b \"c\" ").tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A raw file of `size` bytes that begins with `text`.
    fn raw(&self, name: &str, size: u64, text: &[u8]) -> PathBuf {
        let path = self.path(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(text, 0).unwrap();
        path
    }
}

/// What QEMU's own tool does with a block node, as a machine would; the commands are those of `qemu-io`.
fn qemu_io(node: &str, commands: &[&str]) -> String {
    let mut words = vec![format!("json:{node}")];
    words.extend(commands.iter().flat_map(|command| ["-c".to_owned(), (*command).to_owned()]));
    String::from_utf8(run("qemu-io", words.into_iter().map(Into::into).collect()).unwrap()).unwrap()
}

fn bytes_at(path: &Path, offset: u64) -> [u8; 4] {
    let mut bytes = [0; 4];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn leaf(index: u64, count: u64) -> Extent {
    Extent { offset: index * LEAF, length: count * LEAF }
}

#[test]
fn an_overlay_holds_what_is_written_and_the_golden_disk_nothing_of_it() {
    let files = Files::new();
    let golden = files.raw("golden.raw", MIB + 512, b"gold");
    let overlay = files.path("system.overlay.qcow2");
    new_overlay(&overlay, &golden, MIB + 512).unwrap();
    let node = overlay_node(&overlay, &golden).unwrap();
    assert!(qemu_io(&node, &["length"]).contains("1 MiB"));
    qemu_io(&node, &["read -P 0x67 0 1", "write -P 0x77 0 4096", "read -P 0x77 0 4096"]);
    assert_eq!(bytes_at(&golden, 0), *b"gold");

    // A fresh one in its place has forgotten it, and nothing half made is left.
    new_overlay(&overlay, &golden, MIB + 512).unwrap();
    qemu_io(&node, &["read -P 0x67 0 1", "read -P 0 4096 4096"]);
    let mut names: Vec<_> =
        std::fs::read_dir(files.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["golden.raw", "system.overlay.qcow2"]);
}

#[test]
fn the_lower_disk_is_the_one_that_is_named_now_whatever_the_overlay_says() {
    let files = Files::new();
    let golden = files.raw("golden.raw", MIB, b"gold");
    let overlay = files.path("system.overlay.qcow2");
    new_overlay(&overlay, Path::new("/nonexistent/golden"), MIB).unwrap();
    qemu_io(&overlay_node(&overlay, &golden).unwrap(), &["read -P 0x67 0 1"]);
}

#[test]
fn a_map_names_what_was_written_zeroed_or_discarded_and_the_disk_stays_raw() {
    let files = Files::new();
    let raw = files.raw("system.raw", 64 * MIB, b"data");
    let map = files.path("system.map.qcow2");
    new_map(&map, 64 * MIB).unwrap();
    assert_eq!(read_map(&map, &raw, 64 * MIB).unwrap(), DirtyMap::Extents(Vec::new()));
    let node = mapped_node(&map, &raw).unwrap();
    qemu_io(
        &node,
        &["read -P 0x64 0 1", "write -P 0x77 1M 512", "write -P 0x77 2M 128k", "write -z -u 4M 256k", "discard 8M 1M"],
    );
    assert!(!is_newer_than_map(&raw, &map).unwrap());
    let first = [leaf(16, 1), leaf(32, 2), leaf(64, 4), leaf(128, 16)];
    assert_eq!(read_map(&map, &raw, 64 * MIB).unwrap(), DirtyMap::Extents(first.to_vec()));
    assert_eq!((bytes_at(&raw, 0), bytes_at(&raw, MIB)), (*b"data", [0x77; 4]));

    // Another process goes on in the same map: a boot after a stop.
    qemu_io(&node, &["write -P 0x78 0 1k"]);
    let both: Vec<Extent> = [leaf(0, 1)].into_iter().chain(first).collect();
    assert_eq!(read_map(&map, &raw, 64 * MIB).unwrap(), DirtyMap::Extents(both));
    assert_eq!(bytes_at(&raw, 0), [0x78; 4]);

    // A new map of the same disk is empty, and the disk is as it was.
    new_map(&map, 64 * MIB).unwrap();
    assert_eq!(read_map(&map, &raw, 64 * MIB).unwrap(), DirtyMap::Extents(Vec::new()));
    qemu_io(&node, &["read -P 0x78 0 1k", "read -P 0x77 1M 512", "read -P 0 8M 1M"]);
}

#[test]
fn what_something_else_writes_to_the_disk_makes_it_newer_than_its_map() {
    let files = Files::new();
    let raw = files.raw("system.raw", MIB, b"data");
    let map = files.path("system.map.qcow2");
    new_map(&map, MIB).unwrap();
    assert!(!is_newer_than_map(&raw, &map).unwrap());
    // Times of files count in ticks of the kernel's clock.
    thread::sleep(Duration::from_millis(20));
    std::fs::File::options().write(true).open(&raw).unwrap().write_all_at(b"evil", 4096).unwrap();
    assert!(is_newer_than_map(&raw, &map).unwrap());
    let error = is_newer_than_map(&files.path("none"), &map).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the times of ") && error.ends_with("/none"), "{error}");
}

/// A process that has written to the node and still runs.
fn writing(node: &str) -> Child {
    let mut child = Command::new("qemu-io")
        .arg(format!("json:{node}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("install the package qemu-utils");
    child.stdin.as_mut().unwrap().write_all(b"write -P 3 0 64k\n").unwrap();
    let mut stderr = Vec::new();
    while !String::from_utf8_lossy(&stderr).contains("wrote 65536/65536") {
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        stderr.push(byte[0]);
    }
    child
}

#[test]
fn a_map_whose_process_was_killed_is_not_believed() {
    let files = Files::new();
    let raw = files.raw("system.raw", MIB, b"data");
    let map = files.path("system.map.qcow2");
    new_map(&map, MIB).unwrap();
    let node = mapped_node(&map, &raw).unwrap();
    let mut child = writing(&node);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(read_map(&map, &raw, MIB).unwrap(), DirtyMap::Inconsistent);
    // A later process that ends well does not make it good again.
    qemu_io(&node, &["write 512k 64k"]);
    assert_eq!(read_map(&map, &raw, MIB).unwrap(), DirtyMap::Inconsistent);
}

#[test]
fn a_map_that_is_in_use_absent_or_another_file_is_no_map() {
    let files = Files::new();
    let raw = files.raw("system.raw", MIB, b"data");
    let map = files.path("system.map.qcow2");
    assert_eq!(read_map(&map, &raw, MIB).unwrap(), DirtyMap::Absent);
    new_map(&map, MIB).unwrap();
    let mut child = writing(&mapped_node(&map, &raw).unwrap());
    let error = read_map(&map, &raw, MIB).unwrap_err().to_string();
    assert!(error.contains("qemu-img ended with exit status: 1") && error.contains("lock"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();

    // A qcow2 file without the bitmap, with one that does not record, and no qcow2 file at all.
    let make = |arguments: &[&str]| run("qemu-img", arguments.iter().map(Into::into).collect()).unwrap();
    new_map(&map, MIB).unwrap();
    let node = format!("json:{}", mapped_node(&map, &raw).unwrap());
    make(&["bitmap", "--disable", &node, "system"]);
    let error = read_map(&map, &raw, MIB).unwrap_err().to_string();
    assert_eq!(error, "qemu-img info printed what it should not: a bitmap that does not record");
    make(&["bitmap", "--remove", &node, "system"]);
    let error = read_map(&map, &raw, MIB).unwrap_err().to_string();
    assert_eq!(error, "qemu-img info printed what it should not: 0 bitmaps in the place of \"system\"");
    std::fs::write(&map, "x").unwrap();
    let error = read_map(&map, &raw, MIB).unwrap_err().to_string();
    assert!(error.starts_with("qemu-img ended with exit status: 1"), "{error}");
}

#[test]
fn a_map_of_another_size_is_refused() {
    let files = Files::new();
    let raw = files.raw("system.raw", 2 * MIB, b"data");
    let map = files.path("system.map.qcow2");
    new_map(&map, MIB).unwrap();
    let error = read_map(&map, &raw, 2 * MIB).unwrap_err().to_string();
    assert!(error.starts_with("qemu-img map printed what it should not"), "{error}");
}

#[test]
fn a_map_with_more_extents_than_are_of_use_is_given_up_and_nothing_is_left_running() {
    let files = Files::new();
    let size = 2 * LEAF * (MAX_EXTENTS as u64 + 10);
    let raw = files.raw("system.raw", size, b"data");
    let map = files.path("system.map.qcow2");
    new_map(&map, size).unwrap();
    let commands: Vec<String> =
        (0..=MAX_EXTENTS as u64).map(|index| format!("discard {} 64k\n", 2 * index * LEAF)).collect();
    // Discards take no space: a file of so many pieces is slow to remove. By itself qemu-io flushes after every command.
    let mut child = Command::new("qemu-io")
        .args(["-t", "writeback", &format!("json:{}", mapped_node(&map, &raw).unwrap())])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(commands.concat().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read_map(&map, &raw, size).unwrap(), DirtyMap::TooMany);
    // The reader that gave up holds no lock: the map can be opened for writing at once.
    let deadline = Instant::now() + Duration::from_secs(5);
    let node = format!("json:{}", mapped_node(&map, &raw).unwrap());
    while run("qemu-img", ["bitmap", "--clear", &node, "system"].map(Into::into).to_vec()).is_err() {
        assert!(Instant::now() < deadline, "the server of the map is still there");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn paths_that_are_not_absolute_are_refused() {
    for made in [
        overlay_node(Path::new("a"), Path::new("/b")),
        overlay_node(Path::new("/a"), Path::new("b")),
        mapped_node(Path::new("a"), Path::new("/b")),
        mapped_node(Path::new("/a"), Path::new("b")),
    ] {
        let error = made.unwrap_err().to_string();
        assert!(
            error.starts_with("invalid path of a disk ") && error.ends_with("an absolute path of UTF-8"),
            "{error}"
        );
    }
}

#[test]
fn a_tool_that_fails_is_told_in_its_own_words() {
    let files = Files::new();
    let error = new_overlay(&files.path("none/overlay.qcow2"), &files.path("golden"), MIB).unwrap_err();
    assert!(error.to_string().contains("qemu-img ended with exit status: 1"), "{error}");
    assert!(matches!(error, QemuError::Refused { arguments, .. } if arguments.contains(&"create".to_owned())));
}

/// The test runs itself again, since a process cannot change its environment safely while it has threads.
#[test]
fn a_map_is_read_where_there_is_no_folder_for_temporary_files() {
    const NAME: &str = "a_map_is_read_where_there_is_no_folder_for_temporary_files";
    const FOLDER: &str = "TEST_MAP_FOLDER";
    let size = 1 << 20;
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        let map = read_map(&folder.join("system.map.qcow2"), &folder.join("system.raw"), size).unwrap();
        assert_eq!(map, DirtyMap::Extents(Vec::new()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("system.raw")).unwrap().set_len(size).unwrap();
    new_map(&folder.path().join("system.map.qcow2"), size).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("qemu::disk::tests::{NAME}")])
        .env("TMPDIR", "/nonexistent")
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stderr.contains("1 passed"), "{stderr}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
