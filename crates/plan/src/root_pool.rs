//! A root in a ZFS pool on the system disk: how it is made. Must not believe what a pool says of itself.

use cloud_machine_config::DiskConfig;
use cloud_machine_protocol::{Action, Disk, DiskName, MachineName, Mount, Request, Step, StepId, Tier, WipeMethod};
use serde::{Deserialize, Serialize};

use crate::{
    decision::{Content, Decision},
    error::{PlanError, Wanted},
    filesystem::{MOUNTED_ZFS, WantedFilesystem, described},
    image::ImageLayout,
    step::{PlannedStep, make, root_partition, wipe, write_identity},
};

/// Properties of a root, whatever the datasets above it have: what a clone would inherit from them could make the same
/// files another system. Lists of permissions are taken as the image has them.
const PROPERTIES: [&str; 8] = [
    "mountpoint=legacy",
    "acltype=posix",
    "xattr=sa",
    "readonly=off",
    "exec=on",
    "setuid=on",
    "devices=on",
    "snapdir=hidden",
];
/// Digits of the image's digest in the name of what was received from it.
const DIGITS: usize = 16;

/// The dataset that is mounted at the disk's mountpoint.
const DATA: &str = "data";

/// What the configuration says of the pool on the system disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPool {
    /// Name of the disk in the configuration.
    pub disk: String,
    /// The pool, as a filesystem on the whole disk.
    pub filesystem: WantedFilesystem,
}

/// The disks of one attempt on a root pool.
#[derive(Clone, Copy)]
pub(crate) struct RootDisks<'a> {
    /// The system disk.
    pub(crate) system: &'a Disk,
    /// The disk that is equal to the image; none for a boot.
    pub(crate) image: Option<&'a Disk>,
}

impl RootPool {
    /// `None` when the root is a partition of the image.
    #[must_use]
    pub fn of(name: &DiskName, disk: &DiskConfig) -> Option<Self> {
        let pool = disk.pool(name).filter(|_| disk.boot_partition)?;
        let filesystem = WantedFilesystem::new(disk.filesystem.as_ref()?);
        let below = |dataset: &String| format!("{DATA}/{dataset}");
        let mountpoint = disk.mountpoint.clone();
        let data = mountpoint.iter().map(|_| DATA.to_owned());
        let datasets = data.chain(filesystem.datasets.iter().map(below)).collect();
        let label = Some(pool.to_owned());
        Some(Self {
            disk: name.to_string(),
            filesystem: WantedFilesystem { label, mountpoint, datasets, ..filesystem },
        })
    }

    /// How the booted system gets what is in the pool beside the root.
    pub(crate) fn mounts(&self, system: &Disk) -> Vec<Mount> {
        let Some(mountpoint) = &self.filesystem.mountpoint else { return Vec::new() };
        let mount = |dataset: &String| Mount {
            device: system.name.clone(),
            partition: None,
            filesystem: MOUNTED_ZFS.to_owned(),
            mountpoint: Some(format!("{mountpoint}{}", dataset.trim_start_matches(DATA))),
            options: Vec::new(),
            dataset: Some(format!("{}/{dataset}", self.pool())),
            grow: false,
            read_only: false,
            required: true,
            described: Wanted::Disk(self.disk.clone()).to_string(),
        };
        self.filesystem.datasets.iter().map(mount).collect()
    }

    fn pool(&self) -> &str {
        self.filesystem.label.as_deref().unwrap_or_default()
    }

    /// How a reimage makes the root: a clone needs the pool of an earlier reimage.
    pub(crate) fn tier(&self, request: &Request, system: &Disk) -> Tier {
        match (request.tier, self.filesystem.content(&system.probe)) {
            (Some(Tier::Clone), Content::Wanted) => Tier::Clone,
            _ => Tier::Receive,
        }
    }

    /// How the system disk is wiped, if it is.
    pub(crate) fn wipe(&self, request: &Request, system: &Disk) -> Option<WipeMethod> {
        let received = request.action == Action::Reimage && self.tier(request, system) == Tier::Receive;
        received.then_some(WipeMethod::Zero)
    }

    /// Refuses what cannot become a root: a boot from a disk without the pool, a reimage without a disk to receive
    /// from.
    pub(crate) fn check(&self, action: Action, disks: RootDisks<'_>) -> Result<(), PlanError> {
        match action {
            Action::Reimage if disks.image.is_none() => Err(PlanError::RootSource),
            Action::Reimage => Ok(()),
            Action::Boot => self.holds(disks.system),
        }
    }

    /// Refuses a boot from a disk that does not hold the pool.
    pub(crate) fn holds(&self, system: &Disk) -> Result<(), PlanError> {
        if self.filesystem.content(&system.probe) == Content::Wanted {
            return Ok(());
        }
        Err(PlanError::Content {
            wanted: Wanted::Disk(self.disk.clone()),
            device: system.name.clone(),
            filesystem: self.filesystem.to_string(),
            found: described(&system.probe),
            way_out: "; a reimage makes it anew",
        })
    }

    fn received(&self, image: &ImageLayout) -> String {
        let digest: String = image.digest.bytes().iter().map(|byte| format!("{byte:02x}")).take(DIGITS / 2).collect();
        format!("{}/image/{digest}", self.pool())
    }

    /// The dataset that an attempt makes.
    pub(crate) fn dataset(&self, request: &Request) -> String {
        format!("{}/root/{}.{}", self.pool(), request.id, request.attempt)
    }

    fn properties(&self) -> Vec<String> {
        let name = |property: &str| property.split('=').next().map(str::to_owned);
        let own = &self.filesystem.properties;
        let stated = |property: &&str| own.iter().any(|other| name(other) == name(property));
        PROPERTIES
            .iter()
            .filter(|property| !stated(property))
            .map(|text| (*text).to_owned())
            .chain(own.clone())
            .collect()
    }

    /// The steps on the system disk, in order.
    pub(crate) fn steps(
        &self,
        request: &Request,
        layout: &ImageLayout,
        disks: RootDisks<'_>,
        hostname: &MachineName,
    ) -> Vec<PlannedStep> {
        let planned = |id: &str, step| PlannedStep { id: StepId(id.to_owned()), step };
        let pool = self.pool().to_owned();
        let system = disks.system;
        let make = |wanted, decision| make(&self.disk, system, &system.name, None, wanted, decision);
        let Some(image) = disks.image.filter(|_| request.action == Action::Reimage) else {
            let mut steps = make(&self.filesystem, Decision::Reuse);
            steps.push(planned("mount-root", Step::MountDataset { pool, dataset: None }));
            return steps;
        };
        let (received, dataset) = (self.received(layout), self.dataset(request));
        let check = Step::CheckImage { device: image.name.clone(), image: layout.digest, image_size: layout.size };
        let mut steps = vec![planned("check-image", check)];
        steps.extend(self.wipe(request, system).map(|method| wipe(&self.disk, system, method)));
        let made = self.wipe(request, system).is_some();
        // What a kept pool has beside the root is destroyed first.
        let alone = WantedFilesystem { datasets: Vec::new(), ..self.filesystem.clone() };
        steps.extend(make(&alone, if made { Decision::Create } else { Decision::Reuse }));
        let (partition, offset, length, filesystem) = root_partition(image, layout);
        let device = image.name.clone();
        let receive = Step::ReceiveRoot { device, partition, offset, length, filesystem, dataset: received.clone() };
        let (properties, tier) = (self.properties(), self.tier(request, system));
        let clone = Step::CloneRoot { received: received.clone(), dataset: dataset.clone(), properties, tier };
        let mount = Step::MountDataset { pool: pool.clone(), dataset: Some(dataset.clone()) };
        steps.extend([planned("receive-root", receive), planned("clone-root", clone), planned("mount-root", mount)]);
        steps.push(write_identity(hostname));
        steps.push(planned("commit-root", Step::CommitRoot { pool: pool.clone(), received, dataset }));
        let datasets = self.filesystem.datasets.clone();
        if !datasets.is_empty() {
            steps.push(planned("make-datasets", Step::MakeDatasets { pool, datasets }));
        }
        steps
    }
}
