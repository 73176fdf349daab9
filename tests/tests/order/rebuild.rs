//! The clean disk that a provider keeps, and its rebuild: what it is worth, and who says more of it than a provider did.

use std::fs;

use cloud_machine_driver::fake::{Call, Faults};
use cloud_machine_operation::{ErrorKind, OperationError, Reimage, ReimageOptions, Reimaged};
use cloud_machine_protocol::{Assurance, RescueHostKey, RootOfTrust};
use cloud_machine_store::{MachineState, Standing, Strategy};
use serde_json::json;

use crate::{
    host::{Host, TIME, reimage},
    trust::{Forgery, asked, forge, own, refusal, rescued, verified},
};

/// A reimage whose clean disk the provider keeps.
fn keeping() -> Reimage {
    let options = ReimageOptions { snapshot: true, ..ReimageOptions::default() };
    Reimage { options, ..asked(Assurance::ProviderRooted) }
}

fn rebuild(required: Assurance) -> Reimage {
    let options = ReimageOptions { strategy: Some(Strategy::Rebuild), ..ReimageOptions::default() };
    Reimage { options, required, ..reimage(false) }
}

fn run(host: &Host, asked: &Reimage) -> Result<Reimaged, OperationError> {
    let done = host.operations().reimage(&host.name, asked);
    assert!(host.fake.agents_ended(TIME));
    done
}

/// A machine whose clean disk is kept.
fn kept() -> Host {
    let host = rescued(RescueHostKey::Known);
    run(&host, &keeping()).unwrap();
    host.fake.calls();
    host
}

fn effects(host: &Host) -> Vec<Call> {
    host.fake.calls().into_iter().filter(|call| *call != Call::Power).collect()
}

#[test]
fn a_disk_is_kept_clean_and_off_and_a_rebuild_of_it_is_provider_rebuilt() {
    let host = rescued(RescueHostKey::Known);
    host.fake.calls();
    run(&host, &keeping()).unwrap();
    let order = [Call::Halt, Call::Processor, Call::Start, Call::Resume, Call::Halt, Call::Keep, Call::StartSystem];
    assert_eq!(effects(&host), order, "its agent has ended, and its own system has not run");
    let clean = host.record();
    let snapshot = clean.remote.clone().unwrap().snapshot.unwrap();
    assert_eq!(
        (Some(&snapshot.report), Some(&snapshot.host_key)),
        (clean.last_report.as_ref(), clean.host_key.as_ref())
    );

    run(&host, &asked(Assurance::ProviderRooted)).unwrap();
    host.fake.calls();
    let rebuilt = run(&host, &rebuild(Assurance::ProviderRebuilt)).unwrap();
    assert_eq!(effects(&host), [Call::Halt, Call::Rebuild, Call::StartSystem]);
    let told = (rebuilt.state, rebuilt.assurance, rebuilt.strategy, rebuilt.tier, rebuilt.rescue_host_key);
    let expected = (MachineState::Running, Some(Assurance::ProviderRebuilt), Some(Strategy::Rebuild), None, None);
    assert_eq!(told, expected);
    assert!(rebuilt.changed.is_empty() && rebuilt.not_recorded.unwrap().contains("unread"), "nobody looked");
    let gaps = rebuilt.does_not_cover.unwrap();
    assert!(
        gaps.contains("nothing was read back") && gaps.contains("every job since it was made could copy it"),
        "{gaps}"
    );
    let record = host.record();
    assert_eq!(record.host_key, clean.host_key, "the key is on the disk that was kept");
    assert_eq!(record.standing(), Standing::Stands);
    let again = verified(&host, RootOfTrust::Provider, Assurance::ProviderRebuilt).unwrap();
    assert_eq!((again.assurance, again.tier), (Assurance::ProviderRebuilt, None));
    assert!(again.checked[0].contains(&snapshot.report), "{:?}", again.checked);
    let error = verified(&host, RootOfTrust::Provider, Assurance::ProviderRooted).unwrap_err();
    assert_eq!(error.line(), "the assurance is provider-rebuilt, provider-rooted is required");

    let revoked = || {
        let told = cloud_machine_operation::host_certificate::known_hosts(&host.store, None).unwrap();
        let key = host.record().host_key.unwrap();
        told.revoked.contains(&format!("@revoked * {key}"))
    };
    assert!(revoked(), "a key that jobs could copy is certified for nobody");

    // The next report is in the same chain, and is worth more again.
    run(&host, &asked(Assurance::ProviderRooted)).unwrap();
    let verified = verified(&host, RootOfTrust::Provider, Assurance::ProviderRooted).unwrap();
    assert_eq!(verified.assurance, Assurance::ProviderRooted);
    assert!(!revoked());
    assert_eq!(cloud_machine_operation::evidence::count(&host.store, &host.record()).unwrap(), 5);
}

#[test]
fn what_cannot_be_rebuilt_or_kept_is_refused_before_anything_is_touched() {
    let refused = |host: &Host, asked: &Reimage, kind: ErrorKind, why: &str| {
        host.fake.calls();
        let before = host.stored();
        let error = run(host, asked).map(drop).unwrap_err();
        assert!(error.kind == kind && error.line().contains(why), "{why}: {}", error.line());
        assert!(effects(host).is_empty() && host.stored() == before, "{why}");
    };
    let (without, local, with) = (rescued(RescueHostKey::Known), own(), kept());
    let rebuilt = rebuild(Assurance::ProviderRebuilt);
    refused(&without, &rebuilt, ErrorKind::Refused, "the provider keeps no clean disk of machine demo");
    refused(&local, &rebuilt, ErrorKind::Refused, "driver fake has no strategy rebuild");
    let on_own = Reimage { required: Assurance::HostRooted, ..keeping() };
    refused(&local, &on_own, ErrorKind::Refused, "driver fake makes no snapshots");
    for required in [Assurance::ProviderRooted, Assurance::HostRooted] {
        let why = format!("the assurance is provider-rebuilt, {required} is required");
        refused(&with, &rebuild(required), ErrorKind::Verification, &why);
    }
    forge(&with, |record| {
        record["remote"]["snapshot"]["image"] = json!(format!("blake3:{}", "ab".repeat(32)));
    });
    refused(&with, &rebuilt, ErrorKind::Refused, "is of another image");
    let mut both = keeping();
    both.options.strategy = Some(Strategy::Rebuild);
    refused(&with, &both, ErrorKind::Refused, "a rebuild has none");
    let with = kept();
    with.fake.plant(Faults { snapshot_gone: true, ..Faults::default() });
    refused(&with, &rebuilt, ErrorKind::Refused, "it is not there any more");
    with.fake.plant(Faults::default());
    let stored = with.stored();
    let cases: [(&str, Forgery); 3] = [
        ("that had another SSH host key", |r| r["remote"]["snapshot"]["host_key"] = json!("ssh-ed25519 AAAA")),
        ("that is not among the reports", |r| r["remote"]["snapshot"]["report"] = json!("reports/X.json")),
        ("the machine has 2 disks", |r| {
            let mut disk = r["disks"][0].clone();
            (disk["name"], disk["serial"], disk["boot"]) = (json!("data"), json!("data"), json!(false));
            r["disks"].as_array_mut().unwrap().push(disk);
        }),
    ];
    // A rebuild that began a new chain could not be verified.
    let first = with.store.machine(&with.name).path().join("reports");
    let mut reports: Vec<_> = fs::read_dir(&first).unwrap().map(|entry| entry.unwrap().path()).collect();
    reports.sort();
    let oldest = fs::read(&reports[0]).unwrap();
    fs::remove_file(&reports[0]).unwrap();
    refused(&with, &rebuilt, ErrorKind::Verification, "is missing");
    fs::write(&reports[0], oldest).unwrap();
    for (why, change) in cases {
        forge(&with, change);
        let kind = if why.contains("disks") { ErrorKind::Refused } else { ErrorKind::Verification };
        refused(&with, &rebuilt, kind, why);
        fs::write(with.store.machine(&with.name).record(), &stored).unwrap();
    }
}

#[test]
fn where_no_agent_could_be_started_a_rebuild_follows_only_if_that_is_enough() {
    let no_agent = Faults { start_fails: true, ..Faults::default() };
    for (required, strategy) in [
        (Assurance::ProviderRooted, Strategy::Rewrite),
        (Assurance::ProviderRebuilt, Strategy::Rebuild),
        (Assurance::Unproven, Strategy::Rebuild),
    ] {
        let host = kept();
        let done = run(&host, &asked(required)).unwrap();
        assert_eq!(done.strategy, Some(Strategy::Rewrite), "nothing has failed: {required}");
        host.fake.plant(no_agent);
        run(&host, &asked(required)).map(drop).unwrap_err();
        host.fake.plant(Faults::default());
        assert_eq!(run(&host, &asked(required)).unwrap().strategy, Some(strategy), "{required}");
    }
    // After every other failure, and where a snapshot is asked for or there is none any more, the agent is tried again.
    let fails_later = Faults { resume_fails: true, ..Faults::default() };
    let gone = Faults { snapshot_gone: true, ..Faults::default() };
    let enough = asked(Assurance::ProviderRebuilt);
    let with_snapshot = Reimage { required: Assurance::ProviderRebuilt, ..keeping() };
    for (failing, then, again) in [
        (fails_later, Faults::default(), &enough),
        (no_agent, Faults::default(), &with_snapshot),
        (no_agent, gone, &enough),
    ] {
        let host = kept();
        host.fake.plant(failing);
        run(&host, &enough).map(drop).unwrap_err();
        host.fake.plant(then);
        let done = run(&host, again).unwrap();
        assert_eq!(done.strategy, Some(Strategy::Rewrite), "{failing:?} {then:?}");
    }
}

#[test]
fn a_rebuild_or_a_snapshot_that_fails_leaves_nothing_that_is_believed() {
    let host = kept();
    host.fake.plant(Faults { rebuild_fails: true, ..Faults::default() });
    run(&host, &rebuild(Assurance::ProviderRebuilt)).map(drop).unwrap_err();
    let record = host.record();
    assert_eq!((record.state, record.standing_assurance()), (MachineState::Failed, None));
    host.fake.plant(Faults::default());
    let finished = host.operations().start(&host.name, TIME).unwrap();
    assert!(host.fake.agents_ended(TIME));
    assert_eq!((finished.strategy, finished.assurance), (Some(Strategy::Rewrite), Some(Assurance::ProviderRooted)));

    let before = host.record().remote.unwrap().snapshot;
    host.fake.plant(Faults { keep_fails: true, ..Faults::default() });
    run(&host, &keeping()).map(drop).unwrap_err();
    assert_eq!(host.record().standing_assurance(), None);
    assert_eq!(host.record().remote.unwrap().snapshot, before, "the older one is still there");
    // One that is not deleted is somebody else's to find, and stops nothing.
    host.fake.plant(Faults { discard_fails: true, ..Faults::default() });
    run(&host, &keeping()).unwrap();
    assert_ne!(host.record().remote.unwrap().snapshot, before);
    host.operations().delete(&host.name).unwrap_err();
    assert_eq!(host.record().state, MachineState::Running, "what costs is not forgotten");
    host.fake.plant(Faults::default());
    host.operations().delete(&host.name).unwrap();
}

/// Also by whoever has the key of the state folder.
#[test]
fn a_rebuild_that_says_more_than_the_provider_did_is_refused() {
    let host = kept();
    run(&host, &rebuild(Assurance::ProviderRebuilt)).unwrap();
    let stored = host.stored();
    let cases: [(&str, Forgery); 8] = [
        ("the assurance", |r| r["assurance"] = json!("provider-rooted")),
        ("the assurance", |r| r["assurance"] = json!("host-rooted")),
        ("what is not covered", |r| r["not_covered"] = json!([])),
        ("how it was done", |r| r["system"]["last"]["strategy"] = json!("rewrite")),
        ("how it was done", |r| r["system"]["last"]["tier"] = json!("scan")),
        ("the host key", |r| r["host_key"] = json!("ssh-ed25519 AAAA")),
        ("what has power over it", |r| r["remote"]["control"] = json!("another")),
        ("the machine", |r| {
            r["uuid"] = json!("7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111");
            r["identity"]["machine_uuid"] = r["uuid"].clone();
        }),
    ];
    for (why, change) in cases {
        forge(&host, change);
        let refused = refusal(&host, RootOfTrust::Provider);
        assert!(refused.starts_with(&format!("{why} in the evidence of machine demo's rebuild")), "{why}: {refused}");
        fs::write(host.store.machine(&host.name).record(), &stored).unwrap();
    }
    let path = host.store.machine(&host.name).path().join(host.record().last_report.unwrap());
    let evidence = fs::read_to_string(&path).unwrap();
    for (from, to, why) in [
        ("\"driver\": \"fake\"", "\"driver\": \"qemu\"", "the driver in the evidence"),
        ("\"rebuilt\": {", "\"level\": \"host-rooted\",\n  \"rebuilt\": {", "unknown field `level`"),
    ] {
        assert!(evidence.contains(from));
        let forged = evidence.replace(from, to);
        fs::write(&path, &forged).unwrap();
        assert!(refusal(&host, RootOfTrust::Provider).contains("is not the one that was stored"));
        let seal = serde_json::to_value(host.store.seal(forged.as_bytes()).unwrap()).unwrap();
        forge(&host, |record| record["accepted"]["seal"] = seal);
        let refused = refusal(&host, RootOfTrust::Provider);
        assert!(refused.contains(why), "{why}: {refused}");
        fs::write(host.store.machine(&host.name).record(), &stored).unwrap();
        fs::write(&path, &evidence).unwrap();
    }
    verified(&host, RootOfTrust::Provider, Assurance::ProviderRebuilt).unwrap();
}
