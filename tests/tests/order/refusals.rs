//! What is refused before anything is made or touched, and the ways that are not taken.

use std::fs;

use cloud_machine_driver::{fake::Faults, machine::Drivers};
use cloud_machine_operation::{ErrorKind, Hint, Operations, Reimage};
use cloud_machine_protocol::{Assurance, MachineName, Tier};
use cloud_machine_store::{Strategy, Wanted};
use cloud_machine_tests::fixture::IMAGE;

use crate::host::{Host, TIME, reimage};

#[test]
fn who_finishes_a_reimage_wants_what_was_asked_for() {
    let host = Host::new(|_| None);
    host.create();
    let mut reimage = reimage(false);
    reimage.options.strategy = Some(Strategy::Rewrite);
    reimage.options.tier = Some(Tier::Stream);
    host.operations().reimage(&host.name, &reimage).map(|_| ()).unwrap_err();
    let wanted = |host: &Host| host.record().request.expect("a request").wanted;
    let asked = wanted(&host);
    assert_eq!((asked.strategy, asked.tier), (Some(Strategy::Rewrite), Some(Tier::Stream)));
    assert_eq!(asked.required, Some(Assurance::HostRooted));
    host.operations().start(&host.name, TIME).map(|_| ()).unwrap_err();
    assert_eq!(wanted(&host), asked, "start asks for the same");
    let sent = host.seen.lock().unwrap().tiers.clone();
    assert_eq!(sent, [None, Some(Tier::Stream), Some(Tier::Stream)], "and so does its agent");
}

#[test]
fn what_no_reimage_reaches_is_refused_before_the_machine_is_touched() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    let asked = Reimage { required: Assurance::Sealed, ..reimage(false) };
    let error = host.operations().reimage(&host.name, &asked).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_missing_program_is_told_before_the_machine_is_touched() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    host.fake.plant(Faults { tool_is_missing: true, ..Faults::default() });
    let error = host.reimage(false);
    assert!(error.hints.iter().any(|hint| matches!(hint, Hint::Install { package: "fake", .. })), "{error:?}");
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_machine_of_a_driver_that_this_program_does_not_have_is_left_as_it_is_with_the_way_out() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let before = host.stored();
    let none = Drivers::default();
    let operations = Operations { drivers: &none, ..host.operations() };
    let name = &host.name;
    for (what, error) in [
        ("start", operations.start(name, TIME).map(drop).unwrap_err()),
        ("reimage", operations.reimage(name, &reimage(false)).map(drop).unwrap_err()),
        ("delete", operations.delete(name).unwrap_err()),
    ] {
        assert_eq!(
            (error.kind, error.hints),
            (ErrorKind::Refused, vec![Hint::DriverOfRecord("fake".to_owned())]),
            "{what}"
        );
    }
    assert!(host.fake.calls().is_empty() && host.stored() == before);
}

#[test]
fn a_hardware_address_that_another_machine_has_is_refused_before_anything_is_made() {
    let host = Host::new(Some);
    let mac = ", resources: {nic: {mac: '52:54:00:12:34:56'}}";
    host.create_with(&host.name, mac).unwrap_err();
    host.fake.calls();
    let other: MachineName = "other".parse().unwrap();
    let error = host.create_with(&other, mac).unwrap_err();
    assert_eq!((error.kind, &error.hints), (ErrorKind::Refused, &vec![Hint::OtherMac(host.name.clone())]), "{error:?}");
    assert!(error.line().contains("machine demo has the hardware address 52:54:00:12:34:56"), "{}", error.line());
    assert!(host.fake.calls().is_empty() && !host.store.machine(&other).record().exists());
    host.create_with(&host.name, mac).expect("one that is there has its own address");
}

#[test]
fn who_finishes_a_reimage_takes_no_way_that_proves_less() {
    let host = Host::new(|_| None);
    host.create();
    let mut record = host.record();
    let request = record.request.as_mut().expect("a request");
    request.wanted = Wanted { strategy: Some(Strategy::Clone), tier: None, required: Some(Assurance::Unproven) };
    let lock = host.store.lock(&host.name).unwrap();
    host.store.write(&lock, &record).unwrap();
    drop(lock);
    host.operations().start(&host.name, TIME).map(|_| ()).unwrap_err();
    let wanted = host.record().request.expect("a request").wanted;
    assert_eq!((wanted.strategy, wanted.required), (None, Some(Assurance::HostRooted)));
    assert_eq!(host.seen.lock().unwrap().nonces.len(), 2, "it was tried again");
}

/// A machine of another driver has made the golden disk.
#[test]
fn a_plan_takes_no_golden_disk_that_the_driver_cannot_stand_a_machine_on() {
    let host = Host::new(Some);
    host.create();
    let record = host.record();
    let golden = host.store.golden(&record.image.digest, record.disks[0].size).disk();
    fs::create_dir_all(golden.parent().unwrap()).unwrap();
    fs::write(&golden, "").unwrap();
    let planned = host.operations().plan(&host.name).unwrap();
    assert_eq!(planned.strategy, Strategy::Rewrite);
    assert_eq!(planned.strategy_reason, "the driver has neither overlays nor dirty maps");
}

#[test]
fn what_the_images_system_cannot_do_is_refused_before_anything_is_touched() {
    let host = Host::new(Some);
    let ours = format!("cloud-machine: {{driver: fake, image: {IMAGE}");
    let users = format!("{ours}}}\nusers: [ada]\nssh_authorized_keys: []\nruncmd: [reboot]\npackages: []\nntp:\n");
    for (text, places) in
        [(users.clone(), ["f:2:1", "f:4:1"]), (format!("{ours}, wait-for: [cloud-init]}}\n"), ["f:1:", ""])]
    {
        let error = host.create_from(&host.name, &text).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{}", error.line());
        let said = error.error.to_string();
        assert!(said.contains("the image is without cloud-init") && !said.contains("ssh_authorized_keys:"), "{said}");
        assert!(!said.contains("packages") && !said.contains("ntp"), "they ask for nothing: {said}");
        assert!(places.iter().all(|place| said.contains(place)), "{said}");
        assert!(host.store.read(&host.name).is_err(), "no machine is there");
    }
    let docker = format!("{ours}}}\ndocker:\n  engine: {{labels: [a=b]}}\n");
    let said = host.create_from(&host.name, &docker).unwrap_err().error.to_string();
    assert!(said.contains("f:3:11: the image is without docker"), "{said}");
    assert!(host.store.read(&host.name).is_err(), "no machine is there");
    let swarm = format!("{ours}}}\ndocker:\n  swarm: {{role: manager}}\n");
    let said = host.create_from(&host.name, &swarm).unwrap_err().error.to_string();
    assert!(said.contains("f:3:10: the image is without docker"), "{said}");
    assert!(host.store.read(&host.name).is_err(), "no machine is there");
    let k3s = format!("{ours}}}\nrancher:\n  k3s: {{role: server}}\n");
    let said = host.create_from(&host.name, &k3s).unwrap_err().error.to_string();
    assert!(said.contains("f:3:8: the image is without k3s"), "{said}");
    assert!(host.store.read(&host.name).is_err(), "no machine is there");
    // Of an image that was packed before its system was looked at, the machine finds out; once it is known, no attempt begins.
    let (boot, with_facts) = host.forget_facts();
    let error = host.create_from(&host.name, &users).unwrap_err();
    assert_ne!(error.kind, ErrorKind::Refused, "{}", error.line());
    fs::write(&boot, with_facts).unwrap();
    let before = host.stored();
    let error = host.reimage(false);
    assert_eq!(error.kind, ErrorKind::Refused, "{}", error.line());
    assert!(host.stored() == before, "the record has changed");
}
