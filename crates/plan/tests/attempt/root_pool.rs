//! A root in a pool on the system disk: which steps make it, and which reports of them are believed.

use cloud_machine_plan::{Expected, Plan, PlanError, Rejection, RootPool, plan, verify};
use cloud_machine_protocol::{
    Action, Assurance, DiskEvidence, ImageSource, ImageUrl, Inventory, Outcome, Probe, Report, Request, RootEvidence,
    Signature, Step, StepRecord, Tier,
};

use crate::{
    fixture::{IMAGE, SYSTEM, config, digest, ids, image, inventory, request},
    honest::honest,
    verify::{expected, report},
};

const DISKS: &str =
    "{system: {boot-partition: true, filesystem: {type: zfs, properties: [compression=zstd, exec=off]}},
    scratch: {wipe-on-boot: true}, cache: {on-reimage: keep}}";

/// The machine with a raw image of `IMAGE` bytes, and with a pool of `label` on the system disk when there is one.
fn machine(label: Option<&str>) -> Inventory {
    let mut inventory = inventory();
    inventory.disks[3].size = IMAGE;
    if let Some(label) = label {
        inventory.disks[0].probe = Probe::Found(Signature {
            filesystem: Some("zfs_member".into()),
            label: Some(label.into()),
            uuid: Some("17602338584574648859".into()),
            ..Signature::default()
        });
    }
    inventory
}

fn asked(action: Action, tier: Option<Tier>) -> Request {
    Request { tier, ..request(action) }
}

fn planned(request: &Request, inventory: &Inventory) -> Result<Plan, PlanError> {
    plan(&config(DISKS, "refuse"), inventory, request, &image(), Some("vde"), &"demo".parse().unwrap())
}

const RECEIVED: [&str; 11] = [
    "load-zfs",
    "wipe-scratch",
    "check-image",
    "wipe-system",
    "make-system",
    "import-system",
    "receive-root",
    "clone-root",
    "mount-root",
    "write-identity",
    "commit-root",
];

#[test]
fn a_reimage_wipes_and_receives_unless_it_may_clone_a_pool_that_is_there() {
    for tier in [None, Some(Tier::Receive), Some(Tier::Scan)] {
        for label in [None, Some("system")] {
            let plan = planned(&asked(Action::Reimage, tier), &machine(label)).unwrap();
            assert_eq!(ids(&plan), RECEIVED, "{tier:?} {label:?}");
        }
    }
    let clone = asked(Action::Reimage, Some(Tier::Clone));
    for label in [None, Some("other")] {
        assert_eq!(ids(&planned(&clone, &machine(label)).unwrap()), RECEIVED, "{label:?}");
    }
    let kept = planned(&clone, &machine(Some("system"))).unwrap();
    let expected: Vec<&str> = RECEIVED.into_iter().filter(|id| !["wipe-system", "make-system"].contains(id)).collect();
    assert_eq!(ids(&kept), expected);
    let imports =
        |step: &Step| matches!(step, Step::ImportPool { guid: Some(guid), .. } if guid == "17602338584574648859");
    assert!(kept.steps.iter().any(|planned| imports(&planned.step)), "by the identifier of what is there");
}

#[test]
fn a_root_has_its_own_properties_and_the_names_of_image_and_attempt() {
    let plan = planned(&asked(Action::Reimage, None), &machine(None)).unwrap();
    let find = |id: &str| plan.steps.iter().find(|planned| planned.id.0 == id).unwrap().step.clone();
    let Step::CloneRoot { received, dataset, properties, tier } = find("clone-root") else { unreachable!() };
    assert_eq!((received.as_str(), tier), ("system/image/0101010101010101", Tier::Receive));
    assert_eq!(dataset, "system/root/01K9ZXN3QJ5J2Z6Q0V1T4W7Y8A.1");
    // Each once, and as the document says where it says something.
    assert_eq!(
        properties,
        [
            "mountpoint=legacy",
            "acltype=posix",
            "xattr=sa",
            "readonly=off",
            "setuid=on",
            "devices=on",
            "snapdir=hidden",
            "compression=zstd",
            "exec=off"
        ]
    );
    let Step::ReceiveRoot { device, partition, .. } = find("receive-root") else { unreachable!() };
    assert_eq!((device.as_str(), partition), ("vdd", 2));
}

#[test]
fn a_boot_takes_the_root_that_the_pool_names_and_nothing_but_the_pool() {
    let boot = asked(Action::Boot, None);
    let plan = planned(&boot, &machine(Some("system"))).unwrap();
    assert_eq!(ids(&plan), ["load-zfs", "wipe-scratch", "import-system", "mount-root"]);
    for label in [None, Some("other")] {
        let error = planned(&boot, &machine(label)).unwrap_err().to_string();
        assert!(
            error.contains("must hold the zfs pool `system`") && error.contains("a reimage makes it anew"),
            "{error}"
        );
    }
}

#[test]
fn what_is_mounted_beside_the_root_is_made_when_all_else_was_destroyed_and_again_at_a_boot() {
    let disks =
        "{system: {boot-partition: true, filesystem: {type: zfs, label: tank, datasets: [logs]}, mountpoint: /data},
        scratch: {wipe-on-boot: true}, cache: {on-reimage: keep}}";
    let config = config(disks, "refuse");
    for (action, last) in [
        (Action::Reimage, &["write-identity", "commit-root", "make-datasets", "write-mounts"][..]),
        (Action::Boot, &["import-system", "mount-root", "write-mounts"]),
    ] {
        let request = asked(action, Some(Tier::Clone));
        let plan =
            plan(&config, &machine(Some("tank")), &request, &image(), Some("vde"), &"demo".parse().unwrap()).unwrap();
        assert!(ids(&plan).ends_with(last), "{:?}", ids(&plan));
        let Some(Step::WriteMounts { mounts }) = plan.steps.last().map(|planned| &planned.step) else { unreachable!() };
        let mounts: Vec<_> =
            mounts.iter().map(|mount| (mount.dataset.as_deref(), mount.mountpoint.as_deref())).collect();
        let data = [(Some("tank/data"), Some("/data")), (Some("tank/data/logs"), Some("/data/logs"))];
        assert_eq!(mounts, data);
        let imports = |step: &Step| match step {
            Step::ImportPool { datasets, .. } => Some(datasets.len()),
            _ => None,
        };
        let imported = plan.steps.iter().find_map(|planned| imports(&planned.step));
        assert_eq!(imported, Some(if action == Action::Boot { 2 } else { 0 }));
    }
}

#[test]
fn files_are_not_received_from_an_address() {
    let mut request = asked(Action::Reimage, None);
    request.image.source = ImageSource::Url(ImageUrl { url: "https://x/i.zst".parse().unwrap(), ca: None });
    let mut inventory = machine(None);
    inventory.disks.remove(3);
    assert_eq!(planned(&request, &inventory).unwrap_err(), PlanError::RootSource);
}

/// An attempt and its honest report.
pub(crate) fn attempt(tier: Tier) -> (Expected, Report) {
    let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
    expected.request.tier = Some(tier);
    expected.disks[3].size = IMAGE;
    let config = config(DISKS, "refuse");
    expected.disks[0].root_pool = config.resources.disks.iter().find_map(|(name, disk)| RootPool::of(name, disk));
    let plan = planned(&expected.request, &machine((tier == Tier::Clone).then_some("system"))).unwrap();
    let record = |planned: &cloud_machine_plan::PlannedStep| StepRecord {
        id: planned.id.clone(),
        step: planned.step.clone(),
        ..report.steps[0].clone()
    };
    report.steps = plan.steps.iter().map(record).collect();
    report.devices = plan.devices;
    let wiped = DiskEvidence {
        device: "vda".into(),
        disk_size: SYSTEM,
        read_bytes: SYSTEM,
        zero_bytes: SYSTEM,
        ..report.disks[0].clone()
    };
    let source = DiskEvidence {
        device: "vdd".into(),
        disk_size: IMAGE,
        read_bytes: IMAGE,
        image_root: Some(digest(1)),
        image_size: IMAGE,
        zero_bytes: 0,
        ..wiped.clone()
    };
    report.disks.truncate(1);
    report.disks.push(source);
    if tier == Tier::Receive {
        report.disks.push(wiped);
    }
    report.root = Some(RootEvidence {
        tier,
        dataset: "system/root/01K9ZXN3QJ5J2Z6Q0V1T4W7Y8A.1".into(),
        image: digest(5),
        files: digest(5),
        entries: 20_000,
        bytes: 1 << 29,
    });
    report.changed.clear();
    (expected, honest(report))
}

#[test]
fn what_was_received_is_rooted_in_the_host_and_what_was_cloned_is_unproven() {
    let (expected, report) = attempt(Tier::Receive);
    let verdict = verify(&expected, &report).unwrap();
    assert_eq!((verdict.assurance, verdict.tier), (Assurance::HostRooted, Some(Tier::Receive)));
    let gap = format!("{}; the disk `cache`: kept", Assurance::HostRooted.does_not_cover());
    assert!(verdict.does_not_cover().starts_with(&gap), "{}", verdict.does_not_cover());
    assert!(verdict.checked.iter().any(|line| line.starts_with("root: every file read back")), "{:?}", verdict.checked);
    let (expected, report) = attempt(Tier::Clone);
    let verdict = verify(&expected, &report).unwrap();
    assert_eq!((verdict.assurance, verdict.tier), (Assurance::Unproven, Some(Tier::Clone)));
    assert!(verdict.does_not_cover().contains("was not erased"), "{}", verdict.does_not_cover());
}

#[test]
fn each_lie_about_a_root_is_found() {
    type Lie = fn(&mut Report);
    fn root(report: &mut Report) -> &mut RootEvidence {
        report.root.as_mut().unwrap()
    }
    let lies: [(&str, Lie); 14] = [
        ("RootAbsent", |r| r.root = None),
        ("RootDiffers", |r| root(r).files = digest(6)),
        ("RootDiffers", |r| root(r).dataset = "system/root/other".into()),
        ("RootDiffers", |r| root(r).entries = 0),
        ("Tier", |r| root(r).tier = Tier::Clone),
        ("Tier", |r| root(r).tier = Tier::Scan),
        ("Image", |r| r.disks[1].image_root = Some(digest(2))),
        ("Image", |r| r.disks[1].image_root = None),
        ("Coverage", |r| r.disks[1].read_bytes -= 1),
        ("Coverage", |r| r.disks[1].disk_size += 512),
        ("EvidenceAbsent", |r| r.disks.truncate(1)),
        ("NotWiped", |r| r.disks[2].zero_bytes -= 512),
        ("StepAbsent", |r| r.steps.truncate(10)),
        ("StepFailed", |r| r.steps[7].outcome = Outcome::Failed { reason: "x".into() }),
    ];
    for (name, lie) in lies {
        let (expected, mut report) = attempt(Tier::Receive);
        lie(&mut report);
        let rejection = format!("{:?}", verify(&expected, &report).unwrap_err());
        assert!(rejection.starts_with(name), "{name}: {rejection}");
    }
    // Who kept the pool cannot say that it was received: the disk would have had to be wiped.
    let (expected, mut report) = attempt(Tier::Clone);
    root(&mut report).tier = Tier::Receive;
    assert!(matches!(verify(&expected, &report), Err(Rejection::Tier { .. })));
    // And who was asked to make it anew cannot keep it.
    let (mut expected, report) = attempt(Tier::Clone);
    expected.request.tier = Some(Tier::Receive);
    assert!(verify(&expected, &report).is_err());
}
