use std::{
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use cloud_machine_protocol::{Bus, SecretPolicy};
use cloud_machine_store::{DriverState, MachineLock, RECORD_VERSION, Store, identity};

use super::*;
use crate::qemu::{Accelerator, Drive, Launch, Qemu, TCG_CPU};

/// A state folder with one machine whose disk is there.
struct Host {
    folder: tempfile::TempDir,
    store: Store,
    lock: MachineLock,
    record: MachineRecord,
}

fn record(uuid: &str) -> MachineRecord {
    let record = serde_json::json!({
        "version": RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu",
        "image": {"name": "debian-12", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1 << 30},
        "layers": {"format": 1}, "ram": 64 << 20, "cpus": 1, "ssh_port": 2222, "state": "creating", "drives": [],
        "disks": [{"name": "system", "serial": "system", "size": 1 << 20, "file": "disks/system.raw", "boot": true}],
        "identity": {
            "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
            "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
        },
        "request": null, "host_key": null, "last_report": null, "assurance": null, "dirty": false,
        "created": "2026-11-22T12:00:00Z",
    });
    serde_json::from_value(record).unwrap()
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        // One for each test: they run at the same time on the same host.
        let uuid = identity::new("demo".parse().unwrap(), None, Default::default(), Vec::new(), SecretPolicy::Rotate)
            .unwrap()
            .machine_uuid;
        let record = record(&uuid);
        let lock = store.lock(&record.name).unwrap();
        store.create(&lock, &record).unwrap().make_disk(record.disks.first().unwrap()).unwrap();
        Self { folder, store, lock, record }
    }

    fn machine(&self) -> MachineFolder {
        self.store.machine(&self.record.name)
    }

    fn disk(&self) -> PathBuf {
        self.machine().resolve("disks/system.raw").unwrap()
    }

    fn subject(&self) -> Subject {
        Subject::of(&self.record, self.machine())
    }

    /// Starts the machine, paused and without a guest.
    fn start(&self) -> Guard {
        let drive =
            Drive { bus: Bus::Virtio, file: self.disk(), serial: "system".to_owned(), read_only: false, node: None };
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
            folder: self.machine().new_attempt(&self.lock).unwrap(),
        };
        Guard(Qemu::default().launch(&launch).expect("QEMU starts; install the package qemu-system-x86"))
    }

    /// A folder that shows no process but this one, as `/proc` does where others are hidden.
    fn hidden(&self) -> Kernel {
        let (proc, own) = (self.folder.path().join("proc"), std::process::id().to_string());
        fs::create_dir_all(proc.join(&own).join("ns")).unwrap();
        fs::create_dir_all(proc.join("sys/kernel/random")).unwrap();
        symlink("/proc/self/ns/pid", proc.join(&own).join("ns/pid")).unwrap();
        symlink(&own, proc.join("self")).unwrap();
        symlink("/proc/sys/kernel/random/boot_id", proc.join("sys/kernel/random/boot_id")).unwrap();
        Kernel::at(proc)
    }
}

/// Ends the process also when an assertion fails.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.stop(Duration::from_secs(2));
    }
}

fn running(life: Life) -> i32 {
    match life {
        Life::Running(process) => process.pid(),
        other => panic!("{other:?}"),
    }
}

fn doubt(life: Life) -> Doubt {
    match life {
        Life::Unknown(doubt) => doubt,
        other => panic!("{other:?}"),
    }
}

fn is_ended(life: &Life) -> bool {
    matches!(life, Life::Ended)
}

#[test]
fn a_machine_whose_pid_file_is_gone_is_found_and_ended() {
    let mut host = Host::new();
    assert!(is_ended(&host.subject().life()), "it was never started");
    let machine = host.start();
    fs::remove_file(machine.0.folder().pid_file()).unwrap();
    assert_eq!(running(host.subject().life()), machine.0.pid(), "by its command line, as of a record without a proof");
    host.record.driver_state = kept(&host.subject().proof(&machine.0).unwrap());
    assert_eq!(running(host.subject().life()), machine.0.pid(), "by the proof");
    fs::remove_dir_all(host.machine().run()).unwrap();
    host.subject().end(Duration::from_secs(4)).unwrap();
    assert!(!machine.0.alive().unwrap());
    assert!(is_ended(&host.subject().life()));
}

#[test]
fn a_record_with_its_uuid_in_capital_letters_is_of_the_same_machine() {
    let mut host = Host::new();
    let machine = host.start();
    fs::remove_file(machine.0.folder().pid_file()).unwrap();
    host.record.uuid.make_ascii_uppercase();
    assert_eq!(running(host.subject().life()), machine.0.pid(), "by its command line, which has small ones");
    host.subject().end(Duration::from_secs(4)).unwrap();
    assert!(!machine.0.alive().unwrap());
}

#[test]
fn a_machine_whose_state_folder_was_moved_behind_a_link_is_found_and_ended() {
    let host = Host::new();
    let machine = host.start();
    let (old, new) = (host.folder.path().join("state"), host.folder.path().join("elsewhere"));
    fs::rename(&old, &new).unwrap();
    symlink(&new, &old).unwrap();
    let store = Store::open(&old).unwrap();
    assert_eq!(store.root(), fs::canonicalize(&new).unwrap());
    let subject = Subject::of(&host.record, store.machine(&host.record.name));
    assert_eq!(running(subject.life()), machine.0.pid());
    subject.end(Duration::from_secs(4)).unwrap();
    assert!(!machine.0.alive().unwrap());
}

#[test]
fn a_process_that_cannot_be_seen_is_known_by_its_locks() {
    let mut host = Host::new();
    let hidden = host.hidden();
    assert!(is_ended(&host.subject().life_in(&hidden)));
    let machine = host.start();
    let found = doubt(host.subject().life_in(&hidden));
    assert!(found.pid.is_none() && found.why.contains("system.raw is locked"), "{found:?}");

    host.record.driver_state = kept(&host.subject().proof(&machine.0).unwrap());
    let found = doubt(host.subject().life_in(&hidden));
    assert_eq!(found.pid, Some(machine.0.pid()));
    assert!(found.why.contains("is there and is not shown"), "{found:?}");
    let error = host.subject().unproven(found).to_string();
    let expected = format!("cannot prove that process {} of machine demo has ended: ", machine.0.pid());
    assert!(error.starts_with(&expected), "{error}");

    machine.0.stop(Duration::from_secs(4)).unwrap();
    assert!(is_ended(&host.subject().life_in(&hidden)));
}

#[test]
fn a_number_of_another_namespace_says_nothing_and_the_locks_only_of_the_same_files() {
    let mut host = Host::new();
    let machine = host.start();
    let proof = host.subject().proof(&machine.0).unwrap();
    host.record.driver_state = kept(&ProcessRecord { namespace: proof.namespace + 1, ..proof });
    let found = doubt(host.subject().life_in(&host.hidden()));
    assert_eq!(found.pid, Some(machine.0.pid()));
    machine.0.stop(Duration::from_secs(4)).unwrap();
    assert!(is_ended(&host.subject().life()));
    // Kept beside, so that the new file cannot get the old one's inode.
    fs::rename(host.disk(), host.folder.path().join("old.raw")).unwrap();
    fs::write(host.disk(), b"").unwrap();
    let found = doubt(host.subject().life());
    assert!(found.why.contains("the disks are other files since"), "{found:?}");
}

#[test]
fn a_number_that_was_given_to_another_process_or_is_of_another_boot_is_not_believed() {
    let mut host = Host::new();
    let other = Sleep::start(Stdio::null());
    let kernel = Kernel::host();
    let proof = ProcessRecord {
        pid: other.pid(),
        started: kernel.started(other.pid()).unwrap().unwrap(),
        boot_id: kernel.boot_id().unwrap(),
        namespace: kernel.namespace().unwrap(),
        disks: Vec::new(),
    };
    host.record.driver_state = kept(&proof);
    assert_eq!(running(host.subject().life()), other.pid(), "this is what the proof says");
    host.record.driver_state = kept(&ProcessRecord { started: proof.started + 1, ..proof.clone() });
    assert!(is_ended(&host.subject().life()));
    host.record.driver_state = kept(&ProcessRecord { boot_id: "another".to_owned(), ..proof });
    assert!(is_ended(&host.subject().life()));
}

fn kept(proof: &ProcessRecord) -> Option<DriverState> {
    Some(DriverState::of(proof).unwrap())
}

#[test]
fn a_state_of_another_driver_is_told_and_nothing_is_taken_for_ended() {
    let mut host = Host::new();
    host.record.driver_state = Some(DriverState::of(&"another driver's").unwrap());
    let found = doubt(host.subject().life());
    assert!(found.why.contains("driver_state of its record"), "{found:?}");
    let way_out = found.way_out.unwrap_or_default();
    assert!(way_out.contains("set driver_state in its machine.json to null"), "{way_out}");
    let machine = host.start();
    assert_eq!(running(host.subject().life()), machine.0.pid(), "it is found by its files and its UUID");
}

/// A process that is no machine.
struct Sleep(Child);

impl Sleep {
    fn start(input: Stdio) -> Self {
        Self(Command::new("sleep").arg("600").stdin(input).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn whatever_has_a_disk_open_stands_in_the_way_and_is_never_ended() {
    let host = Host::new();
    let holder = Sleep::start(fs::File::open(host.disk()).unwrap().into());
    let error = host.subject().end(Duration::ZERO).unwrap_err().to_string();
    let expected = format!("cannot prove that process {} of machine demo has ended: ", holder.pid());
    assert!(error.starts_with(&expected) && error.ends_with("has a disk of the machine open"), "{error}");
    assert!(Pidfd::open(holder.pid()).unwrap().is_some_and(|handle| !handle.ended(Instant::now()).unwrap()));
    drop(holder);
    host.subject().end(Duration::ZERO).unwrap();
}

#[test]
fn a_machine_without_a_readable_record_is_known_by_its_disks() {
    let host = Host::new();
    let machine = host.start();
    fs::remove_file(machine.0.folder().pid_file()).unwrap();
    let subject = Subject::without_record(host.record.name.clone(), host.machine());
    assert_eq!(running(subject.life()), machine.0.pid());
    subject.end(Duration::from_secs(4)).unwrap();
    assert!(!machine.0.alive().unwrap());
}

#[test]
fn where_processes_are_not_shown_at_all_nothing_is_proved() {
    let host = Host::new();
    let empty = host.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let found = doubt(host.subject().life_in(&Kernel::at(empty.clone())));
    assert!(found.why.starts_with("cannot read /proc: "), "{found:?}");
    symlink("1", empty.join("self")).unwrap();
    let found = doubt(host.subject().life_in(&Kernel::at(empty)));
    assert!(found.why.ends_with("it shows the processes of another namespace"), "{found:?}");
}
