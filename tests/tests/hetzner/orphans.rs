//! What carries our label and nobody knows.

use cloud_machine_hetzner::{ApiError, Known, OrphanKind, Ownership};
use serde_json::json;

use crate::{KEY, World, own, soon};

#[test]
fn what_no_record_knows_is_listed_and_removed_and_nothing_else_is() {
    let world = World::new();
    let client = &world.client;
    let known = world.made();
    let foreign = world.foreign("foreign", &json!({"cloud-machine.owner": "host-2"}));
    let bare = world.foreign("bare", &json!({}));
    let lost = world.foreign("ci-2", &json!(Ownership::new("host-1", "ci-2", "a9").unwrap().labels()));
    let image = client.create_snapshot(known, "golden", &own("s1"), soon()).unwrap();
    let (key, _) = client.find_or_create_ssh_key("ada", KEY, &own("k1").labels(), soon()).unwrap();

    let all = Known { servers: &[known, lost], snapshots: &[image.id], ssh_keys: &[key.id] };
    assert_eq!(client.orphans("host-1", all, soon()).unwrap(), []);
    let orphans = client.orphans("host-1", Known { servers: &[known], ..Known::default() }, soon()).unwrap();
    let told: Vec<_> =
        orphans.iter().map(|one| (one.kind, one.id, one.name.as_str(), one.machine.as_deref())).collect();
    let expected = [
        (OrphanKind::Server, lost, "ci-2", Some("ci-2")),
        (OrphanKind::Snapshot, image.id, "golden", Some("ci-1")),
        (OrphanKind::SshKey, key.id, "ada", Some("ci-1")),
    ];
    assert_eq!(told, expected);

    // It may have another owner by the time that it is removed.
    let relabelled = json!({"labels": {"cloud-machine.owner": "host-2"}});
    world.cloud.ask(&format!("PUT /servers/{lost}"), &relabelled).unwrap();
    let error = client.remove_orphan("host-1", &orphans[0], soon()).unwrap_err();
    assert!(matches!(error, ApiError::NotOurs { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot remove server {lost}: ")), "{error}");
    world.cloud.ask(&format!("PUT /servers/{lost}"), &json!({"labels": own("a9").labels()})).unwrap();
    for orphan in &orphans {
        assert!(client.remove_orphan("host-1", orphan, soon()).unwrap(), "{orphan:?}");
        assert!(!client.remove_orphan("host-1", orphan, soon()).unwrap(), "{orphan:?}");
    }
    assert_eq!(world.servers(), [known, foreign, bare]);
    assert!(client.orphans("host-1", Known { servers: &[known], ..Known::default() }, soon()).unwrap().is_empty());
}

#[test]
fn an_owner_that_could_select_anything_is_refused() {
    let world = World::new();
    for owner in ["", "a,!b", "host-1 "] {
        let error = world.client.orphans(owner, Known::default(), soon()).unwrap_err();
        assert!(matches!(error, ApiError::Label { .. }), "{error}");
    }
    assert_eq!(world.requests(""), 0);
}
