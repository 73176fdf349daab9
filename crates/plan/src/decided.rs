//! What becomes of each declared disk other than the system disk, from what the configuration says and what was found on
//! it. Must not make a step.

use cloud_machine_config::DiskConfig;
use cloud_machine_protocol::{Action, Disk, DiskName, WipeMethod};

use crate::{
    assign::Assignment,
    decision::{Decision, Refusal},
    disk_plan::DiskPlan,
    encrypted::{is_encrypted, mapped},
    error::{PlanError, Wanted},
    filesystem::{WantedFilesystem, described},
    known::Known,
    layout::LayoutError,
    partitions::{TablePlan, TableRefusal, WantedTable},
    wiping::{Wiping, lacks_discard},
};

/// What becomes of a declared disk other than the system disk.
pub(crate) struct DecidedDisk<'plan> {
    pub(crate) name: &'plan DiskName,
    pub(crate) device: &'plan Disk,
    /// How it is wiped, if at all.
    pub(crate) wipe: Option<WipeMethod>,
    /// Whether a cipher lies over it.
    encrypted: bool,
    /// Kernel name of the device through which it is used, when that is not its own.
    mapped: Option<String>,
    /// Whether it is never written.
    read_only: bool,
    /// Whether it may hold what a job left before the last reimage.
    kept: bool,
    filesystem: Option<(WantedFilesystem, Decision)>,
    table: Option<TablePlan>,
}

impl DecidedDisk<'_> {
    pub(crate) fn plan(&self) -> DiskPlan<'_> {
        DiskPlan {
            name: self.name.as_str(),
            device: self.device,
            read_only: self.read_only,
            kept: self.kept,
            wipe: self.wipe,
            encrypted: self.encrypted,
            mapped: self.mapped.as_deref(),
            filesystem: self.filesystem.as_ref().map(|(wanted, decision)| (wanted, *decision)),
            table: self.table.as_ref(),
        }
    }

    /// Whether anything is written to it.
    pub(crate) fn is_written(&self) -> bool {
        let made = matches!(self.decision(), Some(Decision::Create | Decision::Replace));
        self.wipe.is_some() || self.encrypted || made || self.table.as_ref().is_some_and(TablePlan::writes)
    }

    /// What becomes of the filesystem on it, or of its table.
    pub(crate) fn decision(&self) -> Option<Decision> {
        let whole = self.filesystem.as_ref().map(|(_, decision)| *decision);
        whole.or_else(|| self.table.as_ref().map(|table| table.decision))
    }
}

pub(crate) fn decided<'plan>(
    assignment: &Assignment<'plan>,
    action: Action,
    known: impl Fn(&str) -> Known<'plan>,
) -> Result<Vec<DecidedDisk<'plan>>, PlanError> {
    let others = assignment.declared.iter().filter(|(_, (disk, _))| !disk.boot_partition);
    let mut decided: Vec<DecidedDisk<'plan>> = others
        .clone()
        .map(|(name, (disk, device))| decide_disk(name, disk, device, action, known(name.as_str())))
        .collect::<Result<_, _>>()?;
    for (decide_disk, mapped) in decided.iter_mut().zip(mapped(others.map(|(_, (disk, _))| is_encrypted(disk)))) {
        decide_disk.mapped = mapped;
    }
    Ok(decided)
}

/// What becomes of the disk `name`, which is `device`.
pub(crate) fn decide_disk<'plan>(
    name: &'plan DiskName,
    disk: &DiskConfig,
    device: &'plan Disk,
    action: Action,
    known: Known<'_>,
) -> Result<DecidedDisk<'plan>, PlanError> {
    if lacks_discard(disk, device) {
        return Err(PlanError::NoDiscard { wanted: Wanted::Disk(name.to_string()), device: device.name.clone() });
    }
    let mut wipe = Wiping::of(action, disk).map(|wiping| wiping.method(device));
    let filesystem = filesystem(name, disk, device, wipe.is_some(), known)?;
    let table = table(name, disk, device, wipe.is_some(), known)?;
    let of_whole = filesystem.as_ref().map(|(_, decision)| *decision);
    let of_table = table.as_ref().map(|table| table.decision);
    if [of_whole, of_table].contains(&Some(Decision::Replace)) {
        wipe = Some(WipeMethod::Zero);
    }
    let made = of_whole == Some(Decision::Create) || table.as_ref().is_some_and(TablePlan::writes);
    if wipe.is_some() || made {
        writable(name.as_str(), device)?;
    }
    let (encrypted, kept) = (is_encrypted(disk), known.kept);
    Ok(DecidedDisk { name, device, wipe, encrypted, mapped: None, read_only: disk.readonly, kept, filesystem, table })
}

/// What becomes of the filesystem on a disk that shall have one of its own.
fn filesystem(
    name: &DiskName,
    disk: &DiskConfig,
    device: &Disk,
    wiped: bool,
    known: Known<'_>,
) -> Result<Option<(WantedFilesystem, Decision)>, PlanError> {
    let Some(wanted) = WantedFilesystem::of(name, disk) else { return Ok(None) };
    match wanted.decision(&device.probe, known.history, wiped) {
        Decision::Refuse(refusal) => Err(PlanError::Content {
            wanted: Wanted::Disk(name.to_string()),
            device: device.name.clone(),
            filesystem: wanted.to_string(),
            found: described(&device.probe),
            way_out: way_out(refusal),
        }),
        decision => Ok(Some((wanted, decision))),
    }
}

/// What becomes of the partitions of a disk that shall have some.
fn table(
    name: &DiskName,
    disk: &DiskConfig,
    device: &Disk,
    wiped: bool,
    known: Known<'_>,
) -> Result<Option<TablePlan>, PlanError> {
    let Some(wanted) = WantedTable::of(disk) else { return Ok(None) };
    let (disk, on) = (Wanted::Disk(name.to_string()), device.name.clone());
    wanted.plan(name.as_str(), device, wiped, known).map(Some).map_err(|refused| match refused {
        TableRefusal::Layout(LayoutError::Sectors(size)) => PlanError::Sectors { wanted: disk, device: on, size },
        TableRefusal::Layout(LayoutError::Room { needed, available }) => {
            PlanError::Room { wanted: disk, device: on, needed, available }
        }
        TableRefusal::Content { partition, wanted, found, refusal } => PlanError::Content {
            wanted: partition.map_or(disk, |partition| Wanted::Partition(Box::new((name.to_string(), partition)))),
            device: on,
            filesystem: wanted,
            found,
            way_out: way_out(refusal),
        },
    })
}

fn way_out(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Other | Refusal::Ambivalent => "; `overwrite: true` would let it be replaced",
        Refusal::Unknown => "; only a disk of zeros is taken for empty, `overwrite: true` would let it be replaced",
        Refusal::Gone => {
            "; it was there before, so it is damaged or lost and not made anew: repair or restore it, or write \
             `overwrite: true` to give it up"
        }
        Refusal::ReadOnly => "; it is read-only, so nothing can be made on it",
        Refusal::Unreadable => "",
    }
}

pub(crate) fn writable(name: &str, device: &Disk) -> Result<(), PlanError> {
    if device.read_only {
        return Err(PlanError::ReadOnly { wanted: Wanted::Disk(name.to_owned()), device: device.name.clone() });
    }
    Ok(())
}
