//! The ordered steps of one attempt. The same configuration, inventory and request always give the same plan.

use std::collections::BTreeSet;

use cloud_machine_config::Config;
use cloud_machine_protocol::{
    Action, DataContent, DeviceRecord, Disk, ImageSource, Inventory, MachineName, Method, Mount, PartitionPlace, Probe,
    Request, Role, Step, StepId, Tier, WipeMethod,
};

use crate::{
    assign::{Assignment, assign},
    decision::Decision,
    error::PlanError,
    fate::{Fate, fates, writable},
    filesystem::WantedFilesystem,
    image::ImageLayout,
    root_pool::{RootDisks, RootPool},
};

/// What will be done, in this order, and what every disk is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Every disk of the inventory, in its order, with role and method.
    pub devices: Vec<DeviceRecord>,
}

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

/// Plans one attempt. `volume` is the kernel name of the disk that the volume was read from, `hostname` the name of
/// the machine.
///
/// What a probe says of a disk is no obstacle and changes nothing: the content of a disk that is rewritten or wiped is never
/// trusted, whether it is empty, contradictory or unreadable, and a disk that is kept is not looked at. Only a kept disk that
/// shall hold a filesystem is: [`decide`] has the table.
///
/// # Errors
/// A disk that shall be discarded and cannot be; a kept disk with other content than the described filesystem, unless it may be replaced; a manifest of another image or of too low a generation; a disk that is absent, ambiguous, undeclared or named twice; a disk that has to be
/// written and is read-only or too small.
pub fn plan(
    config: &Config,
    inventory: &Inventory,
    request: &Request,
    image: &ImageLayout,
    volume: &str,
    hostname: &MachineName,
) -> Result<Plan, PlanError> {
    check_image(request, image)?;
    let assignment = assign(config, inventory, request, volume)?;
    let (system, pool) = system_disk(&assignment, image)?;
    let disks = RootDisks { system, image: assignment.source };
    pool.iter().try_for_each(|pool| pool.check(request.action, disks))?;
    let fates = fates(&assignment, request)?;
    let own = pool.iter().filter_map(|pool| pool.filesystem.kernel_module.as_deref());
    let mut steps = load_modules(fates.iter().flat_map(Fate::kernel_modules).chain(own));
    steps.extend(fates.iter().filter(|fate| fate.read_only).map(|fate| set_read_only(fate.name.as_str(), fate.device)));
    steps.extend(fates.iter().filter_map(|fate| Some(wipe(fate.name.as_str(), fate.device, fate.wipe?))));
    steps.extend(system_steps(request, image, disks, pool.as_ref(), hostname));
    steps.extend(fates.iter().filter_map(Fate::encrypt));
    steps.extend(fates.iter().flat_map(Fate::make));
    let mounts = pool.iter().flat_map(|pool| pool.mounts(system)).chain(fates.iter().flat_map(Fate::mounts));
    steps.extend(write_mounts(mounts.collect()));
    let record = |disk: &Disk| {
        let role = assignment.roles.get(disk.name.as_str()).cloned().unwrap_or(Role::Undeclared);
        let fate = fates.iter().find(|fate| fate.device.name == disk.name);
        let method = method(&role, disk, &assignment, request.action, fate);
        DeviceRecord { disk: disk.clone(), role, method }
    };
    Ok(Plan { steps, devices: inventory.disks.iter().map(record).collect() })
}

/// The steps on the system disk, in order; `pool` when its root is in one.
pub(crate) fn system_steps(
    request: &Request,
    image: &ImageLayout,
    disks: RootDisks<'_>,
    pool: Option<&RootPool>,
    hostname: &MachineName,
) -> Vec<PlannedStep> {
    if let Some(pool) = pool {
        return pool.steps(request, image, disks, hostname);
    }
    let source = source(request, disks.image).filter(|_| request.action == Action::Reimage);
    let mut steps: Vec<_> =
        source.map(|source| reimage(disks.system, source, image, request.tier)).into_iter().collect();
    steps.push(mount_root(disks.system, image));
    if request.action == Action::Reimage {
        steps.push(write_identity(hostname));
    }
    steps
}

fn check_image(request: &Request, image: &ImageLayout) -> Result<(), PlanError> {
    if request.image.digest != image.digest {
        return Err(PlanError::ImageDigest { requested: request.image.digest, manifest: image.digest });
    }
    if request.image.size != image.size {
        return Err(PlanError::ImageSize { requested: request.image.size, manifest: image.size });
    }
    if image.generation < request.image.minimum_generation {
        let (minimum, manifest) = (request.image.minimum_generation, image.generation);
        return Err(PlanError::GenerationLow { minimum, manifest });
    }
    if !image.holds_root() {
        let (offset, length) = (image.root.offset, image.root.length);
        return Err(PlanError::RootOutsideImage { offset, length, size: image.size });
    }
    Ok(())
}

fn system_disk<'plan>(
    assignment: &Assignment<'plan>,
    image: &ImageLayout,
) -> Result<(&'plan Disk, Option<RootPool>), PlanError> {
    let mut found = assignment.declared.iter().filter(|(_, (disk, _))| disk.boot_partition);
    let count = found.clone().count();
    let (Some((name, (disk, device))), 1) = (found.next(), count) else {
        return Err(PlanError::SystemDisks { count });
    };
    writable(name.as_str(), device)?;
    if device.size < image.size {
        return Err(PlanError::TooSmall { device: device.name.clone(), size: device.size, image: image.size });
    }
    Ok((device, RootPool::of(name, disk)))
}

/// The filesystem on a disk, which is used as `used`, or in a partition of it: made, when it has to be, and imported, when
/// it is a pool.
pub(crate) fn make(
    name: &str,
    device: &Disk,
    used: &str,
    partition: Option<&PartitionPlace>,
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
fn source(request: &Request, device: Option<&Disk>) -> Option<String> {
    match &request.image.source {
        ImageSource::Device(_) => device.map(|device| device.name.clone()),
        ImageSource::Url(url) => Some(url.shown()),
    }
}

/// The image over `system`, and zeros over the rest.
fn reimage(system: &Disk, source: String, image: &ImageLayout, tier: Option<Tier>) -> PlannedStep {
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
fn mount_root(system: &Disk, image: &ImageLayout) -> PlannedStep {
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

fn method(role: &Role, disk: &Disk, assignment: &Assignment<'_>, action: Action, fate: Option<&Fate<'_>>) -> Method {
    let boots = || {
        let declared = assignment.declared.values().find(|(_, device)| device.name == disk.name);
        declared.is_some_and(|(config, _)| config.boot_partition)
    };
    match role {
        Role::Declared { .. } if !boots() => {
            let kept = Method::Data { wipe: None, encrypted: false, content: DataContent::Raw };
            fate.map_or(kept, Fate::method)
        }
        role => undecided(role, action),
    }
}

/// What is done with a disk of which the configuration decides nothing, and with the system disk.
pub(crate) fn undecided(role: &Role, action: Action) -> Method {
    match (role, action) {
        (Role::Volume | Role::Drive, _) | (Role::ImageSource, Action::Reimage) => Method::Read,
        (Role::ImageSource, Action::Boot) | (Role::Undeclared, _) => Method::Ignored,
        (Role::Declared { .. }, Action::Reimage) => Method::Reimage,
        (Role::Declared { .. }, Action::Boot) => Method::Booted,
    }
}
