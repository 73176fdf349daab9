use std::os::unix::fs::PermissionsExt;

use cloud_machine_protocol::{Bus, Digest, History, Identity, SecretPolicy};

use super::*;
use crate::{ImageRecord, MachineState, RECORD_VERSION, SystemDisk};

fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    (folder, store)
}

fn name(text: &str) -> MachineName {
    text.parse().unwrap()
}

pub(crate) fn record(machine: &str) -> MachineRecord {
    let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
    MachineRecord {
        version: RECORD_VERSION,
        name: name(machine),
        uuid: uuid.to_owned(),
        driver: "qemu".to_owned(),
        image: ImageRecord {
            name: "debian-12".parse().unwrap(),
            digest: format!("blake3:{}", "ab".repeat(32)).parse::<Digest>().unwrap(),
            size: 1 << 30,
            generation: 1,
            exceptions: Vec::new(),
            signature: crate::SignatureRecord::Verified { key: "68F1A074A5C9FB04".to_owned() },
            url: None,
        },
        layers: serde_json::json!({"format": 1}),
        drives: Vec::new(),
        system: SystemDisk::default(),
        ram: 1 << 30,
        cpus: 2,
        disks: vec![disk("system", 1 << 20)],
        identity: Identity {
            name: name(machine),
            machine_uuid: uuid.to_owned(),
            machine_id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            mac: "52:54:00:12:34:56".parse().unwrap(),
            nics: std::collections::BTreeMap::new(),
            authorized_keys: vec![],
            ssh_host_keys: SecretPolicy::Rotate,
        },
        connection: cloud_machine_protocol::Connection::User,
        remote: None,
        ssh_port: 2222,
        state: MachineState::Creating,
        request: None,
        driver_state: None,
        host_key: None,
        last_report: None,
        assurance: None,
        accepted: None,
        not_covered: Vec::new(),
        not_covered_since: Vec::new(),
        dirty: false,
        created: "2026-11-22T12:00:00Z".parse().unwrap(),
    }
}

fn disk(disk: &str, size: u64) -> DiskRecord {
    DiskRecord {
        bus: Bus::Virtio,
        medium: None,
        name: disk.parse().unwrap(),
        serial: disk.to_owned(),
        size,
        file: Some(format!("disks/{disk}.raw")),
        boot: true,
        history: History::Unknown,
        history_before: History::Unknown,
    }
}

#[test]
fn a_record_round_trips_through_the_folder_and_delete_leaves_nothing() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let mut written = record("demo");
    let folder = store.create(&lock, &written).unwrap();
    assert_eq!(store.read(&name("demo")).unwrap(), written);
    written.state = MachineState::Running;
    store.write(&lock, &written).unwrap();
    assert_eq!(store.read(&name("demo")).unwrap().state, MachineState::Running);
    assert_eq!(fs::metadata(folder.record()).unwrap().permissions().mode() & 0o777, 0o600);
    store.delete(&lock).unwrap();
    store.delete(&lock).unwrap();
    assert_eq!(fs::read_dir(store.machines()).unwrap().count(), 0);
    assert_eq!(store.read(&name("demo")).unwrap_err().to_string(), "no machine demo");
    store.create(&lock, &written).unwrap();
}

#[test]
fn a_closed_network_stays_closed_and_a_record_that_names_none_is_open() {
    use cloud_machine_protocol::Connection;
    let written = |connection| {
        let made = MachineRecord { connection, ..record("m1") };
        let value = serde_json::to_value(&made).unwrap();
        (value.get("connection").cloned(), serde_json::from_value::<MachineRecord>(value).unwrap().connection)
    };
    assert_eq!(written(Connection::UserClosed), (Some("user-closed".into()), Connection::UserClosed));
    assert_eq!(written(Connection::User), (None, Connection::User));
}

#[test]
fn the_stored_keys_are_snake_case_and_no_path_is_absolute() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let folder = store.create(&lock, &record("demo")).unwrap();
    let text = fs::read_to_string(folder.record()).unwrap();
    for word in ["\"layers\"", "\"ssh_port\": 2222", "\"state\": \"creating\"", "\"created\": \"2026-11-22T12:00:00Z\""]
    {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert!(!text.contains("\"/"), "{text}");
}

#[test]
fn create_refuses_an_existing_machine_and_write_a_missing_one() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    assert_eq!(store.write(&lock, &record("demo")).unwrap_err().to_string(), "no machine demo");
    store.create(&lock, &record("demo")).unwrap();
    assert_eq!(store.create(&lock, &record("demo")).unwrap_err().to_string(), "machine demo already exists");
}

#[test]
fn a_half_made_folder_is_invisible_and_replaced() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let half = store.machines().join(".new.demo");
    fs::create_dir_all(half.join("disks")).unwrap();
    assert!(store.list().unwrap().is_empty());
    store.create(&lock, &record("demo")).unwrap();
    assert!(!half.exists());
}

#[test]
fn the_lock_is_exclusive_survives_delete_and_ends_with_its_value() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    store.create(&lock, &record("demo")).unwrap();
    let error = store.lock(&name("demo")).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { name } if name.as_str() == "demo"));
    assert_eq!(error.to_string(), "machine demo is locked by another operation");
    store.delete(&lock).unwrap();
    assert!(store.lock(&name("demo")).is_err(), "still locked after delete");
    drop(lock);
    let _again = store.lock(&name("demo")).unwrap();
    let _other = store.lock(&name("other")).unwrap();
}

#[test]
fn a_lock_of_another_machine_does_not_serve() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("a")).unwrap();
    let error = store.create(&lock, &record("b")).unwrap_err();
    assert_eq!(error.to_string(), "the lock of machine a was used for machine b");
    assert!(matches!(store.machine(&name("b")).new_attempt(&lock), Err(StoreError::WrongLock { .. })));
    assert!(matches!(store.machine(&name("b")).store_report(&lock, "A", b""), Err(StoreError::WrongLock { .. })));
}

#[test]
fn a_broken_record_is_a_row_with_its_own_error() {
    let (_folder, store) = opened();
    for machine in ["good", "version", "garbage", "empty", "moved", "escape", "extra"] {
        let lock = store.lock(&name(machine)).unwrap();
        store.create(&lock, &record(machine)).unwrap();
    }
    fs::create_dir(store.machines().join("Bad Name")).unwrap();
    let edit = |machine: &str, change: &dyn Fn(String) -> String| {
        let path = store.machine(&name(machine)).record();
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    };
    edit("version", &|text| text.replace("\"version\": 2", "\"version\": 7"));
    edit("garbage", &|_| "{\"version\": 2".to_owned());
    edit("moved", &|text| text.replace("\"name\": \"moved\"", "\"name\": \"good\""));
    edit("escape", &|text| text.replace("disks/system.raw", "../good/disks/system.raw"));
    edit("extra", &|text| text.replace("\"cpus\"", "\"surprise\": 1,\n  \"cpus\""));
    fs::remove_file(store.machine(&name("empty")).record()).unwrap();

    let rows = store.list().unwrap();
    let said = |wanted: &str| {
        let row = rows.iter().find(|row| row.name == wanted).unwrap();
        row.record.as_ref().map_or_else(ToString::to_string, |_| "fine".to_owned())
    };
    assert_eq!(rows.len(), 8);
    assert_eq!(said("good"), "fine");
    assert!(said("version").ends_with("machine.json has version 7, this program knows 2"), "{}", said("version"));
    assert!(said("garbage").starts_with("cannot read the record /"), "{}", said("garbage"));
    assert!(said("empty").starts_with("there is no record /"), "{}", said("empty"));
    assert!(said("moved").ends_with("is invalid: it is of machine good"), "{}", said("moved"));
    assert!(said("escape").ends_with("does not stay in the folder of its machine"), "{}", said("escape"));
    assert!(said("extra").starts_with("cannot read the record /"), "{}", said("extra"));
    assert!(said("Bad Name").starts_with("cannot read the name of /"), "{}", said("Bad Name"));
}

#[test]
fn a_disk_is_made_once_and_never_resized() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let folder = store.create(&lock, &record("demo")).unwrap();
    let path = folder.make_disk(&disk("system", 4096)).unwrap();
    fs::write(&path, [7; 4096]).unwrap();
    assert_eq!(folder.make_disk(&disk("system", 4096)).unwrap(), path);
    assert_eq!(fs::read(&path).unwrap(), [7; 4096], "content stays");
    let error = folder.make_disk(&disk("system", 8192)).unwrap_err();
    assert!(error.to_string().ends_with("system.raw has 4096 bytes, its record says 8192"), "{error}");
    fs::File::create(&path).unwrap();
    folder.make_disk(&disk("system", 4096)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 4096, "a file that a cut left empty is made again");
    let mut outside = disk("system", 1);
    outside.file = Some("../x".to_owned());
    assert_eq!(
        folder.make_disk(&outside).unwrap_err().to_string(),
        "\"../x\" does not stay in the folder of its machine"
    );
}

#[test]
fn reports_and_attempts_lie_in_the_machines_folder() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let folder = store.create(&lock, &record("demo")).unwrap();
    assert!(folder.last_attempt().unwrap().is_none());
    let attempt = folder.new_attempt(&lock).unwrap();
    assert_eq!(attempt.path(), folder.path().join("run/attempt-001"));
    assert_eq!(folder.last_attempt().unwrap(), Some(attempt));
    let relative = folder.store_report(&lock, "01JD3QV8W0ABCDEFGHJKMNPQRS", b"{}").unwrap();
    assert_eq!(fs::read(folder.resolve(&relative).unwrap()).unwrap(), b"{}");
    for id in ["", "../x", "a/b", "a b", &"a".repeat(65)] {
        assert!(folder.store_report(&lock, id, b"{}").is_err(), "{id:?}");
    }
}

#[test]
fn a_record_from_before_there_were_forms_is_of_a_raw_disk() {
    let mut json = serde_json::to_value(record("demo")).unwrap();
    json.as_object_mut().unwrap().remove("system");
    let read: MachineRecord = serde_json::from_value(json).unwrap();
    assert_eq!(read.system, SystemDisk { backing: DiskBacking::Raw, mapped_since: None, last: None });
}

#[test]
fn only_the_files_of_a_form_stay() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let folder = store.create(&lock, &record("demo")).unwrap();
    let disk = disk("system", 4096);
    let files = [folder.make_disk(&disk).unwrap(), folder.map(&disk).unwrap(), folder.overlay(&disk).unwrap()];
    let golden = record("demo").image.digest;
    for (backing, left) in [
        (DiskBacking::Raw, [true, false, false]),
        (DiskBacking::Mapped, [true, true, false]),
        (DiskBacking::Overlay { golden }, [false, false, true]),
    ] {
        files.iter().for_each(|file| fs::write(file, "x").unwrap());
        for _ in 0..2 {
            folder.remove_other_backings(&lock, &disk, &backing).unwrap();
            assert_eq!(files.each_ref().map(|file| file.exists()), left, "{backing}");
        }
    }
    let other = store.lock(&name("other")).unwrap();
    assert!(matches!(
        folder.remove_other_backings(&other, &disk, &DiskBacking::Raw),
        Err(StoreError::WrongLock { .. })
    ));
    let escaping = DiskRecord { file: Some("../x.raw".to_owned()), ..disk };
    assert!(matches!(folder.map(&escaping), Err(StoreError::Escapes { .. })));
}

#[test]
fn only_the_file_of_a_record_has_what_gives_access_to_an_address() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("demo")).unwrap();
    let mut record = record("demo");
    let url = "https://me:hunter2@images.example/x?token=hunter2".parse().unwrap();
    record.image.url = Some(cloud_machine_protocol::ImageUrl { url, ca: Some("PEM".to_owned()) });
    store.create(&lock, &record).unwrap();
    assert_eq!(store.read(&name("demo")).unwrap(), record, "the next attempt can open the address");
    for text in [
        serde_json::to_string(&record.image).unwrap(),
        serde_json::to_string(&record.redacted()).unwrap(),
        format!("{record:?}"),
    ] {
        assert!(!text.contains("hunter2") && text.contains("images.example/x"), "{text}");
    }
}

/// As version 0.1 of the program wrote it.
const VERSION_1: &str = r#"{
  "version": 1, "name": "old", "uuid": "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111", "driver": "qemu",
  "image": {
    "name": "debian-12", "digest": "blake3:abababababababababababababababababababababababababababababababab", "size": 1048576,
    "generation": 3, "exceptions": ["unsigned"], "signature": {"kind": "not-checked", "key": "68F1A074A5C9FB04"}
  },
  "layers": {"format": 1, "image-keys": []}, "ram": 1073741824, "cpus": 2,
  "disks": [{
    "name": "my-disk", "serial": "my-disk", "size": 1048576, "file": "disks/my-disk.raw", "boot": true, "bus": "virtio",
    "history": "unknown", "history-before": "unknown", "medium": {"source": "/a-b", "digest": "sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}
  }],
  "system": {"form": {"kind": "mapped"}, "mapped-since": null, "last": {"strategy": "rewrite", "tier": "scan"}},
  "drives": [],
  "identity": {
    "name": "old", "machine-uuid": "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111", "machine-id": "0123456789abcdef0123456789abcdef",
    "mac": "52:54:00:12:34:56", "authorized-keys": ["ssh-ed25519 a-key"], "ssh-host-keys": "rotate"
  },
  "ssh-port": 2222, "state": "running",
  "request": {
    "id": "01J", "action": "reimage", "attempts": 1, "failures": 0, "started": "2026-11-22T12:00:00Z",
    "wanted": {"strategy": "rewrite", "tier": "scan", "required": "host-rooted"}
  },
  "process": {"pid": 7, "started": 9, "boot-id": "a-b-c", "namespace": 1, "disks": [{"device": 1, "inode": 2}]},
  "host-key": "ssh-ed25519 host-key", "last-report": "reports/01J.json", "assurance": "host-rooted",
  "accepted": {
    "seal": "SEAL",
    "attempt": {"request": {"version": 2, "machine-uuid": "x-y", "histories": {"my-disk": "unknown"}}, "volume-size": 5}
  },
  "not-covered": ["a-b"], "dirty": true, "created": "2026-11-22T12:00:00Z"
}"#;

#[test]
fn a_record_of_version_1_is_read_without_loss_and_stored_as_one_of_today() {
    let (_folder, store) = opened();
    let lock = store.lock(&name("old")).unwrap();
    let folder = store.create(&lock, &record("old")).unwrap();
    fs::write(folder.record(), VERSION_1.replace("SEAL", &"ef".repeat(32))).unwrap();
    let read = store.read(&name("old")).unwrap();
    assert_eq!(read.driver_state.as_ref().unwrap().read::<serde_json::Value>().unwrap()["boot_id"], "a-b-c");
    assert_eq!(read.host_key.as_deref(), Some("ssh-ed25519 host-key"));
    assert_eq!(read.layers, serde_json::json!({"format": 1, "image-keys": []}), "a configuration keeps its keys");

    store.write(&lock, &read).unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&fs::read(folder.record()).unwrap()).unwrap();
    // Every value of the old record is in the new one, under its key of today.
    let old: serde_json::Value = serde_json::from_str(&VERSION_1.replace("SEAL", &"ef".repeat(32))).unwrap();
    let mut expected = crate::renamed(old).unwrap();
    expected["version"] = RECORD_VERSION.into();
    assert_eq!(stored, expected);
    assert_eq!(store.read(&name("old")).unwrap(), read);
}
