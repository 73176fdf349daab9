//! Disks that are never written, and ZFS pools: their steps, and that the host would have planned the same.

use cloud_machine_plan::{Disposition, Expected, PlanError, WantedFilesystem, verify};
use cloud_machine_protocol::{Action, Probe, Report, Signature, Step};

use crate::{
    fixture::{config, ids, inventory, planned},
    honest::honest,
    verify::{expected, record, report},
};

const DISKS: &str = "{system: {boot-partition: true}, \
     scratch: {filesystem: {type: zfs, label: tank, properties: [atime=off], datasets: [logs]}}, \
     cache: {readonly: true, filesystem: iso9660}}";

fn disc() -> Probe {
    Probe::Found(Signature { filesystem: Some("iso9660".to_owned()), ..Signature::default() })
}

fn pool(guid: &str) -> Probe {
    Probe::Found(Signature {
        filesystem: Some("zfs_member".to_owned()),
        label: Some("tank".to_owned()),
        uuid: Some(guid.to_owned()),
        ..Signature::default()
    })
}

#[test]
fn modules_come_first_then_what_refuses_writes_and_a_pool_is_imported_behind_everything_that_is_made() {
    let mut inventory = inventory();
    inventory.disks[2].probe = disc();
    let plan = planned(&config(DISKS, "refuse"), &inventory, Action::Reimage).unwrap();
    assert_eq!(
        ids(&plan),
        [
            "load-zfs",
            "read-only-cache",
            "wipe-scratch",
            "reimage-system",
            "mount-root",
            "write-identity",
            "make-scratch",
            "import-scratch",
            "write-mounts"
        ]
    );
    let Step::ImportPool { guid, datasets, pool, .. } = &plan.steps[7].step else { panic!("{:?}", plan.steps[7]) };
    assert_eq!((guid, datasets, pool.as_str()), (&None, &vec!["logs".to_owned()], "tank"));
    assert_eq!(plan.devices[2].method.to_string(), "reuse iso9660");
}

/// A boot with a disc and the pool that was found.
pub(crate) fn sample() -> (Expected, Report) {
    let config = config(DISKS, "refuse");
    let mut inventory = inventory();
    (inventory.disks[1].probe, inventory.disks[2].probe) = (pool("17"), disc());
    inventory.disks[2].read_only = true;
    let plan = planned(&config, &inventory, Action::Boot).unwrap();
    assert_eq!(ids(&plan), ["load-zfs", "read-only-cache", "mount-root", "import-scratch", "write-mounts"]);
    let Step::ImportPool { guid, .. } = &plan.steps[3].step else { panic!("{:?}", plan.steps[3]) };
    assert_eq!(guid.as_deref(), Some("17"));
    let mut expected = expected(Action::Boot);
    expected.disks[1].disposition = Disposition::Keep;
    for (index, name) in [(1, "scratch"), (2, "cache")] {
        let name = name.parse().unwrap();
        expected.disks[index].filesystem = WantedFilesystem::of(&name, &config.resources.disks[&name]);
        expected.disks[index].read_only = config.resources.disks[&name].readonly;
    }
    let mut report = report(Action::Boot);
    report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
    report.devices.clone_from(&plan.devices);
    report.disks.clear();
    (expected, honest(report))
}

#[test]
fn a_boot_imports_the_very_pool_that_was_found_and_the_host_expects_just_that() {
    let (expected, report) = sample();
    verify(&expected, &report).unwrap_or_else(|rejection| panic!("{rejection}"));
    for index in 0..report.steps.len() {
        let mut less = report.clone();
        less.steps.remove(index);
        assert!(verify(&expected, &less).is_err(), "without step {index}");
    }
    let mut other = report.clone();
    other.devices[1].disk.probe = pool("18");
    assert!(verify(&expected, &other).is_err(), "another pool than the one that was found");
}

#[test]
fn what_is_never_written_and_not_what_was_described_is_refused() {
    for probe in [Probe::Empty, pool("1"), Probe::Ambivalent] {
        let mut inventory = inventory();
        inventory.disks[2].probe = probe;
        let error = planned(&config(DISKS, "refuse"), &inventory, Action::Reimage).unwrap_err();
        assert!(matches!(error, PlanError::Content { .. }), "{error}");
        assert!(!error.to_string().contains("would let it be replaced"), "{error}");
    }
}
