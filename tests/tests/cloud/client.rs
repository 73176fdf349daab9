//! What the published description says of our own client: each of its calls goes through the proxy that holds every request
//! and every answer against it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use cloud_machine_hetzner::{ApiError, Client, Known, NewServer, Ownership, Pace, TokenSource};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{KEY, World, judges::Proxy};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// Calls all that the client has.
fn live(client: &Client, folder: &TempDir) -> Result<(), ApiError> {
    let own = |create| Ownership::new("host-1", "ci-1", create);
    let lists = client.catalog(folder.path(), Timestamp::now(), soon())?.catalog;
    let (key, _) = client.find_or_create_ssh_key("ada", KEY, &own("k1")?.labels(), soon())?;
    let new = NewServer {
        name: "ci-1".to_owned(),
        server_type: "cx23".to_owned(),
        image: client.find_image(&lists.images[0], soon())?.id.to_string(),
        location: Some(lists.locations[0].clone()),
        ssh_keys: vec![key.id],
        user_data: Some("#cloud-config\n".to_owned()),
        start: true,
    };
    let id = client.find_or_create(&own("a1")?, &new, soon())?.server.id;
    assert!(!client.find_or_create(&own("a2")?, &new, soon())?.made);
    assert_eq!(client.server_named("ci-1", soon())?.map(|server| server.id), Some(id));
    client.enable_rescue(id, &[key.id], soon())?;
    client.reset(id, soon())?;
    client.disable_rescue(id, soon())?;
    client.shutdown(id, soon())?;
    client.power_on(id, soon())?;
    client.power_off(id, soon())?;
    client.create_snapshot(id, "golden", &own("s1")?, soon())?;
    let image = client.find_image(&lists.images[1], soon())?.id.to_string();
    client.rebuild(id, &image, Some("#cloud-config\n"), soon())?;
    let orphans = client.orphans("host-1", Known::default(), soon())?;
    assert_eq!(orphans.len(), 3, "{orphans:?}");
    orphans.iter().try_for_each(|orphan| client.remove_orphan("host-1", orphan, soon()).map(|was| assert!(was)))
}

#[test]
fn a_proxy_with_the_description_finds_no_fault_in_our_client() {
    let world = World::new();
    let proxy = Proxy::start(&world.cloud.endpoint());
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, world.cloud.token()).unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    let client = Client::new(&proxy.endpoint, TokenSource::File(token), Pace::default()).unwrap();
    let lived = live(&client, &folder);
    let log = proxy.log();
    assert!(lived.is_ok(), "{lived:?}\n{}\n{log}", world.cloud.requests().join("\n"));
    assert_eq!(proxy.violations(), 0, "{log}");
    assert_eq!(log.matches("Forwarding").count(), world.cloud.requests().len(), "it has seen all: {log}");
    assert!(world.machines.all().is_empty());
}
