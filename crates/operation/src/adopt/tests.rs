use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_protocol::{MachineFacts, MachineName};
use cloud_machine_store::{DriverState, MachineRecord, RECORD_VERSION, RemoteRecord};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Login, Surveyed, differences, take};
use crate::{described::Described, hint::Hint};

const GIB: u64 = 1 << 30;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn facts(change: impl FnOnce(&mut Value)) -> MachineFacts {
    let mut value = json!({
        "machine_id": "0123456789abcdef0123456789abcdef", "hostname": "old", "firmware": "bios", "in_memory": false,
        "product_uuid": "11111111-2222-3333-4444-555555555555",
        "interfaces": [
            {"name": "eth0", "mac": "52:54:00:12:34:56", "addresses": [{"address": "192.0.2.7/24", "dynamic": true}]},
            {"name": "eth1", "mac": "52:54:00:12:34:57", "addresses": [{"address": "10.0.0.7/8", "dynamic": false}]},
        ],
        "disks": [
            {"name": "sda", "serial": "S1", "size": 20 * GIB, "bus": "sas", "holds_root": true},
            {"name": "sdb", "serial": "S2", "size": 5 * GIB, "bus": "sas", "holds_root": false},
        ],
    });
    change(&mut value);
    let document = json!({"kind": "facts", "version": 1, "value": value});
    MachineFacts::read(document.to_string().as_bytes()).unwrap()
}

fn described(text: &str) -> Described {
    let document = parse(LayerKind::Project, "web.yaml", text.as_bytes()).unwrap();
    let merged = merge(&[defaults(), document]).unwrap();
    let config = validate(&merged).unwrap();
    Described { merged, config }
}

fn login() -> Login {
    let (user, address) = ("root".to_owned(), "192.0.2.7".to_owned());
    Login { user, address, port: 22, host_key: None, identity: None, known_hosts: None }
}

fn record(facts: &MachineFacts) -> MachineRecord {
    let uuid = "11111111-2222-3333-4444-555555555555";
    let record = json!({
        "version": RECORD_VERSION, "name": "web", "uuid": uuid, "driver": "ssh", "layers": {}, "ram": 1, "cpus": 1,
        "image": {"name": "x", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1}, "disks": [], "drives": [],
        "identity": {
            "name": "web", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
            "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
        },
        "ssh_port": 0, "state": "running", "request": null, "host_key": null, "last_report": null, "assurance": null,
        "dirty": true, "created": Timestamp::UNIX_EPOCH,
    });
    let remote = RemoteRecord {
        address: "192.0.2.7".to_owned(),
        port: 22,
        host_key: Some(KEY.to_owned()),
        control: DriverState::of(&"default").unwrap(),
        facts: Some(facts.clone()),
        adopted: Timestamp::UNIX_EPOCH,
        snapshot: None,
    };
    MachineRecord { remote: Some(remote), ..serde_json::from_value(record).unwrap() }
}

/// What is said of a machine that says `is` of itself now.
fn said(is: MachineFacts) -> String {
    let surveyed = Surveyed { place: "192.0.2.7:22".to_owned(), facts: is, host_key: KEY.to_owned() };
    let control = DriverState::of(&"default").unwrap();
    let compared = differences::refuse(&record(&facts(|_| ())), &login(), &surveyed, &control);
    compared.err().map(|failure| failure.error.to_string()).unwrap_or_default()
}

#[test]
fn what_changes_by_itself_is_no_difference() {
    assert_eq!(said(facts(|_| ())), "");
    // A lease, the kernel's names, the name that a reimage gave it.
    let other = facts(|value| {
        value["hostname"] = "web".into();
        value["interfaces"][0]["addresses"][0]["address"] = "192.0.2.9/24".into();
        value["disks"][0]["name"] = "sdb".into();
        value["disks"][1]["name"] = "sda".into();
    });
    assert_eq!(said(other), "");
}

#[test]
fn a_machine_that_changed_is_told_field_by_field() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (
            |value| value["disks"][1]["serial"] = "S9".into(),
            "disk S2 is gone (5368709120 bytes on sas); disk S9 is new",
        ),
        (
            |value| value["disks"][0]["size"] = (10 * GIB).into(),
            "disk S1 was 21474836480 bytes on sas and is 10737418240",
        ),
        (|value| value["interfaces"][0]["mac"] = "52:54:00:12:34:99".into(), "interface 52:54:00:12:34:56 is gone"),
        (|value| value["interfaces"][1]["addresses"] = json!([]), "was 10.0.0.7/8 and is no fixed address"),
        (|value| value["firmware"] = "uefi".into(), "firmware was bios and is uefi"),
        (|value| value["hostname"] = "other".into(), "host name was old and is other"),
        (
            |value| value["machine_id"] = "1".repeat(32).into(),
            "machine-id was 0123456789abcdef0123456789abcdef and is 1111",
        ),
    ];
    for (change, expected) in cases {
        let told = said(facts(change));
        assert!(told.starts_with("machine web is not as it was when it was adopted: "), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn the_image_belongs_on_the_disk_of_the_root_unless_something_else_is_said() {
    let undeclared = "cloud-machine: {disks-undeclared: ignore}";
    let resolved = take::resolved(&described(undeclared), &facts(|_| ())).unwrap();
    let disks = take::disks(&resolved.config, &facts(|_| ()), GIB).unwrap();
    let found: Vec<_> =
        disks.iter().map(|disk| (disk.serial.as_str(), disk.boot, disk.size, disk.file.is_none())).collect();
    assert_eq!(found, [("S1", true, 20 * GIB, true)]);
    // The same again changes nothing.
    let again = take::resolved(&resolved, &facts(|_| ())).unwrap();
    assert_eq!(again.merged.to_yaml(), resolved.merged.to_yaml());

    let both = "cloud-machine: {resources: {disks: {data: {devicepath: 'serial:S1'}, s: {boot-partition: true, devicepath: /dev/sdb}}}}";
    let disks =
        take::disks(&take::resolved(&described(both), &facts(|_| ())).unwrap().config, &facts(|_| ()), GIB).unwrap();
    let found: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.serial.as_str())).collect();
    assert_eq!(found, [("s", "S2"), ("data", "S1")]);
}

#[test]
fn what_fits_nothing_or_two_things_is_refused_with_what_there_is() {
    let of = |text: &str, facts: &MachineFacts, image: u64| {
        let taken = take::resolved(&described(text), facts).and_then(|found| take::disks(&found.config, facts, image));
        taken.map(drop).unwrap_err().error.to_string()
    };
    let disks = |text: &str| format!("cloud-machine: {{resources: {{disks: {{{text}}}}}}}");
    let plain = facts(|_| ());
    let nameless = facts(|value| value["disks"][0]["serial"] = Value::Null);
    let refused =
        take::resolved(&described("cloud-machine: {disks-undeclared: ignore}"), &nameless).map(drop).unwrap_err();
    assert_eq!(refused.hints, [Hint::GiveSerial]);
    let ignore = "cloud-machine: {disks-undeclared: ignore}";
    for (text, facts, image, why) in [
        ("{}", &plain, GIB, "disks that nobody declares: sdb; it has sda (serial:S1, 20480 MiB, holds the root)"),
        (ignore, &plain, 21 * GIB, "disk system is sda of the machine with 20480 MiB, and 21504 MiB are needed"),
        (ignore, &nameless, GIB, "says no serial"),
        (ignore, &facts(|value| value["disks"][0]["holds_root"] = false.into()), GIB, "it cannot be told which disk"),
        (
            &disks("s: {boot-partition: true, devicepath: 'serial:S9'}"),
            &plain,
            GIB,
            "disk s: the machine has no serial:S9",
        ),
        (
            &disks("s: {boot-partition: true, devicepath: 'serial:S1'}, t: {devicepath: /dev/sda}"),
            &plain,
            GIB,
            "disks s and t are both sda of the machine",
        ),
        (
            &disks("s: {boot-partition: true, allocation: 30GiB}, t: {devicepath: /dev/sdb}"),
            &plain,
            GIB,
            "30720 MiB are needed",
        ),
    ] {
        let told = of(text, facts, image);
        assert!(told.contains(why), "{why}: {told}");
    }
}

#[test]
fn the_identity_is_the_machines_as_far_as_it_has_one() {
    let name: MachineName = "web".parse().unwrap();
    let identity = |text: &str, address: &str, facts: &MachineFacts| {
        take::identity(&name, &described(text).config, address, facts).map_err(|failure| failure.error.to_string())
    };
    let found = identity("{}", "192.0.2.7", &facts(|_| ())).unwrap();
    assert_eq!(found.machine_id.to_string(), "0123456789abcdef0123456789abcdef");
    assert_eq!(found.machine_uuid, "11111111-2222-3333-4444-555555555555");
    assert_eq!(found.mac.to_string(), "52:54:00:12:34:56");
    let named = "cloud-machine: {resources: {nic: {mac: '52:54:00:12:34:57'}}}";
    assert_eq!(identity(named, "web.example", &facts(|_| ())).unwrap().mac.to_string(), "52:54:00:12:34:57");
    let rescue = facts(|value| value["in_memory"] = true.into());
    assert_ne!(identity("{}", "192.0.2.7", &rescue).unwrap().machine_id, found.machine_id);
    let told = identity("{}", "web.example", &facts(|_| ())).unwrap_err();
    assert!(told.contains("it has eth0 52:54:00:12:34:56, eth1 52:54:00:12:34:57"), "{told}");
    let other = "cloud-machine: {resources: {nic: {mac: '52:54:00:00:00:01'}}}";
    assert!(
        identity(other, "192.0.2.7", &facts(|_| ())).unwrap_err().contains("has no interface with resources.nic.mac")
    );
}
