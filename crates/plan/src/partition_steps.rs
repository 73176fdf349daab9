//! The steps of a disk with partitions, and the proof of those that read back. Plan and verification make them here,
//! so that both mean the same; must not decide.

use cloud_machine_protocol::{Disk, Report, Role, Step, StepId, WipeMethod};

use crate::{
    decision::Decision,
    expected::{Expected, ExpectedDisk},
    known::Known,
    partitions::TablePlan,
    rejection::Rejection,
    step::{PlannedStep, make},
};

/// Table and filesystems of the disk that the configuration calls `name`, but for the wipe of the whole disk.
pub(crate) fn steps(name: &str, device: &Disk, plan: &TablePlan) -> Vec<PlannedStep> {
    let mut steps = Vec::new();
    if matches!(plan.decision, Decision::Create | Decision::Replace) {
        let step = Step::WriteTable { device: device.name.clone(), table: plan.table.clone() };
        steps.push(PlannedStep { id: StepId(format!("write-table-{name}")), step });
    }
    for filesystem in &plan.filesystems {
        let name = format!("{name}-{}", filesystem.name);
        let place = &filesystem.place;
        if filesystem.decision == Decision::Replace {
            // Of the partition alone: what lies beside it may be what was described.
            let (device, method) = (device.name.clone(), WipeMethod::Zero);
            let step = Step::Wipe { device, offset: place.offset, length: place.length, method };
            steps.push(PlannedStep { id: StepId(format!("wipe-{name}")), step });
        }
        steps.extend(make(&name, device, &device.name, Some(place), &filesystem.wanted, filesystem.decision));
    }
    steps
}

/// What becomes of the partitions of an attached disk that shall have some, from what the report says was found on it.
///
/// # Errors
/// One that the machine had to refuse.
pub(crate) fn table_plan(
    expected: &Expected,
    attached: &ExpectedDisk,
    disk: &Disk,
    wiped: bool,
) -> Result<Option<TablePlan>, Rejection> {
    let (Some(wanted), Role::Declared { name }) = (&attached.partitions, &attached.role) else { return Ok(None) };
    let plan = wanted.plan(name, disk, wiped, Known::of(&expected.request, name));
    plan.map(Some).map_err(|_| Rejection::Content { device: disk.name.clone() })
}

/// That every partition which had to be wiped was read whole.
///
/// # Errors
/// One that was not.
pub(crate) fn wiped<'a>(
    report: &Report,
    disks: impl Iterator<Item = (&'a Disk, &'a TablePlan)>,
) -> Result<(), Rejection> {
    let all = disks.flat_map(|(device, plan)| plan.filesystems.iter().map(move |filesystem| (device, filesystem)));
    for (device, filesystem) in all.filter(|(_, filesystem)| filesystem.decision == Decision::Replace) {
        let place = &filesystem.place;
        let of_it = |step: &Step| matches!(step, Step::Wipe { device: on, offset, .. } if *on == device.name && *offset == place.offset);
        let read = report.steps.iter().find(|record| of_it(&record.step)).map_or(0, |record| record.compared_bytes);
        if read != place.length {
            return Err(Rejection::NotWiped { device: place.node.clone(), zero: read, size: place.length });
        }
    }
    Ok(())
}
