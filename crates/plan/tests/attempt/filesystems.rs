//! Disks that must hold a filesystem: what is planned from what is found, and that the host plans the same.

use cloud_machine_plan::{PlanError, Rejection, WantedFilesystem, verify};
use cloud_machine_protocol::{Action, DiskEvidence, History, Mount, Probe, Signature, Step};

use crate::{
    fixture::{config, ids, inventory, planned, planned_for, request_for},
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

/// What is planned for the kept disk without and with `overwrite`; `None` is a refusal.
type Cell = (Probe, History, Option<&'static str>, Option<&'static str>);

/// Everything that can be found on the kept disk, and that can be known of it.
fn cells() -> Vec<Cell> {
    let (create, reuse, replace) = (Some("create ext4"), Some("reuse ext4"), Some("wipe zero, create ext4"));
    let unreadable = Probe::Unreadable { reason: "Input/output error".to_owned() };
    let mut cells = vec![
        (Probe::Empty, History::New, create, create),
        (Probe::Empty, History::Unknown, create, create),
        (Probe::Empty, History::Made, None, replace),
        (Probe::Unknown, History::New, create, create),
        (Probe::Unknown, History::Unknown, None, replace),
        (Probe::Unknown, History::Made, None, replace),
    ];
    for history in [History::New, History::Unknown, History::Made] {
        cells.extend([
            (holds("ext4", "cache"), history, reuse, reuse),
            (holds("ext4", "CLOUD-INIT"), history, None, replace),
            (holds("xfs", "cache"), history, None, replace),
            (Probe::Ambivalent, history, None, replace),
            (unreadable.clone(), history, None, None),
            (Probe::Silent { seconds: 20 }, history, None, None),
        ]);
    }
    cells
}

#[test]
fn what_is_found_decides_and_the_host_decides_the_same() {
    for (probe, history, without, with) in cells() {
        for (overwrite, method) in [("", without), (", overwrite: true", with)] {
            for action in ACTIONS {
                let config = config(&disks(overwrite), "refuse");
                let mut inventory = inventory();
                inventory.disks[2].probe = probe.clone();
                let case = format!("{probe:?}, {history:?}{overwrite}, {action:?}");
                let request = request_for(action, &["cache"], history);
                let mut expected = expected(action);
                expected.request.histories.clone_from(&request.histories);
                for (index, name) in [(1, "scratch"), (2, "cache")] {
                    expected.disks[index].filesystem =
                        WantedFilesystem::of(&name.parse().unwrap(), &config.resources.disks[&name.parse().unwrap()]);
                }
                let plan = match (planned_for(&config, &inventory, &request), method) {
                    (Ok(plan), Some(_)) => plan,
                    (Err(PlanError::Content { device, filesystem, .. }), None) => {
                        assert_eq!((device.as_str(), filesystem.as_str()), ("vdc", "ext4 labelled `cache`"));
                        // A report that says that all is well is of a machine that did not decide so.
                        let mut report = report(action);
                        report.devices[2].disk.probe = probe.clone();
                        assert_eq!(verify(&expected, &report), Err(Rejection::Content { device }), "{case}");
                        continue;
                    }
                    (other, _) => panic!("{case}: {other:?}"),
                };
                assert_eq!(plan.devices[2].method.to_string(), method.unwrap(), "{case}");
                assert_eq!(plan.devices[1].method.to_string(), "wipe zero, create xfs", "{case}");

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
    let mut request = request_for(Action::Reimage, &["cache"], History::New);
    request.kept.insert("cache".parse().unwrap());
    let plan = planned_for(&config(&disks(""), "refuse"), &inventory(), &request).unwrap();
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
    let mount = |name: &str, device: &str, filesystem: &str, mountpoint: &str, options: &[&str]| Mount {
        device: device.to_owned(),
        partition: None,
        filesystem: filesystem.to_owned(),
        mountpoint: Some(mountpoint.to_owned()),
        options: options.iter().map(ToString::to_string).collect(),
        dataset: None,
        grow: false,
        read_only: false,
        required: name != "cache",
        described: format!("the disk `{name}`"),
    };
    let guards = ["nosuid", "nodev", "noexec", "errors=remount-ro"];
    let mounts =
        vec![mount("cache", "vdc", "ext4", "/srv/cache", &guards), mount("scratch", "vdb", "xfs", "/mnt/scratch", &[])];
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
        "the disk `cache` on vdc must hold ext4 labelled `cache` but holds xfs labelled `old\\u{1b}[2J`; \
         `overwrite: true` would let it be replaced"
    );
    inventory.disks[2].probe = Probe::Unknown;
    let refused = |history, expected: &str| {
        let request = request_for(Action::Boot, &["cache"], history);
        let error = planned_for(&config(&disks(""), "refuse"), &inventory, &request).unwrap_err().to_string();
        let told = "the disk `cache` on vdc must hold ext4 labelled `cache` but holds data of no kind that is known; ";
        assert_eq!(error, format!("{told}{expected}"));
    };
    refused(History::Unknown, "only a disk of zeros is taken for empty, `overwrite: true` would let it be replaced");
    let made = "it was there before, so it is damaged or lost and not made anew: repair or restore it, or write \
                `overwrite: true` to give it up";
    refused(History::Made, made);
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
