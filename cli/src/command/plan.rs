//! `plan`: what a reimage would do, step by step, without doing it.

use cloud_machine_driver::drivers;
use cloud_machine_operation::{Operations, Planned};
use cloud_machine_protocol::{MachineName, Mount, NewPartition, Step, Tier};
use cloud_machine_store::Store;

use crate::{
    failure::Failure,
    screen::Screen,
    ui::{Show, Ui},
};

impl Show for Planned {
    const KIND: &'static str = "plan";

    fn table(&self) -> String {
        let steps = self.steps.iter().map(|line| {
            let disk = line.id.strip_prefix("make-");
            let is_assumed = disk.is_some_and(|disk| self.assumed_empty.iter().any(|one| one == disk));
            let only = if is_assumed { ", if it is empty" } else { "" };
            format!("{:20}{}{only}\n", line.id, describe(&line.step))
        });
        let strategy = format!("{:20}{}: {}\n", "strategy", self.strategy, self.strategy_reason);
        [strategy].into_iter().chain(steps).collect()
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, name: &MachineName) -> Result<(), Failure> {
    let planned = Operations { store, drivers: &drivers(), observer: &Screen::new(ui) }.plan(name)?;
    ui.result(&planned)
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
