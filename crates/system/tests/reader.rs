//! Files of a volume that nobody vouches for, read by a real child process. This program is its own child, as the agent
//! is: `/proc/self/exe` is started again, and a path that begins with `test:` names a child that misbehaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::exit)]

use std::{
    io::{Cursor, Read, Write},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_system::{
    SystemError,
    reader::{self, read_untrusted},
};
use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};

const LARGEST_FILE: usize = 16 << 20;
const LARGEST_VOLUME: u64 = 64 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match (arguments.get(1).map(String::as_str), arguments.get(2)) {
        (Some(reader::CHILD_ARGUMENT), Some(path)) => child(path),
        _ if !nix::unistd::geteuid().is_root() => {
            println!("only root can give up its privileges, as the agent does: run this test as root");
            ExitCode::FAILURE
        }
        _ => parent(),
    }
}

/// The good child, and bad ones.
fn child(path: &str) -> ExitCode {
    let say = |bytes: &[u8]| std::io::stdout().write_all(bytes).unwrap_or_default();
    match path.strip_prefix("test:") {
        None => return if reader::child(path).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        Some("confined") => return confined(),
        Some("dies-at-once") => std::process::abort(),
        Some("fails") => return ExitCode::from(7),
        Some("silent") => {}
        Some("unknown-word") => say(b"?"),
        Some("endless") => while std::io::stdout().write_all(&[b'+'; 1 << 16]).is_ok() {},
        Some("escapes") => say(format!("!\x1b[2J\u{202e}{}", "x".repeat(100_000)).as_bytes()),
        Some("hangs") => thread::sleep(Duration::from_secs(600)),
        Some("hangs-after-its-answer") => {
            say(b"+");
            // Closing it is the end of the answer, and not of the process.
            nix::unistd::close(1).unwrap_or_default();
            thread::sleep(Duration::from_secs(600));
        }
        Some(other) => panic!("{other}"),
    }
    ExitCode::SUCCESS
}

/// What a child that was taken over could still do.
fn confined() -> ExitCode {
    let mut volume = Vec::new();
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let has_landlock = required.handle_access(AccessFs::Execute).is_ok_and(|ruleset| ruleset.create().is_ok());
    // The child's own way in, without an answer: an empty path names no file.
    let end = reader::child("");
    std::io::stdin().read_to_end(&mut volume).unwrap_or_default();
    let nobody = nix::unistd::getuid().as_raw() == 65534 && nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_err();
    let no_process = std::process::Command::new("/proc/self/exe").spawn().is_err();
    let files = has_landlock && std::fs::File::open("/proc/self/status").is_ok();
    if end.is_ok() && nobody && no_process && !files { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A FAT volume with one file.
fn volume(size: u64, name: &str, content: &[u8]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; usize::try_from(size).unwrap()]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
    disk.set_position(0);
    let filesystem = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    filesystem.root_dir().create_file(name).unwrap().write_all(content).unwrap();
    filesystem.unmount().unwrap();
    disk.into_inner()
}

fn parent() -> ExitCode {
    let small = volume(1 << 20, "user-data", b"#cloud-config\n");
    thread::scope(|scope| {
        // These take as long as the child may.
        for path in ["test:hangs", "test:hangs-after-its-answer"] {
            let small = &small;
            scope.spawn(move || is_too_slow(small, path));
        }
        good_volumes(&small);
        hostile_volumes(&small);
        bad_children(&small);
    });
    println!("all children were read, or told apart");
    ExitCode::SUCCESS
}

fn good_volumes(small: &[u8]) {
    assert_eq!(read_untrusted(small, "user-data").unwrap(), b"#cloud-config\n");
    let full: Vec<u8> = (0..LARGEST_FILE).map(|index| index as u8).collect();
    let largest = volume(LARGEST_VOLUME, "full", &full);
    assert!(read_untrusted(&largest, "full").unwrap() == full, "the largest file of the largest volume");
    let error = read_untrusted(small, "vendor-data").unwrap_err();
    assert_eq!(error.to_string(), "the volume has no file vendor-data");
    let error = read_untrusted(&volume(32 << 20, "large", &vec![0; LARGEST_FILE + 1]), "large").unwrap_err();
    assert_eq!(error.to_string(), "file large on the volume has more than 16777216 bytes");
}

fn hostile_volumes(small: &[u8]) {
    let neither = "cannot read the volume: the volume has neither a FAT nor an ISO 9660 filesystem";
    let cut = "cannot read the volume: cannot read the filesystem of the volume: \
               the boot sector claims more than the volume has";
    let large = "cannot read the volume: it is larger than a volume may be";
    let too_large = vec![0; usize::try_from(LARGEST_VOLUME).unwrap() + 1];
    for (bytes, text) in [(&[][..], neither), (&[0xff; 4096], neither), (&small[..9000], cut), (&too_large, large)] {
        let error = read_untrusted(bytes, "user-data").unwrap_err();
        assert!(matches!(error, SystemError::ForeignVolume { .. }), "{error:?}");
        assert_eq!(error.to_string(), text);
    }
}

fn bad_children(small: &[u8]) {
    // More than a pipe holds, so that a child which does not read it would block a careless parent.
    let large = vec![0; 8 << 20];
    for bytes in [small, &large] {
        for (path, text) in [
            ("test:confined", "the volume has no file test:confined"),
            ("test:dies-at-once", "the process that reads the volume ended with signal: 6 (SIGABRT)"),
            ("test:fails", "the process that reads the volume ended with exit status: 7"),
            ("test:silent", "the process that reads the volume gave an invalid answer"),
            ("test:unknown-word", "the process that reads the volume gave an invalid answer"),
            ("test:endless", "the process that reads the volume gave an invalid answer"),
        ] {
            let error = read_untrusted(bytes, path).unwrap_err().to_string();
            let unreadable =
                path == "test:confined" && error.starts_with("cannot read the volume: the volume has neither");
            assert!(error.starts_with(text) || unreadable, "{path}: {error}");
        }
    }
    let error = read_untrusted(small, "test:escapes").unwrap_err().to_string();
    assert!(error.starts_with("cannot read the volume: \\u{1b}[2J\\u{202e}xxx") && error.len() < 400, "{error}");
}

fn is_too_slow(small: &[u8], path: &str) {
    let began = Instant::now();
    let error = read_untrusted(small, path).unwrap_err();
    assert_eq!(error.to_string(), "the process that reads the volume did not answer within 20 s");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}
