//! What the API does when all goes well.

use cloud_machine_tests::cloud::machines::{Booted, Source};
use serde_json::{Value, json};

use crate::{KEY, World};

#[test]
fn a_server_lives_from_its_creation_to_its_end() {
    let world = World::new();
    let key = world.ask("POST /ssh_keys", &json!({"name": "ada", "public_key": KEY}));
    assert_eq!(key.status, 201, "{key:?}");
    let key = key.body["ssh_key"]["id"].as_u64().unwrap();
    let id = world.server("ci-1", &json!({"owner": "me"}));
    assert_eq!(world.field(id, "status"), "running");
    assert_eq!(world.field(id, "locked"), false);

    let rescue = world.act(id, "enable_rescue", &json!({"ssh_keys": [key], "type": "linux64"}));
    assert_eq!(world.field(id, "rescue_enabled"), true);
    assert_eq!(world.machines.machine(id).unwrap().booted, Some(Booted::Disk), "until it is booted");
    world.act(id, "reset", &Value::Null);
    let Some(Booted::Rescue(booted)) = world.machines.machine(id).unwrap().booted else { panic!("no rescue") };
    assert_eq!((booted.keys, json!(booted.password)), (vec![KEY.to_owned()], rescue.body["root_password"].clone()));
    assert_eq!(world.field(id, "rescue_enabled"), false, "one boot uses it up");
    world.act(id, "reboot", &Value::Null);
    assert_eq!(world.machines.machine(id).unwrap().booted, Some(Booted::Disk));

    world.act(id, "enable_rescue", &json!({}));
    world.act(id, "disable_rescue", &Value::Null);
    world.act(id, "poweroff", &Value::Null);
    assert_eq!(world.field(id, "status"), "off");
    world.act(id, "poweron", &Value::Null);
    assert_eq!(world.machines.machine(id).unwrap().booted, Some(Booted::Disk));
    world.act(id, "shutdown", &Value::Null);
    assert_eq!(world.field(id, "status"), "off");

    let deleted = world.ask(&format!("DELETE /servers/{id}"), &Value::Null);
    assert_eq!(deleted.status, 200);
    assert!(world.cloud.succeeds(&deleted));
    assert_eq!(world.get(&format!("/servers/{id}")).status, 404);
    assert!(world.machines.all().is_empty());
}

#[test]
fn a_rebuild_keeps_all_but_the_disk_and_takes_a_snapshot_too() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    let before = world.field(id, "public_net");
    let made = world.act(id, "create_image", &json!({"description": "golden", "labels": {"owner": "me"}}));
    let image = made.body["image"]["id"].as_u64().unwrap();
    assert_eq!(made.body["image"]["status"], "creating");
    let shown = world.get(&format!("/images/{image}")).body["image"].clone();
    assert_eq!((&shown["status"], &shown["created_from"]["id"]), (&json!("available"), &json!(id)));
    assert_eq!(world.get("/images?type=snapshot&label_selector=owner%3Dme").body["images"][0]["id"], image);

    world.act(id, "rebuild", &json!({"image": "debian-13", "user_data": "#cloud-config\n"}));
    let machine = world.machines.machine(id).unwrap();
    assert_eq!(machine.contents.image, Source::System("debian-13".to_owned()));
    world.act(id, "rebuild", &json!({"image": image.to_string()}));
    let machine = world.machines.machine(id).unwrap();
    assert_eq!(machine.contents.image, Source::Snapshot(image));
    assert_eq!(machine.contents.user_data.as_deref(), Some("#cloud-config\n"), "that of before, without a new one");
    assert_eq!((machine.on, machine.boots), (true, 3));
    assert_eq!(world.field(id, "public_net"), before);
    assert_eq!(world.field(id, "image")["id"], image);

    assert_eq!(world.ask(&format!("DELETE /images/{image}"), &Value::Null).status, 204);
    assert_eq!(world.get(&format!("/images/{image}")).status, 404);
    assert_eq!(world.field(id, "image"), Value::Null);
}

#[test]
fn servers_are_chosen_by_labels_and_names_in_an_order_and_in_pages() {
    let world = World::new();
    for (name, labels) in
        [("b", json!({"owner": "me", "role": "ci"})), ("a", json!({"owner": "me"})), ("c", json!({"owner": "you"}))]
    {
        world.server(name, &labels);
    }
    for (query, expected) in [
        ("", "bac"),
        ("?sort=name:asc", "abc"),
        ("?sort=id:desc", "cab"),
        ("?name=a", "a"),
        ("?name=x", ""),
        ("?label_selector=owner%3D%3Dme", "ba"),
        ("?label_selector=owner=me,role=ci", "b"),
        ("?label_selector=owner%21%3Dme", "c"),
        ("?label_selector=role", "b"),
        ("?label_selector=%21role", "ac"),
        ("?label_selector=owner+in+(me,you),!role", "ac"),
        ("?label_selector=owner+notin+(me)", "c"),
        ("?status=running&status=off", "bac"),
        ("?status=off", ""),
        ("?per_page=2", "ba"),
        ("?per_page=2&page=2", "c"),
        ("?per_page=2&page=3", ""),
    ] {
        assert_eq!(world.names(query).concat(), expected, "{query}");
    }
    let pages = world.get("/servers?per_page=2&page=2").body["meta"]["pagination"].clone();
    let expected =
        json!({"page": 2, "per_page": 2, "previous_page": 1, "next_page": null, "last_page": 2, "total_entries": 3});
    assert_eq!(pages, expected);

    let id = world.get("/servers?name=c").body["servers"][0]["id"].as_u64().unwrap();
    let changed = world.ask(&format!("PUT /servers/{id}"), &json!({"labels": {"owner": "me"}}));
    assert_eq!((changed.status, &changed.body["server"]["labels"]), (200, &json!({"owner": "me"})));
    assert_eq!(world.names("?label_selector=owner%3Dme").concat(), "bac");
}

#[test]
fn actions_run_and_end_and_are_told_of_their_server() {
    let world = World::new();
    let id = world.server("ci-1", &json!({}));
    let begun = world.ask(&format!("POST /servers/{id}/actions/reset"), &Value::Null).body["action"].clone();
    assert_eq!(
        (&begun["status"], &begun["progress"], &begun["finished"]),
        (&json!("running"), &json!(0), &Value::Null)
    );
    assert_eq!(begun["resources"], json!([{"id": id, "type": "server"}]));
    assert!(world.cloud.wait_for(begun["id"].as_u64().unwrap()));
    let number = &begun["id"];
    for path in ["/actions", "/servers/actions", &format!("/servers/{id}/actions")] {
        let ended = world.get(&format!("{path}/{number}")).body["action"].clone();
        assert_eq!((&ended["status"], &ended["progress"]), (&json!("success"), &json!(100)), "{path}");
    }
    let commands = |path: &str| {
        let reply = world.get(path);
        let actions = reply.body["actions"].as_array().unwrap();
        actions.iter().map(|action| action["command"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ["create_server", "start_server", "reset_server"];
    assert_eq!(commands(&format!("/servers/{id}/actions")), all);
    assert_eq!(commands(&format!("/actions?id={number}")), ["reset_server"]);
    assert_eq!(commands(&format!("/servers/{id}/actions?status=error")), [""; 0]);
    let removed = world.get("/actions");
    assert_eq!((removed.status, removed.code()), (422, "invalid_input"), "the list of all is no longer in the API");
}

#[test]
fn types_and_places_are_told() {
    let world = World::new();
    let kind = world.get("/server_types?name=cx33").body["server_types"][0].clone();
    assert_eq!((&kind["cores"], &kind["memory"], &kind["disk"]), (&json!(4), &json!(8), &json!(80)));
    assert_eq!(world.get(&format!("/server_types/{}", kind["id"])).body["server_type"], kind);
    assert_eq!(world.get("/locations").body["locations"].as_array().unwrap().len(), 3);
    assert_eq!(world.get("/locations/1").body["location"]["name"], "fsn1");
    assert_eq!(world.get("/locations/9").status, 404);
}

#[test]
fn no_two_clouds_and_no_two_servers_have_an_address_in_common() {
    let worlds = [World::new(), World::new()];
    let mut addresses = Vec::new();
    for world in &worlds {
        for name in ["a", "b"] {
            let id = world.server(name, &json!({}));
            addresses.push(world.field(id, "public_net")["ipv4"]["ip"].as_str().unwrap().to_owned());
        }
    }
    assert!(addresses.iter().all(|address| address.starts_with("127.")), "{addresses:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "{addresses:?}");
}
