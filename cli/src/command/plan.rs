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
            let (from, read) = (from(source), read(*tier));
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
            format!("write a partition table on /dev/{device}: {}", listed(&table.partitions, partition))
        }
        Step::MakeFilesystem { device, partition, filesystem, label, properties, .. } => {
            let node = partition.as_ref().map_or(device, |partition| &partition.node);
            format!("make {}{} on /dev/{node}", content(filesystem, label.as_deref()), with(properties))
        }
        Step::ImportPool { device, pool, datasets, read_only, .. } => {
            let how = if *read_only { ", read-only" } else { "" };
            format!("import the pool {pool}{} from /dev/{device}{how}, mounting nothing", with(datasets))
        }
        Step::MakeDatasets { pool, datasets } => format!("make in the pool {pool} {}", datasets.join(", ")),
        Step::WriteMounts { mounts } => format!("have the system mount {}", listed(mounts, mount)),
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

/// From where an image is fetched; nothing when it is attached.
fn from(source: &str) -> String {
    if source.contains("://") { format!(" from {source}") } else { String::new() }
}

/// What of the system disk is read, when it is not all of it.
const fn read(tier: Option<Tier>) -> &'static str {
    match tier {
        Some(Tier::Overlay) => "; a fresh overlay: boot head and a sample are read",
        Some(Tier::Hinted) => "; the map's ranges, boot head and a sample are read",
        Some(Tier::Scan | Tier::Stream | Tier::Clone | Tier::Receive) | None => "",
    }
}

fn partition(one: &NewPartition) -> String {
    format!("{} {} of {} bytes", one.number, one.name, one.length)
}

/// What is made on a disk, by the word of libblkid for it.
fn content(filesystem: &str, label: Option<&str>) -> String {
    match label {
        Some(pool) if filesystem == "zfs_member" => format!("the zfs pool {pool}"),
        Some(label) => format!("{filesystem} labelled {label}"),
        None => filesystem.to_owned(),
    }
}

fn mount(mount: &Mount) -> String {
    match (&mount.mountpoint, &mount.dataset) {
        (Some(path), Some(dataset)) => format!("{dataset} on {path}"),
        (Some(path), None) => format!("/dev/{} on {path}", mount.node()),
        (None, _) => format!("/dev/{} as swap", mount.node()),
    }
}

fn listed<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What comes with it, when something does.
fn with(all: &[String]) -> String {
    if all.is_empty() { String::new() } else { format!(" with {}", all.join(", ")) }
}
