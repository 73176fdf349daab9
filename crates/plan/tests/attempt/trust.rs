//! Who chose the code that reports, and what its report proves at most: by the host's own word, never by the report's.

use cloud_machine_plan::{Expected, Rejection, highest_assurance, not_covered, recovery_not_covered, verify};
use cloud_machine_protocol::{Action, Assurance, Extent, Method, Report, RescueHostKey, Role, RootOfTrust, Tier};
use serde_json::{Value, json};

use crate::{
    honest::honest_in,
    root_pool, tiers,
    verify::{expected, report, sha256},
};

/// An attempt on a provider's rescue system, which has a kernel of its own.
pub(crate) fn rescue(action: Action, key: RescueHostKey) -> (Expected, Report) {
    let mut report = report(action);
    report.agent.kernel_release = "6.12.0-rescue".to_owned();
    report.agent.command_line_digest = sha256(7);
    (provided(expected(action), key), honest_in(RootOfTrust::Provider, report))
}

/// The same attempt, when a provider starts the system that the agent runs on.
fn provided(expected: Expected, key: RescueHostKey) -> Expected {
    Expected {
        root_of_trust: RootOfTrust::Provider,
        rescue_host_key: Some(key),
        kernel_release: None,
        command_line: None,
        ..expected
    }
}

#[test]
fn a_report_proves_no_more_than_who_chose_its_author() {
    let (rescued, other_kernel) = rescue(Action::Reimage, RescueHostKey::Known);
    let (machine, own) = recovered();
    for (expected, report, level) in [
        (&machine, own, Assurance::Unproven),
        (&rescued, other_kernel, Assurance::ProviderRooted),
        (&expected(Action::Reimage), report(Action::Reimage), Assurance::HostRooted),
    ] {
        let verdict = verify(expected, &report).unwrap();
        assert_eq!(verdict.assurance, level);
        assert_eq!(highest_assurance(expected.root_of_trust), level);
    }
}

/// The kernel's name of the disk that was reimaged.
fn system(report: &Report) -> String {
    let system = report.devices.iter().find(|device| device.method == Method::Reimage).unwrap();
    system.disk.name.clone()
}

/// An attempt that a machine's recovery partition started, and what its agent reports: a boot loader has added to the command line.
fn recovered() -> (Expected, Report) {
    let mut report = report(Action::Reimage);
    report.agent.command_line_digest = sha256(7);
    let place = Extent { offset: 4096, length: 4096 };
    report.not_covered.push(recovery_not_covered(&system(&report), place));
    let expected =
        Expected { root_of_trust: RootOfTrust::MachineDisk, command_line: None, ..expected(Action::Reimage) };
    (expected, report)
}

#[test]
fn a_recovery_partition_is_named_as_not_covered_where_the_machine_started_from_one() {
    let (expected, report) = recovered();
    let verdict = verify(&expected, &report).unwrap();
    assert_eq!(verdict.assurance, Assurance::Unproven);
    let told = verdict.does_not_cover();
    let line = report.not_covered.last().unwrap();
    assert!(told.starts_with("whether the agent itself was honest; ") && told.contains(line), "{told}");
    assert!(!verdict.checked.concat().contains("command line"), "{:?}", verdict.checked);

    let other = Extent { offset: 4096, length: 1 << 40 };
    for change in [
        |report: &mut Report| report.not_covered.push(report.not_covered.last().unwrap().clone()),
        |report: &mut Report| report.not_covered.last_mut().unwrap().push('.'),
        |report: &mut Report| {
            *report.not_covered.last_mut().unwrap() = recovery_not_covered("vdz", Extent { offset: 0, length: 1 })
        },
        |report: &mut Report| drop(report.not_covered.remove(0)),
        |report: &mut Report| drop(report.not_covered.pop()),
    ] {
        let mut changed = report.clone();
        change(&mut changed);
        assert_eq!(verify(&expected, &changed), Err(Rejection::NotCovered), "{:?}", changed.not_covered);
    }
    let mut beyond = report.clone();
    *beyond.not_covered.last_mut().unwrap() = recovery_not_covered(&system(&report), other);
    assert_eq!(verify(&expected, &beyond), Err(Rejection::NotCovered));
    // Nobody else starts from one.
    let host = Expected { root_of_trust: RootOfTrust::Host, command_line: Some(sha256(7)), ..expected.clone() };
    assert_eq!(verify(&host, &report), Err(Rejection::NotCovered));
    let without_release = Expected { kernel_release: None, ..expected };
    assert!(matches!(verify(&without_release, &report), Err(Rejection::Expectation { .. })));
}

#[test]
fn what_the_network_could_have_done_depends_on_whether_the_rescue_host_key_was_known() {
    let judged = |key| {
        let (expected, report) = rescue(Action::Reimage, key);
        verify(&expected, &report).unwrap()
    };
    let (unknown, known) = (judged(RescueHostKey::Unknown), judged(RescueHostKey::Known));
    for (verdict, key, open) in [(&unknown, RescueHostKey::Unknown, true), (&known, RescueHostKey::Known, false)] {
        let told = verdict.does_not_cover();
        assert_eq!((verdict.assurance, verdict.rescue_host_key), (Assurance::ProviderRooted, Some(key)));
        assert!(told.starts_with("the provider; its rescue image with the kernel and its command line; "), "{told}");
        assert!(told.contains("; the disk `cache`: kept") && !told.contains("unless"), "{told}");
        assert_eq!(told.contains("the network path"), open, "{told}");
        let checked = verdict.checked.concat();
        assert_eq!(checked.contains("host key, which was known before"), !open, "{checked}");
        assert!(!checked.contains("kernel command line") && !checked.contains("kernel's release"), "{checked}");
    }
    let own = verify(&expected(Action::Reimage), &report(Action::Reimage)).unwrap();
    assert!(own.rescue_host_key.is_none() && !own.does_not_cover().contains("the provider"));
}

/// All else is held against the host's own as ever.
#[test]
fn only_the_kernel_of_a_rescue_system_is_its_own_affair() {
    let (expected, report) = rescue(Action::Reimage, RescueHostKey::Known);
    type Break = fn(&mut Report);
    let cases: [(&str, Break); 8] = [
        ("Agent", |r| r.agent.digest = Some(sha256(3))),
        ("AgentUnknown", |r| r.agent.digest = None),
        ("Nonce", |r| r.nonce = None),
        ("MachineUuid", |r| r.machine_uuid = Some("other".to_owned())),
        ("Volume", |r| r.config.as_mut().unwrap().volume = Some(sha256(1))),
        ("Image", |r| r.disks[1].image_root = None),
        ("Coverage", |r| r.disks[1].read_bytes -= 1),
        ("NotWiped", |r| r.disks[0].zero_bytes -= 1),
    ];
    for (variant, lie) in cases {
        let mut report = report.clone();
        lie(&mut report);
        let rejection = verify(&expected, &report).unwrap_err();
        assert!(format!("{rejection:?}").starts_with(variant), "{variant}: {rejection:?}");
    }
    let (own, mut other) = (crate::verify::expected(Action::Reimage), report);
    assert!(
        matches!(verify(&own, &other), Err(Rejection::CommandLine { .. })),
        "a rescue system's report for a host's"
    );
    other.agent.command_line_digest = sha256(2);
    assert!(matches!(verify(&own, &other), Err(Rejection::KernelRelease { .. })));
}

#[test]
fn a_boot_and_a_clone_are_unproven_wherever_they_were_made() {
    for key in [RescueHostKey::Unknown, RescueHostKey::Known] {
        let (expected, report) = rescue(Action::Boot, key);
        assert_eq!(verify(&expected, &report).unwrap().assurance, Assurance::Unproven);
        let (expected, mut report) = root_pool::attempt(Tier::Clone);
        report.not_covered = not_covered(RootOfTrust::Provider, &report.devices);
        assert_eq!(verify(&provided(expected, key), &report).unwrap().assurance, Assurance::Unproven);
    }
}

#[test]
fn a_host_that_has_not_the_disk_answers_for_nothing_that_was_not_read_of_it() {
    for tier in [Tier::Overlay, Tier::Hinted] {
        let (expected, report) = tiers::attempt(Some(tier), tier);
        verify(&expected, &report).unwrap();
        let found = verify(&provided(expected, RescueHostKey::Known), &report);
        assert!(matches!(found, Err(Rejection::Expectation { reason }) if reason.contains("not read")), "{found:?}");
    }
}

#[test]
fn an_expectation_that_mixes_roots_of_trust_accepts_nothing() {
    type Change = fn(&mut Expected);
    let (rescued, other_kernel) = rescue(Action::Reimage, RescueHostKey::Known);
    let (own, report) = (expected(Action::Reimage), report(Action::Reimage));
    let of_rescue: [Change; 6] = [
        |e| e.rescue_host_key = None,
        |e| e.root_of_trust = RootOfTrust::Host,
        |e| e.root_of_trust = RootOfTrust::MachineDisk,
        |e| e.kernel_release = Some("6.12.0-rescue".to_owned()),
        |e| e.command_line = Some(sha256(7)),
        |e| (e.kernel_release, e.command_line) = (Some("6.12.0-rescue".to_owned()), Some(sha256(7))),
    ];
    let of_host: [Change; 6] = [
        |e| e.rescue_host_key = Some(RescueHostKey::Known),
        |e| e.root_of_trust = RootOfTrust::Provider,
        |e| e.kernel_release = None,
        |e| e.command_line = None,
        |e| (e.kernel_release, e.command_line) = (None, None),
        |e| {
            e.volume_attached = false;
            e.disks.retain(|disk| disk.role != Role::Volume);
        },
    ];
    let cases = of_rescue.map(|change| (&rescued, &other_kernel, change));
    let cases = cases.into_iter().chain(of_host.map(|change| (&own, &report, change)));
    for (index, (expected, report, change)) in cases.enumerate() {
        verify(expected, report).unwrap();
        let mut mixed = expected.clone();
        change(&mut mixed);
        let found = verify(&mixed, report);
        assert!(matches!(found, Err(Rejection::Expectation { .. })), "case {index}: {found:?}");
    }
}

/// A report has no field for it, wherever it is put.
#[test]
fn a_report_cannot_claim_a_root_of_trust_or_an_assurance() {
    let (_, report) = rescue(Action::Reimage, RescueHostKey::Unknown);
    let tree = serde_json::to_value(&report).unwrap();
    for place in ["", "/agent", "/image", "/config", "/devices/0", "/disks/0", "/steps/0", "/identity/0"] {
        for (key, value) in [
            ("root_of_trust", "host"),
            ("assurance", "host-rooted"),
            ("rescue_host_key", "known"),
            ("provider_rebuilt", "true"),
        ] {
            let mut claimed = tree.clone();
            let Some(Value::Object(map)) = claimed.pointer_mut(place) else { panic!("{place} is no map") };
            map.insert(key.to_owned(), json!(value));
            let error = serde_json::from_value::<Report>(claimed).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{place}: {error}");
        }
    }
}

/// Evidence of before there were rescue systems is read, and written again byte for byte.
#[test]
fn an_older_expectation_reads_and_is_written_as_it_was() {
    let own = expected(Action::Reimage);
    let tree = serde_json::to_value(&own).unwrap();
    assert_eq!((&tree["kernel_release"], &tree["root_of_trust"]), (&json!("6"), &json!("host")));
    assert!(tree["command_line"].is_string() && tree.get("rescue_host_key").is_none());
    assert!(tree.get("volume_attached").is_none());
    assert_eq!(serde_json::from_value::<Expected>(tree).unwrap(), own);
    let (rescued, _) = rescue(Action::Reimage, RescueHostKey::Unknown);
    let tree = serde_json::to_value(&rescued).unwrap();
    assert_eq!((&tree["root_of_trust"], &tree["rescue_host_key"]), (&json!("provider"), &json!("unknown")));
    assert!(tree.get("kernel_release").is_none() && tree.get("command_line").is_none());
    assert_eq!(serde_json::from_value::<Expected>(tree).unwrap(), rescued);
}

/// What lay on the disks before decides nothing about whom to trust either.
#[test]
fn a_rescue_systems_report_of_changes_is_judged_as_a_hosts() {
    let (expected, mut report) = rescue(Action::Reimage, RescueHostKey::Known);
    report.changed = vec![crate::verify::changed(&[(65_536, 65_536)])];
    assert_eq!(
        verify(&expected, &honest_in(RootOfTrust::Provider, report)).unwrap().assurance,
        Assurance::ProviderRooted
    );
}

#[test]
fn the_reference_page_has_all_levels_and_what_each_does_not_cover() {
    let page = include_str!("../../../../docs/reference/assurance.md");
    let rows = |header: &str| -> Vec<(&str, &str)> {
        let lines = page.lines().skip_while(|line| !line.starts_with(header)).skip(2);
        lines
            .map_while(|line| Some((line.split('`').nth(1)?, line.strip_suffix(" |")?.rsplit(" | ").next()?)))
            .collect()
    };
    assert_eq!(rows("| level |"), Assurance::ALL.map(|level| (level.name(), level.does_not_cover())));
    let keys = [("known", RescueHostKey::Known), ("unknown", RescueHostKey::Unknown)];
    for (word, key) in keys {
        assert_eq!(serde_json::to_value(key).unwrap(), word);
    }
    let told = keys.map(|(word, key)| (word, Assurance::ProviderRooted.does_not_cover_of(Some(key))));
    assert_eq!(rows("| `rescue_host_key` |"), told);
}
