//! The provider's lists: kept, renewed, and used without the network; and what is chosen from them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use cloud_machine_hetzner::{ApiError, Wanted, choose_type};
use cloud_machine_tests::cloud::{Fault, Injected};
use jiff::{SignedDuration, Timestamp};

use crate::{World, soon};

fn at(hours: i64) -> Timestamp {
    "2026-11-29T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
}

#[test]
fn lists_are_kept_for_a_day() {
    let world = World::new();
    let folder = world.folder.path();
    let first = world.client.catalog(folder, at(0), soon()).unwrap();
    assert_eq!((first.age, first.catalog.fetched), (SignedDuration::ZERO, at(0)));
    assert_eq!(first.catalog.locations, ["fsn1", "nbg1", "hel1"]);
    assert_eq!(first.catalog.images, ["debian-12", "debian-13"]);
    let path = folder.join("hetzner-lists.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&path).unwrap().contains(world.cloud.token()));
    let asked = world.requests("");
    let later = world.client.catalog(folder, at(23), soon()).unwrap();
    assert_eq!((later.age, &later.catalog), (SignedDuration::from_hours(23), &first.catalog));
    assert_eq!(world.requests(""), asked);
    for (now, fetched) in [(at(24), at(24)), (at(-1), at(-1))] {
        let renewed = world.client.catalog(folder, now, soon()).unwrap();
        assert_eq!((renewed.age, renewed.catalog.fetched), (SignedDuration::ZERO, fetched), "{now}");
    }
    assert!(world.requests("") > asked);
    let absent = folder.join("absent");
    assert_eq!(world.client.catalog(&absent, at(0), soon()).unwrap().catalog.locations, first.catalog.locations);
    assert!(!absent.exists(), "who only looks makes no folder");
}

#[test]
fn without_the_provider_old_lists_are_told_with_their_age_and_without_them_the_error() {
    let world = World::new();
    let folder = world.folder.path();
    let offline = || world.cloud.inject(Injected { times: 4, ..Injected::once("GET", "/images", Fault::Status(503)) });
    offline();
    let error = world.client.catalog(folder, at(0), soon()).unwrap_err();
    assert!(matches!(error, ApiError::ServerFault { .. }), "{error}");
    let fresh = world.client.catalog(folder, at(0), soon()).unwrap().catalog;
    offline();
    let old = world.client.catalog(folder, at(100), soon()).unwrap();
    assert_eq!((old.age, old.catalog), (SignedDuration::from_hours(100), fresh));
    assert!(matches!(old.offline, Some(ApiError::ServerFault { .. })), "{:?}", old.offline);

    // What is kept and is not that, or of another provider, does not count.
    let path = folder.join("hetzner-lists.json");
    let kept = fs::read_to_string(&path).unwrap();
    for other in [
        "{",
        "",
        &kept.replace(&world.cloud.endpoint(), "https://api.example/v1"),
        &kept.replace("\"version\":1", "\"version\":2"),
    ] {
        fs::write(&path, other).unwrap();
        offline();
        assert!(world.client.catalog(folder, at(1), soon()).is_err(), "{other}");
        assert_eq!(world.client.catalog(folder, at(1), soon()).unwrap().catalog.fetched, at(1));
    }
    // A wrong token is no outage.
    let client = crate::client(&world.cloud.endpoint(), crate::write_token(folder, "wrong"));
    let error = client.catalog(folder, at(100), soon()).unwrap_err();
    assert!(matches!(error, ApiError::Unauthorized { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(world.client.catalog(folder, at(1), soon()), Err(ApiError::Kept(_))));
    let silent = Injected { times: 99, ..Injected::once("GET", "/locations", Fault::Silent) };
    world.cloud.inject(silent);
    let began = Instant::now();
    assert!(world.client.locations(began + Duration::from_millis(300)).unwrap_err().is_offline());
}

#[test]
fn a_type_is_chosen_from_the_lists() {
    let world = World::new();
    let types = world.client.server_types(soon()).unwrap();
    for (ram, cpus, disk, name) in
        [("2GiB", 1, "10GB", "cx23"), ("8GiB", 2, "40GB", "cx33"), ("4GiB", 2, "100GB", "cx43")]
    {
        let wanted = Wanted { ram: ram.parse().unwrap(), cpus, disk: disk.parse().unwrap() };
        assert_eq!(choose_type(&types, "fsn1", wanted).unwrap().server_type.name, name, "never cax11 or cx22");
    }
    let wanted = Wanted { ram: "64GiB".parse().unwrap(), cpus: 2, disk: "40GB".parse().unwrap() };
    let error = choose_type(&types, "fsn1", wanted).unwrap_err().to_string();
    assert!(
        error.contains("the nearest are cx43 (ram 16GiB, cpus 8, disk 160GB: too little ram)")
            || error.contains("nearest are ccx13"),
        "{error}"
    );
}
