//! What lies in the state folder and should not: it is told by its name, and holds, floods or breaks nothing.

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cloud_machine_store::Store;
use cloud_machine_tests::{artifacts::Artifacts, fabricated, program::Program};
use serde_json::Value;

fn program() -> Program {
    Program::new(&Artifacts::from_environment_without_image().unwrap())
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn row<'a>(listed: &'a Value, name: &str) -> &'a Value {
    listed["machines"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn one_bad_file_neither_holds_nor_ends_the_list_of_all() {
    let program = program();
    for name in ["good", "piped", "endless", "linked", "bad-pid", "pid-pipe"] {
        fabricated::machine(&program, name, 1, |_| ());
    }
    let at = |name: &str| program.state().join("machines").join(name);
    let replace = |path: &Path, place: &dyn Fn(&Path)| {
        fs::remove_file(path).unwrap();
        place(path);
    };
    replace(&at("piped/machine.json"), &|path| pipe(path));
    replace(&at("endless/machine.json"), &|path| symlink("/dev/zero", path).unwrap());
    replace(&at("linked/machine.json"), &|path| symlink(at("good/machine.json"), path).unwrap());
    fs::write(at("bad-pid/run/attempt-001/pid"), "\u{1b}[2Jno number").unwrap();
    pipe(&at("pid-pipe/run/attempt-001/pid"));
    let listed = program.json(["list"]).unwrap();
    assert_eq!((&row(&listed, "good")["process"], &row(&listed, "good")["error"]), (&"none".into(), &Value::Null));
    for (name, error) in [
        ("piped", "is a named pipe, an ordinary file is expected"),
        ("endless", "is a symbolic link"),
        ("linked", "is a symbolic link"),
    ] {
        let said = row(&listed, name)["error"].as_str().unwrap_or_default();
        assert!(said.contains(error), "{name}: {said}");
    }
    // Whether a process runs is what the kernel knows, whatever lies in the place of the file.
    for name in ["bad-pid", "pid-pipe"] {
        let row = row(&listed, name);
        assert_eq!((&row["state"], &row["process"]), (&"running".into(), &"none".into()), "{name}");
    }
}

#[test]
fn nothing_in_a_record_reaches_a_terminal_as_it_is() {
    let program = program();
    let hostile = "\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}\u{2066}";
    fabricated::machine(&program, "odd", 1, |record| {
        record["image"]["signature"] = serde_json::json!({"kind": "allowed", "reason": hostile});
        record["host_key"] = hostile.into();
        record["not_covered"] = serde_json::json!([hostile]);
    });
    fabricated::machine(&program, "broken", 1, |record| record["state"] = hostile.into());
    for command in [vec!["show", "odd"], vec!["list"]] {
        for form in ["table", "json", "yaml"] {
            let called = program.call(command.iter().chain(&["--output", form]), b"");
            assert_eq!(called.code, 0, "{command:?} {form}: {}", called.errors);
            let obeyed = |c: char| {
                (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            let text = called.output + &called.errors;
            assert!(!text.chars().any(obeyed), "{command:?} {form}: {text:?}");
            assert!(text.contains("202e"), "{command:?} {form}: it is told, though: {text}");
        }
    }
    let shown = program.json(["show", "odd"]).unwrap();
    assert_eq!(shown["record"]["host_key"].as_str(), Some(hostile));
}

/// The reader is gone before the first byte is written.
#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let program = program();
    fabricated::machine(&program, "m", 1, |_| ());
    fs::write(program.state().join("machines/m/run/attempt-001/console.log"), "line\n".repeat(100_000)).unwrap();
    for arguments in [
        vec!["completions", "bash"],
        vec!["config", "show"],
        vec!["config", "reference"],
        vec!["list"],
        vec!["show", "m"],
        vec!["console", "m"],
        vec!["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program.command().args(&arguments).stdin(Stdio::null()).stdout(writer).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{arguments:?}");
        // A full disk is another matter.
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = program.command().args(&arguments).stdout(full).output().unwrap();
        assert!(arguments == ["--help"] || output.status.code() == Some(1), "{arguments:?}");
    }
}

#[test]
fn a_console_log_of_any_size_is_shown_in_little_memory() {
    let program = program();
    let log = fabricated::machine(&program, "loud", 1, |_| ()).join("run/attempt-001/console.log");
    fs::File::create(&log).unwrap().set_len(300 << 20).unwrap();
    // Without bounds this takes gigabytes; the limit is of address space.
    let limited = |words: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -v 400000; exec \"$0\" console loud {words}")])
            .arg(program_path(&program));
        command.env("CLOUD_MACHINE_STATE", program.state()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = Vec::new();
        child.stdout.take().unwrap().take(1 << 20).read_to_end(&mut first).unwrap();
        assert!(child.wait().unwrap().success(), "{words}");
        first
    };
    assert!(limited("--lines 5").len() < 1 << 20);
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20, "what was too large was cut");
    fs::File::create(&log).unwrap().set_len(300 << 20).unwrap();
    assert!(!limited("").is_empty());
}

fn program_path(program: &Program) -> std::ffi::OsString {
    program.command().get_program().to_owned()
}

#[test]
fn doctor_does_not_call_a_folder_good_that_cannot_be_written() {
    let program = program();
    Store::open(program.state()).unwrap();
    let script = "mount --bind \"$CLOUD_MACHINE_STATE\" \"$CLOUD_MACHINE_STATE\" && \
                  mount -o remount,bind,ro \"$CLOUD_MACHINE_STATE\" && exec \"$0\" doctor --output json";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script])
        .arg(program_path(&program))
        .env("CLOUD_MACHINE_STATE", program.state())
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = found["value"]["findings"].as_array().unwrap();
    let state = findings.iter().find(|finding| finding["what"] == "state folder").unwrap();
    assert_eq!(state["verdict"], "missing", "{state}");
    assert!(state["detail"].as_str().unwrap().contains("Read-only file system"), "{state}");
    assert_eq!(output.status.code(), Some(1));
}

/// `doctor` runs programs as every command does.
#[test]
fn a_signal_to_the_program_ends_what_it_runs_and_then_the_program() {
    let program = program();
    let folder = tempfile::tempdir().unwrap();
    let (stand_in, up) = (folder.path().join("qemu-img"), folder.path().join("up"));
    let script = format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}; exec sleep 100000\n", up.display());
    fs::write(&stand_in, script).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut child = program.command().arg("doctor").env("PATH", path).stdout(Stdio::null()).spawn().unwrap();
    while !up.exists() {
        assert!(child.try_wait().unwrap().is_none(), "doctor ends without it");
        std::thread::yield_now();
    }
    let pid = fs::read_to_string(&up).unwrap();
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    let left = Path::new("/proc").join(pid.trim()).exists();
    // Of a program that leaves it behind.
    if left {
        Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    }
    assert!(!left, "process {pid} outlives the program");
}

#[test]
fn a_list_is_filtered_and_cut_to_columns_and_names_are_in_order() {
    let program = program();
    for name in ["ci-10", "ci-2", "other"] {
        fabricated::machine(&program, name, 1, |record| {
            if name == "other" {
                record["state"] = "failed".into();
            }
        });
    }
    let listed = |arguments: &[&str]| {
        let called = program.call(["list"].iter().chain(arguments), b"");
        assert_eq!(called.code, 0, "{}", called.errors);
        called.output.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--columns", "name", "--no-header"]), ["ci-2", "ci-10", "other"]);
    assert_eq!(listed(&["--filter", "state=failed", "--columns", "state,name"]), ["STATE   NAME", "failed  other"]);
    assert!(listed(&["--filter", "state=running", "--filter", "name=other", "--no-header"]).is_empty());
    let json = program.json(["list", "--filter", "name=ci-2"]).unwrap();
    assert_eq!(json["machines"].as_array().map(Vec::len), Some(1));
    for (wrong, text) in
        [("colour=red", "there is no column \"colour\"; there are name, state"), ("state", "write COLUMN=VALUE")]
    {
        let called = program.call(["list", "--filter", wrong], b"");
        assert_eq!(called.code, 2, "{wrong}");
        assert!(called.errors.contains(text), "{}", called.errors);
    }
}

#[test]
fn what_is_under_way_is_told_by_whatever_takes_the_machine_as_it_is() {
    let program = program();
    let first = "reports/FIRST.json";
    for (name, action, report, what) in [
        ("new", "reimage", None, "created"),
        ("made", "reimage", Some(first), "reimaged"),
        ("left", "boot", Some(first), "started"),
    ] {
        fabricated::machine(&program, name, 1, |record| {
            record["state"] = "writing".into();
            record["last_report"] = report.into();
            record["request"] = serde_json::json!({
                "id": "SECOND", "action": action, "attempts": 1, "failures": 0, "started": "2026-11-22T12:00:00Z"
            });
        });
        let store = Store::open(program.state()).unwrap();
        let lock = store.lock(&name.parse().unwrap()).unwrap();
        for command in [vec!["exec", name, "--", "true"], vec!["verify", name], vec!["plan", name]] {
            let called = program.call(&command, b"");
            assert_eq!(called.code, 8, "{command:?}: {}", called.errors);
            let told = format!("machine {name} is being {what} (state writing)");
            assert!(called.errors.contains(&told) && called.errors.contains("wait for it"), "{}", called.errors);
        }
        drop(lock);
        let called = program.call(["verify", name], b"");
        assert_eq!(called.code, 5, "{}", called.errors);
    }
    fabricated::machine(&program, "busy", 1, |record| record["state"] = "writing".into());
    let called = program.call(["exec", "busy", "--", "true"], b"");
    assert_eq!(called.code, 1, "{}", called.errors);
    assert!(called.errors.contains("machine busy is writing"), "{}", called.errors);
}

/// A machine as version 0.1 of the program left it, after a reimage: records of version 1, evidence of version 2.
fn folder_of_version_1(program: &Program) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state-1");
    // The store makes the folder, private as it wants it.
    Store::open(program.state()).unwrap();
    let machine = program.state().join("machines/v1");
    let copied = Command::new("cp").arg("--recursive").arg(from.join("machines/v1")).arg(&machine).status().unwrap();
    assert!(copied.success());
    let key = program.state().join("evidence.key");
    fs::copy(from.join("evidence.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    machine
}

#[test]
fn evidence_of_an_older_program_is_judged_as_it_was_and_known_by_its_seal() {
    let program = program();
    let machine = folder_of_version_1(&program);
    let shown = program.json(["show", "v1"]).unwrap();
    assert_eq!(shown["record"]["version"], 2);
    assert_eq!(
        shown["record"]["not_covered"],
        serde_json::json!(["the disk `my-data`: kept: whatever was written to it is still there"])
    );
    let verified = program.json(["verify", "v1", "--stored-only"]).unwrap();
    assert_eq!(verified["machines"][0]["result"]["assurance"], "host-rooted", "{verified}");

    let last = machine.join(shown["record"]["last_report"].as_str().unwrap());
    let evidence = fs::read_to_string(&last).unwrap();
    fs::write(&last, evidence.replacen("\"boot-id\"", "\"boot_id\"", 1)).unwrap();
    let called = program.call(["verify", "v1", "--stored-only"], b"");
    assert_eq!(called.code, 5, "{}", called.errors);
    assert!(called.errors.contains("is not the one that was stored"), "{}", called.errors);
}

#[test]
fn a_machine_that_shut_down_by_itself_is_verified_as_one_that_was_stopped() {
    let program = program();
    let record = folder_of_version_1(&program).join("machine.json");
    let stopped = program.json(["verify", "v1"]).unwrap();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replacen("\"state\": \"stopped\"", "\"state\": \"running\"", 1)).unwrap();
    assert_eq!(program.json(["show", "v1"]).unwrap()["record"]["state"], "running");
    let called = program.call(["verify", "v1", "--output", "json"], b"");
    assert_eq!(called.code, 0, "{}", called.errors);
    let verified = program.json(["verify", "v1"]).unwrap();
    assert_eq!(verified["machines"][0]["result"]["identity_checked"], false);
    assert_eq!(verified["machines"][0]["result"], stopped["machines"][0]["result"]);
}
