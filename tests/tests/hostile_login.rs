//! A machine whose SSH a job made its own, and one that is honest: neither holds, floods or deceives the host. The
//! server is the real one, the machine only a record.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_child::ChildError;
use cloud_machine_driver::ssh::{SshError, ask, wait_ready};
use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program, sshd::Sshd};
use serde_json::Value;

const MACHINE: &str = "held";

fn machine(lines: &str) -> (Program, Sshd) {
    // The server stands for the machine's process.
    machine_of(lines, Sshd::pid)
}

/// A machine whose process is the one that `pid` says.
fn machine_of(lines: &str, pid: impl Fn(&Sshd) -> u32) -> (Program, Sshd) {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    let folder = program.state().join("machines").join(MACHINE);
    let sshd = Sshd::start(&folder, lines);
    fabricated::machine(&program, MACHINE, sshd.target.port, |record| {
        record["driver_state"] = fabricated::process(pid(&sshd));
    });
    (program, sshd)
}

fn exec(program: &Program, words: &[&str]) -> (i32, Value) {
    let called = program.call(["exec", MACHINE, "--output", "json"].iter().chain(words), b"input");
    let document: Value = serde_json::from_str(&called.output).unwrap_or_else(|error| panic!("{error}: {called:?}"));
    (called.code, document["value"].clone())
}

#[test]
fn what_a_program_reads_says_and_ends_with_is_passed_on() {
    let (program, _sshd) = machine("");
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)] {
        let called = program.call(["exec", MACHINE, "--", "sh", "-c", script], b"");
        assert_eq!(called.code, code, "{script}: {}", called.errors);
    }
    let called = program.call(["exec", MACHINE, "--", "sh", "-c", "cat; echo err >&2"], b"through\n");
    assert_eq!((called.output.as_str(), called.errors.as_str(), called.code), ("through\n", "err\n", 0));
    let (code, result) = exec(&program, &["--", "sh", "-c", "cat; kill -15 $$"]);
    assert_eq!(
        (code, &result["end"], &result["ran"], &result["signal"]),
        (143, &"exited".into(), &"yes".into(), &15.into())
    );
    assert_eq!((&result["output"], &result["complete"]), (&"input".into(), &true.into()));
    let large = program.call(["exec", MACHINE, "--", "head", "-c", "8M", "/dev/zero"], b"");
    assert_eq!((large.code, large.output.len()), (0, 8 << 20));
}

#[test]
fn what_a_job_leaves_behind_does_not_hold_exec() {
    let (program, _sshd) = machine("");
    let (code, result) = exec(&program, &["--", "sh", "-c", "echo done; sleep 100000 & exit 4"]);
    assert_eq!((code, &result["output"], &result["complete"]), (4, &"done\n".into(), &false.into()));
}

#[test]
fn a_job_that_may_have_run_is_told_as_such() {
    let (program, _sshd) = machine("");
    let (code, result) = exec(&program, &["--timeout", "5", "--", "sleep", "100000"]);
    assert_eq!((code, &result["end"], &result["ran"]), (6, &"timed-out".into(), &"unknown".into()));
    // The server's process of this connection is killed below the program.
    let kill = "p=$PPID; until grep -q sshd /proc/$p/comm; do p=$(cut -d' ' -f4 /proc/$p/stat); done; kill -9 $p; sleep 100000";
    let (code, result) = exec(&program, &["--", "sh", "-c", kill]);
    assert_eq!((code, &result["end"], &result["ran"]), (1, &"lost-connection".into(), &"unknown".into()), "{result}");
}

#[test]
fn a_signal_to_exec_ends_ssh_and_is_told() {
    let (program, sshd) = machine("");
    let mut child = program
        .command()
        .args(["exec", MACHINE, "--output", "json", "--", "sh", "-c", "echo up > \"$0\"; sleep 100000"])
        .arg(program.state().join("up"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (up, deadline) = (program.state().join("up"), Instant::now() + Duration::from_secs(300));
    while !up.exists() {
        assert!(Instant::now() < deadline, "the program does not begin");
        std::thread::yield_now();
    }
    assert_eq!(sshd.clients(), 1);
    let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&result["value"]["end"], &result["value"]["ran"]), (&"interrupted".into(), &"unknown".into()));
    assert_eq!(sshd.clients(), 0, "ssh is gone");
}

#[test]
fn a_server_that_is_not_there_begins_nothing() {
    let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
    let (program, sshd) = machine_of("", |_| process.id());
    drop(sshd);
    let (code, result) = exec(&program, &["--", "true"]);
    process.kill().and_then(|()| process.wait()).unwrap();
    assert_eq!((code, &result["end"], &result["ran"]), (1, &"not-begun".into(), &"no".into()));
}

#[test]
fn a_held_or_flooded_login_ends_in_time_and_begins_no_program() {
    for (command, code) in [("sleep 100000", 6), ("yes", 5), ("head -c 400M /dev/zero", 5), ("sh -c 'yes >&2'", 5)] {
        let (program, sshd) = machine(&format!("ForceCommand {command}"));
        let (found, result) = exec(&program, &["--timeout", "5", "--", "touch", "/nonexistent/never"]);
        assert_eq!((found, &result["end"], &result["ran"]), (code, &"not-begun".into(), &"no".into()), "{command}");
        assert_eq!(result["output"], "", "{command}");

        // The same calls that `start`, `reimage` and `verify` use.
        let limit = Duration::from_secs(if code == 6 { 5 } else { 60 });
        let asked = ask(&sshd.target, &["cat", "/etc/hostname"], limit).unwrap_err();
        let ready = wait_ready(&sshd.target, &["true"], Instant::now() + limit, &|| Ok(true)).unwrap_err();
        for error in [asked, ready] {
            match (code, error) {
                (6, SshError::Child(ChildError::TimedOut { .. }))
                | (5, SshError::Child(ChildError::TooMuch { .. })) => {}
                (_, other) => panic!("{command}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_machine_that_answers_is_ready_and_another_host_key_is_not() {
    let (_program, sshd) = machine("");
    let deadline = || Instant::now() + Duration::from_secs(300);
    assert_eq!(wait_ready(&sshd.target, &["echo", "it is"], deadline(), &|| Ok(true)).unwrap(), b"it is\n");
    assert_eq!(ask(&sshd.target, &["printf", "%s", "a 'b'"], Duration::from_secs(300)).unwrap().stdout, b"a 'b'");
    let other = fs::read_to_string(sshd.key.with_extension("pub")).unwrap();
    fs::write(&sshd.target.known_hosts, format!("[127.0.0.1]:{} {other}", sshd.target.port)).unwrap();
    let error = wait_ready(&sshd.target, &["true"], deadline(), &|| Ok(true)).unwrap_err();
    assert!(matches!(error, SshError::Unready { .. }), "{error:?}");
}

#[test]
fn a_machine_that_has_ended_by_itself_is_told_as_such() {
    let (program, sshd) = machine("");
    drop(sshd);
    let called = program.call(["exec", MACHINE, "--", "true"], b"");
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(
        called.errors.contains("does not run any more: its system shut down or rebooted, or was ended"),
        "{}",
        called.errors
    );
    assert!(called.errors.contains(&format!("`cloud-machine start {MACHINE}`")), "{}", called.errors);
}
