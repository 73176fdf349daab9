//! Disks that shall hold a filesystem: what is planned from what is found, and that the host plans the same.

use cloud_machine_plan::{PlanError, Rejection, WantedFilesystem, verify};
use cloud_machine_protocol::{Action, DiskEvidence, Mount, Probe, Signature, Step};

use crate::{
    fixture::{config, ids, inventory, planned},
    honest::honest,
    verify::{expected, record, report},
};

const ACTIONS: [Action; 2] = [Action::Boot, Action::Reimage];

fn disks(cache: &str) -> String {
    format!(
        "{{system: {{boot-partition: true}}, scratch: {{wipe-on-boot: true, filesystem: xfs}}, \
         cache: {{on-reimage: keep, mountpoint: /srv/cache, filesystem: {{type: ext4, label: cache}}{cache}}}}}"
    )
}

fn holds(kind: &str, label: &str) -> Probe {
    Probe::Found(Signature { filesystem: Some(kind.to_owned()), label: Some(label.to_owned()), ..Signature::default() })
}

/// Everything that can be found on the kept disk, and what is planned for it without and with `overwrite`; `None` is a
/// refusal.
fn cells() -> Vec<(Probe, Option<&'static str>, Option<&'static str>)> {
    let unreadable = Probe::Unreadable { reason: "Input/output error".to_owned() };
    vec![
        (Probe::Empty, Some("create ext4"), Some("create ext4")),
        (holds("ext4", "cache"), Some("reuse ext4"), Some("reuse ext4")),
        (holds("ext4", "CLOUD-INIT"), None, Some("wipe zero, create ext4")),
        (holds("xfs", "cache"), None, Some("wipe zero, create ext4")),
        (Probe::Ambivalent, None, Some("wipe zero, create ext4")),
        (unreadable, None, None),
    ]
}

#[test]
fn what_is_found_decides_and_the_host_decides_the_same() {
    for (probe, without, with) in cells() {
        for (overwrite, method) in [("", without), (", overwrite: true", with)] {
            for action in ACTIONS {
                let config = config(&disks(overwrite), "refuse");
                let mut inventory = inventory();
                inventory.disks[2].probe = probe.clone();
                let case = format!("{probe:?}{overwrite}, {action:?}");
                let plan = match (planned(&config, &inventory, action), method) {
                    (Ok(plan), Some(_)) => plan,
                    (Err(PlanError::Content { device, filesystem, .. }), None) => {
                        assert_eq!((device.as_str(), filesystem.as_str()), ("vdc", "ext4 labelled `cache`"));
                        continue;
                    }
                    (other, _) => panic!("{case}: {other:?}"),
                };
                assert_eq!(plan.devices[2].method.to_string(), method.unwrap(), "{case}");
                assert_eq!(plan.devices[1].method.to_string(), "wipe zero, create xfs", "{case}");

                let mut expected = expected(action);
                for (index, name) in [(1, "scratch"), (2, "cache")] {
                    expected.disks[index].filesystem =
                        WantedFilesystem::of(&name.parse().unwrap(), &config.resources.disks[&name.parse().unwrap()]);
                }
                let mut report = report(action);
                report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
                report.devices.clone_from(&plan.devices);
                let mut report = honest(report);
                let replaced = method == Some("wipe zero, create ext4");
                if replaced {
                    assert!(matches!(verify(&expected, &report), Err(Rejection::EvidenceAbsent { .. })), "{case}");
                    let scratch = report.disks[0].clone();
                    let size = 3 << 20;
                    report.disks.push(DiskEvidence {
                        device: "vdc".to_owned(),
                        disk_size: size,
                        read_bytes: size,
                        zero_bytes: size,
                        ..scratch
                    });
                }
                let verdict = verify(&expected, &report).unwrap_or_else(|rejection| panic!("{case}: {rejection}"));
                assert!(verdict.checked.iter().any(|line| line.starts_with("filesystems of data disks")), "{case}");
                // A step too many, too few or another one is not what the host would have planned.
                for index in 0..report.steps.len() {
                    let mut less = report.clone();
                    less.steps.remove(index);
                    assert!(verify(&expected, &less).is_err(), "{case}: without step {index}");
                }
            }
        }
    }
}

#[test]
fn the_steps_of_filesystems_come_last_and_leave_no_choice() {
    let plan = planned(&config(&disks(""), "refuse"), &inventory(), Action::Reimage).unwrap();
    assert_eq!(
        ids(&plan),
        [
            "wipe-scratch",
            "reimage-system",
            "mount-root",
            "write-identity",
            "make-cache",
            "make-scratch",
            "write-mounts"
        ]
    );
    let mount = |device: &str, filesystem: &str, mountpoint: &str| Mount {
        device: device.to_owned(),
        partition: None,
        filesystem: filesystem.to_owned(),
        mountpoint: Some(mountpoint.to_owned()),
        options: Vec::new(),
        dataset: None,
        grow: false,
        read_only: false,
    };
    let mounts = vec![mount("vdc", "ext4", "/srv/cache"), mount("vdb", "xfs", "/mnt/scratch")];
    assert_eq!(plan.steps[6].step, Step::WriteMounts { mounts });
    let label = Some("cache".to_owned());
    let make = Step::MakeFilesystem {
        device: "vdc".to_owned(),
        partition: None,
        filesystem: "ext4".to_owned(),
        label,
        uuid: None,
        options: Vec::new(),
        properties: Vec::new(),
    };
    assert_eq!(plan.steps[4].step, make);
}

#[test]
fn a_refusal_says_what_is_there_and_what_would_let_it_be_replaced() {
    let mut inventory = inventory();
    inventory.disks[2].probe = holds("xfs", "old\u{1b}[2J");
    let error = planned(&config(&disks(""), "refuse"), &inventory, Action::Boot).unwrap_err().to_string();
    assert_eq!(
        error,
        "the disk `cache` on vdc shall hold ext4 labelled `cache` and holds xfs labelled `old\\u{1b}[2J`; \
         `overwrite: true` would let it be replaced"
    );
    inventory.disks[2].read_only = true;
    inventory.disks[2].probe = Probe::Empty;
    let error = planned(&config(&disks(""), "refuse"), &inventory, Action::Boot).unwrap_err();
    assert!(matches!(error, PlanError::ReadOnly { .. }), "{error}");
}

/// A disk that nobody could have planned with, in a report that says that all is well.
#[test]
fn a_disk_that_had_to_be_refused_is_not_accepted() {
    let mut expected = expected(Action::Boot);
    let config = config(&disks(""), "refuse");
    expected.disks[2].filesystem =
        WantedFilesystem::of(&"cache".parse().unwrap(), &config.resources.disks[&"cache".parse().unwrap()]);
    let mut report = report(Action::Boot);
    report.devices[2].disk.probe = holds("ext4", "evil");
    assert_eq!(verify(&expected, &report), Err(Rejection::Content { device: "vdc".to_owned() }));
}
