//! The disks that the host attached, as the report calls them, and what had to become of each. Must not believe a role, a
//! size or a method that the host did not state.

use std::collections::BTreeMap;

use cloud_machine_protocol::{Bus, DeviceRecord, Disk, History, Method, Report, Request, Role, WipeMethod};

use crate::{
    decision::Decision,
    disk_plan::DiskPlan,
    encrypted,
    expected::{Disposition, Expected, ExpectedDisk},
    method::undecided,
    partition_steps,
    partitions::TablePlan,
    rejection::Rejection,
    wiped,
};

/// An attached disk, what the report calls it, and what was done with it.
pub(crate) struct Attached<'report> {
    pub(crate) expected: &'report ExpectedDisk,
    pub(crate) record: &'report DeviceRecord,
    pub(crate) disk: &'report Disk,
    pub(crate) disposition: Disposition,
    /// How it has to be wiped, if at all.
    pub(crate) wipe: Option<WipeMethod>,
    /// Kernel name of the device through which it is used, when that is not its own.
    pub(crate) mapped: Option<String>,
    /// What became of it for the sake of its filesystem, from what the report says was found on it.
    pub(crate) decision: Option<Decision>,
    /// Likewise for the sake of its partitions.
    pub(crate) table: Option<TablePlan>,
}

/// In the order of the configuration, as they are planned; those that are not in it come first.
pub(crate) type Devices<'report> = Vec<Attached<'report>>;

/// `more`: whether the machine merged documents of its own, which may make the disposition of a declared disk stricter.
/// What they made of it is the report's word, and then has to be proved like what the host expects.
pub(crate) fn devices<'report>(
    expected: &'report Expected,
    report: &'report Report,
    more: bool,
) -> Result<Devices<'report>, Rejection> {
    let mut names: BTreeMap<&str, &Disk> = BTreeMap::new();
    let mut found: Devices<'_> = Vec::new();
    for record in &report.devices {
        let (disk, device) = (&record.disk, record.disk.name.clone());
        let is = |one: &&ExpectedDisk| disk.serial.as_ref() == Some(&one.serial) && disk.size == one.size;
        let Some(attached) = expected.disks.iter().find(is) else {
            let undeclared = record.role == Role::Undeclared;
            return Err(if undeclared { Rejection::Undeclared { device } } else { Rejection::Unattached { device } });
        };
        if names.insert(&disk.name, disk).is_some() || found.iter().any(|other| other.expected == attached) {
            return Err(Rejection::DeviceTwice { device });
        }
        if record.role != attached.role {
            return Err(Rejection::Role { device });
        }
        facts(attached, disk)?;
        let declared = matches!(attached.role, Role::Declared { .. });
        let stated = wiped::stated(report, &disk.name).filter(|_| more && declared);
        let mut wipe = wiped::demanded(attached, disk, stated);
        let history = match &attached.role {
            Role::Declared { name } => expected.request.history(name),
            _ => History::Unknown,
        };
        let wanted = attached.filesystem.as_ref();
        let decision = wanted.map(|wanted| wanted.decision(&disk.probe, history, wipe.is_some()));
        let table = partition_steps::table_plan(expected, attached, disk, wipe.is_some())?;
        if matches!(decision, Some(Decision::Refuse(_))) {
            return Err(Rejection::Content { device });
        }
        if [decision, table.as_ref().map(|table| table.decision)].contains(&Some(Decision::Replace)) {
            wipe = Some(WipeMethod::Zero);
        }
        let disposition = if wipe.is_some() { Disposition::Wipe } else { attached.disposition };
        found.push(Attached { expected: attached, record, disk, disposition, wipe, mapped: None, decision, table });
    }
    match expected.disks.iter().find(|disk| !found.iter().any(|other| other.expected == *disk)) {
        Some(absent) => Err(Rejection::DeviceAbsent { serial: absent.serial.clone() }),
        None => methods(expected, map(found)),
    }
}

/// What the kernel says of a disk by which the host can tell how it attached it.
fn facts(attached: &ExpectedDisk, disk: &Disk) -> Result<(), Rejection> {
    let differs = |what| Err(Rejection::DeviceDiffers { device: disk.name.clone(), what });
    if Bus::of_name(&disk.name) != Some(attached.bus) {
        return differs("its name is not one of the bus that it is attached to");
    }
    if u64::from(disk.sector_size) != attached.bus.sector() {
        return differs("its sectors are not those of the bus that it is attached to");
    }
    // An optical drive and an NVMe namespace look as if they could be written, though whoever tries to is refused.
    let shown = !attached.read_only || matches!(attached.bus, Bus::Virtio | Bus::Scsi);
    if disk.read_only != attached.read_only && shown {
        return differs(if attached.read_only { "it can be written" } else { "it cannot be written" });
    }
    Ok(())
}

/// Checks what the report says was done with each disk.
fn methods<'report>(expected: &Expected, devices: Devices<'report>) -> Result<Devices<'report>, Rejection> {
    for attached in &devices {
        let wanted = attached.method(expected);
        if attached.record.method != wanted {
            let (device, found) = (attached.disk.name.clone(), attached.record.method.clone());
            return Err(Rejection::Method { device, expected: Box::new(wanted), found: Box::new(found) });
        }
    }
    Ok(devices)
}

/// Names the devices through which disks are used, in the order of the configuration.
fn map(mut devices: Devices<'_>) -> Devices<'_> {
    devices.sort_by(|one, other| one.name().cmp(&other.name()));
    let names: Vec<_> = encrypted::mapped(devices.iter().map(|attached| attached.expected.encrypted)).collect();
    devices.iter_mut().zip(names).for_each(|(attached, name)| attached.mapped = name);
    devices
}

impl Attached<'_> {
    /// What has to be done with it.
    fn method(&self, expected: &Expected) -> Method {
        let request = &expected.request;
        self.plan(request).map_or_else(|| undecided(&self.expected.role, request.action), |plan| plan.method())
    }

    /// What is done with it when it is a data disk; `None` for the system disk and for what the configuration does not
    /// declare.
    pub(crate) fn plan(&self, request: &Request) -> Option<DiskPlan<'_>> {
        let name = self.name().filter(|_| self.disposition != Disposition::System)?;
        Some(DiskPlan {
            name,
            device: self.disk,
            read_only: self.expected.read_only,
            kept: request.is_kept(name),
            wipe: self.wipe,
            encrypted: self.mapped.is_some(),
            mapped: self.mapped.as_deref(),
            filesystem: self.expected.filesystem.as_ref().zip(self.decision),
            table: self.table.as_ref(),
        })
    }

    pub(crate) fn holds_filesystem(&self) -> bool {
        self.decision.is_some() || self.table.as_ref().is_some_and(|table| !table.filesystems.is_empty())
    }

    /// Name in the configuration.
    pub(crate) fn name(&self) -> Option<&String> {
        match &self.expected.role {
            Role::Declared { name } => Some(name),
            _ => None,
        }
    }
}

pub(crate) fn treated<'report>(
    devices: &'report Devices<'_>,
    disposition: Disposition,
) -> impl Iterator<Item = &'report Disk> {
    devices.iter().filter(move |attached| attached.disposition == disposition).map(|attached| attached.disk)
}
