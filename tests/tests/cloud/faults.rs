//! That the injected faults are what they are called: what is done, and what is told.

use std::time::{Duration, Instant};

use cloud_machine_tests::cloud::{Fault, Injected, machines::Booted};
use serde_json::{Value, json};

use crate::World;

/// A server, and how often its machine has booted after one request for a reset that went so.
fn boots_after(world: &World, fault: Fault) -> (std::io::Result<u16>, usize) {
    let id = world.server("ci-1", &json!({}));
    world.cloud.inject(Injected::once("POST", "/actions/reset", fault));
    let reply = world.cloud.ask(&format!("POST /servers/{id}/actions/reset"), &Value::Null);
    // Whatever was begun ends.
    while world.field(id, "locked") == true {
        std::thread::sleep(Duration::from_millis(5));
    }
    (reply.map(|reply| reply.status), world.machines.machine(id).unwrap().boots)
}

#[test]
fn an_answer_does_not_say_whether_it_was_done() {
    for (fault, status, boots) in [
        (Fault::TooMany(Duration::from_secs(7)), 429, 1),
        (Fault::Status(500), 500, 1),
        (Fault::Status(503), 503, 1),
        (Fault::StatusAfterEffect(502), 502, 2),
        (Fault::StatusAfterEffect(504), 504, 2),
        (Fault::Late(Duration::from_millis(200)), 201, 2),
        (Fault::ActionFails, 201, 1),
        (Fault::ActionFailsAfterEffect, 201, 2),
    ] {
        let (reply, seen) = boots_after(&World::new(), fault);
        assert_eq!((reply.unwrap(), seen), (status, boots), "{fault:?}");
    }
}

#[test]
fn a_connection_that_ends_does_not_say_either() {
    let world = World::new();
    let (reply, boots) = boots_after(&world, Fault::CutAfterEffect);
    assert_eq!((reply.unwrap_err().kind(), boots), (std::io::ErrorKind::UnexpectedEof, 2));
    assert!(world.cloud.requests().iter().any(|line| line.ends_with("CUT")));
}

#[test]
fn silence_is_as_long_as_the_client_waits() {
    for (fault, boots) in [(Fault::Silent, 1), (Fault::SilentAfterEffect, 2)] {
        let began = Instant::now();
        let (reply, seen) = boots_after(&World::new(), fault);
        assert!(reply.is_err() && began.elapsed() >= Duration::from_secs(5), "{fault:?}");
        assert_eq!(seen, boots, "{fault:?}");
    }
}

#[test]
fn too_many_requests_are_told_with_the_time_to_wait() {
    let world = World::new();
    world.cloud.inject(Injected::once("GET", "/servers", Fault::TooMany(Duration::from_secs(7))));
    let reply = world.get("/servers");
    assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded"));
    assert_eq!((reply.header("retry-after"), reply.header("ratelimit-remaining")), (Some("7"), Some("0")));
    assert_eq!(world.get("/servers").status, 200, "once is once");
    assert_eq!(world.cloud.faults_left(), 0);
}

#[test]
fn failed_actions_say_why_and_hanging_ones_lock_for_ever() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    world.cloud.inject(Injected::once("POST", "/rebuild", Fault::ActionFails));
    let reply = world.ask(&format!("POST /servers/{id}/actions/rebuild"), &json!({"image": "debian-13"}));
    assert!(!world.cloud.succeeds(&reply));
    let action = world.get(&format!("/actions/{}", reply.body["action"]["id"])).body["action"].clone();
    assert_eq!((&action["status"], &action["progress"]), (&json!("error"), &json!(50)));
    assert_eq!(action["error"]["code"], "action_failed");
    assert_eq!(world.field(id, "image")["name"], "debian-12");

    world.cloud.inject(Injected::once("POST", "/reset", Fault::ActionHangs));
    let reply = world.ask(&format!("POST /servers/{id}/actions/reset"), &Value::Null);
    std::thread::sleep(Duration::from_millis(200));
    let path = format!("/actions/{}", reply.body["action"]["id"]);
    assert_eq!(world.get(&path).body["action"]["status"], "running");
    assert_eq!(world.ask(&format!("POST /servers/{id}/actions/reset"), &Value::Null).status, 423);
}

#[test]
fn a_creation_that_fails_leaves_what_may_be_deleted() {
    let world = World::new();
    world.cloud.inject(Injected::once("POST", "/servers", Fault::ActionFails));
    let body = json!({"name": "ci-1", "server_type": "cx23", "image": "debian-12"});
    let reply = world.ask("POST /servers", &body);
    assert!(!world.cloud.succeeds(&reply));
    assert!(!world.cloud.wait_for(reply.body["next_actions"][0]["id"].as_u64().unwrap()));
    let id = reply.body["server"]["id"].as_u64().unwrap();
    assert_eq!(world.field(id, "status"), "unknown");
    assert!(world.cloud.succeeds(&world.ask(&format!("DELETE /servers/{id}"), &Value::Null)));
    assert_eq!(world.names("").len(), 0);
}

#[test]
fn a_server_vanishes_with_its_machine_when_it_is_told_to() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    let fault = Injected { spared: 1, ..Injected::once("GET", &format!("/servers/{id}"), Fault::Vanishes) };
    world.cloud.inject(fault);
    let path = format!("/servers/{id}");
    assert_eq!((world.get(&path).status, world.get(&path).status), (200, 404));
    assert!(world.machines.all().is_empty());
    assert_eq!(world.names("").len(), 0);
}

#[test]
fn a_rescue_system_that_is_ignored_is_enabled_and_never_booted() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    world.cloud.inject(Injected::once("POST", "/actions/enable_rescue", Fault::RescueIgnored));
    let act = |name: &str| {
        let reply = world.ask(&format!("POST /servers/{id}/actions/{name}"), &Value::Null);
        assert!(world.cloud.succeeds(&reply), "{reply:?}");
        (world.field(id, "rescue_enabled"), world.machines.machine(id).unwrap().booted)
    };
    assert_eq!(act("enable_rescue").0, true);
    assert_eq!(act("reset"), (json!(true), Some(Booted::Disk)));
    // The next one is as ever.
    act("enable_rescue");
    let (enabled, booted) = act("reset");
    assert!(enabled == false && matches!(booted, Some(Booted::Rescue(_))), "{booted:?}");
}
