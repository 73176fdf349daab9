use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};
use cloud_machine_protocol::{Probe, Signature};

use super::*;

const SYSTEM: &str = "      system: {boot-partition: true, devicepath: /dev/vda}\n";
const SCRATCH: &str = "      scratch: {devicepath: /dev/vdb, wipe-on-boot: zero, filesystem: ext4}\n";

fn config(disks: &str) -> Config {
    let text = format!("cloud-machine:\n  image: x\n  resources:\n    disks:\n{disks}");
    let document = parse(LayerKind::Volume, "user-data", text.as_bytes()).unwrap().pinned();
    validate(&merge(&[defaults(), document]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn disk(name: &str, filesystem: &str) -> Disk {
    let probe = Probe::Found(Signature { filesystem: Some(filesystem.to_owned()), ..Signature::default() });
    Disk {
        name: name.to_owned(),
        serial: Some(name.to_owned()),
        wwn: None,
        size: 1 << 30,
        sector_size: 512,
        read_only: name.starts_with("sr"),
        discard: false,
        probe,
        partitions: None,
    }
}

/// Names of the steps and, for each disk, what is done with it; or why there is no plan.
fn planned(disks: &str, root: &[&str]) -> Result<String, String> {
    let inventory = Inventory { disks: vec![disk("sr0", "iso9660"), disk("vda", "ext4"), disk("vdb", "xfs")] };
    let root: Vec<String> = root.iter().map(ToString::to_string).collect();
    let own = OwnBoot { machine: "u", root: &root, volume: Some("sr0") };
    let plan = plan_own_boot(&config(disks), &inventory, &own).map_err(|error| error.to_string())?;
    let steps: Vec<String> = plan.steps.iter().map(|planned| planned.id.to_string()).collect();
    let methods = plan.devices.iter().map(|record| format!("{}: {}", record.disk.name, record.method));
    Ok(format!("{}; {}", steps.join(" "), methods.collect::<Vec<_>>().join(", ")))
}

#[test]
fn other_disks_become_what_is_described_and_the_one_with_the_root_is_left_alone() {
    let expected = "wipe-scratch make-scratch write-mounts; sr0: read, vda: booted, vdb: wipe zero, create ext4";
    assert_eq!(planned(&format!("{SYSTEM}{SCRATCH}"), &["vda"]).unwrap(), expected);
    assert_eq!(planned(SCRATCH, &["vda"]).unwrap(), expected, "nobody has to declare it");
    // A job can make another disk look like the root: then the configuration says which one is wiped, by what it cannot change.
    let fixed = format!("{SYSTEM}{SCRATCH}").replace("/dev/", "serial:");
    for root in [&[][..], &["vda", "vdb"]] {
        assert_eq!(planned(&fixed, root).unwrap(), expected, "{root:?}");
        let refused = planned(&format!("{SYSTEM}{SCRATCH}"), root).unwrap_err();
        assert!(
            refused.starts_with("whether the root lies on vdb, which is to be written, cannot be told"),
            "{refused}"
        );
    }
    let scratch = SCRATCH.replace("/dev/", "serial:");
    assert_eq!(planned(&scratch, &["vda"]).unwrap(), expected);
}

#[test]
fn a_disk_that_does_not_hold_the_root_is_not_taken_for_the_one_that_the_machine_boots_from() {
    let refused = planned(&format!("{SYSTEM}{SCRATCH}"), &["vdb"]).unwrap_err();
    assert!(refused.starts_with("the disk `system` is to be the system disk, and the root"), "{refused}");
    assert!(refused.contains("is not on vda but on vdb (serial \"vdb\""), "{refused}");
    for root in [&[][..], &["vda", "vdb"]] {
        let refused = planned(SCRATCH, root).unwrap_err();
        assert!(refused.ends_with("declare that disk with `boot-partition: true`"), "{refused}");
    }
    // Declared as a data disk it would be wiped.
    let wrong = "      scratch: {devicepath: /dev/vda, wipe-on-boot: zero}\n";
    assert!(planned(wrong, &["vda"]).is_err(), "the root is no data disk");
}

#[test]
fn a_disk_that_nobody_declared_stops_the_boot() {
    let refused = planned(SYSTEM, &["vda"]).unwrap_err();
    assert!(refused.contains("vdb"), "{refused}");
}
