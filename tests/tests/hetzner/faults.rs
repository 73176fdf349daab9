//! What passes is waited out, what does not is told, and what must happen once happens once.

use std::time::{Duration, Instant};

use cloud_machine_hetzner::ApiError;
use cloud_machine_protocol::causes;
use cloud_machine_tests::{
    cloud::{Fault, Injected, machines::Booted},
    http::{Answer, Server},
};
use serde_json::json;

use crate::{World, new, own, soon, write_token};

#[test]
fn too_many_requests_are_waited_out_when_there_is_time() {
    let world = World::new();
    world.cloud.inject(Injected::once("GET", "/servers", Fault::TooMany(Duration::from_secs(1))));
    let began = Instant::now();
    world.client.servers("team", soon()).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Also where a request must be made once: it was not done.
    world.cloud.inject(Injected::once("POST", "/servers", Fault::TooMany(Duration::from_secs(1))));
    assert!(world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap().made);
    assert_eq!(world.servers().len(), 1);

    world.cloud.inject(Injected::once("GET", "/servers", Fault::TooMany(Duration::from_secs(3000))));
    let began = Instant::now();
    let error = world.client.servers("team", soon()).unwrap_err();
    assert!(matches!(error, ApiError::RateLimited { wait, .. } if wait == Duration::from_secs(3000)), "{error}");
    assert!(error.to_string().contains("wants 3000 s to pass") && began.elapsed() < Duration::from_secs(5), "{error}");
}

#[test]
fn a_locked_server_is_waited_for_until_the_deadline() {
    let world = World::new();
    let id = world.made();
    let lock = |fault| {
        world.cloud.inject(Injected::once("POST", "/reboot", fault));
        let reply = world.cloud.ask(&format!("POST /servers/{id}/actions/reboot"), &json!({})).unwrap();
        assert_eq!(reply.status, 201);
    };
    lock(Fault::ActionSlow(Duration::from_millis(700)));
    let began = Instant::now();
    world.client.power_off(id, soon()).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(500) && !world.machines.machine(id).unwrap().on);
    lock(Fault::ActionHangs);
    for error in [
        world.client.power_on(id, Instant::now() + Duration::from_millis(600)).unwrap_err(),
        world.client.reset(id, Instant::now() + Duration::from_millis(600)).unwrap_err(),
    ] {
        assert!(matches!(error, ApiError::Locked { .. }), "{error}");
        assert!(error.to_string().contains(&format!("server {id}: another action kept it locked")), "{error}");
    }
}

#[test]
fn faults_of_the_provider_pass_or_are_told() {
    let world = World::new();
    let inject = |fault, times| world.cloud.inject(Injected { times, ..Injected::once("GET", "/locations", fault) });
    for fault in [Fault::Status(500), Fault::Status(502), Fault::Status(503), Fault::Status(504), Fault::CutAfterEffect]
    {
        inject(fault, 3);
        assert_eq!(world.client.locations(soon()).unwrap().len(), 3, "{fault:?}");
    }
    inject(Fault::Silent, 1);
    assert_eq!(world.client.locations(soon()).unwrap().len(), 3);
    inject(Fault::Status(503), 4);
    let error = world.client.locations(soon()).unwrap_err();
    assert!(matches!(error, ApiError::ServerFault { status: 503, attempts: 4, .. }), "{error}");
    inject(Fault::CutAfterEffect, 4);
    let error = world.client.locations(soon()).unwrap_err();
    assert!(matches!(error, ApiError::Unreachable { .. }) && error.is_offline(), "{error}");
    inject(Fault::Silent, 1);
    let began = Instant::now();
    let error = world.client.locations(began + Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, ApiError::TimedOut { .. }) && began.elapsed() < Duration::from_secs(2), "{error}");
    assert_eq!(world.cloud.faults_left(), 0);
}

#[test]
fn a_reset_without_an_answer_is_done_once_and_does_not_leave_the_rescue_system() {
    for fault in [
        Fault::StatusAfterEffect(502),
        Fault::CutAfterEffect,
        Fault::SilentAfterEffect,
        Fault::Status(503),
        Fault::Silent,
    ] {
        let world = World::new();
        let id = world.made();
        world.client.enable_rescue(id, &[], soon()).unwrap();
        world.cloud.inject(Injected::once("POST", "/reset", fault));
        world.client.reset(id, soon()).unwrap_or_else(|error| panic!("{fault:?}: {}", causes(&error)));
        let machine = world.machines.machine(id).unwrap();
        assert_eq!(machine.boots, 2, "{fault:?}");
        assert!(matches!(machine.booted, Some(Booted::Rescue(_))), "{fault:?}: {:?}", machine.booted);
    }
    let world = World::new();
    let id = world.made();
    world.cloud.inject(Injected { times: 9, ..Injected::once("POST", "/reset", Fault::Status(503)) });
    let error = world.client.reset(id, soon()).unwrap_err();
    assert!(matches!(error, ApiError::Unanswered { .. }), "{error}");
    assert_eq!((world.requests("POST /v1/servers/"), world.boots(id)), (4, 1));
}

#[test]
fn what_may_be_done_again_is_asked_for_again() {
    let world = World::new();
    let id = world.made();
    for (end, fault) in [
        ("/enable_rescue", Fault::StatusAfterEffect(502)),
        ("/poweroff", Fault::CutAfterEffect),
        ("/poweron", Fault::Status(500)),
    ] {
        world.cloud.inject(Injected::once("POST", end, fault));
    }
    world.client.enable_rescue(id, &[], soon()).unwrap();
    world.client.power_off(id, soon()).unwrap();
    world.client.power_on(id, soon()).unwrap();
    let machine = world.machines.machine(id).unwrap();
    assert!(matches!(machine.booted, Some(Booted::Rescue(_))) && machine.boots == 2, "{machine:?}");
    world.cloud.inject(Injected::once("DELETE", "", Fault::CutAfterEffect));
    world.client.delete_server(id, soon()).unwrap();
    assert!(world.servers().is_empty());
}

#[test]
fn an_action_that_fails_half_way_is_told_with_its_reason() {
    let world = World::new();
    let id = world.made();
    for (fault, why) in [(Fault::ActionFails, "nothing was done"), (Fault::ActionFailsAfterEffect, "all was done")] {
        world.cloud.inject(Injected::once("POST", "/rebuild", fault));
        let error = world.client.rebuild(id, "debian-13", None, soon()).unwrap_err();
        assert!(matches!(error, ApiError::ActionFailed { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot rebuild server {id}: ")), "{text}");
        assert!(text.contains(&format!("failed (action_failed): injected: {why}; it may have")), "{text}");
    }
    world.cloud.inject(Injected::once("POST", "/poweroff", Fault::ActionHangs));
    let error = world.client.power_off(id, Instant::now() + Duration::from_millis(700)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ApiError::TimedOut { .. }), "{text}");
    assert!(text.contains("(stop_server) was at 50 %") && text.contains("look before trying again"), "{text}");
}

#[test]
fn a_server_that_vanished_is_told() {
    let world = World::new();
    let id = world.made();
    world.cloud.inject(Injected::once("POST", "/reset", Fault::Vanishes));
    let error = world.client.reset(id, soon()).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot reset server {id}: the provider has no such thing")));
    for error in [
        world.client.server(id, soon()).unwrap_err(),
        world.client.power_on(id, soon()).unwrap_err(),
        world.client.rebuild(id, "debian-12", None, soon()).unwrap_err(),
        world.client.enable_rescue(id, &[], soon()).unwrap_err(),
        world.client.create_snapshot(id, "x", &own("s1"), soon()).unwrap_err(),
    ] {
        assert!(error.is_not_found() && error.to_string().contains(&format!("server {id}: ")), "{error}");
    }
    let again = world.client.find_or_create(&own("a2"), &new("ci-1"), soon()).unwrap();
    assert!(again.made && again.server.id != id);
}

#[test]
fn whoever_is_not_the_api_is_told() {
    let folder = tempfile::TempDir::new().unwrap();
    for bytes in [&b"<html>login</html>"[..], b"{}", br#"{"servers": [{"id": "7"}], "meta": {"pagination": {}}}"#] {
        let server = Server::start(Answer::Document(bytes.to_vec()));
        let token = write_token(folder.path(), "word");
        // It listens at every address of this host.
        let port = server.root().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
        let error = crate::client(&format!("http://127.0.0.1:{port}/v1"), token).servers("team", soon()).unwrap_err();
        assert!(matches!(error, ApiError::Answer { .. }), "{error}");
        assert!(error.to_string().ends_with("check the endpoint") && !error.is_offline(), "{error}");
    }
    // A port where nobody listens: bound and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = crate::client(&format!("http://127.0.0.1:{port}"), folder.path().join("token"));
    let error = client.servers("team", soon()).unwrap_err();
    assert!(matches!(error, ApiError::Unreachable { .. }) && error.is_offline(), "{error}");
}
