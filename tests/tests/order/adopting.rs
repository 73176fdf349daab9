//! Machines that are taken over: whose control they get, and what becomes of a call that was cut off.

use std::fs;

use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_driver::fake::{Call, Faults};
use cloud_machine_operation::{
    Adopted, Adoption, Described, ErrorKind, Exceptions, Hint, Login, OperationError, Surveyed,
};
use cloud_machine_protocol::{MachineFacts, RescueHostKey, RootOfTrust};
use cloud_machine_store::MachineState;
use cloud_machine_tests::fixture::IMAGE;
use serde_json::{Value, json};

use crate::host::{Host, TIME, reimage};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// A host that has power over machines which are on.
fn host() -> Host {
    let host = Host::new(Some).rooted_in(RootOfTrust::Provider, Some(RescueHostKey::Unknown));
    host.fake.switch_on();
    host
}

/// Takes over a machine with a disk of this serial.
fn adopt(host: &Host, serial: &str) -> Result<Adopted, OperationError> {
    let text = format!("cloud-machine: {{driver: fake, image: {IMAGE}}}");
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
    let merged = merge(&[defaults(), document]).unwrap();
    let described = Described { config: validate(&merged).unwrap(), merged };
    let (user, address) = ("root".to_owned(), "192.0.2.7".to_owned());
    let adoption = Adoption {
        described,
        login: Login { user, address, port: 22, host_key: None, identity: None, known_hosts: None },
        surveyed: Surveyed { place: "192.0.2.7:22".to_owned(), facts: facts(serial), host_key: KEY.to_owned() },
        control: "default".to_owned(),
        exceptions: Exceptions::default(),
    };
    host.operations().adopt(&host.name, &adoption)
}

fn facts(serial: &str) -> MachineFacts {
    let value = json!({
        "machine_id": "0123456789abcdef0123456789abcdef", "hostname": "old", "firmware": "bios", "in_memory": false,
        "product_uuid": "11111111-2222-3333-4444-555555555555",
        "interfaces": [{"name": "eth0", "mac": "52:54:00:12:34:56", "addresses": []}],
        "disks": [{"name": "sda", "serial": serial, "size": 1_u64 << 30, "bus": "sas", "holds_root": true}],
    });
    MachineFacts::read(json!({"kind": "facts", "version": 1, "value": value}).to_string().as_bytes()).unwrap()
}

#[test]
fn a_control_that_says_of_a_machine_which_answers_that_it_is_off_is_that_of_another() {
    let host = host();
    host.fake.switch_off();
    let error = adopt(&host, "S1").map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.line().contains("says that it is off, and it answers over SSH"), "{}", error.line());
    assert!(error.hints.iter().any(|hint| matches!(hint, Hint::OtherControl)), "{error:?}");
    host.fake.switch_on();
    host.fake.plant(Faults { unknown: true, ..Faults::default() });
    let error = adopt(&host, "S1").map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.line().contains("does not say whether it runs: planted: nobody can say"), "{}", error.line());
    assert!(!host.store.machine(&host.name).path().exists(), "nothing is recorded");
    host.fake.plant(Faults::default());
    assert!(!adopt(&host, "S1").unwrap().unchanged);
    assert!(adopt(&host, "S1").unwrap().unchanged);
    let calls = host.fake.calls();
    assert!(calls.iter().all(|call| *call == Call::Power), "a machine is taken over as it is: {calls:?}");
}

#[test]
fn a_machine_whose_disks_were_swapped_is_another_and_keeps_its_record() {
    let host = host();
    adopt(&host, "S1").unwrap();
    let before = host.stored();
    let error = adopt(&host, "S9").map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Verification);
    assert!(error.line().contains("disk S1 is gone") && error.line().contains("disk S9 is new"), "{}", error.line());
    assert!(host.stored() == before);
}

#[test]
fn taking_over_that_was_cut_off_is_finished_by_the_next_call() {
    let host = host();
    adopt(&host, "S1").unwrap();
    let whole = host.record();
    let folder = host.store.machine(&host.name);
    // As it is between the record and what follows it.
    let mut cut: Value = serde_json::from_slice(&host.stored()).unwrap();
    cut["state"] = json!("creating");
    cut["identity"]["authorized_keys"] = json!([]);
    fs::write(folder.record(), serde_json::to_vec_pretty(&cut).unwrap()).unwrap();
    for half in [folder.ssh_key(), folder.ssh_key().with_extension("pub")] {
        fs::remove_file(half).unwrap();
    }
    // Nobody but the same machine finishes it.
    adopt(&host, "S9").map(drop).unwrap_err();
    assert_eq!(host.record().state, MachineState::Creating);
    // What has no key of this host could never be reimaged.
    for error in [
        host.operations().start(&host.name, TIME).map(drop).unwrap_err(),
        host.operations().reimage(&host.name, &reimage(false)).map(drop).unwrap_err(),
        host.operations().mark_used(&host.name).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.line(), "machine demo is not adopted yet: that was cut off");
        assert!(matches!(error.hints[..], [Hint::Adopt(_)]), "{error:?}");
    }
    assert_eq!(host.record().state, MachineState::Creating);
    assert!(!adopt(&host, "S1").unwrap().unchanged);
    let record = host.record();
    assert_eq!((record.state, record.uuid), (MachineState::Running, whole.uuid));
    assert_eq!(record.identity.authorized_keys.len(), 1);
    assert_eq!(record.identity.authorized_keys, [cloud_machine_driver::ssh::public_key(&folder.ssh_key()).unwrap()]);
    assert!(adopt(&host, "S1").unwrap().unchanged);
}
