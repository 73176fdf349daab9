//! What the client does when all goes well.

use std::time::{Duration, Instant};

use cloud_machine_hetzner::{ApiError, Client, Labels, NewServer, Pace, ServerStatus, TokenSource};
use cloud_machine_tests::cloud::machines::{Booted, Source};
use serde_json::json;

use crate::{KEY, PACE, World, new, own, soon, write_token};

#[test]
fn a_server_lives_from_its_creation_to_its_end() {
    let World { machines, client, .. } = &World::new();
    let (key, made) = client.find_or_create_ssh_key("ada", KEY, &own("a1").labels(), soon()).unwrap();
    assert!(made);
    let data = "#cloud-config\n# hunter2\n".to_owned();
    let wanted = NewServer { ssh_keys: vec![key.id], user_data: Some(data.clone()), ..new("ci-1") };
    assert!(!format!("{wanted:?}").contains("hunter2"), "{wanted:?}");
    let found = client.find_or_create(&own("a1"), &wanted, soon()).unwrap();
    let (server, id) = (&found.server, found.server.id);
    assert!(found.made && !server.locked && server.status == ServerStatus::Running);
    assert_eq!((server.name.as_str(), server.location()), ("ci-1", Some("fsn1")));
    assert_eq!(server.labels, own("a1").labels());
    let memory = machines.machine(id).unwrap();
    assert_eq!((server.ipv4(), &memory.spec.contents.user_data), (Some(memory.spec.address), &Some(data)));
    assert_eq!(memory.spec.contents.keys, [KEY]);

    client.enable_rescue(id, &[key.id], soon()).unwrap();
    assert!(client.server(id, soon()).unwrap().rescue_enabled);
    client.reset(id, soon()).unwrap();
    let Some(Booted::Rescue(rescue)) = machines.machine(id).unwrap().booted else { panic!("no rescue") };
    assert_eq!(rescue.keys, [KEY]);
    client.reset(id, soon()).unwrap();
    assert_eq!(machines.machine(id).unwrap().booted, Some(Booted::Disk));
    client.enable_rescue(id, &[key.id], soon()).unwrap();
    client.disable_rescue(id, soon()).unwrap();
    client.power_off(id, soon()).unwrap();
    client.power_off(id, soon()).unwrap();
    assert_eq!(client.server(id, soon()).unwrap().status, ServerStatus::Off);
    client.power_on(id, soon()).unwrap();
    assert_eq!(machines.machine(id).unwrap().booted, Some(Booted::Disk));
    client.shutdown(id, soon()).unwrap();
    assert!(!machines.machine(id).unwrap().on);

    assert!(client.delete_server(id, soon()).unwrap());
    assert!(!client.delete_server(id, soon()).unwrap(), "it is gone");
    assert!(matches!(client.server(id, soon()), Err(ApiError::NotFound { .. })));
    assert!(machines.all().is_empty());
    assert!(client.delete_ssh_key(key.id, soon()).unwrap() && !client.delete_ssh_key(key.id, soon()).unwrap());
}

#[test]
fn an_action_that_ends_at_once_is_not_waited_for_as_long_as_others() {
    let world = World::new();
    let id = world.made();
    // Longer than there is time for.
    let pace = Pace { first_wait: Duration::from_secs(5), longest_wait: Duration::from_secs(10), ..PACE };
    let token = TokenSource::File(write_token(world.folder.path(), world.cloud.token()));
    let client = Client::new(&world.cloud.endpoint(), token, pace).unwrap();
    client.power_off(id, Instant::now() + Duration::from_secs(4)).unwrap();
    assert!(!world.machines.machine(id).unwrap().on);
}

#[test]
fn a_server_is_rebuilt_from_a_snapshot_that_was_made_of_it() {
    let world = World::new();
    let (client, id) = (&world.client, world.made());
    let image = client.create_snapshot(id, "golden", &own("s1"), soon()).unwrap();
    assert_eq!((image.description.as_str(), image.status.as_str()), ("golden", "available"));
    let again = client.create_snapshot(id, "golden", &own("s1"), soon()).unwrap();
    assert_eq!(again.id, image.id, "one attempt makes one");
    assert_eq!(client.snapshots("cloud-machine.owner==host-1", soon()).unwrap().len(), 1);
    client.rebuild(id, "debian-13", None, soon()).unwrap();
    client.rebuild(id, &image.id.to_string(), Some("#!"), soon()).unwrap();
    let contents = world.machines.machine(id).unwrap().contents;
    assert_eq!((contents.image, contents.user_data.as_deref()), (Source::Snapshot(image.id), Some("#!")));
    assert_eq!(client.server(id, soon()).unwrap().image.unwrap().id, image.id);
    assert_eq!(client.find_image(&image.id.to_string(), soon()).unwrap().id, image.id);
    assert!(client.delete_image(image.id, soon()).unwrap() && !client.delete_image(image.id, soon()).unwrap());
    assert_eq!(client.server(id, soon()).unwrap().image, None);
}

#[test]
fn all_pages_of_a_list_are_read() {
    let world = World::new();
    for number in 0..101 {
        let labels = json!({"team": "ci"});
        let body = json!({"name": format!("s{number}"), "server_type": "cx23", "image": "debian-12", "labels": labels, "start_after_create": false});
        assert_eq!(world.cloud.ask("POST /servers", &body).unwrap().status, 201);
    }
    let found = world.client.servers("team==ci", soon()).unwrap();
    assert_eq!(found.len(), 101);
    assert!(found.is_sorted_by_key(|server| server.id));
    assert_eq!(world.client.server_named("s77", soon()).unwrap().unwrap().name, "s77");
    assert_eq!(world.client.server_named("s101", soon()).unwrap(), None);
}

#[test]
fn a_key_is_made_once_and_one_that_was_there_is_left_as_it_is() {
    let World { client, .. } = &World::new();
    let labels = own("a1").labels();
    let (first, made) = client.find_or_create_ssh_key("ada", KEY, &Labels::new(), soon()).unwrap();
    let other_comment = KEY.replace("ada", "eve");
    let (second, made_again) = client.find_or_create_ssh_key("eve", &other_comment, &labels, soon()).unwrap();
    assert_eq!((made, made_again, second.id, second.labels.len()), (true, false, first.id, 0));
    let another = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHQHSANm/7ZBRyBBDPcp8+b4CvFYkFJwPQPGLUsbSzv";
    let error = client.find_or_create_ssh_key("ada", another, &labels, soon()).unwrap_err().to_string();
    assert!(error.starts_with("cannot create the SSH key ada: the provider refused it (uniqueness_error)"), "{error}");
    assert!(error.ends_with("take another name, or delete the other one"), "{error}");
    let error = client.find_or_create_ssh_key("eve", "ssh-ed25519 AAAA", &labels, soon()).unwrap_err().to_string();
    assert!(error.contains("invalid_input"), "{error}");
}
