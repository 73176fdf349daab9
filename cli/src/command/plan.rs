//! `plan`: what a reimage would do, step by step, without doing it.

use std::collections::BTreeMap;

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_driver::store::{DiskRecord, MachineRecord, RequestRecord, Store, Strategy};
use cloud_machine_plan::{ImageLayout, WantedFilesystem, Wiping, plan};
use cloud_machine_protocol::{
    Action, Bus, DeviceRecord, DeviceSelector, Disk, Inventory, MachineName, Mount, NewPartition, Nonce, Probe,
    Signature, Step, Tier, volume,
};
use serde::Serialize;

use crate::{
    admission, disks,
    failure::{Failure, Kind},
    launch, strategy,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Planned {
    /// What `reimage` would choose by itself, and why.
    strategy: Strategy,
    strategy_reason: String,
    steps: Vec<PlannedLine>,
    devices: Vec<DeviceRecord>,
}

#[derive(Serialize)]
struct PlannedLine {
    id: String,
    step: Step,
}

impl Show for Planned {
    const KIND: &'static str = "plan";

    fn table(&self) -> String {
        let steps = self.steps.iter().map(|line| format!("{:20}{}\n", line.id, describe(&line.step)));
        let strategy = format!("{:20}{}: {}\n", "strategy", self.strategy, self.strategy_reason);
        [strategy].into_iter().chain(steps).collect()
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Reimage { device, disk_size, image, image_size, source, tier, .. } => {
            let read = match tier {
                Some(Tier::Overlay) => "; a fresh overlay: boot head and a sample are read",
                Some(Tier::Hinted) => "; the map's ranges, boot head and a sample are read",
                Some(Tier::Scan | Tier::Stream | Tier::Clone | Tier::Receive) | None => "",
            };
            let from = if source.contains("://") { format!(" from {source}") } else { String::new() };
            format!(
                "make /dev/{device} ({disk_size} bytes) equal to {image} ({image_size} bytes){from}, the rest zero{read}"
            )
        }
        Step::Wipe { device, offset, length, method } => {
            format!("wipe /dev/{device} by {method}, {length} bytes from {offset}")
        }
        Step::MountRoot { device, partition, filesystem, .. } => {
            format!("mount partition {partition} of /dev/{device} as {filesystem}")
        }
        Step::Encrypt { device, mapped, cipher, key_bits } => {
            format!("use /dev/{device} as /dev/{mapped} through {cipher} with a new key of {key_bits} bits")
        }
        Step::LoadModule { module } => format!("load the kernel module {module}"),
        Step::SetReadOnly { device } => format!("refuse writes to /dev/{device}"),
        Step::WriteTable { device, table } => {
            let one = |one: &NewPartition| format!("{} {} of {} bytes", one.number, one.name, one.length);
            let list: Vec<String> = table.partitions.iter().map(one).collect();
            format!("write a partition table on /dev/{device}: {}", list.join(", "))
        }
        Step::MakeFilesystem { device, partition, filesystem, label, properties, .. } => {
            let what = match label {
                // libblkid's word for a disk of a pool.
                Some(pool) if filesystem == "zfs_member" => format!("the zfs pool {pool}"),
                Some(label) => format!("{filesystem} labelled {label}"),
                None => filesystem.clone(),
            };
            let with = if properties.is_empty() { String::new() } else { format!(" with {}", properties.join(", ")) };
            let node = partition.as_ref().map_or(device, |partition| &partition.node);
            format!("make {what}{with} on /dev/{node}")
        }
        Step::ImportPool { device, pool, datasets, read_only, .. } => {
            let how = if *read_only { ", read-only" } else { "" };
            let with = if datasets.is_empty() { String::new() } else { format!(" with {}", datasets.join(", ")) };
            format!("import the pool {pool}{with} from /dev/{device}{how}, mounting nothing")
        }
        Step::MakeDatasets { pool, datasets } => format!("make in the pool {pool} {}", datasets.join(", ")),
        Step::WriteMounts { mounts } => {
            let mount = |mount: &Mount| match (&mount.mountpoint, &mount.dataset) {
                (Some(path), Some(dataset)) => format!("{dataset} on {path}"),
                (Some(path), None) => format!("/dev/{} on {path}", mount.node()),
                (None, _) => format!("/dev/{} as swap", mount.node()),
            };
            format!("have the system mount {}", mounts.iter().map(mount).collect::<Vec<_>>().join(", "))
        }
        Step::CheckImage { device, image, image_size } => {
            format!("read all {image_size} bytes of /dev/{device}, which have to be {image}")
        }
        Step::ReceiveRoot { device, partition, dataset, .. } => {
            format!("receive the files of partition {partition} of /dev/{device} as {dataset}, unless it has them")
        }
        Step::CloneRoot { received, dataset, .. } => {
            format!("clone {received} as {dataset}, and compare every file with the image")
        }
        Step::MountDataset { dataset: Some(dataset), .. } => format!("mount {dataset} as the root"),
        Step::MountDataset { pool, dataset: None } => format!("mount the root that bootfs of the pool {pool} names"),
        Step::CommitRoot { pool, dataset, .. } => {
            format!("have bootfs of the pool {pool} name {dataset}, and destroy what else is in the pool")
        }
        Step::WriteIdentity { hostname } => format!("write the identity of {hostname}"),
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, name: &MachineName) -> Result<(), Failure> {
    let mut record = store.read(name)?;
    let (image, manifest) = launch::image(store, &record)?;
    record.request = Some(RequestRecord {
        id: "plan".to_owned(),
        action: Action::Reimage,
        attempts: 1,
        failures: 0,
        started: record.created,
    });
    // No agent will see this request, so its nonce binds nothing.
    let minimum = admission::minimum_generation(store, &record, &manifest)?;
    let (strategy, strategy_reason) = strategy::outlook(store, &record, &launch::config(&record)?)?;
    let tier = match strategy {
        Strategy::Overlay => Some(Tier::Overlay),
        Strategy::Hinted => Some(Tier::Hinted),
        Strategy::Clone => Some(Tier::Clone),
        Strategy::Rewrite => None,
    };
    let mut request = launch::request(&record, &manifest, minimum, tier, Nonce::from_random([0; 32]))?;
    // Nobody looks at the disks here, so that what the record says of them has nothing to be held against.
    request.histories.clear();
    let config = launch::config(&record)?;
    let packed = match strategy::root_pool(&config) {
        Some(_) => manifest.size(),
        None => std::fs::metadata(image.packed()).map_err(Failure::failed)?.len(),
    };
    let inventory = inventory(&record, &config, packed);
    let volume = inventory.disks.iter().find(|disk| disk.serial.as_deref() == Some(launch::VOLUME_SERIAL));
    let volume = volume.map(|disk| disk.name.clone()).unwrap_or_default();
    let layout = ImageLayout::from(&manifest);
    for (disk, kept) in &config.resources.disks {
        let described = (kept.filesystem.is_some() && !kept.boot_partition) || !kept.partitions.is_empty();
        if described && !kept.readonly && Wiping::of(request.action, kept).is_none() {
            ui.note(&format!("what `{disk}` holds is not known here: the plan takes it for empty"));
        }
    }
    let planned = plan(&config, &inventory, &request, &layout, &volume, name)
        .map_err(|error| Failure::new(Kind::Refused, error))?;
    let line = |step: cloud_machine_plan::PlannedStep| PlannedLine { id: step.id.to_string(), step: step.step };
    let steps = planned.steps.into_iter().map(line).collect();
    ui.result(&Planned { strategy, strategy_reason, steps, devices: planned.devices })
}

/// The disks as the driver attaches them; each bus names its own in that order.
fn inventory(record: &MachineRecord, config: &Config, packed: u64) -> Inventory {
    let disk = |serial: &str, size: u64, read_only: bool, probe: Probe| Disk {
        name: String::new(),
        serial: Some(serial.to_owned()),
        wwn: None,
        size,
        sector_size: 512,
        read_only,
        // As virtio-blk of QEMU offers it.
        discard: !read_only,
        probe,
        partitions: None,
    };
    let mut disks: Vec<(Bus, Disk)> = record
        .disks
        .iter()
        .map(|found| (found.bus, disk(&found.serial, found.size, found.medium.is_some(), content(found, config))))
        .collect();
    let label = Signature { label: Some(volume::LABEL.to_owned()), ..Signature::default() };
    let bus = disks::volume_bus(config);
    let place = if bus == Bus::Cdrom { 0 } else { disks.len() };
    disks.insert(place, (bus, disk(launch::VOLUME_SERIAL, 1 << 20, true, Probe::Found(label))));
    if record.image.url.is_none() {
        disks.push((Bus::Virtio, disk(launch::IMAGE_SERIAL, packed, true, Probe::Empty)));
    }
    let drives = record.drives.iter().enumerate();
    disks.extend(
        drives.map(|(index, drive)| (Bus::Virtio, disk(&launch::drive_serial(index), drive.size, true, Probe::Empty))),
    );
    let mut counts: BTreeMap<Bus, usize> = BTreeMap::new();
    for (bus, disk) in &mut disks {
        let count = counts.entry(*bus).or_default();
        disk.name = disks::name_on(*bus, *count);
        *count += 1;
    }
    Inventory { disks: disks.into_iter().map(|(_, disk)| disk).collect() }
}

/// What is taken to be on a disk: on one that is never written what the configuration says of it.
fn content(disk: &DiskRecord, config: &Config) -> Probe {
    let declared = config.resources.disks.get(&disk.name).filter(|declared| declared.readonly);
    let wanted = declared.and_then(|declared| WantedFilesystem::of(&disk.name, declared));
    let label = |declared: &DiskConfig| match &declared.devicepath {
        DeviceSelector::Label(label) => Some(label.clone()),
        _ => None,
    };
    match (wanted, declared.and_then(label)) {
        (None, None) => Probe::Empty,
        (Some(wanted), label) => Probe::Found(Signature {
            filesystem: Some(wanted.kind),
            label: wanted.label.or(label),
            ..Signature::default()
        }),
        (None, label) => Probe::Found(Signature { label, ..Signature::default() }),
    }
}
