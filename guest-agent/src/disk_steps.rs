//! Steps about disks other than the system disk, wherever the agent runs: one effect for each, and what it cost. Must not know a
//! request or an image.

use cloud_machine_plan::{PlannedStep, ZFS_MODULE, units};
use cloud_machine_protocol::{Extent, Mount, Step, StepId, WipeMethod};
use cloud_machine_system::{
    NewFilesystem, SystemError, check_maker, check_mapper, encrypt, make_filesystem, pool,
    root::{self, RootFile},
    set_read_only, wipe_disk,
};

use crate::{
    cost::Cost,
    error::AgentError,
    host::Host,
    modules::{Modules, Stage},
    partitions,
    pass::Progress,
    report::ReportBuilder,
    running_in::RunningIn,
};

/// libblkid's word for a disk of a pool.
pub(crate) const ZFS: &str = "zfs_member";

/// What the steps need to know of the machine.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    /// Where kernel modules come from.
    pub(crate) modules: Modules,
    /// Its number for pools; `None` when it has none.
    pub(crate) hostid: Option<u32>,
}

impl Machine {
    /// Executes `planned` and gives its cost; `None` for a step that is about the system disk.
    pub(crate) fn execute(
        self,
        planned: &PlannedStep,
        host: &mut Host,
        report: &mut ReportBuilder,
    ) -> Result<Option<Cost>, AgentError> {
        let changed = |changed| Cost { changed, ..Cost::default() };
        let cost = match &planned.step {
            Step::Wipe { device, offset, length, method } => {
                let range = Extent { offset: *offset, length: *length };
                wipe(device, range, *method, &planned.id, host, report)?
            }
            Step::WriteTable { device, table } => {
                let done = partitions::write(device, table)?;
                Cost {
                    changed: true,
                    written: done.written_bytes,
                    zeroed: done.zeroed_bytes,
                    read_back: done.read_back_bytes,
                    ..Cost::default()
                }
            }
            Step::Encrypt { device, mapped, cipher, key_bits } => {
                encrypt(device, mapped, cipher, *key_bits)?;
                changed(true)
            }
            Step::LoadModule { module } => {
                self.modules.load(module)?;
                if module == ZFS_MODULE {
                    pool::prepare(self.hostid.ok_or(AgentError::NoHostid)?)?;
                }
                changed(true)
            }
            Step::SetReadOnly { device } => changed(set_read_only(device)?),
            Step::MakeFilesystem { device, partition, filesystem, label, uuid, options, properties } => {
                let node = partitions::node(device, partition.as_ref())?;
                let uuid = uuid.as_deref();
                match label.as_deref() {
                    Some(label) if filesystem == ZFS => pool::make_pool(&node, label, properties)?,
                    label => make_filesystem(&node, &NewFilesystem { kind: filesystem, label, uuid, options })?,
                }
                changed(true)
            }
            Step::ImportPool { device, pool, guid, datasets, read_only } => {
                changed(pool::import_pool(device, pool, guid.as_deref(), datasets, *read_only)?)
            }
            Step::MakeDatasets { pool, datasets } => changed(pool::make_datasets(pool, datasets)?),
            Step::WriteMounts { mounts } => {
                write_mounts(mounts)?;
                changed(true)
            }
            _ => return Ok(None),
        };
        Ok(Some(cost))
    }
}

/// Refuses steps for which a program or a kernel module is missing, before the first of them is taken.
pub(crate) fn check(running_in: RunningIn, steps: &[PlannedStep]) -> Result<(), AgentError> {
    for planned in steps {
        match &planned.step {
            Step::MakeFilesystem { filesystem, .. } if filesystem != ZFS => match check_maker(filesystem) {
                // Another remedy than that of an initramfs.
                Err(SystemError::ProgramAbsent { program }) if running_in == RunningIn::RescueSystem => {
                    return Err(AgentError::RescueProgram { program });
                }
                checked => checked?,
            },
            Step::MakeFilesystem { .. } | Step::ImportPool { .. } | Step::CloneRoot { .. } => pool::check_programs()?,
            Step::Encrypt { .. } => {
                running_in.modules().load_stage(Stage::Crypt)?;
                check_mapper()?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Units by which the new system mounts.
fn write_mounts(mounts: &[Mount]) -> Result<(), AgentError> {
    for mount in mounts {
        partitions::node(&mount.device, mount.partition.as_ref())?;
    }
    for unit in units(mounts) {
        root::write_run(&RootFile::text(&unit.path, 0o644, unit.content))?;
    }
    Ok(())
}

fn wipe(
    device: &str,
    range: Extent,
    method: WipeMethod,
    id: &StepId,
    host: &mut Host,
    report: &mut ReportBuilder,
) -> Result<Cost, AgentError> {
    let progress = Progress::new(host, id, "wipe");
    let (done, evidence) = wipe_disk(device, range, method, &|done, total| progress.tell(done, total))?;
    let compared = evidence.read_bytes;
    // Of a partition, the step alone says what was read: evidence is of whole disks.
    if range.length == evidence.disk_size {
        report.disk(evidence);
    }
    Ok(Cost {
        changed: done.changed || method == WipeMethod::Discard,
        compared,
        written: 0,
        zeroed: done.zeroed_bytes,
        read_back: done.read_back_bytes,
    })
}
