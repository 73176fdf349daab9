//! Plans as they should be, and everything that is no reason for a plan.

use cloud_machine_plan::{ImageLayout, PlanError, RootPartition, plan};
use cloud_machine_protocol::{Action, Inventory, Method, Probe, Step, WipeMethod};

use crate::fixture::{DISKS, IMAGE, SYSTEM, config, digest, disk, good, ids, image, inventory, planned, request};

fn methods(action: Action) -> Vec<String> {
    good(action).devices.iter().map(|record| format!("{} {}", record.disk.name, record.method)).collect()
}

#[test]
fn a_reimage_wipes_then_rewrites_then_hands_over() {
    let plan = good(Action::Reimage);
    assert_eq!(ids(&plan), ["wipe-scratch", "reimage-system", "mount-root", "write-identity"]);
    let steps: Vec<Step> = plan.steps.iter().map(|planned| planned.step.clone()).collect();
    let expected = [
        Step::Wipe { device: "vdb".into(), offset: 0, length: 2 << 20, method: WipeMethod::Zero },
        Step::Reimage {
            device: "vda".into(),
            disk_size: SYSTEM,
            source: "vdd".into(),
            image: digest(1),
            image_size: IMAGE,
            tier: None,
        },
        Step::MountRoot {
            device: "vda".into(),
            partition: 2,
            offset: 1 << 19,
            length: 1 << 18,
            filesystem: "ext4".into(),
        },
        Step::WriteIdentity { hostname: "demo".into() },
    ];
    assert_eq!(steps, expected);
    assert_eq!(methods(Action::Reimage), ["vda reimage", "vdb wipe zero", "vdc kept", "vdd read", "vde read"]);
}

#[test]
fn a_boot_does_only_what_every_boot_does() {
    assert_eq!(ids(&good(Action::Boot)), ["wipe-scratch", "mount-root"]);
    assert_eq!(methods(Action::Boot), ["vda booted", "vdb wipe zero", "vdc kept", "vdd ignored", "vde read"]);
}

#[test]
fn a_disk_that_every_boot_wipes_is_wiped_by_a_reimage_too() {
    let config = config(
        "{system: {boot-partition: true}, scratch: {wipe-on-boot: zero, on-reimage: keep}, cache: {}}",
        "refuse",
    );
    let plan = planned(&config, &inventory(), Action::Reimage).unwrap();
    assert_eq!(ids(&plan), ["wipe-cache", "wipe-scratch", "reimage-system", "mount-root", "write-identity"]);
}

#[test]
fn a_boot_needs_no_image_source() {
    let mut inventory = inventory();
    inventory.disks.retain(|disk| disk.name != "vdd");
    let config = config(DISKS, "refuse");
    assert!(planned(&config, &inventory, Action::Boot).is_ok());
    assert!(matches!(planned(&config, &inventory, Action::Reimage), Err(PlanError::Absent { .. })));
}

#[test]
fn what_lies_on_a_rewritten_disk_is_no_obstacle() {
    let mut inventory = inventory();
    inventory.disks[0].probe = Probe::Ambivalent;
    inventory.disks[1].probe = Probe::Unreadable { reason: "it died".into() };
    let plan = planned(&config(DISKS, "refuse"), &inventory, Action::Reimage).unwrap();
    assert_eq!(plan.steps, good(Action::Reimage).steps);
    assert_eq!(plan.devices[0].disk.probe, Probe::Ambivalent);
}

fn refused(disks: &str, change: impl FnOnce(&mut Inventory)) -> String {
    let mut inventory = inventory();
    change(&mut inventory);
    planned(&config(disks, "refuse"), &inventory, Action::Reimage).unwrap_err().to_string()
}

#[test]
fn each_wrong_set_of_disks_is_refused_with_what_is_there() {
    const ALL: &str = "vda (serial \"system\", 4194304 bytes), vdb (serial \"scratch\", 2097152 bytes), \
                       vdc (serial \"cache\", 3145728 bytes), vdd (serial \"image\", 524288 bytes), \
                       vde (serial \"volume\", 262144 bytes)";
    assert_eq!(
        refused("{system: {boot-partition: true, devicepath: 'serial:other'}, scratch: {}, cache: {}}", |_| {}),
        format!("no disk matches serial:other for the disk `system`; found {ALL}")
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks[3].serial = None),
        format!(
            "no disk matches serial:image for the image source; found {}",
            ALL.replace("serial \"image\"", "no serial")
        )
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks[2].serial = Some("scratch".into())),
        "no disk matches serial:cache for the disk `cache`; found ".to_owned()
            + &ALL.replace("\"cache\"", "\"scratch\"")
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks.push(disk("vdf", "scratch", 9))),
        "more than one disk matches serial:scratch for the disk `scratch`: vdb (serial \"scratch\", 2097152 bytes), \
         vdf (serial \"scratch\", 9 bytes)"
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks.push(disk("vdf", "\u{1b}[31m", 9))),
        "disks are attached that the configuration does not declare: vdf (serial \"\\u{1b}[31m\", 9 bytes)"
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks.clear()),
        "the volume's device vde is not among the disks; found no disks"
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks.push(disk("vda", "again", 9))),
        "the inventory lists the device vda twice"
    );
}

#[test]
fn one_disk_for_two_purposes_is_refused() {
    for (disk, message) in [
        ("{devicepath: /dev/vdb}", "the disk vdb is both the disk `other` and the disk `scratch`"),
        ("{devicepath: 'serial:image'}", "the disk vdd is both the image source and the disk `other`"),
        ("{devicepath: /dev/vde}", "the disk vde is both the volume and the disk `other`"),
    ] {
        let disks = format!("{{system: {{boot-partition: true}}, scratch: {{}}, cache: {{}}, other: {disk}}}");
        assert_eq!(refused(&disks, |_| {}), message);
    }
}

#[test]
fn a_disk_that_must_be_written_has_to_be_writable_and_large_enough() {
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks[0].read_only = true),
        "the disk `system` on vda is read-only"
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks[1].read_only = true),
        "the disk `scratch` on vdb is read-only"
    );
    assert_eq!(
        refused(DISKS, |inventory| inventory.disks[0].size = IMAGE - 1),
        "the system disk vda has 1048575 bytes, the image needs 1048576 bytes"
    );
    let mut inventory = inventory();
    inventory.disks[0].size = IMAGE;
    inventory.disks[2].read_only = true;
    assert!(planned(&config(DISKS, "refuse"), &inventory, Action::Reimage).is_ok());
}

#[test]
fn an_undeclared_disk_is_left_alone_only_when_the_configuration_says_so() {
    let mut inventory = inventory();
    inventory.disks.push(disk("vdf", "stranger", 9));
    let plan = planned(&config(DISKS, "ignore"), &inventory, Action::Reimage).unwrap();
    assert_eq!(plan.devices[5].method, Method::Ignored);
    assert_eq!(plan.steps, good(Action::Reimage).steps);
}

#[test]
fn another_image_or_a_root_outside_of_it_is_refused() {
    let root = |offset, length| RootPartition { offset, length, ..image().root };
    for (image, message) in [
        (
            ImageLayout { digest: digest(2), ..image() },
            format!("the request names image {}, the manifest is of image {}", digest(1), digest(2)),
        ),
        (
            ImageLayout { size: 5, ..image() },
            "the request names an image of 1048576 bytes, the manifest is of an image of 5 bytes".into(),
        ),
        (
            ImageLayout { generation: 2, ..image() },
            "the manifest is of generation 2 of the image, the request allows none below 3".into(),
        ),
        (
            ImageLayout { root: root(IMAGE, 1), ..image() },
            "the root partition at byte 1048576 with 1 bytes does not lie in the image of 1048576 bytes".into(),
        ),
        (
            ImageLayout { root: root(u64::MAX, 2), ..image() },
            format!("the root partition at byte {} with 2 bytes does not lie in the image of 1048576 bytes", u64::MAX),
        ),
        (
            ImageLayout { root: root(0, 0), ..image() },
            "the root partition at byte 0 with 0 bytes does not lie in the image of 1048576 bytes".into(),
        ),
    ] {
        let config = config(DISKS, "refuse");
        let name = "demo".parse().unwrap();
        let error = plan(&config, &inventory(), &request(Action::Reimage), &image, Some("vde"), &name).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_configuration_without_one_system_disk_is_refused() {
    let mut config = config(DISKS, "refuse");
    for disk in config.resources.disks.values_mut() {
        disk.boot_partition = false;
    }
    let error = planned(&config, &inventory(), Action::Boot).unwrap_err();
    assert_eq!(error.to_string(), "the configuration declares 0 system disks instead of one");
}

#[test]
fn a_disk_smaller_than_its_allocation_is_refused_and_a_larger_one_is_not() {
    let disks = "{system: {boot-partition: true}, scratch: {allocation: SIZE}, cache: {}}";
    let with = |size: &str| planned(&config(&disks.replace("SIZE", size), "refuse"), &inventory(), Action::Reimage);
    let error = with("3MiB").unwrap_err();
    assert!(matches!(error, PlanError::Allocation { size: 2_097_152, allocation: 3_145_728, .. }), "{error}");
    assert_eq!(error.to_string(), "the disk `scratch` on vdb has 2097152 bytes, its allocation is 3145728 bytes");
    assert!(with("2MiB").is_ok() && with("1MiB").is_ok());
}
