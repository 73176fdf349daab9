//! Attempts on what somebody else starts: how far they can be trusted, and who says more of them than the host knows.

use std::fs;

use cloud_machine_driver::{
    fake::{Call, Faults},
    machine::Drivers,
};
use cloud_machine_operation::{ErrorKind, OperationError, Operations, Reimage, Verified, Verify};
use cloud_machine_plan::{not_covered, recovery_not_covered};
use cloud_machine_protocol::{Assurance, Extent, HostMessage, Method, Report, RescueHostKey, RootOfTrust};
use cloud_machine_store::{MachineState, Standing};
use cloud_machine_system::sha256;
use serde_json::{Value, json};

use crate::host::{Host, TIME, reimage};

/// Nobody asks such a machine whether its system came up, so an attempt can end well.
pub(crate) const NO_NETWORK: &str = ", resources: {nic: {network: none}}";

/// What an honest agent says on a system that a provider started, with a kernel of its own.
fn on_rescue(report: Report) -> Option<Report> {
    let mut report = report;
    report.agent.kernel_release = "6.12.0-rescue".to_owned();
    report.agent.command_line_digest = sha256(b"another one");
    report.not_covered = not_covered(RootOfTrust::Provider, &report.devices);
    Some(report)
}

/// A host with a machine that was made on a provider's rescue system.
pub(crate) fn rescued(key: RescueHostKey) -> Host {
    let host = Host::new(on_rescue).rooted_in(RootOfTrust::Provider, Some(key));
    host.create_with(&host.name, NO_NETWORK).unwrap();
    host
}

/// A host with a machine that it started itself.
pub(crate) fn own() -> Host {
    let host = Host::new(Some);
    host.create_with(&host.name, NO_NETWORK).unwrap();
    host
}

pub(crate) fn asked(required: Assurance) -> Reimage {
    Reimage { required, ..reimage(false) }
}

/// The machine judged again, by a program whose driver is rooted in `root`.
pub(crate) fn verified(host: &Host, root: RootOfTrust, required: Assurance) -> Result<Verified, OperationError> {
    let key = Some(RescueHostKey::Known).filter(|_| root == RootOfTrust::Provider);
    let drivers = Drivers::default().with(host.fake.clone().rooted_in(root, key));
    let operations = Operations { drivers: &drivers, ..host.operations() };
    operations.verify(&host.name, Verify { required, stored_only: true })
}

pub(crate) fn refusal(host: &Host, root: RootOfTrust) -> String {
    let error = verified(host, root, Assurance::Unproven).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
    error.line()
}

#[test]
fn an_attempt_on_a_rescue_system_is_provider_rooted_and_says_what_was_known_of_its_host_key() {
    for key in [RescueHostKey::Unknown, RescueHostKey::Known] {
        let host = rescued(key);
        let record = host.record();
        assert_eq!(record.standing_assurance(), Some(Assurance::ProviderRooted));
        assert_eq!(record.system.last.and_then(|last| last.rescue_host_key), Some(key));
        let verified = verified(&host, RootOfTrust::Provider, Assurance::ProviderRooted).unwrap();
        assert_eq!((verified.assurance, verified.rescue_host_key), (Assurance::ProviderRooted, Some(key)));
        let open = verified.does_not_cover.contains("the network path");
        assert_eq!(open, key == RescueHostKey::Unknown, "{}", verified.does_not_cover);
        assert!(!verified.checked.concat().contains("kernel command line"), "{:?}", verified.checked);
        let again = host.operations().reimage(&host.name, &asked(Assurance::ProviderRooted)).unwrap();
        assert_eq!((again.assurance, again.rescue_host_key), (Some(Assurance::ProviderRooted), Some(key)));
        assert_eq!(again.does_not_cover, Some(verified.does_not_cover));
    }
}

#[test]
fn more_than_a_driver_reaches_is_refused_before_anything_is_touched_and_less_is_not() {
    use Assurance::{Attested, HostRooted, ProviderRebuilt, ProviderRooted, Sealed, Unproven};
    for (root, most) in
        [(RootOfTrust::MachineDisk, Unproven), (RootOfTrust::Provider, ProviderRooted), (RootOfTrust::Host, HostRooted)]
    {
        let provider = root == RootOfTrust::Provider;
        let key = Some(RescueHostKey::Known).filter(|_| provider);
        let host = Host::new(move |report| match root {
            RootOfTrust::Provider => on_rescue(report),
            RootOfTrust::MachineDisk => Some(on_recovery(report)),
            RootOfTrust::Host => Some(report),
        });
        let host = host.rooted_in(root, key);
        host.create_with(&host.name, NO_NETWORK).unwrap();
        assert_eq!(host.record().assurance, Some(most));
        for required in [Unproven, ProviderRebuilt, ProviderRooted, HostRooted, Attested, Sealed] {
            host.fake.calls();
            let before = host.stored();
            let found = host.operations().reimage(&host.name, &asked(required));
            if required <= most {
                assert_eq!(found.unwrap().assurance, Some(most), "{required}");
                continue;
            }
            let error = found.map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
            assert_eq!(error.line(), format!("the assurance is {most}, {required} is required"));
            assert!(host.fake.calls().is_empty() && host.stored() == before, "{required}");
            let error = verified(&host, root, required).unwrap_err();
            assert_eq!(error.line(), format!("the assurance is {most}, {required} is required"));
        }
    }
}

/// The report of an agent that the recovery partition of its machine started.
fn on_recovery(mut report: Report) -> Report {
    let system = report.devices.iter().find(|device| device.method == Method::Reimage);
    let place = Extent { offset: 4096, length: 4096 };
    report.not_covered.extend(system.map(|system| recovery_not_covered(&system.disk.name, place)));
    report
}

/// What a program says of its connection decides how much the report is worth, so nothing may be left out there.
#[test]
fn a_driver_that_says_nothing_of_the_rescue_host_key_or_says_it_of_another_system_gets_no_word_to_go() {
    for (root, key) in [
        (RootOfTrust::Provider, None),
        (RootOfTrust::Host, Some(RescueHostKey::Known)),
        (RootOfTrust::MachineDisk, Some(RescueHostKey::Known)),
    ] {
        let host = Host::new(Some).rooted_in(root, key);
        let error = host.create_with(&host.name, NO_NETWORK).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
        assert!(error.line().contains("whether its host key was known"), "{}", error.line());
        assert!(matches!(host.word(), Some((HostMessage::Stop { .. }, _))));
        assert_eq!(host.record().assurance, None);
    }
}

#[test]
fn who_finishes_an_attempt_on_a_rescue_system_wants_all_that_it_reaches() {
    let host = Host::new(|_| None).rooted_in(RootOfTrust::Provider, Some(RescueHostKey::Unknown));
    host.create();
    let wanted = |host: &Host| host.record().request.expect("a request").wanted.required;
    assert_eq!(wanted(&host), Some(Assurance::ProviderRooted));
    host.operations().reimage(&host.name, &asked(Assurance::Unproven)).map(drop).unwrap_err();
    assert_eq!(wanted(&host), Some(Assurance::Unproven));
    host.operations().start(&host.name, TIME).map(drop).unwrap_err();
    assert_eq!(wanted(&host), Some(Assurance::ProviderRooted), "and takes no way that proves less");
}

/// The record of the machine as `change` makes it, whoever wrote it.
pub(crate) fn forge(host: &Host, change: impl FnOnce(&mut Value)) {
    let path = host.store.machine(&host.name).record();
    let mut record: Value = serde_json::from_slice(&host.stored()).unwrap();
    change(&mut record);
    fs::write(path, serde_json::to_vec_pretty(&record).unwrap()).unwrap();
}

pub(crate) type Forgery = fn(&mut Value);

/// Takes away all that the record says of a rescue system.
fn no_rescue(record: &mut Value) {
    for place in ["/system/last", "/accepted/attempt"] {
        record.pointer_mut(place).and_then(Value::as_object_mut).unwrap().remove("rescue_host_key").unwrap();
    }
}

#[test]
fn a_record_that_says_more_of_a_rescue_system_than_was_proved_is_refused() {
    let host = rescued(RescueHostKey::Unknown);
    let before = host.stored();
    let cases: [(&str, Forgery); 12] = [
        ("the assurance in the record", |r| r["assurance"] = json!("host-rooted")),
        ("the assurance in the record", |r| r["assurance"] = json!("attested")),
        ("the assurance in the record", |r| r["assurance"] = json!("provider-rebuilt")),
        ("the assurance in the record", |r| r["assurance"] = json!("unproven")),
        ("the assurance in the record", |r| r["assurance"] = Value::Null),
        ("the rescue system's host key in the record", |r| r["system"]["last"]["rescue_host_key"] = json!("known")),
        ("the rescue system's host key in the record", |r| {
            drop(r["system"]["last"].as_object_mut().unwrap().remove("rescue_host_key"));
        }),
        ("the expectation in the evidence", |r| r["accepted"]["attempt"]["rescue_host_key"] = json!("known")),
        ("the expectation in the evidence", |r| {
            r["accepted"]["attempt"]["rescue_host_key"] = json!("known");
            r["system"]["last"]["rescue_host_key"] = json!("known");
        }),
        ("the expectation in the evidence", no_rescue),
        ("the expectation in the evidence", |r| {
            no_rescue(r);
            r["assurance"] = json!("host-rooted");
        }),
        ("read the last accepted attempt", |r| r["accepted"]["attempt"]["root_of_trust"] = json!("host")),
    ];
    for (index, (reason, change)) in cases.into_iter().enumerate() {
        forge(&host, change);
        let refused = refusal(&host, RootOfTrust::Provider);
        assert!(refused.contains(reason), "case {index}: {refused}");
        fs::write(host.store.machine(&host.name).record(), &before).unwrap();
    }
    verified(&host, RootOfTrust::Provider, Assurance::ProviderRooted).unwrap();
}

/// The driver of the record says what its machines are rooted in: evidence of one is none of the other.
#[test]
fn evidence_of_one_root_of_trust_is_not_that_of_another() {
    use RootOfTrust::{Host as Own, MachineDisk, Provider};
    let (rescued, own) = (rescued(RescueHostKey::Known), own());
    verified(&rescued, Provider, Assurance::ProviderRooted).unwrap();
    verified(&own, Own, Assurance::HostRooted).unwrap();
    for (host, roots) in [(&rescued, [MachineDisk, Own]), (&own, [MachineDisk, Provider])] {
        for root in roots {
            assert!(refusal(host, root).contains("the expectation in the evidence"), "{root:?}");
        }
    }
    // And with a record that says what the other driver would say.
    forge(&rescued, |record| {
        no_rescue(record);
        record["assurance"] = json!("host-rooted");
    });
    assert!(refusal(&rescued, Own).contains("the expectation in the evidence"));
    forge(&own, |record| {
        record["accepted"]["attempt"]["rescue_host_key"] = json!("known");
        record["system"]["last"]["rescue_host_key"] = json!("known");
        record["assurance"] = json!("provider-rooted");
    });
    assert!(refusal(&own, Provider).contains("the expectation in the evidence"));
}

/// Also by whoever has the key of the state folder, and so can seal what somebody else wrote.
#[test]
fn evidence_that_was_changed_is_refused_sealed_or_not() {
    let host = rescued(RescueHostKey::Unknown);
    let record = host.record();
    let path = host.store.machine(&host.name).path().join(record.last_report.unwrap());
    let (evidence, stored) = (fs::read(&path).unwrap(), host.stored());
    let cases: [(&str, Forgery); 4] = [
        ("the expectation in the evidence", |e| e["expected"]["rescue_host_key"] = json!("known")),
        ("the expectation in the evidence", |e| e["expected"]["root_of_trust"] = json!("host")),
        ("read the evidence", |e| e["report"]["root_of_trust"] = json!("host")),
        ("read the evidence", |e| e["assurance"] = json!("host-rooted")),
    ];
    for (reason, change) in cases {
        let text = String::from_utf8(evidence.clone()).unwrap();
        let mut tree: Value = serde_json::from_str(&text).unwrap();
        change(&mut tree);
        // In the order in which this program writes it, where it can be read at all.
        let forged = reordered(&text, &tree);
        fs::write(&path, &forged).unwrap();
        assert!(refusal(&host, RootOfTrust::Provider).contains("is not the one that was stored"));
        let seal = serde_json::to_value(host.store.seal(&forged).unwrap()).unwrap();
        forge(&host, |record| record["accepted"]["seal"] = seal);
        let refused = refusal(&host, RootOfTrust::Provider);
        assert!(refused.contains(reason), "{reason}: {refused}");
        fs::write(&path, &evidence).unwrap();
        fs::write(host.store.machine(&host.name).record(), &stored).unwrap();
    }
    verified(&host, RootOfTrust::Provider, Assurance::ProviderRooted).unwrap();
}

/// `tree` as text: that of `text` with the words that differ, or any text when keys do.
fn reordered(text: &str, tree: &Value) -> Vec<u8> {
    for (place, key) in [("/expected/rescue_host_key", "rescue_host_key"), ("/expected/root_of_trust", "root_of_trust")]
    {
        let before: Value = serde_json::from_str(text).unwrap();
        let (old, new) = (before.pointer(place).unwrap(), tree.pointer(place).unwrap());
        if old != new {
            let (old, new) = (format!("\"{key}\": {old}"), format!("\"{key}\": {new}"));
            assert_eq!(text.matches(&old).count(), 1);
            return text.replace(&old, &new).into_bytes();
        }
    }
    serde_json::to_vec_pretty(tree).unwrap()
}

/// That a provider says it rewrote a disk is no report: nobody looked.
#[test]
fn a_rebuild_without_a_report_is_never_shown_as_a_level_that_takes_one() {
    for level in ["provider-rebuilt", "provider-rooted", "host-rooted"] {
        let host = rescued(RescueHostKey::Known);
        forge(&host, |record| {
            record["assurance"] = json!(level);
            for key in ["last_report", "accepted", "host_key"] {
                record[key] = Value::Null;
            }
        });
        let record = host.record();
        assert_eq!((record.standing(), record.standing_assurance()), (Standing::Never, None));
        let summary = host.store.summaries().unwrap().remove(0).summary.unwrap();
        assert_eq!((summary.assurance, summary.used), (None, None));
        assert!(refusal(&host, RootOfTrust::Provider).contains("has no accepted report"));
    }
}

/// So that what an older program stored is what this one would have: its evidence is held against that byte for byte.
#[test]
fn an_attempt_of_the_hosts_own_is_stored_as_it_was_before_there_were_rescue_systems() {
    let host = own();
    let record = String::from_utf8(host.stored()).unwrap();
    let report = host.record().last_report.unwrap();
    let evidence = fs::read_to_string(host.store.machine(&host.name).path().join(report)).unwrap();
    for text in [record, evidence] {
        assert!(!text.contains("rescue") && !text.contains("provider"), "{text}");
        assert!(
            ["kernel_release", "command_line"].iter().all(|key| text.contains(&format!("\"{key}\": \""))),
            "{text}"
        );
    }
}

#[test]
fn its_own_system_is_started_once_the_report_is_accepted_and_never_without_that() {
    let host = rescued(RescueHostKey::Known);
    assert_eq!(host.fake.calls().last(), Some(&Call::StartSystem));
    let Some((HostMessage::Go { .. }, record)) = host.word() else { panic!("no word to go") };
    assert!(record.last_report.is_some(), "the report is stored before the word");

    host.fake.plant(Faults { system_fails: true, ..Faults::default() });
    let error = host.operations().reimage(&host.name, &asked(Assurance::ProviderRooted)).map(drop).unwrap_err();
    assert!(error.line().contains("its own system is not started"), "{}", error.line());
    assert_eq!(host.record().state, MachineState::Failed);

    let refused = Host::new(|report| Some(Report { nonce: None, ..report }));
    let refused = refused.rooted_in(RootOfTrust::Provider, Some(RescueHostKey::Known));
    refused.create_with(&refused.name, NO_NETWORK).unwrap_err();
    assert!(!refused.fake.calls().contains(&Call::StartSystem));
    let own = own();
    assert!(own.fake.calls().contains(&Call::StartSystem), "a driver whose agent does it has nothing to do then");
}

#[test]
fn what_was_accepted_and_whose_system_never_started_is_started_by_a_start() {
    let host = rescued(RescueHostKey::Known);
    // As when the host lost its power after the word to go: the rescue system runs.
    forge(&host, |record| {
        record["state"] = json!("accepted");
        // Nobody answers over SSH here.
        record["host_key"] = Value::Null;
    });
    host.fake.switch_on();
    host.fake.calls();
    let before = host.record().last_report;
    host.operations().start(&host.name, TIME).unwrap();
    let calls = host.fake.calls();
    let place = |call: Call| calls.iter().position(|found| *found == call);
    assert!(place(Call::Halt) < place(Call::StartSystem), "the rescue system is ended first: {calls:?}");
    assert!(place(Call::Halt).is_some() && place(Call::Start).is_none(), "no agent is asked: {calls:?}");
    let record = host.record();
    assert_eq!((record.state, record.standing_assurance()), (MachineState::Running, Some(Assurance::ProviderRooted)));
    assert_eq!(record.last_report, before, "and nothing new is proved");
    // One that runs is left alone.
    host.operations().start(&host.name, TIME).unwrap();
    assert!(!host.fake.calls().contains(&Call::Halt));
}
