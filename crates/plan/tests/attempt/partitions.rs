//! A disk with partitions over a whole attempt: the steps and their order, refusals, and that the host plans the same
//! from the report.

use cloud_machine_plan::{
    Disposition, Expected, Plan, PlanError, Rejection, WantedFilesystem, WantedTable, Wiping, verify,
};
use cloud_machine_protocol::{
    Action, DiskEvidence, Inventory, NewTable, Partition, Partitions, Probe, Report, Signature, Step,
};

use crate::{
    fixture::{config, ids, inventory, planned},
    honest::honest,
    verify::{expected, record, report},
};

const SIZE: u64 = 20 << 20;

/// `cache` on vdc with two partitions; `more` is said of the disk.
fn disks(more: &str) -> String {
    format!(
        "{{system: {{boot-partition: true}}, scratch: {{wipe-on-boot: true, filesystem: xfs}}, cache: {{on-reimage: keep{more}, \
         partitions: {{one: {{size: 8MiB, filesystem: {{type: ext4, uuid: 6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c, options: [-m, '0']}}, \
         mount-options: [noatime]}}, swap: {{size: 25%, type: swap, filesystem: swap}}, raw: {{}}}}}}}}"
    )
}

fn machine(probe: Probe, partitions: Option<Partitions>) -> Inventory {
    let mut inventory = inventory();
    let disk = &mut inventory.disks[2];
    (disk.size, disk.probe, disk.partitions) = (SIZE, probe, partitions);
    inventory
}

fn gpt() -> Probe {
    Probe::Found(Signature { partition_table: Some("gpt".to_owned()), ..Signature::default() })
}

fn holds(kind: &str, uuid: Option<&str>) -> Probe {
    let (filesystem, uuid) = (Some(kind.to_owned()), uuid.map(str::to_owned));
    Probe::Found(Signature { filesystem, uuid, ..Signature::default() })
}

fn good() -> [Probe; 3] {
    [holds("ext4", Some("6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c")), holds("swap", None), Probe::Empty]
}

fn written(plan: &Plan) -> NewTable {
    let table = plan.steps.iter().find_map(|step| match &step.step {
        Step::WriteTable { table, .. } => Some(table.clone()),
        _ => None,
    });
    table.unwrap()
}

/// What is found on the disk after the table of `plan` was written, with these contents.
fn found(plan: &Plan, probes: [Probe; 3]) -> Option<Partitions> {
    let partitions = written(plan).partitions.into_iter().zip(probes).map(|(new, probe)| Partition {
        number: new.number,
        name: Some(new.name),
        r#type: Some(new.r#type),
        uuid: None,
        offset: new.offset,
        length: new.length,
        probe,
    });
    Some(Partitions::Found { primary: true, partitions: partitions.collect() })
}

fn fresh() -> Plan {
    planned(&config(&disks(""), "refuse"), &machine(Probe::Empty, None), Action::Boot).unwrap()
}

/// What the host knows, and an honest report of `plan`.
fn reported(more: &str, plan: &Plan, action: Action) -> (Expected, Report) {
    let config = config(&disks(more), "refuse");
    let (mut expected, mut report) = (expected(action), report(action));
    let scratch = "scratch".parse().unwrap();
    expected.disks[1].filesystem = WantedFilesystem::of(&scratch, &config.resources.disks[&scratch]);
    expected.disks[2].partitions = WantedTable::of(&config.resources.disks[&"cache".parse().unwrap()]);
    expected.disks[2].size = SIZE;
    report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
    report.devices.clone_from(&plan.devices);
    (expected, honest(report))
}

/// A disk of which one partition is used and one is made anew, and another that gets a filesystem.
pub(crate) fn sample() -> (Expected, Report) {
    let [one, _, raw] = good();
    let found = found(&fresh(), [one, holds("vfat", None), raw]);
    let more = ", overwrite: true";
    let plan = planned(&config(&disks(more), "refuse"), &machine(gpt(), found), Action::Reimage).unwrap();
    reported(more, &plan, Action::Reimage)
}

/// A table and filesystems that are made.
pub(crate) fn fresh_sample() -> (Expected, Report) {
    reported("", &fresh(), Action::Boot)
}

#[test]
fn a_table_is_written_before_what_lies_in_it_and_a_step_leaves_no_choice() {
    let plan = fresh();
    let steps = [
        "wipe-scratch",
        "mount-root",
        "write-table-cache",
        "make-cache-one",
        "make-cache-swap",
        "make-scratch",
        "write-mounts",
    ];
    assert_eq!(ids(&plan), steps);
    assert_eq!(plan.devices[2].method.to_string(), "create table, create ext4 on one, create swap on swap");
    let table = written(&plan);
    assert_eq!((table.disk_size, table.sector_size), (SIZE, 512));
    let places: Vec<(u32, &str, u64, u64)> = table
        .partitions
        .iter()
        .map(|one| (one.number, one.name.as_str(), one.offset >> 20, one.length >> 20))
        .collect();
    assert_eq!(places, [(1, "one", 1, 8), (2, "swap", 9, 4), (3, "raw", 13, 6)]);
    let Step::MakeFilesystem { device, partition: Some(place), uuid, options, .. } = &plan.steps[3].step else {
        panic!("{:?}", plan.steps[3])
    };
    assert_eq!((device.as_str(), place.node.as_str(), place.offset, place.length), ("vdc", "vdc1", 1 << 20, 8 << 20));
    assert_eq!(uuid.as_deref(), Some("6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"));
    assert_eq!(options, &["-m", "0"]);
    let Step::WriteMounts { mounts } = &plan.steps[6].step else { panic!("{:?}", plan.steps[6]) };
    let nodes: Vec<(&str, Option<&str>)> =
        mounts.iter().map(|mount| (mount.node(), mount.mountpoint.as_deref())).collect();
    assert_eq!(nodes, [("vdc1", Some("/mnt/cache-one")), ("vdc2", None), ("vdb", Some("/mnt/scratch"))]);
    assert_eq!(mounts[0].options, ["errors=remount-ro", "noatime"]);
}

#[test]
fn what_is_found_decides_and_the_host_decides_the_same() {
    let fresh = fresh();
    let kept = || machine(gpt(), found(&fresh, good()));
    let [one, _, raw] = good();
    let other = || machine(gpt(), found(&fresh, [one.clone(), holds("vfat", None), raw.clone()]));
    let foreign = || machine(holds("xfs", None), None);
    let everything = "create table, create ext4 on one, create swap on swap";
    for (inventory, without, with) in [
        (machine(Probe::Empty, None), Some(everything.to_owned()), Some(everything.to_owned())),
        (kept(), Some("reuse table, reuse ext4 on one, reuse swap on swap".to_owned()), None),
        (other(), None, Some("reuse table, reuse ext4 on one, wipe swap zero, create swap on swap".to_owned())),
        (foreign(), None, Some(format!("wipe zero, {everything}"))),
        (machine(gpt(), None), None, None),
    ] {
        for (more, method) in [("", &without), (", overwrite: true", &with)] {
            for action in [Action::Boot, Action::Reimage] {
                let case = format!("{:?}{more}, {action:?}", inventory.disks[2]);
                let plan = match (planned(&config(&disks(more), "refuse"), &inventory, action), method) {
                    (Ok(plan), Some(method)) => {
                        assert_eq!(&plan.devices[2].method.to_string(), method, "{case}");
                        plan
                    }
                    // Nothing to overwrite: the same as without.
                    (Ok(plan), None) if Some(&plan.devices[2].method.to_string()) == without.as_ref() => plan,
                    (Err(PlanError::Content { device, .. }), None) => {
                        assert_eq!(device, "vdc");
                        continue;
                    }
                    (other, _) => panic!("{case}: {other:?}"),
                };
                the_host_agrees(more, &plan, action, &case);
            }
        }
    }
}

fn the_host_agrees(more: &str, plan: &Plan, action: Action, case: &str) {
    let (expected, mut report) = reported(more, plan, action);
    if plan.devices[2].method.to_string().starts_with("wipe zero") {
        assert!(matches!(verify(&expected, &report), Err(Rejection::EvidenceAbsent { .. })), "{case}");
        let scratch = report.disks[0].clone();
        let (device, disk_size, read_bytes, zero_bytes) = ("vdc".to_owned(), SIZE, SIZE, SIZE);
        report.disks.push(DiskEvidence { device, disk_size, read_bytes, zero_bytes, ..scratch });
    }

    if plan.devices[2].method.to_string().contains("wipe swap zero") {
        let mut short = report.clone();
        short.steps.iter_mut().find(|step| step.id.0 == "wipe-cache-swap").unwrap().compared_bytes -= 1;
        assert!(matches!(verify(&expected, &short), Err(Rejection::NotWiped { .. })), "{case}");
    }
    let verdict = verify(&expected, &report).unwrap_or_else(|rejection| panic!("{case}: {rejection}"));
    assert!(verdict.checked.iter().any(|line| line.starts_with("partition tables of data disks")), "{case}");
    for index in 0..report.steps.len() {
        let mut less = report.clone();
        less.steps.remove(index);
        assert!(verify(&expected, &less).is_err(), "{case}: without step {index}");
        let mut other = report.clone();
        if let Step::WriteTable { table, .. } = &mut other.steps[index].step {
            table.partitions[0].uuid = table.uuid;
            assert!(matches!(verify(&expected, &other), Err(Rejection::StepDiffers { .. })), "{case}");
        }
    }
}

#[test]
fn a_wiped_disk_gets_its_table_anew_whatever_is_on_it() {
    let wiped = config(&disks("").replace("on-reimage: keep", "on-reimage: wipe"), "refuse");
    for probe in [gpt(), Probe::Ambivalent, Probe::Unreadable { reason: String::new() }, Probe::Empty] {
        let plan = planned(&wiped, &machine(probe, None), Action::Reimage).unwrap();
        assert_eq!(
            plan.devices[2].method.to_string(),
            "wipe zero, create table, create ext4 on one, create swap on swap"
        );
        assert_eq!(ids(&plan)[0], "wipe-cache");
        assert_eq!(written(&plan), written(&fresh()), "the same table in the same machine");
    }
}

#[test]
fn every_method_of_a_wipe_is_followed_by_the_table_and_its_filesystems() {
    for (text, wiping, method) in [
        ("zero", Wiping::Zero, "zero"),
        ("discard", Wiping::Discard, "discard"),
        ("recreate", Wiping::Recreate, "recreate"),
        ("true", Wiping::Auto, "discard"),
    ] {
        let more = format!(", wipe-on-boot: {text}");
        let mut inventory = machine(Probe::Ambivalent, None);
        inventory.disks[2].discard = true;
        let plan = planned(&config(&disks(&more), "refuse"), &inventory, Action::Boot).unwrap();
        assert_eq!(ids(&plan)[..4], ["wipe-cache", "wipe-scratch", "mount-root", "write-table-cache"]);
        let everything = "create table, create ext4 on one, create swap on swap";
        assert_eq!(plan.devices[2].method.to_string(), format!("wipe {method}, {everything}"));
        let (mut expected, mut report) = reported(&more, &plan, Action::Boot);
        (expected.disks[2].disposition, expected.disks[2].wiping) = (Disposition::Wipe, wiping);
        assert!(matches!(verify(&expected, &report), Err(Rejection::EvidenceAbsent { .. })), "{text}");
        let scratch = report.disks[0].clone();
        let (device, disk_size, read_bytes, zero_bytes) = ("vdc".to_owned(), SIZE, SIZE, SIZE);
        report.disks.push(DiskEvidence { device, disk_size, read_bytes, zero_bytes, ..scratch });
        verify(&expected, &report).unwrap_or_else(|rejection| panic!("{text}: {rejection}"));
    }
}

#[test]
fn a_module_of_a_partition_is_loaded_before_anything_is_written() {
    let text = disks("").replace("type: ext4,", "type: ext4, kernel-module: ext4,");
    let plan = planned(&config(&text, "refuse"), &machine(Probe::Empty, None), Action::Boot).unwrap();
    assert_eq!(ids(&plan)[0], "load-ext4");
    let (mut expected, report) = reported("", &plan, Action::Boot);
    assert!(verify(&expected, &report).is_err(), "a module that nobody expected");
    expected.disks[2].partitions = WantedTable::of(&config(&text, "refuse").resources.disks[&"cache".parse().unwrap()]);
    verify(&expected, &report).unwrap();
}

#[test]
fn a_refusal_says_what_is_there() {
    let fresh = fresh();
    let error = |disks: &str, inventory: &Inventory| {
        planned(&config(disks, "refuse"), inventory, Action::Boot).unwrap_err().to_string()
    };
    let [_, swap, raw] = good();
    let planted = machine(gpt(), found(&fresh, [holds("vfat", None), swap, raw]));
    assert_eq!(
        error(&disks(""), &planted),
        "the partition `one` of the disk `cache` on vdc must hold ext4 with the identifier \
         `6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c` but holds vfat; `overwrite: true` would let it be replaced"
    );
    assert_eq!(
        error(&disks(""), &machine(gpt(), Some(Partitions::Found { primary: true, partitions: Vec::new() }))),
        "the disk `cache` on vdc must hold the partitions `one`, `swap`, `raw` but holds a partition table in which \
         partition 1 is absent; `overwrite: true` would let it be replaced"
    );
    let mut small = machine(Probe::Empty, None);
    small.disks[2].size = 8 << 20;
    assert_eq!(
        error(&disks(""), &small),
        "the partitions of the disk `cache` on vdc need 10485760 bytes, it has room for 6291456 between its tables"
    );
    small.disks[2].sector_size = 520;
    assert!(error(&disks(""), &small).contains("has sectors of 520 bytes, a partition table needs 512 or 4096"));
    let mut locked = machine(Probe::Empty, None);
    locked.disks[2].read_only = true;
    assert_eq!(error(&disks(""), &locked), "the disk `cache` on vdc is read-only");
    // One that is used as it is need not be written.
    let mut locked = machine(gpt(), found(&fresh, good()));
    locked.disks[2].read_only = true;
    planned(&config(&disks(""), "refuse"), &locked, Action::Boot).unwrap();
}

/// A disk that nobody could have planned with, in a report that says that all is well.
#[test]
fn a_disk_that_had_to_be_refused_is_not_accepted() {
    let (expected, mut report) = reported("", &fresh(), Action::Boot);
    verify(&expected, &report).unwrap();
    report.devices[2].disk.probe = Probe::Ambivalent;
    assert_eq!(verify(&expected, &report), Err(Rejection::Content { device: "vdc".to_owned() }));
}
