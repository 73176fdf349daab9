//! What goes over SSH besides `exec`, and the serial line: files, logs, ports and terminals. The server is the real one, the
//! machine only a record whose process the server stands for.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::termios::{LocalFlags, tcgetattr};

use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program, sshd::Sshd};

const MACHINE: &str = "there";
const SFTP: &str = "Subsystem sftp internal-sftp";

fn machine(lines: &str) -> (Program, Sshd) {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    let sshd = Sshd::start(&program.state().join("machines").join(MACHINE), lines);
    fabricated::machine(&program, MACHINE, sshd.target.port, |record| {
        record["driver_state"] = fabricated::process(sshd.pid());
    });
    (program, sshd)
}

fn is_used(program: &Program) -> bool {
    program.json(["show", MACHINE]).unwrap()["record"]["dirty"].as_bool().unwrap()
}

/// A folder here and one "there", which the server sees at the same path.
struct Folders {
    _folder: tempfile::TempDir,
    here: std::path::PathBuf,
    there: String,
}

fn folders() -> Folders {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    fs::create_dir_all(here.join("deep/er")).unwrap();
    fs::create_dir(&there).unwrap();
    fs::write(here.join("a:b c"), "colon").unwrap();
    fs::write(here.join("deep/er/x"), vec![7; 3 << 20]).unwrap();
    fs::set_permissions(here.join("deep/er/x"), fs::Permissions::from_mode(0o751)).unwrap();
    Folders { _folder: folder, here, there: format!("{MACHINE}:{}", there.display()) }
}

#[test]
fn files_and_folders_go_there_and_come_back_as_they_are() {
    let (program, _sshd) = machine(SFTP);
    let Folders { _folder: folder, here, there } = folders();
    assert!(!is_used(&program));
    let at = |path: &str| here.join(path).display().to_string();
    assert_eq!(program.done(&["cp", "-r", "--preserve", &at("a:b c"), &at("deep"), &there]), "");
    assert!(is_used(&program), "whoever copies can leave something behind");
    let back = folder.path().join("back");
    program.done(&["cp", "-rp", &format!("{there}/deep"), &back.display().to_string()]);
    assert_eq!(fs::read(back.join("er/x")).unwrap(), vec![7; 3 << 20]);
    assert_eq!(fs::metadata(back.join("er/x")).unwrap().permissions().mode() & 0o777, 0o751);
    // No shell there reads the path.
    program.done(&["cp", &format!("{there}/a:b c"), &at("$(x) 'y'")]);
    assert_eq!(fs::read(here.join("$(x) 'y'")).unwrap(), b"colon");
    program.done(&["cp", &at("$(x) 'y'"), &there]);
    assert_eq!(fs::read(folder.path().join("there/$(x) 'y'")).unwrap(), b"colon");
}

#[test]
fn a_pattern_of_the_last_part_names_files_there_and_a_backslash_takes_its_meaning() {
    let (program, _sshd) = machine(SFTP);
    let Folders { _folder: folder, here, there } = folders();
    for name in ["p*q", "pzq", "other"] {
        fs::write(folder.path().join("there").join(name), name).unwrap();
    }
    let back = |name: &str, pattern: &str| {
        let back = here.join(name);
        fs::create_dir(&back).unwrap();
        program.done(&["cp", &format!("{there}/{pattern}"), &back.display().to_string()]);
        let mut found: Vec<String> =
            fs::read_dir(back).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        found
    };
    assert_eq!(back("1", "p*q"), ["p*q", "pzq"]);
    assert_eq!(back("2", "p[z]?"), ["pzq"]);
    assert_eq!(back("3", "p\\*q"), ["p*q"]);
    // In the other direction there is none.
    fs::write(here.join("[a]?"), "").unwrap();
    program.done(&["cp", &here.join("[a]?").display().to_string(), &there]);
    assert!(folder.path().join("there/[a]?").exists());
}

#[test]
fn doctor_says_whether_there_is_an_scp_that_copies_can_be_made_with() {
    for (script, verdict, detail) in [
        ("exec /usr/bin/scp \"$@\"", "good", "speaks SFTP"),
        ("echo 'usage: scp [-346Cv] [-c cipher]' >&2; exit 1", "missing", "has no option -s"),
    ] {
        let (program, _sshd, folder) = with_scp(script);
        let told = program.call(["doctor", "--output", "json"], b"");
        let document: serde_json::Value = serde_json::from_str(&told.output).unwrap();
        let findings = document["value"]["findings"].as_array().unwrap();
        let scp = findings.iter().find(|finding| finding["what"] == "scp").unwrap();
        assert_eq!(scp["verdict"], verdict, "{scp}");
        assert!(scp["detail"].as_str().unwrap().contains(detail), "{scp}");
        drop(folder);
    }
}

#[test]
fn a_copy_that_cannot_be_is_told_before_the_machine_counts_as_used() {
    let (program, _sshd) = machine(SFTP);
    let Folders { _folder: folder, here, there } = folders();
    let made = Command::new("mkfifo").arg(here.join("pipe")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("pipe", here.join("link")).unwrap();
    let at = |path: &str| here.join(path).display().to_string();
    let both = "has to be on the other side";
    for (words, code, reason) in [
        (vec![at("none"), there.clone()], 4, "none"),
        (vec![at("deep"), there.clone()], 2, "is a folder"),
        (vec![at("pipe"), there.clone()], 2, "pipe is a named pipe"),
        (vec!["/dev/null".to_owned(), there.clone()], 2, "/dev/null is a device"),
        (vec![at(""), there.clone(), "-r".to_owned()], 2, "link leads to a named pipe"),
        (vec![at("a:b c"), at("deep/../a:b c"), there.clone()], 2, "have the same name"),
        (vec![format!("{there}/*/x"), at("deep")], 2, "only the last part of a path"),
        (vec![at("deep"), at("a:b c")], 2, "neither side is a machine"),
        (vec![there.clone(), there.clone()], 2, both),
        (vec![there.clone(), "other:x".to_owned()], 2, "more than one machine"),
        (vec!["x y:z".to_owned(), there.clone()], 2, "a file of this host is ./x y:z"),
        (vec![at("deep"), "other:x".to_owned(), "-r".to_owned()], 4, "other"),
    ] {
        let called = program.call([vec!["cp".to_owned()], words.clone()].concat(), b"");
        assert_eq!(called.code, code, "{words:?}: {}", called.errors);
        assert!(called.errors.contains(reason), "{words:?}: {}", called.errors);
    }
    assert!(!is_used(&program));
    let missing = program.call(["cp", &format!("{there}/none"), &folder.path().display().to_string()], b"");
    assert_eq!(missing.code, 1);
    assert!(missing.errors.contains("none") && missing.errors.contains("was not finished"), "{}", missing.errors);
}

#[test]
fn a_machine_without_an_sftp_server_takes_no_files() {
    let (program, _sshd) = machine("");
    let Folders { _folder, here, there } = folders();
    let called = program.call(["cp", &here.join("a:b c").display().to_string(), &there], b"");
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(called.errors.contains("the copy with machine there was not finished"), "{}", called.errors);
}

fn planted(name: &str, script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// `scp` hands on what a server of a job says outside of SFTP; the real server does not let a job say it.
fn with_scp(script: &str) -> (Program, Sshd, tempfile::TempDir) {
    let (folder, (program, sshd)) = (planted("scp", script), machine(SFTP));
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    (program.with("PATH", path), sshd, folder)
}

#[test]
fn what_a_machine_says_beside_a_copy_is_escaped_and_bounded() {
    let (program, _sshd, _folder) = with_scp("printf '\\033[2Jowned\\r' >&2; exit 1");
    let Folders { _folder, here, there } = folders();
    let words = ["cp".to_owned(), here.join("a:b c").display().to_string(), there];
    for quiet in [&[][..], &["--quiet".to_owned()]] {
        let called = program.call(words.iter().chain(quiet), b"");
        assert_eq!(called.code, 1, "{}", called.errors);
        assert!(called.errors.contains("\\u{1b}[2Jowned"), "{}", called.errors);
        assert!(!called.errors.contains(|found: char| found.is_control() && found != '\n'), "{:?}", called.errors);
    }
    let (program, _sshd, _folder) = with_scp("head -c 4M /dev/zero | tr '\\0' '\\n' >&2; exit 1");
    let called = program.call(words, b"");
    assert!(called.code == 1 && called.errors.contains("is not shown"), "{}", called.errors);
    assert!(called.errors.len() < 256 << 10, "{}", called.errors.len());
}

/// The program, with what a signal does to it by itself: whoever runs the tests may ignore some.
fn with_signals(program: &Program) -> Command {
    let told = program.command();
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM,HUP,QUIT,TSTP").arg(told.get_program());
    command.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within two minutes");
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_to_a_copy_ends_scp_and_its_ssh() {
    let folder = planted("sftp", "echo up > \"${0%/*}/up\"; exec sleep 100000");
    let (program, sshd) = machine(&format!("Subsystem sftp {}", folder.path().join("sftp").display()));
    let Folders { _folder, here, there } = folders();
    let up = folder.path().join("up");
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let mut copy = with_signals(&program);
        copy.arg("cp").arg(here.join("a:b c")).arg(&there).stdin(Stdio::null()).stderr(Stdio::piped());
        let copy = copy.spawn().unwrap();
        until("the copy begins", || up.exists());
        assert_eq!(sshd.clients(), 2, "scp and ssh");
        send(&copy, signal);
        let ended = copy.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains("was not finished: signal"), "{said}");
        assert_eq!(sshd.clients(), 0, "{signal}");
        fs::remove_file(&up).unwrap();
    }
}

#[test]
fn a_terminal_shows_how_far_a_copy_is() {
    let (program, _sshd) = machine(SFTP);
    let Folders { _folder, here, there } = folders();
    let copy = program.on_a_terminal(&format!("cp {} {there}", here.join("deep/er/x").display()));
    let shown = copy.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && said.contains("100%"), "{said}");
}

/// A journalctl of a job: what it says is shown, and obeyed by no terminal.
fn planted_journal(script: &str) -> (Program, Sshd, tempfile::TempDir) {
    let folder = planted("journalctl", script);
    let (program, sshd) = machine(&format!("SetEnv PATH={}:/usr/bin:/bin", folder.path().display()));
    (program, sshd, folder)
}

#[test]
fn the_journal_is_shown_line_by_line_and_escaped_and_leaves_no_use_behind() {
    let (program, _sshd, _folder) = planted_journal("echo \"$*\"; printf '\\033[2Jcleared\\rno end'");
    let shown = program.done(&["logs", MACHINE, "--lines", "7", "--unit", "a b"]);
    let asked = "--no-pager --quiet --output short-iso --lines 7 --unit a b";
    assert_eq!(shown, format!("{asked}\n\\u{{1b}}[2Jcleared\\rno end\n"));
    assert!(!is_used(&program));
}

#[test]
fn a_journal_that_fails_says_how_and_names_the_console() {
    let (program, _sshd, folder) = planted_journal("echo broken >&2; exit 3");
    let failed = program.call(["logs", MACHINE], b"");
    assert_eq!(failed.code, 1);
    assert!(failed.errors.contains("exit code 3") && failed.errors.contains("broken"), "{}", failed.errors);
    assert!(failed.errors.contains("--console"), "{}", failed.errors);
    // A system without systemd.
    fs::write(folder.path().join("journalctl"), "#!/bin/sh\nexit 127\n").unwrap();
    let none = program.call(["logs", MACHINE], b"");
    assert!(none.code == 1 && none.errors.contains("has no journalctl"), "{}", none.errors);
    // What the host keeps needs no machine.
    let console = program.state().join("machines").join(MACHINE).join("run/attempt-001/console.log");
    fs::write(console, "one\ntwo\n").unwrap();
    assert_eq!(program.done(&["logs", MACHINE, "--console", "-n", "1"]), "two\n");
}

#[test]
fn a_machine_that_does_not_run_shows_its_console() {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    let folder = fabricated::machine(&program, MACHINE, 1, |record| record["state"] = "stopped".into());
    fs::write(folder.join("run/attempt-001/console.log"), "last words\n").unwrap();
    let called = program.call(["logs", MACHINE], b"");
    assert_eq!((called.code, called.output.as_str()), (0, "last words\n"), "{}", called.errors);
    assert!(called.errors.contains("machine there is stopped: what follows is its console log"), "{}", called.errors);
    let unit = program.call(["logs", MACHINE, "--unit", "x"], b"");
    assert!(unit.code == 1 && unit.errors.contains("its journal is on its disk"), "{}", unit.errors);
}

/// The journal without end of a job, whose reader goes away.
#[test]
fn a_reader_that_has_enough_ends_the_journal() {
    let (program, _sshd, _folder) = planted_journal("exec yes");
    let mut logs = program.command();
    let mut logs = logs.args(["logs", MACHINE, "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4];
    logs.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\ny\n");
    assert_eq!(logs.wait().unwrap().code(), Some(0));
}

/// One line, and then nothing: no write tells that the reader is gone.
#[test]
fn a_reader_that_has_enough_ends_a_log_that_says_nothing_more() {
    let (program, sshd, _folder) = planted_journal("echo one; exec sleep 100000");
    let console = program.state().join("machines").join(MACHINE).join("run/attempt-001/console.log");
    fs::write(console, "one\n").unwrap();
    for more in [&[][..], &["--console"]] {
        let mut logs = program.command();
        let mut logs = logs.args(["logs", MACHINE, "--follow"]).args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 4];
        logs.stdout.take().unwrap().read_exact(&mut first).unwrap();
        assert_eq!((&first, logs.wait().unwrap().code()), (b"one\n", Some(0)), "{more:?}");
        assert_eq!(sshd.clients(), 0);
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_with_the_reason_and_one_for_programs_is_refused() {
    let (program, _sshd, _folder) = planted_journal("echo one; exec sleep 100000");
    let console = program.state().join("machines").join(MACHINE).join("run/attempt-001/console.log");
    fs::write(console, "one\n").unwrap();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for words in [&["logs", MACHINE][..], &["logs", MACHINE, "-f"], &["console", MACHINE, "-f"]] {
        let logs = program.command().args(words).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = logs.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("cannot write to standard output") && said.contains("No space left"), "{said}");
    }
    for words in [&["logs", MACHINE][..], &["console", MACHINE], &["console", MACHINE, "--attach"]] {
        let refused = program.call(words.iter().chain(&["--output", "json"]), b"");
        assert!(refused.code == 2 && refused.errors.contains("has no form for programs"), "{}", refused.errors);
    }
}

#[test]
fn a_terminal_is_given_to_a_program_and_only_where_there_is_one() {
    let (program, _sshd) = machine("");
    let none = program.call(["exec", MACHINE, "--tty", "--", "true"], b"");
    assert!(none.code == 2 && none.errors.contains("standard input is no terminal"), "{}", none.errors);
    let json = program.call(["exec", MACHINE, "--tty", "--output", "json", "--", "true"], b"");
    assert!(json.code == 2 && json.errors.contains("no result for programs"), "{}", json.errors);
    assert!(!is_used(&program));
    let program =
        program.on_a_terminal(&format!("exec {MACHINE} --tty -- sh -c 'test -t 0 && echo \"in $1\"; exit 7' x 'a  b'"));
    let output = program.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("in a  b"), "{said}");
    assert_eq!(output.status.code(), Some(7), "{said}");
}

#[test]
fn a_port_leads_to_where_the_machine_reaches() {
    let (program, sshd) = machine("");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut ssh = program.command();
    ssh.args(["ssh", MACHINE, "--forward", &format!("{free}:127.0.0.1:{}", sshd.target.port), "--", "cat"]);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", free)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline && ssh.try_wait().unwrap().is_none(), "{error}"),
        }
        std::thread::yield_now();
    };
    stream.write_all(b"SSH-2.0-test\r\n").unwrap();
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
    drop((stream, ssh.stdin.take()));
    assert_eq!(ssh.wait().unwrap().code(), Some(0));
}

/// A stand-in for the far end of a serial line, in the place where QEMU has it.
fn serial_line(program: &Program) -> std::os::unix::net::UnixListener {
    let folder = program.state().join("machines").join(MACHINE).join("run/attempt-001");
    fs::write(folder.join("console.log"), "").unwrap();
    std::os::unix::net::UnixListener::bind(folder.join("console.sock")).unwrap()
}

#[test]
fn a_serial_line_goes_both_ways_until_the_key() {
    let (program, _sshd) = machine("");
    let line = serial_line(&program);
    let mut attached = program.on_a_terminal(&format!("console {MACHINE} --attach --detach-key ctrl-a"));
    let (mut far, _) = line.accept().unwrap();
    far.write_all(b"login: ").unwrap();
    let mut shown = String::new();
    let mut output = attached.stdout.take().unwrap();
    // The terminal is raw before anything of the machine is shown.
    while !shown.contains("login: ") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        shown.push(char::from(byte[0]));
    }
    assert!(shown.contains("ctrl-a ends it"), "{shown}");
    let mut keys = attached.stdin.take().unwrap();
    keys.write_all(b"root\x03\r").unwrap();
    let mut typed = [0; 6];
    far.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"root\x03\r", "no key is obeyed here");
    let second = program.on_a_terminal(&format!("console {MACHINE} --attach")).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.code() == Some(8) && said.contains("somebody is attached"), "{said}");
    keys.write_all(b"\x01").unwrap();
    output.read_to_string(&mut shown).unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("detached; machine there runs on"), "{shown}");
    assert!(is_used(&program), "whoever types can leave something behind");
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_and_one_that_stops_lets_it_go_on() {
    let (program, _sshd) = machine("");
    let line = serial_line(&program);
    let pty = nix::pty::openpty(None, None).unwrap();
    let end = || Stdio::from(pty.slave.try_clone().unwrap());
    let is_raw = || !tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
    let attach = || {
        let mut attached = with_signals(&program);
        attached.args(["console", MACHINE, "--attach"]).stdin(end()).stdout(end()).stderr(Stdio::null());
        let attached = attached.spawn().unwrap();
        let far = line.accept().unwrap().0;
        until("the terminal is raw", is_raw);
        (attached, far)
    };
    for (signal, code) in [("QUIT", 131), ("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let (mut attached, _far) = attach();
        send(&attached, signal);
        assert_eq!(attached.wait().unwrap().code(), Some(code), "{signal}");
        assert!(!is_raw(), "{signal}");
    }
    let (mut attached, mut far) = attach();
    let stat = format!("/proc/{}/stat", attached.id());
    send(&attached, "TSTP");
    until("it is stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
    assert!(!is_raw());
    send(&attached, "CONT");
    until("the terminal is raw again", is_raw);
    let mut keys = fs::File::from(pty.master.try_clone().unwrap());
    keys.write_all(b"x\x1d").unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    let mut typed = String::new();
    far.read_to_string(&mut typed).unwrap();
    assert!(typed == "x" && !is_raw(), "{typed:?}");
}

#[test]
fn a_serial_line_that_is_taken_or_has_no_log_is_told_before_the_machine_counts_as_used() {
    let (program, _sshd) = machine("");
    let _line = serial_line(&program);
    let log = program.state().join("machines").join(MACHINE).join("run/attempt-001/console.log");
    let refused = |code, reason: &str| {
        let called = program.on_a_terminal(&format!("console {MACHINE} --attach")).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&called.stdout);
        assert!(called.status.code() == Some(code) && said.contains(reason), "{said}");
        assert!(!is_used(&program), "{reason}");
    };
    let other = fs::File::open(&log).unwrap();
    other.lock().unwrap();
    refused(8, "somebody is attached");
    drop(other);
    fs::remove_file(&log).unwrap();
    refused(4, "has no console log");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    refused(1, "is a named pipe");
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/null", &log).unwrap();
    refused(1, "is a symbolic link");
}

#[test]
fn a_serial_line_whose_machine_ends_is_over_and_one_without_a_terminal_is_none() {
    let (program, _sshd) = machine("");
    let line = serial_line(&program);
    let none = program.call(["console", MACHINE, "--attach"], b"");
    assert!(none.code == 2 && none.errors.contains("--follow` only shows it"), "{}", none.errors);
    assert!(!is_used(&program));
    let attached = program.on_a_terminal(&format!("console {MACHINE} --attach"));
    drop(line.accept().unwrap());
    let ended = attached.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.code() == Some(0) && said.contains("the process of machine there has ended"), "{said}");
    // Nobody listens any more.
    drop(line);
    let refused = program.on_a_terminal(&format!("console {MACHINE} --attach")).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(refused.status.code() == Some(1) && said.contains("cannot attach to the serial line"), "{said}");
}
