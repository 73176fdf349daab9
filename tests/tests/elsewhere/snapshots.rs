//! What a provider keeps of a server's disk: which snapshot is the one, and what becomes of one that no record knows.

use std::time::{Duration, Instant};

use cloud_machine_driver::{
    DriverErrorKind,
    machine::{Driver, MachineRef},
    remote::{Hetzner, Remote},
};
use cloud_machine_store::{DriverState, Store};
use serde_json::{Value, json};

use crate::account::World;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn snapshots(world: &World) -> Vec<u64> {
    let reply = world.cloud.ask("GET /images?type=snapshot", &Value::Null).unwrap();
    reply.body["images"].as_array().unwrap().iter().map(|image| image["id"].as_u64().unwrap()).collect()
}

/// A snapshot of a server as another attempt would have left it.
fn left(world: &World, server: u64, attempt: &str) {
    let mut labels =
        world.cloud.ask(&format!("GET /servers/{server}"), &Value::Null).unwrap().body["server"]["labels"].clone();
    labels["cloud-machine.create"] = json!(attempt);
    let make = || {
        let body = json!({"type": "snapshot", "labels": labels});
        world.cloud.ask(&format!("POST /servers/{server}/actions/create_image"), &body).unwrap()
    };
    // What was begun last may lock it for a moment.
    let made = std::iter::repeat_with(make).take(1000).find(|reply| reply.status != 423).unwrap();
    assert!(world.cloud.succeeds(&made), "{made:?}");
}

#[test]
fn a_snapshot_that_is_just_being_recorded_is_not_forgotten_and_any_other_one_is() {
    let world = World::new();
    let server = world.half_made();
    let under_way = |state: &str, attempts: u32| {
        world.forge(|record| {
            record["state"] = json!(state);
            record["request"] = json!({
                "id": "01R", "action": "reimage", "attempts": attempts, "failures": 0, "started": "2026-11-30T00:00:00Z",
            });
        });
    };
    left(&world, server, "01R-1");
    for (state, attempts, is_kept) in [("accepted", 1, true), ("writing", 2, false), ("running", 1, false)] {
        under_way(state, attempts);
        let listed = world.call(&["gc"]);
        assert_eq!(listed.code, 0, "{}", listed.errors);
        assert_eq!(listed.output.contains("snapshot"), !is_kept, "{state} {attempts}: {}", listed.output);
    }
    under_way("accepted", 1);
    assert_eq!(world.call(&["gc", "--yes"]).code, 0);
    assert_eq!(snapshots(&world).len(), 1);
    under_way("running", 1);
    assert_eq!(world.call(&["gc", "--yes"]).code, 0);
    assert_eq!((snapshots(&world), world.machines.all()), (vec![], vec![server]), "and nothing else");

    left(&world, server, "01R-2");
    assert_eq!(world.call(&["delete", "web", "--yes"]).code, 0);
    assert!(snapshots(&world).is_empty(), "what was cut off before it was recorded goes with the machine");
}

#[test]
fn what_a_newer_program_has_written_down_is_not_forgotten() {
    let world = World::new();
    let server = world.half_made();
    left(&world, server, "01R-1");
    let mut before = Value::Null;
    world.forge(|record| {
        before = record.clone();
        record["remote"]["control"]["more"] = json!(true);
        record["remote"]["snapshot"] = json!({
            "state": {"disk": 1}, "image": record["image"]["digest"], "report": "reports/01R.json", "host_key": "ssh-ed25519 AAAA",
            "others": false, "taken": "2026-11-30T00:00:00Z",
        });
    });
    let done = world.call(&["gc", "--yes"]);
    assert!(done.code == 0 && done.output.is_empty(), "{}{}", done.output, done.errors);
    assert_eq!((snapshots(&world).len(), world.machines.all()), (1, vec![server]));
    world.forge(|record| *record = before);
}

#[test]
fn an_adopted_server_outlives_its_machine_whatever_its_labels_say_and_its_snapshot_does_not() {
    let world = World::new();
    let server = world.half_made();
    left(&world, server, "01R-1");
    world.forge(|record| {
        record["remote"]["host_key"] = json!("ssh-ed25519 AAAA");
        record["remote"]["control"].as_object_mut().unwrap().remove("owner").unwrap();
    });
    let deleted = world.call(&["delete", "web", "--yes"]);
    assert_eq!(deleted.code, 0, "{}", deleted.errors);
    assert_eq!((snapshots(&world), world.machines.all()), (vec![], vec![server]));
}

#[test]
fn only_the_snapshot_that_was_made_of_the_machines_clean_disk_counts() {
    let world = World::new();
    let server = world.half_made();
    let home = world.program.state().parent().unwrap().to_owned();
    let driver = Remote(Hetzner::of(home.join(".config/cloud-machine/drivers/hetzner.yaml")));
    let store = Store::open(world.program.state()).unwrap();
    let (record, owner) = (store.read(&"web".parse().unwrap()).unwrap(), store.owner().unwrap());
    let machine = MachineRef::of(&record, store.machine(&record.name));
    let kept = driver.snapshots().unwrap();
    driver.start_system(&machine, soon()).unwrap();
    let running = kept.keep(&machine, &owner, "01R-1", soon()).unwrap_err().to_string();
    assert!(running.contains("was switched on by somebody else") && snapshots(&world).is_empty(), "{running}");
    driver.halt(&machine, Duration::ZERO).unwrap();
    let state = kept.keep(&machine, &owner, "01R-1", soon()).unwrap();
    let [snapshot] = snapshots(&world)[..] else { panic!("{:?}", snapshots(&world)) };
    kept.check(&machine, &owner, "01R", &state, soon()).unwrap();
    kept.rebuild(&machine, &state, soon()).unwrap();
    let written = world.cloud.ask(&format!("GET /servers/{server}"), &Value::Null).unwrap();
    assert_eq!(written.body["server"]["image"]["id"], snapshot);

    let refused = |owner: &str, request: &str, state: &DriverState, why: &str| {
        let error = kept.check(&machine, owner, request, state, soon()).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    };
    let other = "was not made of that by this host";
    refused("somebody-else", "01R", &state, other);
    refused(&owner, "01", &state, other);
    let system = world.cloud.ask("GET /images?type=system", &Value::Null).unwrap().body["images"][0]["id"].clone();
    refused(&owner, "01R", &DriverState::of(&json!({"snapshot": system})).unwrap(), other);
    let image = format!("/images/{snapshot}");
    let labels = world.cloud.ask(&format!("GET {image}"), &Value::Null).unwrap().body["image"]["labels"].clone();
    for key in ["cloud-machine.owner", "cloud-machine.machine", "cloud-machine.create"] {
        let mut changed = labels.clone();
        changed[key] = json!("another");
        assert_eq!(world.cloud.ask(&format!("PUT {image}"), &json!({"labels": changed})).unwrap().status, 200);
        refused(&owner, "01R", &state, other);
        if key != "cloud-machine.create" {
            kept.discard(&machine, &owner, &state, soon()).unwrap_err();
        }
    }
    assert_eq!(world.cloud.ask(&format!("PUT {image}"), &json!({"labels": labels})).unwrap().status, 200);
    kept.check(&machine, &owner, "01R", &state, soon()).unwrap();
    kept.discard(&machine, &owner, &state, soon()).unwrap();
    refused(&owner, "01R", &state, "is not there any more");
    kept.discard(&machine, &owner, &state, soon()).unwrap();
    kept.rebuild(&machine, &state, soon()).unwrap_err();
}
