//! What the API refuses, with which status and code.

use std::time::Duration;

use cloud_machine_tests::cloud::{Fault, Injected, Settings};
use serde_json::{Value, json};

use crate::{KEY, World};

#[test]
fn only_the_token_opens_anything() {
    let world = World::new();
    for token in ["", "wrong"] {
        let reply = world.cloud.ask_as(token, "GET /servers", &Value::Null).unwrap();
        assert_eq!((reply.status, reply.code()), (401, "unauthorized"), "{token:?}");
    }
}

#[test]
fn bad_input_is_refused_with_the_field() {
    let world = World::new();
    let long = "x".repeat((32 << 10) + 1);
    let body = |change: Value| {
        let mut body = json!({"name": "ci-1", "server_type": "cx23", "image": "debian-12"});
        let Value::Object(fields) = change else { panic!("fields") };
        body.as_object_mut().unwrap().extend(fields);
        body
    };
    for (change, field) in [
        (json!({"name": null}), "name"),
        (json!({"name": "under_score"}), "name"),
        (json!({"name": "-ci"}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"server_type": "cx1000"}), "server_type"),
        (json!({"image": "debian-1"}), "image"),
        (json!({"image": null}), "image"),
        (json!({"server_type": "cax11"}), "image"),
        (json!({"location": "moon1"}), "location"),
        (json!({"ssh_keys": ["nobody"]}), "ssh_keys"),
        (json!({"ssh_keys": "nobody"}), "ssh_keys"),
        (json!({"labels": {"-": "x"}}), "labels"),
        (json!({"labels": {"a": "b c"}}), "labels"),
        (json!({"labels": {"a": 1}}), "labels"),
        (json!({"user_data": long}), "user_data"),
        (json!({"volumes": [1]}), "volumes"),
        (json!({"start_after_create": "yes"}), "start_after_create"),
    ] {
        let reply = world.ask("POST /servers", &body(change.clone()));
        assert_eq!((reply.status, reply.code()), (422, "invalid_input"), "{change}: {reply:?}");
        assert_eq!(reply.body["error"]["details"]["fields"][0]["name"], field, "{change}");
    }
    let sold = world.ask("POST /servers", &body(json!({"server_type": "cx22"})));
    assert_eq!((sold.status, sold.code()), (412, "resource_unavailable"));
    for query in ["per_page=51", "per_page=0", "page=x", "sort=size", "sort=id:up", "label_selector=a%20in%20b"] {
        let reply = world.get(&format!("/servers?{query}"));
        assert_eq!((reply.status, reply.code()), (422, "invalid_input"), "{query}");
    }
    assert!(world.machines.all().is_empty());
    assert_eq!(world.names("").len(), 0);
}

#[test]
fn what_is_not_there_is_not_found() {
    let world = World::new();
    for request in [
        "GET /servers/1",
        "PUT /servers/1",
        "DELETE /servers/x",
        "POST /servers/1/actions/reset",
        "GET /actions/1",
        "GET /images/1",
        "DELETE /images/1",
        "GET /ssh_keys/1",
        "GET /server_types/1",
        "GET /elsewhere",
    ] {
        let reply = world.ask(request, &Value::Null);
        assert_eq!((reply.status, reply.code()), (404, "not_found"), "{request}");
    }
    let id = world.server("ci-1", &json!({}));
    assert_eq!(world.ask(&format!("POST /servers/{id}/actions/explode"), &Value::Null).status, 404);
    let system = world.get("/images?name=debian-12").body["images"][0]["id"].clone();
    let reply = world.ask(&format!("DELETE /images/{system}"), &Value::Null);
    assert_eq!((reply.status, reply.code()), (403, "protected"));
}

#[test]
fn names_and_keys_are_unique() {
    let world = World::new();
    world.server("ci-1", &json!({}));
    let again = json!({"name": "ci-1", "server_type": "cx23", "image": "debian-12"});
    let reply = world.ask("POST /servers", &again);
    assert_eq!((reply.status, reply.code()), (409, "uniqueness_error"));
    let other = world.server("ci-2", &json!({}));
    assert_eq!(world.ask(&format!("PUT /servers/{other}"), &json!({"name": "ci-1"})).status, 409);

    assert_eq!(world.ask("POST /ssh_keys", &json!({"name": "ada", "public_key": KEY})).status, 201);
    for (name, key) in [("ada", KEY), ("eve", KEY)] {
        let reply = world.ask("POST /ssh_keys", &json!({"name": name, "public_key": key}));
        assert_eq!((reply.status, reply.code()), (409, "uniqueness_error"), "{name}");
    }
    let reply = world.ask("POST /ssh_keys", &json!({"name": "eve", "public_key": "ssh-ed25519 AAAA"}));
    assert_eq!((reply.status, reply.code()), (422, "invalid_input"));
}

#[test]
fn of_several_at_once_one_makes_the_server() {
    let world = World::new();
    let body = json!({"name": "ci-1", "server_type": "cx23", "image": "debian-12"});
    let statuses = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| world.ask("POST /servers", &body).status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    assert_eq!(world.names("").len(), 1);
}

#[test]
fn a_server_is_locked_while_an_action_is_about_it() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    world.cloud.inject(Injected::once("POST", "/reset", Fault::ActionSlow(Duration::from_secs(3))));
    let reset = world.ask(&format!("POST /servers/{id}/actions/reset"), &Value::Null);
    assert_eq!(world.field(id, "locked"), true);
    for request in [format!("POST /servers/{id}/actions/poweroff"), format!("DELETE /servers/{id}")] {
        let reply = world.ask(&request, &Value::Null);
        assert_eq!((reply.status, reply.code()), (423, "locked"), "{request}");
    }
    assert!(world.cloud.succeeds(&reset));
    world.act(id, "poweroff", &Value::Null);
}

#[test]
fn requests_are_counted_and_given_back() {
    // One more each half second.
    let world = World::with(Settings { requests_per_hour: 7200, ..Settings::default() });
    let reply = world.get("/servers");
    assert_eq!((reply.header("ratelimit-limit"), reply.header("ratelimit-remaining")), (Some("7200"), Some("7199")));
    let few = World::with(Settings { requests_per_hour: 2, ..Settings::default() });
    assert_eq!((few.get("/servers").status, few.get("/servers").status), (200, 200));
    let reply = few.get("/servers");
    assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded"));
    assert_eq!(reply.header("ratelimit-remaining"), Some("0"));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&wait), "{wait}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let reset: u64 = reply.header("ratelimit-reset").unwrap().parse().unwrap();
    assert!((now + 3500..=now + 3602).contains(&reset), "{reset}");
}
