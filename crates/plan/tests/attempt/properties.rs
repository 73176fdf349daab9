//! Laws of planning, on generated machines.

use std::collections::BTreeMap;

use cloud_machine_config::{
    Config, DiskConfig, Filesystem, FilesystemType, OnReimage, PartitionConfig, PartitionSize, Undeclared, WipeOnBoot,
};
use cloud_machine_plan::{Plan, PlannedStep};
use cloud_machine_protocol::{
    Action, Bus, DeviceRecord, DeviceSelector, Disk, DiskName, History, Inventory, Method, NewPartition, NewTable,
    Partition, Partitions, Probe, Request, Role, Signature, Step, WipeMethod,
};
use proptest::prelude::*;

use crate::fixture::{DISKS, config, disk, inventory, planned, planned_for, request};

type Declared = (DeviceSelector, OnReimage, Option<WipeOnBoot>, bool, Option<Filesystem>, bool, Vec<PartitionConfig>);

/// Up to three, of which most fit on most disks.
fn partitions() -> impl Strategy<Value = Vec<PartitionConfig>> {
    let size = prop_oneof![
        Just(PartitionSize::Bytes("1MiB".parse().unwrap())),
        Just(PartitionSize::Percent(30)),
        Just(PartitionSize::Rest)
    ];
    let filesystem = prop_oneof![Just(None), Just(Some(Filesystem::of(FilesystemType::Ext4)))];
    prop::collection::vec((size, filesystem), 0..4).prop_map(|partitions| {
        let partition = |(index, (size, filesystem)): (usize, (PartitionSize, Option<Filesystem>))| PartitionConfig {
            number: u32::try_from(index).unwrap() + 1,
            name: format!("p{index}").parse().unwrap(),
            size,
            // "Linux filesystem" (systemd's Discoverable Partitions Specification).
            kind: "0fc63daf-8483-4772-8e79-3d69d8477de4".parse().unwrap(),
            filesystem,
            mountpoint: None,
            mount_options: Vec::new(),
        };
        partitions.into_iter().enumerate().map(partition).collect()
    })
}

fn declared() -> impl Strategy<Value = BTreeMap<DiskName, DiskConfig>> {
    let selector = prop_oneof![
        (0u8..8).prop_map(|n| DeviceSelector::Serial(format!("s{n}"))),
        (0u8..8).prop_map(|n| DeviceSelector::Path(format!("vd{n}"))),
    ];
    let filesystem = prop_oneof![
        Just(None),
        Just(Some(Filesystem::of(FilesystemType::Ext4))),
        Just(Some(Filesystem::of(FilesystemType::Zfs))),
    ];
    let wipe = prop_oneof![
        3 => Just(None),
        1 => Just(Some(WipeOnBoot::Auto)),
        1 => Just(Some(WipeOnBoot::Zero)),
        1 => Just(Some(WipeOnBoot::Discard)),
        1 => Just(Some(WipeOnBoot::Recreate)),
        1 => Just(Some(WipeOnBoot::Crypto)),
    ];
    let on_reimage = prop_oneof![Just(OnReimage::Keep), Just(OnReimage::Wipe), Just(OnReimage::Recreate)];
    let one = (selector, on_reimage, wipe, any::<bool>(), filesystem, prop::bool::weighted(0.2), partitions());
    prop::collection::vec(one, 0..5).prop_map(|disks| {
        let disk = |(index, (devicepath, on_reimage, wipe_on_boot, second, filesystem, readonly, partitions)): (
            usize,
            Declared,
        )| {
            let boot_partition =
                index == 0 || (second && on_reimage == OnReimage::Keep && wipe_on_boot.is_some() && index == 4);
            let readonly = readonly && !boot_partition;
            let whole = filesystem.is_some() || boot_partition || readonly;
            let divided = !whole && wipe_on_boot != Some(WipeOnBoot::Crypto);
            let config = DiskConfig {
                devicepath,
                bus: Bus::Virtio,
                allocation: None,
                source: None,
                boot_partition,
                on_reimage,
                wipe_on_boot,
                readonly,
                required: false,
                overwrite: second,
                // A root in a pool is another matter: `root_pool`.
                filesystem: filesystem.filter(|_| !boot_partition),
                mountpoint: None,
                mount_options: Vec::new(),
                partitions: if divided { partitions } else { Vec::new() },
            };
            (format!("d{index}").parse().unwrap(), config)
        };
        disks.into_iter().enumerate().map(disk).collect()
    })
}

fn disks() -> impl Strategy<Value = Vec<Disk>> {
    let size = prop_oneof![5 => 1u64 << 20..1 << 22, 4 => 1u64 << 22..1 << 24, 1 => 0u64..1 << 20];
    let one = (0u8..9, size, prop::bool::weighted(0.05), prop::bool::weighted(0.8));
    prop::collection::vec(one, 0..7).prop_map(|disks| {
        let disk = |(index, (serial, size, read_only, discard))| {
            let serial = if serial == 8 { index } else { usize::from(serial) };
            Disk { read_only, discard, ..disk(&format!("vd{index}"), &format!("s{serial}"), size) }
        };
        let mut disks: Vec<Disk> = disks.into_iter().enumerate().map(disk).collect();
        disks.extend(inventory().disks.split_off(3));
        disks
    })
}

pub(crate) fn machine() -> impl Strategy<Value = (Config, Inventory, Action)> {
    let action = prop_oneof![Just(Action::Reimage), Just(Action::Boot)];
    (declared(), disks(), any::<bool>(), action).prop_map(|(declared, disks, ignore, action)| {
        let mut config = config(DISKS, "refuse");
        config.disks_undeclared = if ignore { Undeclared::Ignore } else { Undeclared::Refuse };
        config.resources.disks = declared;
        (config, Inventory { disks }, action)
    })
}

/// A machine whose disks are all declared once, so that many plans succeed.
pub(crate) fn fitting() -> impl Strategy<Value = (Config, Inventory, Action)> {
    machine().prop_map(|(mut config, mut inventory, action)| {
        let total = inventory.disks.len() - 2;
        for (index, disk) in inventory.disks.iter_mut().take(total).enumerate() {
            disk.serial = Some(format!("s{index}"));
        }
        for (index, disk) in config.resources.disks.values_mut().enumerate() {
            disk.devicepath = DeviceSelector::Serial(format!("s{index}"));
        }
        config.disks_undeclared = Undeclared::Ignore;
        (config, inventory, action)
    })
}

fn range(step: &Step) -> Option<(&str, u64, u64)> {
    match step {
        Step::Reimage { device, disk_size, .. } => Some((device, 0, *disk_size)),
        Step::Wipe { device, offset, length, .. } | Step::MountRoot { device, offset, length, .. } => {
            Some((device, *offset, *length))
        }
        Step::MakeFilesystem { device, .. } | Step::Encrypt { device, .. } => Some((device, 0, 0)),
        Step::WriteTable { device, table } => Some((device, 0, table.disk_size)),
        Step::WriteIdentity { .. }
        | Step::WriteMounts { .. }
        | Step::LoadModule { .. }
        | Step::SetReadOnly { .. }
        | Step::ImportPool { .. }
        // No configuration of these laws has its root in a pool.
        | Step::CheckImage { .. }
        | Step::ReceiveRoot { .. }
        | Step::CloneRoot { .. }
        | Step::MountDataset { .. }
        | Step::CommitRoot { .. }
        | Step::MakeDatasets { .. } => None,
    }
}

/// The disk that a step means which names `device`: itself, or what it was put over.
fn below<'plan>(plan: &'plan Plan, device: &'plan str) -> &'plan str {
    let disk = |step: &'plan PlannedStep| match &step.step {
        Step::Encrypt { device: disk, mapped, .. } if mapped == device => Some(disk.as_str()),
        _ => None,
    };
    plan.steps.iter().find_map(disk).unwrap_or(device)
}

/// What a look finds on a disk on which `table` was written, and in it what was described.
fn as_written(table: &NewTable, described: &[PartitionConfig]) -> (Probe, Option<Partitions>) {
    let partition = |(new, described): (&NewPartition, &PartitionConfig)| Partition {
        number: new.number,
        name: Some(new.name.clone()),
        r#type: Some(new.r#type),
        uuid: Some(new.uuid),
        offset: new.offset,
        length: new.length,
        probe: described.filesystem.as_ref().map_or(Probe::Empty, |filesystem| {
            let filesystem = Some(filesystem.kind.word().to_owned());
            Probe::Found(Signature { filesystem, ..Signature::default() })
        }),
    };
    let partitions = table.partitions.iter().zip(described).map(partition).collect();
    let gpt = Probe::Found(Signature { partition_table: Some("gpt".to_owned()), ..Signature::default() });
    (gpt, Some(Partitions::Found { primary: true, partitions }))
}

/// What has to be done before, as a number, on a machine whose root is a partition of the image.
fn stage(step: &Step) -> u8 {
    match step {
        // Whatever touches a disk may need a module.
        Step::LoadModule { .. } => 0,
        // What must not be written is safe before anything is.
        Step::SetReadOnly { .. } => 1,
        // The content of the job ends before the system that comes next is on a disk.
        Step::Wipe { offset: 0, .. } => 2,
        Step::Reimage { .. } => 3,
        Step::MountRoot { .. } => 4,
        Step::WriteIdentity { .. } => 5,
        Step::Encrypt { .. } => 6,
        // A partition is wiped where its table is known to be right.
        Step::WriteTable { .. } | Step::Wipe { .. } | Step::MakeFilesystem { .. } | Step::ImportPool { .. } => 7,
        Step::WriteMounts { .. } => 8,
        other => panic!("{other:?} is of a root in a pool"),
    }
}

proptest! {
    #[test]
    fn a_step_touches_only_declared_disks_and_stays_inside_them(
        (config, inventory, action) in prop_oneof![machine(), fitting()],
    ) {
        let Ok(plan) = planned(&config, &inventory, action) else { return Ok(()) };
        for (device, offset, length) in plan.steps.iter().filter_map(|step| range(&step.step)) {
            let record = plan.devices.iter().find(|record| record.disk.name == below(&plan, device)).unwrap();
            prop_assert!(matches!(record.role, Role::Declared { .. }), "{:?}", record);
            prop_assert!(!record.disk.read_only && record.method.to_string() != "kept");
            prop_assert!(offset.checked_add(length).is_some_and(|end| end <= record.disk.size));
        }
        for (name, _) in config.resources.disks.iter().filter(|(_, disk)| disk.readonly) {
            let is = |record: &&DeviceRecord| record.role == Role::Declared { name: name.to_string() };
            let device = &plan.devices.iter().find(is).unwrap().disk.name;
            prop_assert!(plan.steps.iter().filter_map(|step| range(&step.step)).all(|(written, ..)| written != device));
            let refused = Step::SetReadOnly { device: device.clone() };
            prop_assert!(plan.steps.iter().any(|step| step.step == refused));
        }
        let listed: Vec<&Disk> = plan.devices.iter().map(|record| &record.disk).collect();
        prop_assert_eq!(listed, inventory.disks.iter().collect::<Vec<_>>());
        for record in &plan.devices {
            prop_assert!(record.role != Role::Undeclared || record.method == Method::Ignored);
        }
    }

    #[test]
    fn the_steps_depend_neither_on_the_order_of_the_disks_nor_on_what_lies_on_them(
        (mut config, inventory, action) in prop_oneof![machine(), fitting()],
        probes in prop::collection::vec(0u8..3, 9),
    ) {
        // What a kept disk shall hold is another law.
        config.resources.disks.values_mut().for_each(|disk| {
            disk.filesystem = None;
            disk.partitions.clear();
        });
        let mut other = inventory.clone();
        other.disks.reverse();
        for (disk, probe) in other.disks.iter_mut().zip(probes) {
            disk.probe = match probe {
                0 => Probe::Empty,
                1 => Probe::Ambivalent,
                _ => Probe::Unreadable { reason: "hostile".into() },
            };
        }
        let one = planned(&config, &inventory, action);
        let two = planned(&config, &other, action);
        prop_assert_eq!(one.as_ref().ok().map(|plan| &plan.steps), two.as_ref().ok().map(|plan| &plan.steps));
        // Execution changes what lies on the disks and nothing else: planning again gives the same plan.
        prop_assert_eq!(planned(&config, &inventory, action), one);
    }

    /// Whatever is found: nothing is wiped, and nothing is made where something is, unless the configuration says so; and
    /// a plan after its own execution writes nothing to a kept disk.
    #[test]
    fn a_disk_is_only_written_when_something_says_so(
        (config, mut inventory, action) in fitting(),
        probes in prop::collection::vec(0u8..5, 9),
        history in prop_oneof![Just(History::Unknown), Just(History::New), Just(History::Made)],
    ) {
        let histories = config.resources.disks.keys().map(|name| (name.clone(), history)).collect();
        let request = Request { histories, ..request(action) };
        for (disk, probe) in inventory.disks.iter_mut().zip(probes) {
            disk.probe = match probe {
                0 => Probe::Empty,
                1 => Probe::Ambivalent,
                2 => Probe::Unknown,
                3 => Probe::Unreadable { reason: "hostile".into() },
                _ => Probe::Found(Signature { filesystem: Some("ext4".into()), ..Signature::default() }),
            };
        }
        let Ok(plan) = planned_for(&config, &inventory, &request) else { return Ok(()) };
        for record in &plan.devices {
            let Role::Declared { name } = &record.role else { continue };
            let declared = &config.resources.disks[&name.parse().unwrap()];
            let device = record.disk.name.as_str();
            // What was made once is nobody's to make again; what is new is the host's own.
            let free = match history {
                History::Unknown => record.disk.probe == Probe::Empty,
                History::New => matches!(record.disk.probe, Probe::Empty | Probe::Unknown),
                History::Made => false,
            };
            let wiped = plan.steps.iter().any(|step| matches!(&step.step, Step::Wipe { device: one, .. } if one == device));
            let made =
                plan.steps.iter().any(|step| matches!(&step.step, Step::MakeFilesystem { device: one, .. } if below(&plan, one) == device));
            let says_so = declared.wipe_on_boot.is_some() || declared.overwrite
                || (action == Action::Reimage && declared.on_reimage != OnReimage::Keep);
            prop_assert!(!wiped || says_so, "{:?}", record);
            prop_assert!(!made || says_so || free, "{:?}", record);
            let table = plan.steps.iter().find_map(|step| match &step.step {
                Step::WriteTable { device: one, table } if one == device => Some(table),
                _ => None,
            });
            prop_assert!(table.is_none() || says_so || free, "{:?}", record);
            let kept = declared.partitions.is_empty() || record.method.to_string().starts_with("reuse ");
            prop_assert_eq!(table.is_none(), kept, "{:?}", record);
            if let Some(table) = table {
                let disk = inventory.disks.iter_mut().find(|disk| disk.name == device).unwrap();
                (disk.probe, disk.partitions) = as_written(table, &declared.partitions);
                continue;
            }
            prop_assert!(made == (declared.filesystem.is_some() && !declared.boot_partition && !record.method.to_string().starts_with("reuse ")));
            if made {
                inventory.disks.iter_mut().filter(|disk| disk.name == device).for_each(|disk| {
                    let kind = declared.filesystem.as_ref().map(|filesystem| filesystem.kind.word().to_owned());
                    let label = declared.pool(&name.parse().unwrap()).map(str::to_owned);
                    disk.probe = Probe::Found(Signature { filesystem: kind, label, ..Signature::default() });
                });
            }
        }
        let mut kept = config;
        kept.resources.disks.values_mut().for_each(|disk| {
            disk.wipe_on_boot = None;
            disk.on_reimage = OnReimage::Keep;
        });
        // What was accepted once is there, or something says so.
        let histories = kept.resources.disks.keys().map(|name| (name.clone(), History::Made)).collect();
        let again = planned_for(&kept, &inventory, &Request { histories, ..request }).unwrap();
        let writes = |step: &Step| matches!(step, Step::MakeFilesystem { .. } | Step::Wipe { .. });
        prop_assert!(!again.steps.iter().any(|step| writes(&step.step)), "{:?}", again.steps);
    }

    /// A cipher is over a disk when the configuration says so, under a name of its own, before anything is made on it; and
    /// whatever uses such a disk uses it through the cipher.
    #[test]
    fn what_is_encrypted_is_used_through_its_cipher((config, inventory, action) in fitting()) {
        let Ok(plan) = planned(&config, &inventory, action) else { return Ok(()) };
        let mut names = Vec::new();
        for record in &plan.devices {
            let Role::Declared { name } = &record.role else { continue };
            let declared = &config.resources.disks[&name.parse().unwrap()];
            let device = &record.disk.name;
            let ciphers: Vec<(usize, &String)> = plan.steps.iter().enumerate().filter_map(|(at, step)| match &step.step {
                Step::Encrypt { device: disk, mapped, .. } if disk == device => Some((at, mapped)),
                _ => None,
            }).collect();
            let encrypted = declared.wipe_on_boot == Some(WipeOnBoot::Crypto) && !declared.boot_partition && !declared.readonly;
            prop_assert_eq!(ciphers.len(), usize::from(encrypted));
            let Some((cipher, mapped)) = ciphers.first() else { continue };
            names.push(*mapped);
            for (at, step) in plan.steps.iter().enumerate() {
                match &step.step {
                    Step::MakeFilesystem { device: one, .. } => prop_assert!(one != device && (one != *mapped || at > *cipher)),
                    Step::Wipe { device: one, .. } => prop_assert!(one != device || at < *cipher),
                    Step::WriteMounts { mounts } => prop_assert!(mounts.iter().all(|mount| mount.device != *device)),
                    _ => {}
                }
            }
        }
        names.sort();
        prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", names);
        prop_assert!(plan.devices.iter().all(|record| !names.contains(&&record.disk.name)));
    }

    /// Of what a reimage wipes nothing is left unless the configuration says so by name, and a boot wipes as it says.
    #[test]
    fn a_wipe_leaves_no_more_than_what_was_asked_for((config, inventory, action) in fitting()) {
        let Ok(plan) = planned(&config, &inventory, action) else { return Ok(()) };
        for record in &plan.devices {
            let Role::Declared { name } = &record.role else { continue };
            let declared = &config.resources.disks[&name.parse().unwrap()];
            let method = plan.steps.iter().find_map(|step| match &step.step {
                Step::Wipe { device, offset: 0, method, .. } if *device == record.disk.name => Some(*method),
                _ => None,
            });
            if declared.boot_partition || declared.readonly {
                prop_assert_eq!(method, None);
                continue;
            }
            if action == Action::Reimage && declared.on_reimage == OnReimage::Wipe {
                prop_assert_eq!(method, Some(WipeMethod::Zero), "{:?}", record);
            }
            let recreates = matches!(declared.wipe_on_boot, Some(WipeOnBoot::Recreate | WipeOnBoot::Crypto))
                || (action == Action::Reimage && declared.on_reimage == OnReimage::Recreate);
            prop_assert!(method != Some(WipeMethod::Recreate) || recreates, "{:?}", record);
            prop_assert!(method != Some(WipeMethod::Discard) || record.disk.discard, "{:?}", record);
            prop_assert!(method.is_some() || declared.wipe_on_boot.is_none(), "{:?}", record);
            let told = method.map(|method| format!("wipe {method}"));
            prop_assert!(told.is_none_or(|told| record.method.to_string().starts_with(&told)), "{:?}", record);
        }
    }

    /// The order, in other terms than those of the plan: nothing is used before it is ready, and nothing is wiped after it
    /// was made.
    #[test]
    fn steps_stand_in_the_order_of_what_they_need((config, inventory, action) in prop_oneof![machine(), fitting()]) {
        let Ok(plan) = planned(&config, &inventory, action) else { return Ok(()) };
        let stages: Vec<u8> = plan.steps.iter().map(|step| stage(&step.step)).collect();
        prop_assert!(stages.is_sorted(), "{:?}", plan.steps.iter().map(|step| &step.id).collect::<Vec<_>>());
    }

    #[test]
    fn fitting_machines_do_get_a_plan((mut config, mut inventory, action) in fitting()) {
        let disks = inventory.disks.len() - 2;
        let declared = std::mem::take(&mut config.resources.disks);
        config.resources.disks = declared.into_iter().take(disks).collect();
        if config.resources.disks.is_empty() {
            return Ok(());
        }
        config.resources.disks.values_mut().enumerate().for_each(|(index, disk)| {
            disk.boot_partition = index == 0;
            disk.filesystem = disk.filesystem.take().filter(|_| index != 0);
            disk.partitions.clear();
            // What is never written must hold what was described already.
            disk.readonly = false;
        });
        for disk in inventory.disks.iter_mut().take(disks) {
            disk.read_only = false;
            disk.discard = true;
            disk.size = disk.size.max(1 << 20);
        }
        prop_assert!(planned(&config, &inventory, action).is_ok());
    }
}
