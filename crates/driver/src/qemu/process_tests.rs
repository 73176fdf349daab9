use std::{fs, os::unix::fs::PermissionsExt};

use cloud_machine_protocol::Bus;

use super::*;
use crate::{
    channel::{AgentChannel, ChannelError},
    console,
    machine::Trouble,
    qemu::{Accelerator, Drive, TCG_CPU},
    ssh,
};

const UUID: &str = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";

fn launch(folder: &Path) -> Launch {
    Launch {
        name: "test".parse().unwrap(),
        uuid: UUID.to_owned(),
        memory_mib: 64,
        cpus: 2,
        accelerator: Accelerator::Tcg,
        cpu_model: TCG_CPU.to_owned(),
        boot: None,
        drives: vec![],
        mac: "52:54:00:12:34:56".parse().unwrap(),
        connection: cloud_machine_protocol::Connection::User,
        nics: Vec::new(),
        ssh_port: None,
        folder: AttemptFolder::at(folder.to_owned(), 1),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Ends the process also when an assertion fails.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.stop(Duration::from_secs(2));
    }
}

fn start(launch: &Launch) -> Guard {
    Guard(Qemu::default().launch(launch).expect("QEMU starts; install the package qemu-system-x86"))
}

fn file(folder: &Path, name: &str, size: u64) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

#[test]
fn a_machine_is_launched_paused_found_again_resumed_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    // Deeper than a socket's address is long, with characters that QEMU's option syntax gives a meaning.
    let deep = folder.path().join("d".repeat(120)).join("a,b c=d\"e");
    fs::create_dir_all(&deep).unwrap();
    let mut launch = launch(&deep);
    let drive = |file, serial: &str, read_only| Drive {
        bus: Bus::Virtio,
        file,
        serial: serial.to_owned(),
        read_only,
        node: None,
    };
    let fault = r#"{"driver": "blkdebug", "image": {"driver": "null-co", "size": 1048576}, "inject-error": [{"event": "read_aio"}]}"#;
    launch.drives = vec![
        drive(file(&deep, "volume.img", 1 << 20), "volume", true),
        drive(file(&deep, "system.raw", 1 << 20), "system", false),
        Drive { node: Some(fault.to_owned()), ..drive(std::path::PathBuf::new(), "faulty", false) },
    ];
    launch.ssh_port = Some(ssh::free_port().unwrap());

    let machine = start(&launch);
    assert!(machine.0.alive().unwrap());
    for path in [launch.folder.console_log(), launch.folder.pid_file(), launch.folder.qemu_log()] {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{} has mode {mode:o}", path.display());
    }
    assert!(!machine.0.ended(Instant::now() + Duration::from_millis(50)).unwrap());
    assert_eq!(machine.0.monitor(soon()).unwrap().query_status(soon()).unwrap(), "prelaunch");
    let nodes = machine.0.monitor(soon()).unwrap().execute("query-block", &serde_json::json!({}), soon()).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 3, "{nodes}");

    let again = Process::attach(&launch.folder, UUID).unwrap().expect("the process is found again");
    assert_eq!(again.pid(), machine.0.pid());
    let mut channel = AgentChannel::connect(&launch.folder.agent_socket(), soon()).unwrap();
    again.resume(soon()).unwrap();
    assert_eq!(again.monitor(soon()).unwrap().query_status(soon()).unwrap(), "running");
    let nothing = channel.next(Instant::now() + Duration::from_millis(200));
    assert!(matches!(nothing, Err(ChannelError::TimedOut)), "{nothing:?}");

    assert_eq!(again.stop(Duration::from_secs(20)).unwrap(), Ending::Quit);
    assert!(!machine.0.alive().unwrap());
    assert_eq!(machine.0.stop(Duration::from_secs(1)).unwrap(), Ending::Before);
    assert!(matches!(channel.next(soon()), Err(ChannelError::Closed)));
    assert!(Process::attach(&launch.folder, UUID).unwrap().is_none());
    assert_eq!(console::tail(&launch.folder, 10).unwrap(), "");
}

/// A boot sector that writes `text` to the first serial port and then resets the machine.
fn boot_sector(text: &[u8]) -> Vec<u8> {
    let mut sector = vec![
        0xfc, // cld
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xbe, 0x1a, 0x7c, // mov si, the text after the code
        0xac, // lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x06, // jz to the reset
        0xba, 0xf8, 0x03, // mov dx, the first serial port
        0xee, // out dx, al
        0xeb, 0xf5, // jmp to lodsb
        0xb0, 0xfe, // mov al, reset
        0xe6, 0x64, // out to the keyboard controller
        0xf4, // hlt
        0xeb, 0xfd, // jmp to hlt
    ];
    sector.extend(text);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

#[test]
fn the_console_is_logged_with_nobody_connected_and_a_reset_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "system.raw", 1 << 20);
    let disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &boot_sector(b"hello\r\nworld \x1b[2J\r\n"), 0).unwrap();
    let drive = Drive { bus: Bus::Virtio, file: path, serial: "system".to_owned(), read_only: false, node: None };
    let machine = start(&Launch { drives: vec![drive], ..launch(folder.path()) });
    machine.0.resume(soon()).unwrap();
    assert!(machine.0.ended(Instant::now() + Duration::from_secs(60)).unwrap(), "a reset ends the process");
    assert_eq!(console::tail(machine.0.folder(), 2).unwrap(), "hello\nworld \\u{1b}[2J");
    assert!(Process::attach(machine.0.folder(), UUID).unwrap().is_none());
}

#[test]
fn a_busy_monitor_does_not_keep_a_machine_alive() {
    let folder = tempfile::tempdir().unwrap();
    let machine = start(&launch(folder.path()));
    let _held = machine.0.monitor(soon()).unwrap();
    assert_eq!(machine.0.stop(Duration::from_secs(4)).unwrap(), Ending::Terminated);
    assert!(!machine.0.alive().unwrap());
}

#[test]
fn a_stopped_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let machine = start(&launch(folder.path()));
    machine.0.handle.signal(Signal::STOP).unwrap();
    assert_eq!(machine.0.stop(Duration::from_secs(2)).unwrap(), Ending::Killed);
    assert!(machine.0.folder().pid_file().exists(), "SIGKILL leaves the file with the number");
    assert!(Process::attach(machine.0.folder(), UUID).unwrap().is_none(), "and it is not believed");
}

#[test]
fn a_number_of_another_process_is_never_taken_for_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let attempt = AttemptFolder::at(folder.path().to_owned(), 1);
    assert!(Process::attach(&attempt, UUID).unwrap().is_none(), "no file");
    let own = std::process::id().to_string();
    for text in [own.as_str(), "1\n", "0", "-1", "4194305"] {
        fs::write(attempt.pid_file(), text).unwrap();
        assert!(Process::attach(&attempt, UUID).unwrap().is_none(), "{text:?}");
    }
    for text in ["", "x", "99999999999999", "1 2", "\x1b[2J"] {
        fs::write(attempt.pid_file(), text).unwrap();
        let error = Process::attach(&attempt, UUID).unwrap_err().to_string();
        assert!(error.contains("/pid holds no process id: ") && !error.contains('\x1b'), "{error}");
    }
}

#[test]
fn what_qemu_refuses_is_told_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch(folder.path());
    launch.drives = vec![Drive {
        bus: Bus::Virtio,
        file: folder.path().join("absent.raw"),
        serial: "x".to_owned(),
        read_only: false,
        node: None,
    }];
    let error = Qemu::default().launch(&launch).unwrap_err();
    let stderr = error.to_string();
    assert!(stderr.starts_with("qemu-system-x86_64 ended with exit status: 1: "), "{stderr}");
    assert!(stderr.contains("absent.raw") && stderr.contains("No such file or directory"), "{stderr}");
    assert!(matches!(&error, QemuError::Refused { arguments, .. } if arguments.contains(&UUID.to_owned())));
    assert!(!error.is_port_taken());
    assert!(Process::attach(&launch.folder, UUID).unwrap().is_none());
}

#[test]
fn a_port_that_is_taken_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut launch = launch(folder.path());
    launch.ssh_port = Some(listener.local_addr().unwrap().port());
    let error = Qemu::default().launch(&launch).unwrap_err();
    assert!(error.is_port_taken(), "{error}");
}

#[test]
fn a_disk_that_another_process_writes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let drive = Drive {
        bus: Bus::Virtio,
        file: file(folder.path(), "system.raw", 1 << 20),
        serial: "system".to_owned(),
        read_only: false,
        node: None,
    };
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let _machine = start(&Launch { drives: vec![drive.clone()], ..launch(&one) });
    let error = Qemu::default().launch(&Launch { drives: vec![drive], ..launch(&two) }).unwrap_err();
    assert!(error.to_string().contains("Failed to get \"write\" lock"), "{error}");
}

#[test]
fn a_program_that_neither_starts_nor_ends_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("qemu");
    fs::write(&program, "#!/bin/sh\necho thinking >&2\nexec sleep 60\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let qemu = Qemu { launch_limit: Duration::from_millis(300), ..Qemu::new(&program) };
    let error = qemu.launch(&launch(folder.path())).unwrap_err();
    assert!(error.to_string().ends_with("did not start the machine within 0 s: thinking"), "{error}");
    let error = Qemu::new("true").launch(&launch(folder.path())).unwrap_err();
    assert_eq!(error.to_string(), "the machine's process ended right after its start: ");
    let error = Qemu::new("/nonexistent/qemu").launch(&launch(folder.path())).unwrap_err();
    assert_eq!(error.to_string(), "cannot run /nonexistent/qemu");
}

#[test]
fn the_console_is_shown_escaped_and_only_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let attempt = AttemptFolder::at(folder.path().to_owned(), 1);
    let mut text = vec![b'x'; 2 << 20];
    text.extend(b"\r\nkernel panic\r\n\x1b]0;evil\x07\r\n");
    fs::write(attempt.console_log(), text).unwrap();
    assert_eq!(console::tail(&attempt, 2).unwrap(), "kernel panic\n\\u{1b}]0;evil\\u{7}");
    assert!(console::tail(&attempt, 100).unwrap().len() < 2000);
}

#[test]
fn what_qemu_gets_of_the_caller_is_where_programs_lie_and_what_it_makes_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("qemu");
    fs::write(&program, "#!/bin/sh\nenv > seen\nmkfifo made\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the test has an environment");
    Qemu::new(&program).launch(&launch(folder.path())).unwrap_err();
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    let mut names: Vec<&str> = seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // The shell's own.
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"));
    names.sort_unstable();
    assert_eq!(names, ["LC_ALL", "PATH"]);
    for name in ["seen", "made", "qemu.log"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
}

/// A boot sector that writes the second sector of its disk by the firmware's service and then waits.
fn writing_sector() -> Vec<u8> {
    let mut sector = vec![
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x8e, 0xc0, // mov es, ax
        0xb8, 0x01, 0x03, // mov ax, write one sector
        0xbb, 0x00, 0x7c, // mov bx, this sector
        0xb9, 0x02, 0x00, // mov cx, to the second one
        0xb6, 0x00, // mov dh, of the first head
        0xcd, 0x13, // int the disk service
        0xf4, // hlt
        0xeb, 0xfd, // jmp to hlt
    ];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Asks until the machine stands still, or runs.
fn trouble(process: &Process, there: bool) -> Option<Trouble> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = process.trouble(deadline).expect("the monitor answers");
        if found.is_some() == there || Instant::now() >= deadline {
            return found;
        }
    }
}

#[test]
fn a_machine_whose_write_finds_no_room_stands_still_with_its_reason_and_can_go_on_or_be_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "system.raw", 1 << 20);
    let disk = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &writing_sector(), 0).unwrap();
    let error = serde_json::json!({"event": "write_aio", "errno": 28, "once": true});
    let image = serde_json::json!({"driver": "file", "filename": path});
    let faulty = serde_json::json!({"driver": "blkdebug", "image": image, "inject-error": [error]});
    let node = serde_json::json!({"driver": "raw", "file": faulty}).to_string();
    let drive = Drive { bus: Bus::Virtio, file: path, serial: "system".to_owned(), read_only: false, node: Some(node) };
    let machine = start(&Launch { drives: vec![drive], ..launch(folder.path()) });
    assert_eq!(trouble(&machine.0, false), None, "it has not begun");
    machine.0.resume(soon()).unwrap();
    assert_eq!(trouble(&machine.0, true), Some(Trouble::NoSpace));
    machine.0.resume(soon()).unwrap();
    assert_eq!(trouble(&machine.0, false), None, "the write is tried again");
    machine.0.stop(Duration::from_secs(20)).unwrap();
}
