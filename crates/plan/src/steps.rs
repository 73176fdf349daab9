//! The ordered steps of one attempt. The same configuration, inventory and request always give the same plan.

use std::collections::BTreeSet;

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_protocol::{
    Action, DeviceRecord, Disk, DiskName, ImageSource, Inventory, MachineName, Mount, Probe, Request, Role, Step,
    StepId, Tier, WipeMethod,
};

use crate::{
    assign::{Assignment, assign},
    encrypted::{encrypt, is_encrypted, mapped},
    error::{PlanError, Wanted},
    filesystem::{Decision, Refusal, WantedFilesystem, described},
    image::ImageLayout,
    wiping::{Wiping, lacks_discard},
};

/// What will be done, in this order, and what every disk is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Every disk of the inventory, in its order, with role and method: `reimage`, `kept`, `read`, `ignored`, `booted`, or
    /// `wipe` with its [`WipeMethod`], `encrypt`, what [`WantedFilesystem::method`] says, or several of them.
    pub devices: Vec<DeviceRecord>,
}

/// A step and its stable name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// `load-<module>`, `read-only-<disk>`, `wipe-<disk>`, `reimage-system`, `mount-root`, `write-identity`,
    /// `encrypt-<disk>`, `make-<disk>`, `import-<disk>` or `write-mounts`.
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
    let system = system_disk(&assignment, image)?;
    let fates = fates(&assignment, request.action)?;
    let mut steps = load_modules(fates.iter().filter_map(Fate::kernel_module));
    steps.extend(fates.iter().filter(|fate| fate.read_only).map(|fate| set_read_only(fate.name.as_str(), fate.device)));
    steps.extend(fates.iter().filter_map(|fate| Some(wipe(fate.name.as_str(), fate.device, fate.wipe?))));
    if let (Action::Reimage, Some(source)) = (request.action, source(request, assignment.source)) {
        steps.push(reimage(system, source, image, request.tier));
    }
    steps.push(mount_root(system, image));
    if request.action == Action::Reimage {
        steps.push(write_identity(hostname));
    }
    steps.extend(fates.iter().filter_map(Fate::encrypt));
    steps.extend(fates.iter().flat_map(Fate::make));
    steps.extend(write_mounts(fates.iter().flat_map(Fate::mounts).collect()));
    let record = |disk: &Disk| {
        let role = assignment.roles.get(disk.name.as_str()).cloned().unwrap_or(Role::Undeclared);
        let fate = fates.iter().find(|fate| fate.device.name == disk.name);
        let method = method(&role, disk, &assignment, request.action, fate);
        DeviceRecord { disk: disk.clone(), role, method }
    };
    Ok(Plan { steps, devices: inventory.disks.iter().map(record).collect() })
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

fn system_disk<'plan>(assignment: &Assignment<'plan>, image: &ImageLayout) -> Result<&'plan Disk, PlanError> {
    let mut found = assignment.declared.iter().filter(|(_, (disk, _))| disk.boot_partition);
    let count = found.clone().count();
    let (Some((name, (_, device))), 1) = (found.next(), count) else {
        return Err(PlanError::SystemDisks { count });
    };
    writable(name.as_str(), device)?;
    if device.size < image.size {
        return Err(PlanError::TooSmall { device: device.name.clone(), size: device.size, image: image.size });
    }
    Ok(device)
}

pub(crate) fn writable(name: &str, device: &Disk) -> Result<(), PlanError> {
    if device.read_only {
        return Err(PlanError::ReadOnly { wanted: Wanted::Disk(name.to_owned()), device: device.name.clone() });
    }
    Ok(())
}

/// What becomes of a declared disk other than the system disk.
pub(crate) struct Fate<'plan> {
    name: &'plan DiskName,
    device: &'plan Disk,
    /// How it is wiped, if at all.
    wipe: Option<WipeMethod>,
    /// Whether a cipher lies over it.
    encrypted: bool,
    /// Kernel name of the device through which it is used, when that is not its own.
    mapped: Option<String>,
    /// Whether it is never written.
    read_only: bool,
    filesystem: Option<(WantedFilesystem, Decision)>,
}

impl Fate<'_> {
    fn kernel_module(&self) -> Option<&str> {
        self.filesystem.as_ref()?.0.kernel_module.as_deref()
    }

    fn encrypt(&self) -> Option<PlannedStep> {
        Some(encrypt(self.name.as_str(), &self.device.name, self.mapped.as_ref()?))
    }

    /// Kernel name of the device that holds the filesystem.
    fn used(&self) -> &str {
        self.mapped.as_ref().unwrap_or(&self.device.name)
    }

    fn make(&self) -> Vec<PlannedStep> {
        match &self.filesystem {
            Some((wanted, decision)) => make(self.name.as_str(), self.device, self.used(), wanted, *decision),
            None => Vec::new(),
        }
    }

    fn mounts(&self) -> Vec<Mount> {
        let mounts = |(wanted, _): &(WantedFilesystem, Decision)| wanted.mounts(self.used());
        self.filesystem.as_ref().map(mounts).unwrap_or_default()
    }

    /// How it is wiped, if at all.
    pub(crate) fn wipe(&self) -> Option<WipeMethod> {
        self.wipe
    }

    /// What becomes of it for the sake of its filesystem.
    pub(crate) fn decision(&self) -> Option<Decision> {
        self.filesystem.as_ref().map(|(_, decision)| *decision)
    }

    pub(crate) fn method(&self) -> String {
        let wipe = self.wipe.map(|method| format!("wipe {method}"));
        let filesystem = self.filesystem.as_ref().map(|(wanted, decision)| wanted.method(*decision));
        let cipher = self.encrypted.then(|| "encrypt".to_owned());
        let words: Vec<String> = wipe.into_iter().chain(cipher).chain(filesystem).collect();
        if words.is_empty() { "kept".to_owned() } else { words.join(", ") }
    }
}

fn fates<'plan>(assignment: &Assignment<'plan>, action: Action) -> Result<Vec<Fate<'plan>>, PlanError> {
    let others = assignment.declared.iter().filter(|(_, (disk, _))| !disk.boot_partition);
    let mut fates: Vec<Fate<'plan>> =
        others.clone().map(|(name, (disk, device))| fate(name, disk, device, action)).collect::<Result<_, _>>()?;
    for (fate, mapped) in fates.iter_mut().zip(mapped(others.map(|(_, (disk, _))| is_encrypted(disk)))) {
        fate.mapped = mapped;
    }
    Ok(fates)
}

/// What becomes of the disk `name`, which is `device`.
pub(crate) fn fate<'plan>(
    name: &'plan DiskName,
    disk: &DiskConfig,
    device: &'plan Disk,
    action: Action,
) -> Result<Fate<'plan>, PlanError> {
    if lacks_discard(disk, device) {
        return Err(PlanError::NoDiscard { wanted: Wanted::Disk(name.to_string()), device: device.name.clone() });
    }
    let mut wipe = Wiping::of(action, disk).map(|wiping| wiping.method(device));
    let filesystem = WantedFilesystem::of(name, disk).map(|wanted| {
        let decision = wanted.decision(&device.probe, wipe.is_some());
        (wanted, decision)
    });
    if let Some((wanted, decision)) = &filesystem {
        if let Decision::Refuse(refusal) = decision {
            return Err(PlanError::Content {
                wanted: Wanted::Disk(name.to_string()),
                device: device.name.clone(),
                filesystem: wanted.to_string(),
                found: described(&device.probe),
                way_out: match refusal {
                    Refusal::Other | Refusal::Ambivalent => "; `overwrite: true` would let it be replaced",
                    Refusal::ReadOnly => "; it is read-only, so nothing can be made on it",
                    Refusal::Unreadable => "",
                },
            });
        }
        if *decision == Decision::Replace {
            wipe = Some(WipeMethod::Zero);
        }
    }
    if wipe.is_some() || matches!(filesystem, Some((_, Decision::Create))) {
        writable(name.as_str(), device)?;
    }
    Ok(Fate { name, device, wipe, encrypted: is_encrypted(disk), mapped: None, read_only: disk.readonly, filesystem })
}

/// The filesystem on a disk, which is used as `used`: made, when it has to be, and imported, when it is a pool.
pub(crate) fn make(
    name: &str,
    device: &Disk,
    used: &str,
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
                filesystem: wanted.kind.clone(),
                label: wanted.label.clone(),
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
        ImageSource::Url(url) => Some(url.shown()),
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
    let step = Step::MountRoot {
        device: system.name.clone(),
        partition: image.root.number,
        offset: image.root.offset,
        // A partition that ends inside a larger sector gets all of it.
        length: image.root.length.next_multiple_of(u64::from(system.sector_size).max(1)),
        filesystem: image.root.filesystem.clone(),
    };
    PlannedStep { id: StepId("mount-root".to_owned()), step }
}

/// The identity in the mounted root.
pub(crate) fn write_identity(hostname: &MachineName) -> PlannedStep {
    let step = Step::WriteIdentity { hostname: hostname.to_string() };
    PlannedStep { id: StepId("write-identity".to_owned()), step }
}

fn method(role: &Role, disk: &Disk, assignment: &Assignment<'_>, action: Action, fate: Option<&Fate<'_>>) -> String {
    let word = match (role, action) {
        (Role::Volume | Role::Drive, _) | (Role::ImageSource, Action::Reimage) => "read",
        (Role::ImageSource, Action::Boot) | (Role::Undeclared, _) => "ignored",
        (Role::Declared { .. }, _) => {
            let declared = assignment.declared.values().find(|(_, device)| device.name == disk.name);
            match (declared, action) {
                (Some((config, _)), Action::Reimage) if config.boot_partition => "reimage",
                (Some((config, _)), Action::Boot) if config.boot_partition => "booted",
                _ => return fate.map_or_else(|| "kept".to_owned(), Fate::method),
            }
        }
    };
    word.to_owned()
}
