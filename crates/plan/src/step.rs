//! Single steps: each has one function that makes it, with its name, for whoever plans and whoever verifies. Must not put
//! steps of different disks in order, and must not decide.

use std::collections::BTreeSet;

use cloud_machine_protocol::{
    Disk, ImageSource, MachineName, Mount, PartitionLocation, Probe, Request, Step, StepId, Tier, WipeMethod,
};

use crate::{decision::Decision, filesystem::WantedFilesystem, image::ImageLayout};

/// A step and its stable name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// `load-<module>`, `read-only-<disk>`, `wipe-<disk>`, `reimage-system`, `check-image`, `receive-root`, `clone-root`,
    /// `mount-root`, `write-identity`, `commit-root`, `make-datasets`,
    /// `encrypt-<disk>`, `make-<disk>`, `import-<disk>` or `write-mounts`; for a disk with partitions
    /// `write-table-<disk>`, `wipe-<disk>-<partition>` and `make-<disk>-<partition>`.
    pub id: StepId,
    /// The step.
    pub step: Step,
}

/// The filesystem on a disk, which is used as `used`, or in a partition of it: made, when it has to be, and imported, when
/// it is a pool.
pub(crate) fn make(
    name: &str,
    device: &Disk,
    used: &str,
    partition: Option<&PartitionLocation>,
    wanted: &WantedFilesystem,
    decision: Decision,
) -> Vec<PlannedStep> {
    let planned = |verb: &str, step| PlannedStep { id: StepId(format!("{verb}-{name}")), step };
    let made = matches!(decision, Decision::Create | Decision::Replace);
    let make = made.then(|| {
        planned(
            "make",
            Step::MakeFilesystem {
                device: used.to_owned(),
                partition: partition.cloned(),
                filesystem: wanted.kind.clone(),
                label: wanted.label.clone(),
                uuid: wanted.uuid.clone(),
                options: wanted.options.clone(),
                properties: wanted.properties.clone(),
            },
        )
    });
    let import = wanted.pool().map(|pool| {
        let found = match &device.probe {
            Probe::Found(signature) if !made => signature.uuid.clone(),
            _ => None,
        };
        planned(
            "import",
            Step::ImportPool {
                device: used.to_owned(),
                pool: pool.to_owned(),
                guid: found,
                datasets: wanted.datasets.clone(),
                read_only: wanted.read_only,
            },
        )
    });
    make.into_iter().chain(import).collect()
}

/// Each of `modules`, once and in the order of their names.
pub(crate) fn load_modules<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<PlannedStep> {
    let modules: BTreeSet<&str> = modules.collect();
    let load = |module: &str| PlannedStep {
        id: StepId(format!("load-{module}")),
        step: Step::LoadModule { module: module.to_owned() },
    };
    modules.into_iter().map(load).collect()
}

/// A disk to which the kernel refuses writes.
pub(crate) fn set_read_only(name: &str, device: &Disk) -> PlannedStep {
    PlannedStep { id: StepId(format!("read-only-{name}")), step: Step::SetReadOnly { device: device.name.clone() } }
}

/// The units of all mounts, when there are any.
pub(crate) fn write_mounts(mounts: Vec<Mount>) -> Option<PlannedStep> {
    let id = StepId("write-mounts".to_owned());
    (!mounts.is_empty()).then_some(PlannedStep { id, step: Step::WriteMounts { mounts } })
}

/// All of `device` wiped by `method`.
pub(crate) fn wipe(name: &str, device: &Disk, method: WipeMethod) -> PlannedStep {
    let step = Step::Wipe { device: device.name.clone(), offset: 0, length: device.size, method };
    PlannedStep { id: StepId(format!("wipe-{name}")), step }
}

/// What the step of a reimage names as its source; `device` is that of the image, where one is attached.
pub(crate) fn source(request: &Request, device: Option<&Disk>) -> Option<String> {
    match &request.image.source {
        ImageSource::Device(_) => device.map(|device| device.name.clone()),
        ImageSource::Url(url) => Some(url.redacted()),
        ImageSource::Connection { .. } => Some("connection".to_owned()),
    }
}

/// The image over `system`, and zeros over the rest.
pub(crate) fn reimage(system: &Disk, source: String, image: &ImageLayout, tier: Option<Tier>) -> PlannedStep {
    let step = Step::Reimage {
        device: system.name.clone(),
        disk_size: system.size,
        source,
        image: image.digest,
        image_size: image.size,
        tier,
    };
    PlannedStep { id: StepId("reimage-system".to_owned()), step }
}

/// The root filesystem of `system`.
pub(crate) fn mount_root(system: &Disk, image: &ImageLayout) -> PlannedStep {
    let (partition, offset, length, filesystem) = root_partition(system, image);
    let step = Step::MountRoot { device: system.name.clone(), partition, offset, length, filesystem };
    PlannedStep { id: StepId("mount-root".to_owned()), step }
}

/// Number, first byte, bytes and filesystem of the root partition on a disk that has the image's table.
pub(crate) fn root_partition(disk: &Disk, image: &ImageLayout) -> (u32, u64, u64, String) {
    // A partition that ends inside a larger sector gets all of it.
    let length = image.root.length.next_multiple_of(u64::from(disk.sector_size).max(1));
    (image.root.number, image.root.offset, length, image.root.filesystem.clone())
}

/// The identity in the mounted root.
pub(crate) fn write_identity(hostname: &MachineName) -> PlannedStep {
    let step = Step::WriteIdentity { hostname: hostname.to_string() };
    PlannedStep { id: StepId("write-identity".to_owned()), step }
}
