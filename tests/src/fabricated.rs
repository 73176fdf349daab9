//! A machine that is only a record, for tests of what the host does with what it finds.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use cloud_machine_config::{LayerKind, merge, parse};
use cloud_machine_store::RECORD_VERSION;
use serde_json::{Value, json};

use crate::program::Program;

/// A configuration of the host.
fn layers() -> Value {
    let document = parse(LayerKind::CommandLine, "test", b"cloud-machine: {image: debian-12}\n").expect("a document");
    serde_json::from_slice(&merge(&[document]).expect("one document").to_layers()).expect("JSON")
}

/// The record of a machine called `name` whose SSH answers on `port`.
///
/// # Panics
/// When the configuration in it cannot be made.
#[must_use]
pub fn record(name: &str, port: u16) -> Value {
    let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
    json!({
        "version": RECORD_VERSION, "name": name, "uuid": uuid, "driver": "qemu",
        "image": {"name": "debian-12", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1 << 30, "generation": 1},
        "layers": layers(), "ram": 1 << 30, "cpus": 2,
        "disks": [{"name": "system", "serial": "system", "size": 1 << 30, "file": "disks/system.raw", "boot": true}],
        "drives": [],
        "identity": {
            "name": name, "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
            "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
        },
        "ssh_port": port, "state": "running", "request": null, "host_key": null, "last_report": null,
        "assurance": null, "dirty": false, "created": "2026-11-22T12:00:00Z",
    })
}

/// Writes the record of a machine called `name` whose SSH answers on `port`; `change` may alter it.
///
/// # Panics
/// When it cannot be written.
pub fn machine(program: &Program, name: &str, port: u16, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut record = record(name, port);
    change(&mut record);
    let folder = program.state().join("machines").join(name);
    fs::create_dir_all(folder.join("run/attempt-001")).expect("the folder of the machine");
    fs::create_dir_all(folder.join("ssh")).expect("the folder of its key");
    fs::write(folder.join("machine.json"), record.to_string()).expect("the record");
    folder
}

/// What a record says of a machine that was started as process `pid`.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn process(pid: u32) -> Value {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // proc_pid_stat(5): the 22nd field, counted behind the name, which may hold anything.
    let started = stat.rsplit_once(')').and_then(|(_, after)| after.split_ascii_whitespace().nth(19));
    let started: u64 = started.and_then(|field| field.parse().ok()).expect("its start");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the host's boot");
    let namespace = fs::metadata("/proc/self/ns/pid").expect("a namespace").ino();
    json!({"pid": pid, "started": started, "boot_id": boot_id.trim(), "namespace": namespace, "disks": []})
}
