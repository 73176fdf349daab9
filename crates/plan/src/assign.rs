//! Which disk of the machine is what. Looks only at names, serials and sizes that the host or the hypervisor gave:
//! never at what lies on a disk, since a job could have written that.

use std::collections::{BTreeMap, BTreeSet};

use cloud_machine_config::{Config, DiskConfig, Undeclared};
use cloud_machine_protocol::{
    Action, DeviceSelector, Disk, DiskName, DriveRequest, ImageSource, Inventory, Request, Role,
};

use crate::error::{DiskList, PlanError, Wanted};

/// Each disk of the configuration with its device, and the role of each device by kernel name.
pub(crate) struct Assignment<'plan> {
    pub(crate) declared: BTreeMap<&'plan DiskName, (&'plan DiskConfig, &'plan Disk)>,
    /// `None` only when the action does not need it, or when the image is behind an address.
    pub(crate) source: Option<&'plan Disk>,
    pub(crate) roles: BTreeMap<&'plan str, Role>,
}

/// What a host attached besides the disks of the configuration.
#[derive(Default)]
pub(crate) struct Attached<'a> {
    drives: &'a [DriveRequest],
    /// The device with the packed image, and whether the machine can do without it.
    image: Option<(&'a DeviceSelector, bool)>,
}

impl<'a> Attached<'a> {
    /// What a request names. A boot reads no image, so the host need not attach it then; one behind an address needs none.
    pub(crate) fn of(request: &'a Request) -> Self {
        let image = match &request.image.source {
            ImageSource::Device(device) => Some((device, request.action == Action::Boot)),
            ImageSource::Url(_) | ImageSource::Connection { .. } => None,
        };
        Self { drives: &request.drives, image }
    }
}

pub(crate) fn assign<'plan>(
    config: &'plan Config,
    inventory: &'plan Inventory,
    attached: &Attached<'_>,
    volume: Option<&str>,
) -> Result<Assignment<'plan>, PlanError> {
    distinct(inventory)?;
    let mut purposes: BTreeMap<&str, Wanted> = BTreeMap::new();
    if let Some(volume) = volume {
        let absent = || PlanError::VolumeAbsent { device: volume.to_owned(), found: DiskList::new(&inventory.disks) };
        let volume = inventory.disks.iter().find(|disk| disk.name == volume).ok_or_else(absent)?;
        claim(&mut purposes, volume, Wanted::Volume)?;
    }
    let source = source(inventory, attached)?;
    if let Some(source) = source {
        claim(&mut purposes, source, Wanted::ImageSource)?;
    }
    for (index, drive) in attached.drives.iter().enumerate() {
        let wanted = Wanted::Drive(index);
        let device = only(inventory, &drive.device, &wanted)?;
        claim(&mut purposes, device, wanted)?;
    }
    let mut declared = BTreeMap::new();
    for (name, disk) in &config.resources.disks {
        let wanted = Wanted::Disk(name.to_string());
        let device = only(inventory, &disk.devicepath, &wanted)?;
        allocated(&wanted, disk, device)?;
        claim(&mut purposes, device, wanted)?;
        declared.insert(name, (disk, device));
    }
    let undeclared = |disk: &&Disk| !purposes.contains_key(disk.name.as_str());
    if config.disks_undeclared == Undeclared::Refuse && inventory.disks.iter().any(|disk| undeclared(&disk)) {
        let devices = DiskList::new(inventory.disks.iter().filter(undeclared));
        return Err(PlanError::Undeclared { devices });
    }
    let roles = inventory.disks.iter().map(|disk| (disk.name.as_str(), role(purposes.get(disk.name.as_str()))));
    Ok(Assignment { declared, source, roles: roles.collect() })
}

/// Whether the device has at least the size that the configuration gives it; a driver may have rounded it up.
pub(crate) fn allocated(wanted: &Wanted, disk: &DiskConfig, device: &Disk) -> Result<(), PlanError> {
    match disk.allocation.map(|allocation| allocation.bytes()) {
        Some(allocation) if device.size < allocation => Err(PlanError::Allocation {
            wanted: wanted.clone(),
            device: device.name.clone(),
            size: device.size,
            allocation,
        }),
        _ => Ok(()),
    }
}

fn role(purpose: Option<&Wanted>) -> Role {
    match purpose {
        Some(Wanted::Volume) => Role::Volume,
        Some(Wanted::ImageSource) => Role::ImageSource,
        Some(Wanted::Drive(_)) => Role::Drive,
        Some(Wanted::Disk(name)) => Role::Declared { name: name.clone() },
        // Only whole disks are assigned.
        Some(Wanted::Partition(..)) | None => Role::Undeclared,
    }
}

fn distinct(inventory: &Inventory) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    match inventory.disks.iter().find(|disk| !names.insert(disk.name.as_str())) {
        Some(disk) => Err(PlanError::DeviceTwice { device: disk.name.clone() }),
        None => Ok(()),
    }
}

/// The device with the packed image.
fn source<'plan>(inventory: &'plan Inventory, attached: &Attached<'_>) -> Result<Option<&'plan Disk>, PlanError> {
    let Some((device, optional)) = attached.image else { return Ok(None) };
    match (only(inventory, device, &Wanted::ImageSource), optional) {
        (Err(PlanError::Absent { .. }), true) => Ok(None),
        (found, _) => found.map(Some),
    }
}

pub(crate) fn only<'plan>(
    inventory: &'plan Inventory,
    selector: &DeviceSelector,
    wanted: &Wanted,
) -> Result<&'plan Disk, PlanError> {
    let matching: Vec<&Disk> = inventory.disks.iter().filter(|disk| disk.matches(selector)).collect();
    match matching.as_slice() {
        [disk] => Ok(disk),
        [] => Err(PlanError::Absent {
            wanted: wanted.clone(),
            selector: selector.clone(),
            found: DiskList::new(&inventory.disks),
        }),
        _ => Err(PlanError::Ambiguous {
            wanted: wanted.clone(),
            selector: selector.clone(),
            matching: DiskList::new(matching),
        }),
    }
}

fn claim<'plan>(
    purposes: &mut BTreeMap<&'plan str, Wanted>,
    disk: &'plan Disk,
    wanted: Wanted,
) -> Result<(), PlanError> {
    match purposes.insert(disk.name.as_str(), wanted.clone()) {
        None => Ok(()),
        Some(one) => Err(PlanError::Conflict { device: disk.name.clone(), one, two: wanted }),
    }
}
