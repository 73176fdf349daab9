//! The plan of one attempt: its steps, and what every disk is taken for. The same configuration, inventory and request
//! always give the same plan.

use cloud_machine_config::Config;
use cloud_machine_protocol::{Action, DataContent, DeviceRecord, Disk, Inventory, MachineName, Method, Request, Role};

use crate::{
    assign::{Assignment, Attached, assign},
    decided::{DecidedDisk, decided, writable},
    disk_plan::DiskPlan,
    error::PlanError,
    image::ImageLayout,
    known::Known,
    method::undecided,
    order::{SystemPlan, ordered},
    root_pool::{RootDisks, RootPool},
    step::PlannedStep,
};

/// What will be done, in this order, and what every disk is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Every disk of the inventory, in its order, with role and method.
    pub devices: Vec<DeviceRecord>,
}

/// Plans one attempt. `volume` is the kernel name of the disk that the volume was read from, if it was on one, `hostname` the
/// name of the machine.
///
/// What a probe says of a disk is no obstacle and changes nothing: the content of a disk that is rewritten or wiped is never
/// trusted, whether it is empty, contradictory or unreadable, and a disk that is kept is not looked at. Only a kept disk that
/// shall hold a filesystem is: [`crate::decide`] has the table.
///
/// # Errors
/// A disk that shall be discarded and cannot be; a kept disk with other content than the described filesystem, unless it may be replaced; a manifest of another image or of too low a generation; a disk that is absent, ambiguous, undeclared or named twice; a disk that has to be
/// written and is read-only or too small.
pub fn plan(
    config: &Config,
    inventory: &Inventory,
    request: &Request,
    image: &ImageLayout,
    volume: Option<&str>,
    hostname: &MachineName,
) -> Result<Plan, PlanError> {
    check_image(request, image)?;
    let assignment = assign(config, inventory, &Attached::of(request), volume)?;
    let (system, pool) = system_disk(&assignment, image)?;
    let disks = RootDisks { system, image: assignment.source };
    pool.iter().try_for_each(|pool| pool.check(request.action, disks))?;
    let decided = decided(&assignment, request.action, |name| Known::of(request, name))?;
    let others: Vec<DiskPlan<'_>> = decided.iter().map(DecidedDisk::plan).collect();
    let system = SystemPlan { disks, pool: pool.as_ref() };
    let steps = ordered(system.all(request, image, hostname), &others);
    let devices = records(inventory, &assignment, request.action, &decided);
    Ok(Plan { steps, devices })
}

/// Every disk of the inventory, with its role and what is done with it.
pub(crate) fn records(
    inventory: &Inventory,
    assignment: &Assignment<'_>,
    action: Action,
    decided: &[DecidedDisk<'_>],
) -> Vec<DeviceRecord> {
    let record = |disk: &Disk| {
        let role = assignment.roles.get(disk.name.as_str()).cloned().unwrap_or(Role::Undeclared);
        let known = decided.iter().find(|one| one.device.name == disk.name);
        let method = method(&role, disk, assignment, action, known);
        DeviceRecord { disk: disk.clone(), role, method }
    };
    inventory.disks.iter().map(record).collect()
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

fn method(
    role: &Role,
    disk: &Disk,
    assignment: &Assignment<'_>,
    action: Action,
    fate: Option<&DecidedDisk<'_>>,
) -> Method {
    let boots = || {
        let declared = assignment.declared.values().find(|(_, device)| device.name == disk.name);
        declared.is_some_and(|(config, _)| config.boot_partition)
    };
    match role {
        Role::Declared { .. } if !boots() => {
            let kept = Method::Data { wipe: None, encrypted: false, content: DataContent::Raw };
            fate.map_or(kept, |fate| fate.plan().method())
        }
        role => undecided(role, action),
    }
}
