//! A good report, and the same report with one thing broken at a time.

use std::collections::BTreeMap;

use cloud_machine_image::digest_of_extents;
use cloud_machine_plan::{Disposition, Expected, ExpectedDisk, HOST_KEY, Rejection, verify};
use cloud_machine_protocol::{
    Action, AgentEvidence, Algorithm, Assurance, ChangedExtents, ConfigEvidence, DataContent, DeviceRecord, Digest,
    DiskEvidence, Exception, Extent, FORMAT_VERSION, Identity, IdentityItem, IgnoredVolume, ImageEvidence, MacAddress,
    MachineId, Method, Nonce, Outcome, Report, ReportResult, Role, RootOfTrust, SecretPolicy, Step, StepId, StepRecord,
    Tier, WipeMethod,
};

use crate::{
    fixture::{IMAGE, SYSTEM, digest, disk, good, image, request},
    honest::honest,
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ demo";

const OLD_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK+DftxajXK+FnF+h01p4JQK3PsY7r307z3scVHR6zIv demo";

pub(crate) fn sha256(byte: u8) -> Digest {
    Digest::new(Algorithm::Sha256, [byte; 32])
}

pub(crate) fn expected(action: Action) -> Expected {
    let declared = |name: &str| Role::Declared { name: name.into() };
    let disk = ExpectedDisk::new;
    let fixed = |serial, size, role| ExpectedDisk { read_only: true, ..disk(serial, size, role, Disposition::Keep) };
    Expected {
        request: request(action),
        volume: sha256(9),
        document: sha256(8),
        origins: BTreeMap::from([("hostname".to_owned(), "project f:1:1".to_owned())]),
        url: None,
        drives_trusted: false,
        disks: vec![
            disk("system", SYSTEM, declared("system"), Disposition::System),
            disk("scratch", 2 << 20, declared("scratch"), Disposition::Wipe),
            disk("cache", 3 << 20, declared("cache"), Disposition::Keep),
            fixed("image", 1 << 19, Role::ImageSource),
            fixed("volume", 1 << 18, Role::Volume),
        ],
        table: None,
        generation: image().generation,
        root: image().root,
        identity: Identity {
            name: "demo".parse().unwrap(),
            machine_uuid: request(action).machine_uuid,
            machine_id: MachineId::from_random([3; 16]),
            mac: MacAddress::from_random([1, 2, 3]),
            nics: std::collections::BTreeMap::from([("lan".parse().unwrap(), MacAddress::from_random([4, 5, 6]))]),
            authorized_keys: vec!["login".to_owned()],
            ssh_host_keys: SecretPolicy::Rotate,
        },
        last_host_key: Some(OLD_KEY.to_owned()),
        kept_host_key: None,
        authorized_keys: vec!["login".to_owned(), "project".to_owned()],
        own_keys: 1,
        agent: sha256(1),
        kernel_release: Some("6".to_owned()),
        packed_size: 1 << 19,
        command_line: Some(sha256(2)),
        volume_attached: true,
        root_of_trust: RootOfTrust::Host,
        rescue_host_key: None,
    }
}

const KEPT: &str = "the SSH host key is kept: each job since the machine was made could copy it, and whoever did can answer in this \
                    machine's place";

/// A machine whose host key stays, and what an honest agent reports of it.
fn kept() -> (Expected, Report) {
    let mut expected = expected(Action::Reimage);
    expected.identity.ssh_host_keys = SecretPolicy::Keep;
    expected.kept_host_key = Some(OLD_KEY.to_owned());
    let mut report = report(Action::Reimage);
    report.identity[2] =
        IdentityItem { policy: SecretPolicy::Keep, public: OLD_KEY.to_owned(), ..report.identity[2].clone() };
    (expected, report)
}

#[test]
fn a_kept_host_key_is_the_one_that_was_handed_over_and_is_not_called_new() {
    let (mut expected, report) = kept();
    let verdict = verify(&expected, &report).unwrap();
    let said = verdict.checked.iter().find(|line| line.starts_with("identity: ")).unwrap();
    assert!(said.ends_with("and the SSH host key that the host keeps, which is no new one"), "{said}");
    assert_eq!(verdict.assurance, Assurance::HostRooted, "the disks are what they were proved to be");
    assert!(verdict.does_not_cover().ends_with(KEPT), "{}", verdict.does_not_cover());
    for (public, policy, variant) in [
        (KEY, SecretPolicy::Keep, "IdentityDiffers"),
        (KEY, SecretPolicy::Rotate, "IdentityPolicy"),
        (OLD_KEY, SecretPolicy::Rotate, "IdentityPolicy"),
    ] {
        let mut report = report.clone();
        report.identity[2] = IdentityItem { policy, public: public.to_owned(), ..report.identity[2].clone() };
        let rejection = verify(&expected, &report).unwrap_err();
        assert!(format!("{rejection:?}").starts_with(variant), "{public} {policy}: {rejection:?}");
    }
    expected.kept_host_key = None;
    assert!(matches!(verify(&expected, &report), Err(Rejection::IdentityPolicy { .. })), "nobody handed one over");
}

#[test]
fn a_rotated_host_key_leaves_nothing_open() {
    let verdict = verify(&expected(Action::Reimage), &report(Action::Reimage)).unwrap();
    assert!(!verdict.does_not_cover().contains("host key"), "{}", verdict.does_not_cover());
    assert!(verdict.checked.iter().any(|line| line.ends_with("and a new SSH host key")));
}

pub(crate) fn record(id: &StepId, step: &Step) -> StepRecord {
    StepRecord {
        id: id.clone(),
        step: step.clone(),
        outcome: Outcome::Changed,
        compared_bytes: 0,
        written_bytes: 0,
        zeroed_bytes: 0,
        read_back_bytes: 0,
        milliseconds: 1,
    }
}

/// What an honest agent reports of the plan.
pub(crate) fn report(action: Action) -> Report {
    let (request, plan) = (request(action), good(action));
    let item = |name: &str, public: &str| IdentityItem {
        name: name.to_owned(),
        policy: if name == HOST_KEY { SecretPolicy::Rotate } else { SecretPolicy::Keep },
        public: public.to_owned(),
    };
    let reimaged = action == Action::Reimage;
    let system = DiskEvidence {
        device: "vda".into(),
        disk_size: SYSTEM,
        tier: Some(Tier::Scan),
        read_bytes: SYSTEM,
        table: None,
        image_root: Some(digest(1)),
        image_size: IMAGE,
        zero_bytes: SYSTEM - IMAGE,
        ranges: Vec::new(),
    };
    let scratch = DiskEvidence {
        device: "vdb".into(),
        disk_size: 2 << 20,
        tier: None,
        read_bytes: 2 << 20,
        image_root: None,
        table: None,
        image_size: 0,
        zero_bytes: 2 << 20,
        ranges: Vec::new(),
    };
    let identity = vec![
        item("hostname", "demo"),
        item("machine-id", &MachineId::from_random([3; 16]).to_string()),
        item(HOST_KEY, KEY),
        item("hostid", "03030303"),
        item("machine-uuid", &request.machine_uuid),
        item("mac", "52:54:00:01:02:03"),
        item("authorized-keys", "login\nproject"),
        item("mac-lan", "52:54:00:04:05:06"),
    ];
    honest(Report {
        version: FORMAT_VERSION,
        request_id: Some(request.id),
        nonce: Some(request.nonce),
        machine_uuid: Some(request.machine_uuid),
        action: Some(action),
        boot_id: "0f6ff1f6-2b0c-4d2a-9a51-6f3a1f0f7d11".into(),
        result: ReportResult::Done,
        agent: AgentEvidence {
            version: "0".into(),
            digest: Some(sha256(1)),
            kernel_release: "6".into(),
            command_line_digest: sha256(2),
        },
        image: Some(ImageEvidence { generation: 4, minimum_generation: 3, exceptions: Vec::new() }),
        config: Some(ConfigEvidence {
            volume: Some(sha256(9)),
            document: sha256(8),
            url: None,
            drives: Vec::new(),
            origins: BTreeMap::from([("hostname".to_owned(), "project f:1:1".to_owned())]),
        }),
        steps: plan.steps.iter().map(|step| record(&step.id, &step.step)).collect(),
        devices: plan.devices,
        disks: if reimaged { vec![scratch, system] } else { vec![scratch] },
        root: None,
        changed: Vec::new(),
        image_source: None,
        ignored_volumes: Vec::new(),
        identity: if reimaged { identity } else { Vec::new() },
        not_covered: Vec::new(),
        timings: Vec::new(),
    })
}

/// The name of the rejection's variant, for a report that `change` broke.
fn rejected(action: Action, change: impl FnOnce(&mut Report)) -> (String, Rejection) {
    let mut report = report(action);
    change(&mut report);
    let rejection = verify(&expected(action), &report).unwrap_err();
    let text = format!("{rejection:?}");
    (text.split([' ', '{']).next().unwrap_or_default().to_owned(), rejection)
}

#[test]
fn a_good_reimage_is_host_rooted_only_when_the_host_booted_it() {
    let verdict = verify(&expected(Action::Reimage), &report(Action::Reimage)).unwrap();
    assert_eq!(verdict.assurance, Assurance::HostRooted);
    assert_eq!(verdict.checked.len(), 9);
    // Whoever starts from the disk that it reimages names what it was started from.
    let elsewhere = Expected { root_of_trust: RootOfTrust::MachineDisk, ..expected(Action::Reimage) };
    assert_eq!(verify(&elsewhere, &report(Action::Reimage)), Err(Rejection::NotCovered));
}

/// Even when host and agent agree on it.
#[test]
fn an_image_below_the_minimum_of_the_request_is_refused() {
    for action in [Action::Reimage, Action::Boot] {
        let (mut expected, mut report) = (expected(action), report(action));
        expected.generation = 2;
        report.image = Some(ImageEvidence { generation: 2, minimum_generation: 3, exceptions: Vec::new() });
        let rejection = verify(&expected, &report).unwrap_err();
        assert_eq!(rejection.to_string(), "the image is of generation 2, the request allows none below 3");
        expected.request.image.minimum_generation = 2;
        expected.request.image.exceptions = vec![Exception::Downgrade];
        report.image =
            Some(ImageEvidence { generation: 2, minimum_generation: 2, exceptions: vec![Exception::Downgrade] });
        verify(&expected, &report).unwrap();
    }
}

#[test]
fn a_good_boot_proves_nothing_about_the_system_disk() {
    let verdict = verify(&expected(Action::Boot), &report(Action::Boot)).unwrap();
    assert_eq!(verdict.assurance, Assurance::Unproven);
    assert!(!verdict.checked.iter().any(|what| what.contains("system disk") || what.contains("identity")));
}

#[test]
fn an_unchanged_disk_is_as_good_as_a_changed_one() {
    let mut report = report(Action::Reimage);
    for step in report.steps.iter_mut().filter(|step| matches!(step.step, Step::Reimage { .. } | Step::Wipe { .. })) {
        step.outcome = Outcome::Unchanged;
        (step.written_bytes, step.zeroed_bytes, step.read_back_bytes) = (0, 0, 0);
    }
    assert!(verify(&expected(Action::Reimage), &report).is_ok());
}

type Break = fn(&mut Report);

#[test]
fn one_broken_thing_is_enough_and_has_its_own_rejection() {
    let failed: Break =
        |r| r.result = ReportResult::Failed { step: None, causes: vec!["a\u{1b}[31m".into(), "b".into()] };
    let cases: Vec<(&str, Break)> = vec![
        ("Version", |r| r.version = FORMAT_VERSION + 1),
        ("Failed", failed),
        ("RequestId", |r| r.request_id = Some("01K9ZXN3QJ5J2Z6Q0V1T4W7Y8B".into())),
        ("RequestId", |r| r.request_id = None),
        ("Nonce", |r| r.nonce = Some(Nonce::from_random([8; 32]))),
        ("Nonce", |r| r.nonce = None),
        ("MachineUuid", |r| r.machine_uuid = Some("other".into())),
        ("MachineUuid", |r| r.machine_uuid = None),
        ("Action", |r| r.action = Some(Action::Boot)),
        ("Action", |r| r.action = None),
        ("GenerationAbsent", |r| r.image = None),
        ("Generation", |r| r.image.as_mut().unwrap().generation = 5),
        ("Generation", |r| r.image.as_mut().unwrap().minimum_generation = 2),
        ("Generation", |r| r.image.as_mut().unwrap().exceptions.push(Exception::Downgrade)),
        ("VolumeAbsent", |r| r.config = None),
        ("Volume", |r| r.config.as_mut().unwrap().volume = Some(sha256(1))),
        ("Agent", |r| r.agent.digest = Some(sha256(3))),
        ("AgentUnknown", |r| r.agent.digest = None),
        ("CommandLine", |r| r.agent.command_line_digest = sha256(3)),
        ("Undeclared", |r| r.devices.push(stranger(Role::Undeclared))),
        ("Unattached", |r| r.devices.push(stranger(Role::Declared { name: "system".into() }))),
        ("Unattached", |r| r.devices[0].disk.size -= 1),
        ("Unattached", |r| r.devices[0].disk.serial = None),
        ("DeviceTwice", |r| r.devices.push(r.devices[0].clone())),
        ("DeviceTwice", |r| r.devices[1].disk.name = "vda".into()),
        ("DeviceAbsent", |r| drop(r.devices.remove(2))),
        ("Role", |r| r.devices[2].role = Role::Undeclared),
        ("Role", |r| r.devices[0].role = Role::Declared { name: "scratch".into() }),
        ("EvidenceAbsent", |r| drop(r.disks.remove(1))),
        ("EvidenceAbsent", |r| drop(r.disks.remove(0))),
        ("EvidenceTwice", |r| r.disks.push(r.disks[1].clone())),
        ("Image", |r| r.disks[1].image_root = Some(digest(2))),
        ("Image", |r| r.disks[1].image_root = None),
        ("Coverage", |r| r.disks[1].zero_bytes -= 1),
        ("Coverage", |r| r.disks[1].zero_bytes = u64::MAX),
        ("Coverage", |r| r.disks[1].disk_size -= 1),
        ("Coverage", |r| {
            r.disks[1].image_size -= 1;
            r.disks[1].zero_bytes += 1;
        }),
        ("Coverage", |r| r.disks[1].read_bytes -= 1),
        ("Tier", |r| r.disks[1].tier = Some(Tier::Hinted)),
        ("Tier", |r| r.disks[1].tier = Some(Tier::Overlay)),
        ("Tier", |r| r.disks[1].tier = None),
        ("Table", |r| r.disks[1].table = Some(digest(3))),
        ("NotWiped", |r| r.disks[0].zero_bytes -= 1),
        ("NotWiped", |r| r.disks[0].read_bytes -= 1),
        ("NotWiped", |r| r.disks[0].tier = Some(Tier::Scan)),
        ("NotWiped", |r| r.disks[0].disk_size += 1),
        ("NotWiped", |r| r.disks[0].image_root = Some(digest(1))),
        ("NotWiped", |r| r.disks[0].image_size = 1),
        ("StepAbsent", |r| drop(r.steps.remove(0))),
        ("StepAbsent", |r| drop(r.steps.pop())),
        ("StepUnexpected", |r| r.steps.push(r.steps[0].clone())),
        ("StepUnexpected", |r| r.steps.swap(0, 1)),
        ("StepDiffers", |r| r.steps[3].step = Step::WriteIdentity { hostname: "evil".into() }),
        ("StepDiffers", |r| r.steps[0].step = r.steps[2].step.clone()),
        ("StepDiffers", |r| {
            if let Step::MountRoot { offset, .. } = &mut r.steps[2].step {
                *offset += 1
            }
        }),
        ("StepDiffers", |r| {
            if let Step::Wipe { length, .. } = &mut r.steps[0].step {
                *length -= 1
            }
        }),
        ("StepFailed", |r| r.steps[1].outcome = Outcome::Failed { reason: "no".into() }),
        ("IdentityAbsent", |r| drop(r.identity.remove(0))),
        ("IdentityAbsent", |r| drop(r.identity.remove(1))),
        ("IdentityAbsent", |r| drop(r.identity.remove(2))),
        ("IdentityTwice", |r| r.identity.push(r.identity[2].clone())),
        ("IdentityDiffers", |r| r.identity[0].public = "evil".into()),
        ("IdentityDiffers", |r| r.identity[1].public = MachineId::from_random([4; 16]).to_string()),
        ("IdentityPolicy", |r| r.identity[2].policy = SecretPolicy::Keep),
        ("IdentityPolicy", |r| r.identity[0].policy = SecretPolicy::Rotate),
        ("IdentityUnexpected", |r| r.identity.push(IdentityItem { name: "other".into(), ..r.identity[0].clone() })),
        ("IdentityDiffers", |r| r.identity[6].public.push_str("\none more")),
        ("IdentityDiffers", |r| r.identity[7].public = "52:54:00:04:05:07".into()),
        ("IdentityUnexpected", |r| r.identity[7].name = "mac-lan2".into()),
        ("HostKey", |r| r.identity[2].public = format!("{KEY}\n* {KEY}")),
        ("HostKey", |r| r.identity[2].public = "ssh-rsa AAAA".into()),
        ("HostKey", |r| r.identity[2].public = OLD_KEY.replace(" demo", " other")),
        ("HostKeyKept", |r| r.identity[2].public = OLD_KEY.into()),
        ("BootId", |r| r.boot_id = "b".into()),
        ("KernelRelease", |r| r.agent.kernel_release = "7".into()),
        ("Document", |r| r.config.as_mut().unwrap().document = sha256(1)),
        ("Origin", |r| r.config.as_mut().unwrap().origins.clear()),
        ("Origin", |r| drop(r.config.as_mut().unwrap().origins.insert("a".into(), "volume x".into()))),
        ("DeviceDiffers", |r| r.devices[0].disk.read_only = true),
        ("DeviceDiffers", |r| r.devices[4].disk.read_only = false),
        ("DeviceDiffers", |r| r.devices[2].disk.name = "sdc".into()),
        ("DeviceDiffers", |r| r.devices[2].disk.sector_size = 4096),
        ("Method", |r| r.devices[1].method = Method::Data { wipe: None, encrypted: false, content: DataContent::Raw }),
        ("Method", |r| r.devices[0].method = Method::Booted),
        ("Method", |r| {
            let wipe = Some(WipeMethod::Zero);
            r.devices[2].method = Method::Data { wipe, encrypted: false, content: DataContent::Raw };
        }),
        ("EvidenceUnexpected", |r| r.disks.push(DiskEvidence { device: "vdc".into(), ..r.disks[0].clone() })),
        ("EvidenceUnexpected", |r| r.disks.push(DiskEvidence { device: "vdz".into(), ..r.disks[0].clone() })),
        ("IgnoredVolume", |r| r.ignored_volumes.push(IgnoredVolume { device: "vdz".into(), reason: "no".into() })),
        ("NotCovered", |r| r.not_covered.clear()),
        ("StepBytes", |r| r.steps[1].compared_bytes = 0),
        ("StepBytes", |r| r.steps[1].outcome = Outcome::Changed),
        ("StepBytes", |r| r.steps[1].written_bytes = 1),
        ("StepBytes", |r| r.steps[0].read_back_bytes = 0),
        ("StepBytes", |r| r.steps[0].zeroed_bytes = u64::MAX),
        ("StepBytes", |r| r.steps[2].written_bytes = 1),
        ("StepBytes", |r| r.changed[0] = changed(&[(65_536, 65_536)])),
        ("Changes", |r| r.changed.clear()),
        ("Changes", |r| r.changed.push(r.changed[0].clone())),
        ("Changes", |r| r.changed[0].device = "vdb".into()),
        ("Changes", |r| r.changed[0].count = 1),
        ("Changes", |r| r.changed[0].bytes = 1),
        ("Changes", |r| r.changed[0].digest = digest(3)),
        ("Changes", |r| r.changed[0] = changed(&[(65_536, 65_536), (65_536, 65_536)])),
        ("Changes", |r| r.changed[0] = changed(&[(SYSTEM, 65_536)])),
    ];
    for (index, (variant, change)) in cases.into_iter().enumerate() {
        println!("case {index}: {variant}");
        let (found, rejection) = rejected(Action::Reimage, change);
        assert_eq!(found, variant, "case {index}: {rejection}");
        let text = rejection.to_string();
        assert!(!text.is_empty() && !text.contains(char::is_control), "case {index}: {text:?}");
    }
}

fn stranger(role: Role) -> DeviceRecord {
    DeviceRecord { disk: disk("vdf", "stranger", 9), role, method: Method::Ignored }
}

/// What had differed on the system disk, said as the image's own crate says it.
pub(crate) fn changed(ranges: &[(u64, u64)]) -> ChangedExtents {
    let extents: Vec<Extent> = ranges.iter().map(|&(offset, length)| Extent { offset, length }).collect();
    ChangedExtents {
        device: "vda".into(),
        count: extents.len() as u64,
        bytes: extents.iter().map(|extent| extent.length).sum(),
        digest: digest_of_extents(&extents),
        extents,
    }
}

#[test]
fn a_boot_is_checked_for_what_it_does() {
    let cases: Vec<(&str, Break)> = vec![
        ("Nonce", |r| r.nonce = None),
        ("Volume", |r| r.config.as_mut().unwrap().volume = Some(sha256(1))),
        ("DeviceAbsent", |r| drop(r.devices.remove(2))),
        ("NotWiped", |r| r.disks[0].zero_bytes = 0),
        ("StepAbsent", |r| drop(r.steps.pop())),
        ("StepUnexpected", |r| r.steps.push(record(&StepId("reimage-system".into()), &r.steps[1].step.clone()))),
    ];
    for (variant, change) in cases {
        assert_eq!(rejected(Action::Boot, change).0, variant);
    }
}

#[test]
fn a_failed_attempt_carries_its_causes_escaped() {
    let change = |r: &mut Report| {
        let causes = vec!["cannot write vda's head".into(), "a\u{1b}[31m".into()];
        r.result = ReportResult::Failed { step: Some(StepId("reimage-system".into())), causes };
    };
    let text = rejected(Action::Reimage, change).1.to_string();
    assert_eq!(text, "the attempt failed in step \"reimage-system\": cannot write vda's head: a\\u{1b}[31m");
    let text =
        rejected(Action::Reimage, |r| r.result = ReportResult::Failed { step: None, causes: Vec::new() }).1.to_string();
    assert_eq!(text, "the attempt failed: no cause given");
}

#[test]
fn an_expectation_that_looks_at_no_disk_accepts_nothing() {
    type Change = fn(&mut Expected);
    let cases: Vec<(&str, Change)> = vec![
        ("there must be one system disk", |e| e.disks[0].disposition = Disposition::Keep),
        ("there must be one system disk", |e| e.disks[1].disposition = Disposition::System),
        ("there must be one volume, unless it came over the connection", |e| drop(e.disks.remove(4))),
        ("a reimage must have one image source", |e| drop(e.disks.remove(3))),
        ("a disk is written that is not declared", |e| e.disks[1].role = Role::Undeclared),
    ];
    for (reason, change) in cases {
        let mut expected = expected(Action::Reimage);
        change(&mut expected);
        assert_eq!(verify(&expected, &report(Action::Reimage)), Err(Rejection::Expectation { reason }));
    }
}

#[test]
fn an_attached_disk_that_the_configuration_ignores_is_expected() {
    let mut expected = expected(Action::Reimage);
    expected.disks.push(ExpectedDisk::new("stranger", 9, Role::Undeclared, Disposition::Keep));
    let mut report = report(Action::Reimage);
    report.devices.push(stranger(Role::Undeclared));
    assert_eq!(verify(&expected, &report), Err(Rejection::NotCovered));
    let verdict = verify(&expected, &honest(report)).unwrap();
    assert!(verdict.does_not_cover().contains("/dev/vdf: not declared, and ignored"), "{}", verdict.does_not_cover());
}
