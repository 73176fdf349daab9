//! Documents that the machine read for itself: which ones are accepted, and what they may make stricter.

use cloud_machine_plan::{Disposition, Expected, ExpectedDisk, ExpectedUrl, Rejection, plan, verify};
use cloud_machine_protocol::{
    Action, ConfigEvidence, DeviceRecord, Disk, DiskEvidence, DriveEvidence, DriveRequest, IgnoredVolume, Method,
    Report, Role, SecretPolicy, Timing, UrlEvidence,
};

use crate::{
    fixture::{DISKS, config, disk, image, inventory, request},
    honest::honest,
    verify::{expected, record, report, sha256},
};

const URL: &str = "https://config.example/machine.yaml";

fn url(byte: u8) -> UrlEvidence {
    UrlEvidence { url: URL.into(), document: sha256(byte), requests: 1, address: Some("10.0.2.15/24".into()) }
}

/// The drive with these bytes, on a device that is named by them.
fn drive(byte: u8) -> DriveEvidence {
    DriveEvidence { device: format!("vd{}", char::from(b'p' + byte)), digest: sha256(byte) }
}

/// Attaches the drives that have one of `bytes`; those from `stranger` on are not declared.
fn attach(expected: &mut Expected, report: &mut Report, bytes: &[u8], stranger: u8) {
    for byte in bytes {
        let (name, serial) = (drive(*byte).device, format!("drive{byte}"));
        let (role, method) =
            if *byte < stranger { (Role::Drive, Method::Read) } else { (Role::Undeclared, Method::Ignored) };
        let mut attached = ExpectedDisk::new(&serial, 1 << 18, role.clone(), Disposition::Keep);
        attached.read_only = true;
        expected.disks.push(attached);
        let disk = Disk { read_only: true, ..disk(&name, &serial, 1 << 18) };
        report.devices.push(DeviceRecord { disk, role, method });
    }
}

fn evidence(report: &mut Report) -> &mut ConfigEvidence {
    report.config.as_mut().unwrap()
}

fn verdict(expect: impl FnOnce(&mut Expected), change: impl FnOnce(&mut Report)) -> Result<(), Rejection> {
    let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
    expect(&mut expected);
    change(&mut report);
    verify(&expected, &honest(report)).map(drop)
}

fn wants_url(expected: &mut Expected) {
    expected.url = Some(ExpectedUrl { url: URL.into(), document: None });
}

fn wants_document(expected: &mut Expected) {
    expected.url = Some(ExpectedUrl { url: URL.into(), document: Some(sha256(5)) });
}

#[test]
fn the_address_of_the_configuration_and_no_other() {
    verdict(wants_url, |report| evidence(report).url = Some(url(5))).unwrap();
    verdict(wants_document, |report| evidence(report).url = Some(url(5))).unwrap();
    let rejection = verdict(wants_document, |report| evidence(report).url = Some(url(6))).unwrap_err();
    assert!(matches!(rejection, Rejection::UrlDocument { .. }), "{rejection}");
    let rejection = verdict(wants_url, |_| {}).unwrap_err();
    assert_eq!(rejection.to_string(), format!("the machine read its document from no address instead of {URL:?}"));
    let rejection = verdict(|_| {}, |report| evidence(report).url = Some(url(5))).unwrap_err();
    assert!(matches!(rejection, Rejection::Url { expected: None, .. }), "{rejection}");
    let other = UrlEvidence { url: "https://other.example/".into(), ..url(5) };
    let rejection = verdict(wants_url, |report| evidence(report).url = Some(other)).unwrap_err();
    assert!(matches!(rejection, Rejection::Url { expected: Some(_), found: Some(_) }), "{rejection}");
}

#[test]
fn a_document_of_the_machines_own_may_turn_a_kept_host_key_into_a_new_one_and_no_other_into_a_kept_one() {
    let new = report(Action::Reimage).identity[2].public.clone();
    let keeps = |key: &str| {
        let key = key.to_owned();
        move |expected: &mut Expected| {
            wants_url(expected);
            expected.kept_host_key = Some(key);
        }
    };
    let other = expected(Action::Reimage).last_host_key.unwrap();
    verdict(keeps(&other), |report| evidence(report).url = Some(url(5))).unwrap();
    let rejection = verdict(keeps(&new), |report| evidence(report).url = Some(url(5))).unwrap_err();
    assert!(matches!(rejection, Rejection::HostKeyKept), "called new, and it is the kept one: {rejection}");
    let rejection = verdict(wants_url, |report| {
        evidence(report).url = Some(url(5));
        report.identity[2].policy = SecretPolicy::Keep;
    });
    assert!(matches!(rejection, Err(Rejection::IdentityPolicy { .. })), "{rejection:?}");
}

/// Documents from an address and a drive, and a volume that did not count; the host may know the digest of the former.
pub(crate) fn sample(known: bool) -> (Expected, Report) {
    let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
    if known {
        wants_document(&mut expected)
    } else {
        wants_url(&mut expected)
    };
    expected.request.drives = vec![DriveRequest { device: "serial:drive1".parse().unwrap(), digest: sha256(1) }];
    attach(&mut expected, &mut report, &[1, 3], 3);
    evidence(&mut report).url = Some(url(5));
    evidence(&mut report).drives = vec![drive(1)];
    report.ignored_volumes = vec![IgnoredVolume { device: drive(3).device, reason: "not attached as a drive".into() }];
    report.timings = vec![Timing { phase: "total".into(), milliseconds: 5 }];
    (expected, honest(report))
}

#[test]
fn the_drives_of_the_request_in_their_order() {
    let wants = |expected: &mut Expected| {
        let named = |name: &str, byte| DriveRequest { device: name.parse().unwrap(), digest: sha256(byte) };
        expected.request.drives = vec![named("serial:drive1", 1), named("serial:drive2", 2)];
    };
    let trusts = |expected: &mut Expected| {
        wants(expected);
        expected.drives_trusted = true;
    };
    let read = |bytes: &'static [u8]| {
        move |report: &mut Report| evidence(report).drives = bytes.iter().map(|byte| drive(*byte)).collect()
    };
    let attached = |expect: &dyn Fn(&mut Expected), bytes: &'static [u8], change: &dyn Fn(&mut Report)| {
        let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
        expect(&mut expected);
        attach(&mut expected, &mut report, bytes, 3);
        read(bytes)(&mut report);
        change(&mut report);
        verify(&expected, &honest(report)).map(drop)
    };
    attached(&wants, &[1, 2], &|_| {}).unwrap();
    attached(&trusts, &[1, 2, 3], &|_| {}).unwrap();
    for (index, device) in [(0, "vdr"), (0, "vdz"), (1, "vde")] {
        let elsewhere = attached(&wants, &[1, 2], &|report| evidence(report).drives[index].device = device.into());
        assert!(matches!(elsewhere, Err(Rejection::DriveDevice { .. })), "{index} {device}: {elsewhere:?}");
    }
    for wrong in [&[][..], &[1], &[2, 1], &[1, 2, 3], &[1, 3]] {
        let rejection = verdict(wants, read(wrong)).unwrap_err();
        assert!(matches!(rejection, Rejection::Drives { .. }), "{wrong:?}: {rejection}");
    }
    assert!(matches!(verdict(trusts, read(&[2, 1])), Err(Rejection::Drives { .. })));
    assert!(matches!(verdict(|_| {}, read(&[1])), Err(Rejection::Drives { .. })));
}

/// A document from an address says `on-reimage: wipe` for a disk that the host would have kept.
fn stricter(report: &mut Report) {
    let disks = DISKS.replace("{on-reimage: keep}", "{}");
    let plan = plan(
        &config(&disks, "refuse"),
        &inventory(),
        &request(Action::Reimage),
        &image(),
        Some("vde"),
        &"demo".parse().unwrap(),
    );
    let plan = plan.unwrap();
    evidence(report).url = Some(url(5));
    report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
    report.devices = plan.devices;
    report.disks.push(DiskEvidence {
        device: "vdc".into(),
        disk_size: 3 << 20,
        tier: None,
        read_bytes: 3 << 20,
        image_root: None,
        table: None,
        image_size: 0,
        zero_bytes: 3 << 20,
        ranges: Vec::new(),
    });
}

#[test]
fn a_disk_may_be_wiped_that_the_host_would_have_kept_and_then_the_wipe_is_checked() {
    verdict(wants_url, stricter).unwrap();
    let torn = |report: &mut Report| {
        stricter(report);
        report.disks.last_mut().unwrap().zero_bytes -= 1;
    };
    assert!(matches!(verdict(wants_url, torn), Err(Rejection::NotWiped { .. })));
    let unproved = |report: &mut Report| {
        stricter(report);
        report.disks.pop();
    };
    assert!(matches!(verdict(wants_url, unproved), Err(Rejection::EvidenceAbsent { .. })));
    // Without such a document nothing but the host's own configuration can have said so.
    let alone = |report: &mut Report| {
        stricter(report);
        evidence(report).url = None;
    };
    assert!(matches!(verdict(|_| {}, alone), Err(Rejection::Method { .. })));
}

#[test]
fn a_drive_of_the_request_is_neither_undeclared_nor_anything_else() {
    let mut inventory = inventory();
    let mut drive = disk("vdf", "cm-drive0", 1 << 18);
    drive.read_only = true;
    inventory.disks.push(drive);
    let mut request = request(Action::Reimage);
    let (config, image, name) = (config(DISKS, "refuse"), image(), "demo".parse().unwrap());
    let error = plan(&config, &inventory, &request, &image, Some("vde"), &name).unwrap_err();
    assert!(error.to_string().contains("cm-drive0"), "{error}");
    request.drives = vec![DriveRequest { device: "serial:cm-drive0".parse().unwrap(), digest: sha256(1) }];
    let planned = plan(&config, &inventory, &request, &image, Some("vde"), &name).unwrap();
    let record = planned.devices.last().unwrap();
    assert_eq!((&record.role, &record.method), (&Role::Drive, &Method::Read));
    request.drives[0].device = "serial:scratch".parse().unwrap();
    let error = plan(&config, &inventory, &request, &image, Some("vde"), &name).unwrap_err();
    assert_eq!(error.to_string(), "the disk vdb is both drive 0 and the disk `scratch`");
    request.drives[0].device = "serial:absent".parse().unwrap();
    let error = plan(&config, &inventory, &request, &image, Some("vde"), &name).unwrap_err();
    assert!(error.to_string().starts_with("no disk matches serial:absent for drive 0"), "{error}");
}
