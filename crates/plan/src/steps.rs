//! The ordered steps of one attempt. The same configuration, inventory and request always give the same plan.

use cloud_machine_config::Config;
use cloud_machine_protocol::{Action, DataContent, DeviceRecord, Disk, Inventory, MachineName, Method, Request, Role};

use crate::{
    assign::{Assignment, assign},
    error::PlanError,
    fate::{Fate, fates, writable},
    image::ImageLayout,
    root_pool::{RootDisks, RootPool},
    step::{PlannedStep, load_modules, mount_root, reimage, set_read_only, source, wipe, write_identity, write_mounts},
};

/// What will be done, in this order, and what every disk is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Every disk of the inventory, in its order, with role and method.
    pub devices: Vec<DeviceRecord>,
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
