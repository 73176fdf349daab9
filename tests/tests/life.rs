//! What commands make of a machine's process, with real QEMU processes that have no guest: nothing is booted.

use std::{
    fs,
    io::Read,
    os::unix::{fs::FileExt, net::UnixListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_config::{defaults, merge};
use cloud_machine_driver::qemu::{Accelerator, Drive, Launch, Process, Qemu, TCG_CPU};
use cloud_machine_protocol::Bus;
use cloud_machine_store::{MachineLock, MachineRecord, RECORD_VERSION, Store};
use cloud_machine_tests::{
    artifacts::Artifacts,
    program::{Called, Program},
};
use serde_json::{Value, json};

/// A state folder with a machine without a proof of its process.
struct Host {
    program: Program,
    store: Store,
    record: MachineRecord,
}

impl Host {
    fn new(uuid: &str, state: &str) -> Self {
        let program = Program::new(&Artifacts::from_environment().unwrap());
        let store = Store::open(program.state()).unwrap();
        let layers: Value = serde_json::from_slice(&merge(&[defaults()]).unwrap().to_layers()).unwrap();
        let record = json!({
            "version": RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu", "layers": layers, "ram": 1 << 30, "cpus": 1,
            "image": {"name": "debian-12", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1 << 20},
            "disks": [{"name": "system", "serial": "system", "size": 1 << 20, "file": "disks/system.raw", "boot": true}],
            "drives": [], "ssh_port": 2222, "state": state,
            "identity": {
                "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
                "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
            },
            "request": {"id": "FIRST", "action": "reimage", "attempts": 1, "failures": 0, "started": "2026-11-22T12:00:00Z"},
            "host_key": null, "last_report": "reports/FIRST.json", "assurance": "host-rooted", "dirty": false,
            "created": "2026-11-22T12:00:00Z",
        });
        let record: MachineRecord = serde_json::from_value(record).unwrap();
        let lock = store.lock(&record.name).unwrap();
        store.create(&lock, &record).unwrap().make_disk(record.disks.first().unwrap()).unwrap();
        Self { program, store, record }
    }

    fn lock(&self) -> MachineLock {
        self.store.lock(&self.record.name).unwrap()
    }

    fn disk(&self) -> PathBuf {
        self.store.machine(&self.record.name).disks().join("system.raw")
    }

    fn stored(&self) -> Vec<u8> {
        fs::read(self.store.machine(&self.record.name).record()).unwrap()
    }

    /// Starts the machine, paused and without a guest, and removes its pid file as a cleaner of old files does.
    fn start(&self) -> Guard {
        self.start_on(None)
    }

    fn start_on(&self, node: Option<String>) -> Guard {
        let folder = self.store.machine(&self.record.name).new_attempt(&self.lock()).unwrap();
        let drive = Drive { bus: Bus::Virtio, file: self.disk(), serial: "system".to_owned(), read_only: false, node };
        let launch = Launch {
            name: self.record.name.clone(),
            uuid: self.record.uuid.clone(),
            memory_mib: 64,
            cpus: 1,
            accelerator: Accelerator::Tcg,
            cpu_model: TCG_CPU.to_owned(),
            boot: None,
            drives: vec![drive],
            mac: self.record.identity.mac,
            connection: cloud_machine_protocol::Connection::User,
            nics: Vec::new(),
            ssh_port: None,
            folder,
        };
        let process = Qemu::default().launch(&launch).expect("QEMU starts; install the package qemu-system-x86");
        fs::remove_file(launch.folder.pid_file()).unwrap();
        Guard(process)
    }

    fn call(&self, arguments: &[&str]) -> Called {
        self.program.call(arguments, b"")
    }

    /// The machine's row of `list`.
    fn row(&self) -> Value {
        let called = self.call(&["list", "--output", "json"]);
        assert_eq!(called.code, 0, "{}", called.errors);
        let document: Value = serde_json::from_str(&called.output).unwrap();
        document["value"]["machines"][0].clone()
    }
}

/// Ends the process also when an assertion fails.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.stop(Duration::from_secs(2));
    }
}

/// A process that is no machine and has its disk open.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn a_machine_without_its_pid_file_is_seen_by_list_and_show_and_ended_by_stop() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad201", "stopped");
    assert_eq!(host.row()["process"], "none");
    let machine = host.start();
    assert_eq!(host.row()["process"], "runs");
    assert!(host.call(&["show", "demo"]).output.contains("process       runs\n"));
    let called = host.call(&["stop", "demo"]);
    assert_eq!(called.code, 0, "{}", called.errors);
    assert!(!machine.0.alive().unwrap(), "the process was ended, as it says");
    assert_eq!(host.row()["process"], "none");
}

#[test]
fn delete_ends_a_machine_without_its_pid_file_whether_its_record_can_be_read_or_not() {
    for (uuid, broken) in
        [("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad202", false), ("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad203", true)]
    {
        let host = Host::new(uuid, "stopped");
        let machine = host.start();
        if broken {
            fs::write(host.store.machine(&host.record.name).record(), "{").unwrap();
        }
        let called = host.call(&["delete", "demo", "--yes"]);
        assert_eq!(called.code, 0, "{}", called.errors);
        assert!(!machine.0.alive().unwrap(), "broken: {broken}");
        assert!(!host.store.machine(&host.record.name).path().exists());
    }
}

#[test]
fn what_cannot_be_proved_changes_nothing_and_names_the_process() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad204", "running");
    let opened = fs::File::open(host.disk()).unwrap();
    let holder = Holder(Command::new("sleep").arg("600").stdin(Stdio::from(opened)).spawn().unwrap());
    let before = host.stored();
    let expected = format!("cannot prove that process {} of machine demo has ended", holder.0.id());
    for arguments in
        [vec!["stop", "demo"], vec!["start", "demo"], vec!["reimage", "demo"], vec!["delete", "demo", "--yes"]]
    {
        let called = host.call(&arguments);
        assert_eq!(called.code, 1, "{arguments:?}\n{}", called.errors);
        assert!(called.errors.contains(&expected), "{arguments:?}\n{}", called.errors);
        assert_eq!(host.stored(), before, "{arguments:?}");
    }
    assert_eq!(host.row()["process"], "unknown");
    assert!(host.call(&["show", "demo"]).output.contains("process       unknown: process "));
    let doctor = host.call(&["doctor"]);
    assert!(doctor.output.contains("process unknown"), "{}", doctor.output);
    drop(holder);
    assert_eq!(host.row()["process"], "none");
}

#[test]
fn stop_ends_a_machine_that_hangs_and_names_the_option_that_does_not_ask() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad205", "running");
    let machine = host.start();
    let hung = Command::new("kill").args(["-STOP", &machine.0.pid().to_string()]).status().unwrap();
    assert!(hung.success());
    let called = host.call(&["stop", "demo", "--grace", "1"]);
    assert_eq!(called.code, 0, "{}", called.errors);
    assert!(
        called.errors.contains("could not be asked to shut down") && called.errors.contains("--now"),
        "{}",
        called.errors
    );
    assert!(!machine.0.alive().unwrap());
    assert_eq!(host.row()["state"], "stopped");
}

#[test]
fn a_machine_whose_later_attempt_failed_has_no_assurance_in_list_and_show() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad206", "stopped");
    assert_eq!((host.row()["assurance"].as_str(), host.row()["dirty"].as_bool()), (Some("host-rooted"), Some(false)));
    assert!(host.call(&["show", "demo"]).output.contains("assurance     host-rooted"));
    for state in ["requested", "writing", "failed", "quarantined"] {
        let mut record: Value = serde_json::from_slice(&host.stored()).unwrap();
        record["state"] = state.into();
        record["request"]["id"] = "SECOND".into();
        host.store.write(&host.lock(), &serde_json::from_value(record).unwrap()).unwrap();
        let row = host.row();
        assert!(row["assurance"].is_null() && row["dirty"].is_null(), "{row}");
        let shown = host.call(&["show", "demo"]).output;
        assert!(
            shown.contains("assurance     none: another attempt began since") && !shown.contains("used since"),
            "{shown}"
        );
        let shown = host.call(&["show", "demo", "--output", "json"]).output;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert!(shown["value"]["record"]["assurance"].is_null(), "{shown}");
    }
}

/// On a file system of its own, which only the commands of the script see.
#[test]
fn a_full_file_system_is_told_by_doctor_and_does_not_keep_a_record_from_being_written() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad207", "running");
    let script = r#"
        set -eu
        cp -a "$1" "$1.old"
        mount -t tmpfs -o size=24m,mode=700 tmpfs "$1"
        cp -a "$1.old/." "$1"
        rm "$1/reserve"
        "$2" --state "$1" list >/dev/null
        test "$(stat -c %b "$1/reserve")" -gt 0
        dd if=/dev/zero of="$1/fill" bs=64k 2>/dev/null && exit 9
        "$2" --state "$1" doctor | grep '^ *missing *room' || exit 8
        mount -o remount,ro "$1"
        "$2" --state "$1" doctor | grep '^ *missing *state folder *.*[Rr]ead-only' || exit 7
        mount -o remount,rw "$1"
        "$2" --state "$1" stop demo >/dev/null
        test ! -e "$1/reserve"
        cat "$1/machines/demo/machine.json"
    "#;
    let artifacts = Artifacts::from_environment().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([host.program.state(), &artifacts.program])
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert!(said.contains("no machine can be reimaged") && said.contains("\"state\": \"stopped\""), "{said}\n{errors}");
}

/// A boot sector that writes the second sector of its disk by the firmware's service and then waits.
const WRITES: [u8; 20] = [
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13,
    0xf4,
];

#[test]
fn a_machine_that_a_full_host_paused_is_told_with_its_reason_and_start_lets_it_go_on() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad208", "running");
    let disk = fs::OpenOptions::new().write(true).open(host.disk()).unwrap();
    disk.write_all_at(&WRITES, 0).unwrap();
    disk.write_all_at(&[0x55, 0xaa], 510).unwrap();
    drop(disk);
    let error = json!({"event": "write_aio", "errno": 28, "once": true});
    let image = json!({"driver": "file", "filename": host.disk()});
    let faulty = json!({"driver": "blkdebug", "image": image, "inject-error": [error]});
    let machine = host.start_on(Some(json!({"driver": "raw", "file": faulty}).to_string()));
    let deadline = Instant::now() + Duration::from_secs(60);
    machine.0.resume(deadline).unwrap();
    while machine.0.trouble(deadline).unwrap().is_none() {}

    let full = "the host's file system is full";
    let row = host.row();
    assert_eq!(row["process"], "paused");
    assert!(row["process_reason"].as_str().unwrap().starts_with(full), "{row}");
    assert!(host.call(&["show", "demo"]).output.contains(&format!("process       paused: {full}")));
    assert!(host.call(&["doctor"]).output.contains(full));
    let exec = host.call(&["exec", "demo", "--", "true"]);
    assert_eq!(exec.code, 1, "{}", exec.errors);
    assert!(exec.errors.contains(&format!("machine demo is paused: {full}")), "{}", exec.errors);

    let started = host.call(&["start", "demo"]);
    assert_eq!(started.code, 0, "{}", started.errors);
    assert!(started.errors.contains("it goes on"), "{}", started.errors);
    assert_eq!(host.row()["process"], "runs");
    assert_eq!(host.call(&["stop", "demo", "--now"]).code, 0);
    assert!(!machine.0.alive().unwrap());
}

#[test]
fn a_machine_whose_relay_was_killed_is_told_with_its_reason_and_no_start_pretends_to_help() {
    let host = Host::new("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad209", "running");
    let machine = host.start();
    machine.0.resume(Instant::now() + Duration::from_secs(60)).unwrap();
    let folder = machine.0.folder().path();
    fs::write(folder.join("relay.log"), "").unwrap();
    // In the place of QEMU's two sockets, whose names are relative: a path may be too long for one.
    let short = tempfile::tempdir().unwrap();
    let listeners = ["interface.sock", "user.sock"].map(|name| {
        let listener = UnixListener::bind(short.path().join(name)).unwrap();
        fs::rename(short.path().join(name), folder.join(name)).unwrap();
        listener
    });
    let mut command = Command::new(Artifacts::from_environment().unwrap().program);
    command.arg("relay-network").current_dir(folder).stdout(Stdio::piped());
    let mut relay = Holder(command.spawn().unwrap());
    let mut said = [0; 6];
    relay.0.stdout.take().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready\n");
    assert_eq!(host.row()["process"], "runs");

    relay.0.kill().unwrap();
    relay.0.wait().unwrap();
    let row = host.row();
    assert_eq!((row["process"].as_str(), row["state"].as_str()), (Some("paused"), Some("running")));
    assert!(row["process_reason"].as_str().unwrap().contains("user network has ended"), "{row}");
    for asked in [["exec", "demo", "--", "true"].as_slice(), &["start", "demo"]] {
        let called = host.call(asked);
        assert_eq!(called.code, 1, "{}", called.errors);
        let words = "machine demo runs without its network: the process between it and the user network has ended";
        assert!(
            called.errors.contains(words) && called.errors.contains("`cloud-machine stop demo`"),
            "{}",
            called.errors
        );
    }
    assert!(machine.0.alive().unwrap(), "nobody ends its system unasked");
    assert_eq!(host.call(&["stop", "demo", "--now"]).code, 0);
    drop(listeners);
}

#[test]
fn a_relay_ends_when_what_it_relays_for_does_and_does_not_begin_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let relay = || {
        let mut command = Command::new(Artifacts::from_environment().unwrap().program);
        command.arg("relay-network").current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let by_hand = relay().output().unwrap();
    assert_eq!((by_hand.status.code(), by_hand.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert!(by_hand.stderr.starts_with(b"`relay-network` is no command: "), "{:?}", by_hand.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing in a folder that is not its own");
    fs::write(folder.path().join("relay.log"), "").unwrap();
    let alone = relay().output().unwrap();
    assert_eq!((alone.status.code(), alone.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert!(alone.stderr.starts_with(b"connect to QEMU's socket interface.sock: "), "{:?}", alone.stderr);
    let [machine, network] =
        ["interface.sock", "user.sock"].map(|name| UnixListener::bind(folder.path().join(name)).unwrap());
    let running = relay().spawn().unwrap();
    let ((interface, _), (_outside, _)) = (machine.accept().unwrap(), network.accept().unwrap());
    drop(interface);
    let ended = running.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), b"ready\n".as_slice()));
}
