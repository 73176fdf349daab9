//! What a plan must keep to on a rescue system: nobody there uses a disk that is written, and nothing is left to what only the
//! agent's own initramfs does. Must not change a disk.

use cloud_machine_disk::holders;
use cloud_machine_plan::Plan;
use cloud_machine_protocol::{Action, Request, Role, Step};
use cloud_machine_system::{SystemError, mounts::NEW_ROOT};

use crate::{error::AgentError, pass::node};

/// Refuses a plan that cannot be carried out here, before the first step of it.
pub(crate) fn check(request: &Request, plan: &Plan) -> Result<(), AgentError> {
    if request.action == Action::Boot {
        return Err(AgentError::BootOnRescueSystem);
    }
    if let Some(planned) = plan.steps.iter().find(|planned| is_for_start(&planned.step)) {
        return Err(AgentError::NotOnRescueSystem { step: planned.id.to_string() });
    }
    // The root would be mounted there once everything is written.
    std::fs::create_dir_all(NEW_ROOT).map_err(SystemError::io("create", NEW_ROOT))?;
    for record in plan.devices.iter().filter(|record| matches!(record.role, Role::Declared { .. })) {
        let found = holders(&node(&record.disk.name))?;
        if !found.is_empty() {
            let holders: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(AgentError::InUse { device: record.disk.name.clone(), holders: holders.join(", ") });
        }
    }
    Ok(())
}

/// Whether a step prepares the start of the machine's system in this very kernel: mounts and keys are gone after a reset, and a
/// pool would stay imported by another system.
fn is_for_start(step: &Step) -> bool {
    match step {
        Step::Reimage { .. }
        | Step::Wipe { .. }
        | Step::WriteTable { .. }
        | Step::MakeFilesystem { .. }
        | Step::SetReadOnly { .. }
        | Step::MountRoot { .. }
        | Step::WriteIdentity { .. } => matches!(step, Step::MakeFilesystem { filesystem, .. } if filesystem == POOL),
        _ => true,
    }
}

/// libblkid's word for a disk of a pool.
const POOL: &str = "zfs_member";
