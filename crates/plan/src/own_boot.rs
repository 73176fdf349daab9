//! The plan of a boot without a host: the machine's own initramfs mounts the root, and only the other disks are made what the
//! configuration describes. Must not write the disk that the root is on.

use cloud_machine_config::Config;
use cloud_machine_protocol::{Action, DeviceSelector, Disk, DiskName, History, Inventory};

use crate::{
    assign::{Assignment, Attached, assign, only},
    decided::{DecidedDisk, decided},
    disk_plan::DiskPlan,
    error::{DiskList, PlanError, Wanted},
    known::Known,
    order::{SystemSteps, ordered},
    plan::{Plan, records},
};

/// What is known of a machine that boots from its own disk.
#[derive(Clone, Copy, Debug)]
pub struct OwnBoot<'a> {
    /// UUID of the machine, from which identifiers of filesystems are made.
    pub machine: &'a str,
    /// Kernel names of the disks that hold what the kernel command line calls the root; none when nobody can tell.
    pub root: &'a [String],
    /// Kernel name of the disk that the volume was read from, if there is one.
    pub volume: Option<&'a str>,
}

/// Plans a boot. The disk with the root is the one that the configuration calls so, which then has to hold it. Where the
/// configuration only gives it a name, and no device has that as its serial, it is the one disk that holds the root.
///
/// What lies on another declared disk is no reason against wiping it, were it a copy of the root: a job can write that. But then the
/// configuration has to name both by what a job cannot change.
///
/// # Errors
/// Those of [`crate::plan()`] that are about disks; a system disk that does not hold the root, or that cannot be told from
/// others, or from one that is written.
pub fn plan_own_boot(config: &Config, inventory: &Inventory, own: &OwnBoot<'_>) -> Result<Plan, PlanError> {
    let (config_of_machine, config) = (config, with_system(config, inventory, own)?);
    let assignment = assign(&config, inventory, &Attached::default(), own.volume)?;
    let known = |_: &str| Known { machine: own.machine, history: History::Unknown, kept: false };
    let decided = decided(&assignment, Action::Boot, known)?;
    certain(config_of_machine, &assignment, &decided, own)?;
    let others: Vec<DiskPlan<'_>> = decided.iter().map(DecidedDisk::plan).collect();
    let steps = ordered(SystemSteps::default(), &others);
    let devices = records(inventory, &assignment, Action::Boot, &decided);
    Ok(Plan { steps, devices })
}

/// The configuration with the device that the machine boots from as its system disk.
fn with_system(config: &Config, inventory: &Inventory, own: &OwnBoot<'_>) -> Result<Config, PlanError> {
    let others: Vec<DeviceSelector> = config
        .resources
        .disks
        .values()
        .filter(|disk| !disk.boot_partition)
        .map(|disk| disk.devicepath.clone())
        .collect();
    let mut config = config.clone();
    let mut declared = config.resources.disks.iter_mut().filter(|(_, disk)| disk.boot_partition);
    let (Some((name, disk)), None) = (declared.next(), declared.next()) else {
        let count = config.resources.disks.values().filter(|disk| disk.boot_partition).count();
        return Err(PlanError::SystemDisks { count });
    };
    let wanted = Wanted::Disk(name.to_string());
    let device = match only(inventory, &disk.devicepath, &wanted) {
        Err(PlanError::Absent { .. }) if disk.devicepath == DeviceSelector::Serial(name.to_string()) => {
            alone_with_root(&others, inventory, own)?
        }
        device => device?,
    };
    let root = || inventory.disks.iter().filter(|disk| own.root.contains(&disk.name));
    if !own.root.is_empty() && !own.root.contains(&device.name) {
        return Err(PlanError::RootElsewhere { wanted, device: device.name.clone(), root: DiskList::new(root()) });
    }
    disk.devicepath = DeviceSelector::Path(device.name.clone());
    Ok(config)
}

/// The one disk that holds the root, of those that are not declared as `others` by what nobody can change.
fn alone_with_root<'plan>(
    others: &[DeviceSelector],
    inventory: &'plan Inventory,
    own: &OwnBoot<'_>,
) -> Result<&'plan Disk, PlanError> {
    let is_other = |disk: &Disk| others.iter().any(|selector| is_fixed(selector) && disk.matches(selector));
    let holding: Vec<&Disk> =
        inventory.disks.iter().filter(|disk| own.root.contains(&disk.name) && !is_other(disk)).collect();
    match holding[..] {
        [disk] => Ok(disk),
        _ => Err(PlanError::RootUnclear { found: DiskList::new(holding) }),
    }
}

/// Whether a selector names a disk by what neither a job nor the order in which disks are found can change.
const fn is_fixed(selector: &DeviceSelector) -> bool {
    matches!(selector, DeviceSelector::Serial(_) | DeviceSelector::Wwn(_) | DeviceSelector::ById(_))
}

/// Refuses to write a disk that could be the one with the root, unless both have names that nobody can change: where nobody can tell
/// which disks hold the root, and where one that is written looks as if it did.
fn certain(
    config: &Config,
    assignment: &Assignment<'_>,
    decided: &[DecidedDisk<'_>],
    own: &OwnBoot<'_>,
) -> Result<(), PlanError> {
    let fixed = |name: &DiskName| config.resources.disks.get(name).is_some_and(|disk| is_fixed(&disk.devicepath));
    let written = || decided.iter().filter(|disk| disk.is_written());
    let doubtful = own.root.is_empty() || written().any(|disk| own.root.contains(&disk.device.name));
    let mut system = assignment.declared.iter().filter(|(_, (disk, _))| disk.boot_partition);
    // One that was found by the root alone is not among those that are declared as others.
    let system_is_fixed = system.all(|(name, _)| fixed(name));
    match written().find(|disk| doubtful && !(system_is_fixed && fixed(disk.name))) {
        Some(disk) => Err(PlanError::RootUncertain { device: disk.device.name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "own_boot_tests.rs"]
mod tests;
