//! That nothing is made twice, nothing is left unknown, and what cannot be made is told with what can.

use std::time::{Duration, Instant};

use cloud_machine_hetzner::{ApiError, NewServer, Ownership, TokenSource};
use cloud_machine_protocol::causes;
use cloud_machine_tests::cloud::{Fault, Injected};
use serde_json::json;

use crate::{PACE, World, new, own, soon};

#[test]
fn what_is_there_already_is_found() {
    let world = World::new();
    let first = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap();
    let second = world.client.find_or_create(&own("a2"), &new("ci-1"), soon()).unwrap();
    assert_eq!((first.made, second.made, second.server), (true, false, first.server));
    assert_eq!(world.requests("POST"), 1);
}

#[test]
fn an_answer_that_is_lost_makes_no_second_server() {
    for fault in [
        Fault::StatusAfterEffect(500),
        Fault::StatusAfterEffect(502),
        Fault::StatusAfterEffect(504),
        Fault::CutAfterEffect,
        Fault::SilentAfterEffect,
        Fault::Late(PACE.request + Duration::from_secs(1)),
    ] {
        let world = World::new();
        world.cloud.inject(Injected::once("POST", "/servers", fault));
        let found = world.client.find_or_create(&own("a1"), &new("ci-1"), soon());
        let found = found.unwrap_or_else(|error| panic!("{fault:?}: {}", causes(&error)));
        assert!(found.made && !found.server.locked, "{fault:?}");
        // One that came late is noted late.
        assert!(world.requests("POST /v1/servers") <= 1, "{fault:?}: {:?}", world.cloud.requests());
        assert_eq!((world.servers(), world.boots(found.server.id)), (vec![found.server.id], 1), "{fault:?}");
    }
}

#[test]
fn without_an_answer_and_without_a_server_the_call_ends_and_may_be_made_again() {
    for fault in [Fault::Status(503), Fault::Silent] {
        let world = World::new();
        world.cloud.inject(Injected::once("POST", "/servers", fault));
        let error = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
        assert!(matches!(error, ApiError::Unanswered { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("cannot create server ci-1: ") && text.contains("do it again"), "{text}");
        assert!(world.servers().is_empty());
        let found = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap();
        assert_eq!((found.made, world.servers().len(), world.requests("POST")), (true, 1, 2), "{fault:?}");
    }
}

#[test]
fn a_server_that_an_attempt_made_and_did_not_hear_of_is_found_by_the_next() {
    let world = World::new();
    world.cloud.inject(Injected::once("POST", "/servers", Fault::CutAfterEffect));
    // As if the program had ended before it looked.
    let unheard = Injected { times: 100, spared: 2, ..Injected::once("GET", "/servers", Fault::Status(500)) };
    world.cloud.inject(unheard.clone());
    let error = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::ServerFault { status: 500, attempts: 4, .. }), "{error}");
    let world = World { client: crate::client(&world.cloud.endpoint(), world.folder.path().join("token")), ..world };
    // What is still injected is used up by others.
    while world.cloud.faults_left() > 0 {
        world.cloud.ask("GET /servers", &serde_json::Value::Null).unwrap();
    }
    let found = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap();
    assert_eq!((found.made, world.servers().len(), world.requests("POST /v1/servers")), (true, 1, 1));
}

#[test]
fn a_creation_that_fails_half_way_leaves_nothing() {
    for fault in [Fault::ActionFails, Fault::ActionFailsAfterEffect] {
        let world = World::new();
        world.cloud.inject(Injected::once("POST", "/servers", fault));
        let error = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
        assert!(matches!(error, ApiError::Unfinished { removed: true, .. }), "{error}");
        let text = causes(&error);
        assert!(text.contains("removed again") && text.contains("(action_failed): injected"), "{text}");
        assert!(world.servers().is_empty() && world.machines.all().is_empty());
    }
}

#[test]
fn what_cannot_be_removed_again_is_named() {
    let world = World::new();
    world.cloud.inject(Injected::once("POST", "/servers", Fault::ActionFails));
    world.cloud.inject(Injected { times: 99, ..Injected::once("DELETE", "", Fault::Status(500)) });
    let error = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
    let id = world.servers()[0];
    assert!(matches!(error, ApiError::Unfinished { removed: false, server, .. } if server == id), "{error}");
    assert!(error.to_string().contains(&format!("server {id} was made and not finished, and it is still there")));
    // Also later: it is not taken for a machine.
    let error = world.client.find_or_create(&own("a2"), &new("ci-1"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::Unfinished { removed: false, server, .. } if server == id), "{error}");
}

#[test]
fn of_two_programs_at_once_one_makes_the_server_and_both_have_it() {
    let world = World::new();
    world.cloud.inject(Injected::once("POST", "/servers", Fault::ActionSlow(Duration::from_millis(300))));
    let token = world.folder.path().join("token");
    let found: Vec<_> = std::thread::scope(|scope| {
        let program = |number: usize| {
            let (endpoint, token) = (world.cloud.endpoint(), token.clone());
            scope.spawn(move || {
                let client = crate::client(&endpoint, token);
                client.find_or_create(&own(&format!("a{number}")), &new("ci-1"), soon()).unwrap()
            })
        };
        let programs: Vec<_> = (0..4).map(program).collect();
        programs.into_iter().map(|program| program.join().unwrap()).collect()
    });
    assert_eq!(found.iter().filter(|found| found.made).count(), 1, "{found:?}");
    assert_eq!(world.servers(), [found[0].server.id]);
    assert!(found.iter().all(|one| one.server.id == found[0].server.id && !one.server.locked));
}

#[test]
fn a_server_that_another_program_makes_between_two_looks_is_found_by_its_name() {
    let world = World::new();
    // The look at the labels finds nothing, since its answer is of before.
    world.cloud.inject(Injected::once("GET", "/servers", Fault::Late(Duration::from_millis(500))));
    let found = std::thread::scope(|scope| {
        let program = scope.spawn(|| world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap());
        std::thread::sleep(Duration::from_millis(150));
        let other = world.foreign("ci-1", &json!(own("a2").labels()));
        assert_eq!(program.join().unwrap().server.id, other);
        other
    });
    assert_eq!((world.servers(), world.requests("POST")), (vec![found], 1));
}

#[test]
fn one_that_is_being_deleted_is_not_taken_for_the_machine() {
    let world = World::new();
    let old = world.made();
    world.cloud.inject(Injected::once("DELETE", "", Fault::ActionSlow(Duration::from_millis(700))));
    let deleting = world.cloud.ask(&format!("DELETE /servers/{old}"), &serde_json::Value::Null).unwrap();
    assert_eq!(deleting.status, 200);
    let found = world.client.find_or_create(&own("a2"), &new("ci-1"), soon()).unwrap();
    assert!(found.made && found.server.id != old);
    assert_eq!(world.servers(), [found.server.id]);

    world.cloud.inject(Injected::once("DELETE", "", Fault::ActionHangs));
    world.cloud.ask(&format!("DELETE /servers/{}", found.server.id), &serde_json::Value::Null).unwrap();
    let error = world.client.find_or_create(&own("a3"), &new("ci-1"), Instant::now() + Duration::from_secs(1));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains(&format!("when the older server {} of this machine was deleting", found.server.id)),
        "{error}"
    );
}

#[test]
fn a_name_that_another_server_has_is_refused() {
    let world = World::new();
    let foreign = world.foreign("ci-1", &json!({"team": "other"}));
    let error = world.client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::NameTaken { server, .. } if server == foreign), "{error}");
    assert!(error.to_string().contains("take another name, or adopt it"), "{error}");
    // Also one of the same machine's name of another host, and when it appears between the look and the request.
    let other = Ownership::new("host-2", "ci-2", "b1").unwrap();
    let theirs = world.client.find_or_create(&other, &new("ci-2"), soon()).unwrap().server.id;
    let mine = Ownership::new("host-1", "ci-2", "a1").unwrap();
    let error = world.client.find_or_create(&mine, &new("ci-2"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::NameTaken { server, .. } if server == theirs), "{error}");
    assert_eq!(world.servers().len(), 2);
}

#[test]
fn two_servers_of_one_machine_are_not_chosen_between() {
    let world = World::new();
    let labels = json!(own("a1").labels());
    let ids = [world.foreign("one", &labels), world.foreign("two", &labels)];
    let error = world.client.find_or_create(&own("a2"), &new("ci-1"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::Ambiguous { .. }), "{error}");
    assert!(ids.iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
}

#[test]
fn what_the_provider_does_not_have_is_told_with_what_it_has() {
    let world = World::new();
    let told = |change: fn(&mut NewServer)| {
        let mut wanted = new("ci-1");
        change(&mut wanted);
        let error = world.client.find_or_create(&own("a1"), &wanted, soon()).unwrap_err();
        assert!(matches!(error, ApiError::NoSuch { .. }), "{error}");
        error.to_string()
    };
    for (text, expected) in [
        (
            told(|new| new.server_type = "cx1000".into()),
            "there is no server type cx1000; there are ccx13, cx23, cx33, cx43",
        ),
        (
            told(|new| new.server_type = "cx22".into()),
            "there is no server type cx22 to be had in fsn1 any more; there are ccx13, cx23, cx33, cx43",
        ),
        (told(|new| new.image = "debian-1".into()), "there is no image debian-1; there are debian-12, debian-13"),
        (told(|new| new.image = "77".into()), "there is no image 77; there are debian-12, debian-13"),
        (told(|new| new.location = Some("moon1".into())), "there is no location moon1; there are fsn1, hel1, nbg1"),
    ] {
        assert_eq!(text, format!("cannot create server ci-1: {expected}"));
    }
    // What is wrong in another way is what the provider says.
    let bad = NewServer { name: "under_score".to_owned(), ..new("ci-1") };
    let error = world.client.find_or_create(&own("a1"), &bad, soon()).unwrap_err().to_string();
    assert!(error.contains("(invalid_input): invalid input in field 'name'"), "{error}");
    assert!(world.machines.all().is_empty());

    let id = world.made();
    let error = world.client.rebuild(id, "debian-1", None, soon()).unwrap_err().to_string();
    let expected = format!("cannot rebuild server {id}: there is no image debian-1; there are debian-12, debian-13");
    assert_eq!(error, expected);
}

#[test]
fn a_snapshot_whose_answer_is_lost_is_made_once() {
    for fault in [Fault::StatusAfterEffect(502), Fault::CutAfterEffect] {
        let world = World::new();
        let id = world.made();
        world.cloud.inject(Injected::once("POST", "/create_image", fault));
        let image = world.client.create_snapshot(id, "golden", &own("s1"), soon()).unwrap();
        assert_eq!(image.status, "available");
        assert_eq!(world.client.snapshots("cloud-machine.owner", soon()).unwrap(), [image]);
    }
    let world = World::new();
    let id = world.made();
    world.cloud.inject(Injected::once("POST", "/create_image", Fault::ActionFails));
    let error = world.client.create_snapshot(id, "golden", &own("s1"), soon()).unwrap_err();
    assert!(matches!(error, ApiError::ActionFailed { .. }), "{error}");
    assert!(world.client.snapshots("cloud-machine.owner", soon()).unwrap().is_empty());
}

#[test]
fn nothing_is_sent_where_there_is_no_token() {
    let world = World::new();
    let source = TokenSource::Environment("CLOUD_MACHINE_NEVER_SET".to_owned());
    let client = cloud_machine_hetzner::Client::new(&world.cloud.endpoint(), source, PACE).unwrap();
    let error = client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err();
    assert!(causes(&error).ends_with("export it, or name a file or a program"), "{}", causes(&error));
    assert_eq!(world.requests(""), 0);
}
