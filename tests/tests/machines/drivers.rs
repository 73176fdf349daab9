//! The life of a machine, word for word the same on each driver: made, used by a hostile job, reimaged in place, verified,
//! stopped, started and deleted.

use std::{
    fmt::Display,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use cloud_machine_tests::{
    artifacts::{Artifacts, lean_image, next_image},
    libvirtd::Libvirtd,
    program::Program,
    scenario::{self, Image, MACHINE},
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::machine::state;

/// In the name of a file that is open when the program is called.
const LENT: &str = "lent-to-the-program-alone";

/// Its first half: made, used, reimaged and verified.
pub(super) fn life(image: Image<'_>, program: &Program, driver: &str) -> scenario::Ended {
    // As a shell's `exec 9> lock; flock 9` has it: what a caller lends to the program is not lent to the machine.
    let lent = tempfile::Builder::new().prefix(LENT).tempfile().unwrap();
    fcntl(&lent, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let ended = scenario::run(image, program, driver, &|_| {}).unwrap();
    assert!(!opens(std::process::id(), LENT).is_empty());
    nobody_has_what_was_lent(program, driver);
    assert_eq!(ended.faults(), Vec::<String>::new());
    assert_eq!(program.json(["show", MACHINE]).unwrap()["record"]["driver"], driver);
    clients_know_it_by_the_authority_and_not_by_its_old_key(program, &ended);
    an_equal_machine_is_left_alone(program);
    ended
}

/// Another client than ours, which was told no more than `known-hosts` prints.
fn clients_know_it_by_the_authority_and_not_by_its_old_key(program: &Program, ended: &scenario::Ended) {
    let told = program.done(&["known-hosts"]);
    assert!(told.starts_with(&format!("@cert-authority {MACHINE} ssh-ed25519 ")), "{told}");
    let old = ended.identity.iter().find(|line| line.name == "SSH host key").expect("the key of before");
    assert!(told.contains(&format!("@revoked * ssh-ed25519 {} ", old.before)) && !told.contains(&old.after), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_hosts");
    std::fs::write(&file, told).unwrap();
    let record = program.json(["show", MACHINE]).unwrap()["record"].clone();
    let key = program.state().join("machines").join(MACHINE).join("ssh/id_ed25519");
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", &format!("UserKnownHostsFile={}", file.display())])
        .args(["-o", &format!("HostKeyAlias={MACHINE}"), "-p", &record["ssh_port"].to_string()])
        .args(["-i", &key.display().to_string(), "root@127.0.0.1", "cat", "/etc/hostname"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("{MACHINE}\n"), "{}", String::from_utf8_lossy(&output.stderr));
}

fn an_equal_machine_is_left_alone(program: &Program) {
    let file = program.state().parent().unwrap().join("demo.yaml").to_string_lossy().into_owned();
    let again = program.call(["create", MACHINE, "--config", &file], b"");
    assert_eq!(again.code, 0, "{}", again.errors);
    assert!(again.errors.contains("nothing to do"), "{}", again.errors);
    let other = program.call(["create", MACHINE, "--config", &file, "--set", "resources.cpus=3"], b"");
    assert_eq!(other.code, 3, "{}", other.errors);
}

/// Its second half; a mark is left on its disk.
pub(super) fn stopped_and_started_it_keeps_its_disk(program: &Program) {
    let console = follow(program);
    let marked = program.call(["exec", MACHINE, "--", "sh", "-c", "echo mark > /root/mark; sync"], b"");
    assert_eq!(marked.code, 0, "{}", marked.errors);
    a_killed_relay_is_noticed(program);
    let stopped = program.call(["stop", MACHINE], b"");
    assert_eq!(stopped.code, 0, "{}", stopped.errors);
    assert!(stopped.output.contains("the system shut down"), "{}", stopped.output);
    assert_eq!(state(program), "stopped");
    let said = ended_with(console);
    assert!(said.contains("reboot: Power down"), "the console is told until the machine ends: {said}");
    let started = program.call(["start", MACHINE], b"");
    assert_eq!(started.code, 0, "{}", started.errors);
    let read = program.call(["exec", MACHINE, "--", "cat", "/root/mark"], b"");
    assert_eq!((read.code, read.output.as_str()), (0, "mark\n"), "{}", read.errors);
}

/// What listens on the host's loopback interface hears nothing of it; what listens on another address of the host does, where it has
/// one that leads anywhere.
fn the_loopback_interface_of_the_host_is_closed_to_it(program: &Program) {
    let refuses = |listener: &TcpListener| {
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.77:9")?;
        socket.local_addr()
    });
    let open = other.ok().and_then(|address| TcpListener::bind((address.ip(), 0)).ok());
    let mut places = vec![format!("10.0.2.2/{}", closed.local_addr().unwrap().port())];
    if let Some(open) = &open {
        let address = open.local_addr().unwrap();
        places.push(format!("{}/{}", address.ip(), address.port()));
    }
    let script =
        places.iter().map(|place| format!("timeout 5 bash -c ': </dev/tcp/{place}' && echo open || echo closed; "));
    let said = program.done(&["exec", MACHINE, "--", "bash", "-c", &script.collect::<String>()]);
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said, ["closed", "open"][..places.len()], "{places:?}");
    assert!(refuses(&closed), "the loopback interface was reached");
    assert!(open.is_none_or(|open| !refuses(&open)), "the other address was not reached");
}

/// Files that a process has open, of those with `name` in theirs.
fn opens(pid: impl Display, name: &str) -> Vec<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let files = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    files.filter(|file| file.to_string_lossy().contains(name)).collect()
}

/// Neither the machine's process nor the one beside it.
fn nobody_has_what_was_lent(program: &Program, driver: &str) {
    let all = [("relay.pid", "relay.log"), ("pid", "console.log")];
    // Of the driver libvirt it is a child of the daemon.
    for (file, own) in &all[..if driver == "libvirt" { 1 } else { 2 }] {
        let pid = number(program, file);
        assert_ne!(opens(&pid, own), Vec::<PathBuf>::new(), "{file}");
        assert_eq!(opens(&pid, LENT), Vec::<PathBuf>::new(), "{file}");
    }
}

/// What stands in a file of the last attempt.
fn number(program: &Program, file: &str) -> String {
    let folder = program.json(["show", MACHINE]).unwrap()["folder"].as_str().unwrap().to_owned();
    let attempts = std::fs::read_dir(Path::new(&folder).join("run")).unwrap().map(|entry| entry.unwrap().path());
    std::fs::read_to_string(attempts.max().unwrap().join(file)).unwrap().trim().to_owned()
}

/// The process between the machine and its network: without it nothing is reached, which is said, and a start makes another one.
fn a_killed_relay_is_noticed(program: &Program) {
    let relay = number(program, "relay.pid");
    let command = std::fs::read(format!("/proc/{relay}/cmdline")).unwrap();
    assert_eq!(command, b"cloud-machine\0relay-network\0");
    assert!(Command::new("kill").args(["-KILL", &relay]).status().unwrap().success());
    let list = loop {
        let list = program.json(["list"]).unwrap();
        if list["machines"][0]["process"] != "runs" {
            break list;
        }
    };
    assert_eq!(list["machines"][0]["process"], "paused");
    let refused = program.call(["exec", MACHINE, "--", "true"], b"");
    assert!(refused.errors.contains("runs without its network"), "{}", refused.errors);
}

/// Files, the journal, and a login at the serial line of the machine that runs.
pub(super) fn people_reach_it(program: &Program) {
    let folder = tempfile::tempdir().unwrap();
    let (here, back) = (folder.path().join("here"), folder.path().join("back"));
    std::fs::write(&here, vec![7; 1 << 20]).unwrap();
    the_loopback_interface_of_the_host_is_closed_to_it(program);
    program.done(&["cp", &here.display().to_string(), &format!("{MACHINE}:/root/there")]);
    program.done(&["cp", &format!("{MACHINE}:/root/there"), &back.display().to_string()]);
    assert_eq!(std::fs::read(back).unwrap(), vec![7; 1 << 20]);
    let journal = program.done(&["logs", MACHINE, "--unit", "ssh.service", "--lines", "1000"]);
    assert!(journal.contains("Server listening on"), "{journal}");

    let mut attached = program.on_a_terminal(&format!("console {MACHINE} --attach"));
    let (mut keys, mut screen) = (attached.stdin.take().unwrap(), attached.stdout.take().unwrap());
    let mut shown = String::new();
    let mut until = |text: &str| {
        while !shown.contains(text) {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap();
            shown.push(char::from(byte[0]));
        }
    };
    until("ctrl-] ends it");
    keys.write_all(b"\r").unwrap();
    until("login: ");
    keys.write_all(b"\x1d").unwrap();
    until("runs on");
    assert_eq!(attached.wait().unwrap().code(), Some(0));
}

/// The console from now on; it ends when the machine does.
fn follow(program: &Program) -> Child {
    let mut console = program.command();
    console.args(["console", MACHINE, "--follow", "--lines", "1"]);
    console.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn ended_with(console: Child) -> String {
    let output = console.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// A daemon of its own, whose machines are none of the host's. The image is the one that has least, since it is written and read whole
/// each time; those with more have lives in the tests of data disks, cloud-init and the next release.
#[test]
fn a_machine_of_libvirt_lives_as_one_of_qemu_does() {
    let daemon = Libvirtd::start();
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts).with("CLOUD_MACHINE_LIBVIRT_URI", daemon.uri());
    life(Image { folder: &lean_image().unwrap(), name: "debian-12-lean" }, &program, "libvirt");
    people_reach_it(&program);
    stopped_and_started_it_keeps_its_disk(&program);
    assert_eq!(daemon.virsh(&["list", "--all", "--name"]).trim(), format!("cloud-machine-{MACHINE}"));
    everything_is_read_and_the_plan_says_why(&program);
    a_reboot_ends_the_machine(&program);
    let deleted = program.call(["delete", MACHINE, "--yes"], b"");
    assert_eq!(deleted.code, 0, "{}", deleted.errors);
    assert_eq!(daemon.virsh(&["list", "--all", "--name"]).trim(), "");
}

/// Made, used, reimaged and verified: what a stop and a start are is no matter of the release.
#[test]
fn a_machine_of_the_next_debian_lives_as_one_of_this_does() {
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts);
    life(Image { folder: &next_image().unwrap(), name: "debian-13" }, &program, "qemu");
    let script = ". /etc/os-release; echo $VERSION_ID; systemctl is-system-running";
    assert_eq!(program.call(["exec", MACHINE, "--", "sh", "-c", script], b"").output, "13\nrunning\n");
    let deleted = program.call(["delete", MACHINE, "--yes"], b"");
    assert_eq!(deleted.code, 0, "{}", deleted.errors);
}

/// Nothing in it changes or extends it, and nothing of it fails.
pub(super) fn it_is_as_lean_as_it_says(program: &Program) {
    let packed = program.json(["image", "inspect", "debian-12-lean"]).unwrap();
    let data = packed["data_bytes"].as_u64().unwrap_or_else(|| panic!("{packed}"));
    assert!(data < 150_000_000, "{data} bytes of data");
    let script = "for word in apt dpkg perl python3 cloud-init; do command -v $word; done; systemctl is-system-running";
    assert_eq!(program.call(["exec", MACHINE, "--", "sh", "-c", script], b"").output, "running\n");
}

fn everything_is_read_and_the_plan_says_why(program: &Program) {
    let planned = program.done(&["plan", MACHINE]);
    assert!(planned.contains("rewrite: the driver has neither overlays nor dirty maps"), "{planned}");
    assert_eq!(program.json(["show", MACHINE]).unwrap()["record"]["system"]["last"]["strategy"], "rewrite");
}

/// It would start with the agent, and with a nonce that was used.
fn a_reboot_ends_the_machine(program: &Program) {
    let console = follow(program);
    // The connection ends with the system, so this call may fail.
    drop(program.call(["exec", MACHINE, "--", "systemctl", "reboot"], b""));
    let said = ended_with(console);
    assert!(said.contains("reboot: Restarting system"), "{said}");
    let list = program.json(["list"]).unwrap();
    assert_eq!(list["machines"][0]["process"], "none");
}
