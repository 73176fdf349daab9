//! What the policy of the image lets a plan do. Must not plan, and must not look at a disk.

use cloud_machine_config::{Policy, WipePolicy};
use cloud_machine_plan::Plan;
use cloud_machine_protocol::{Disk, Step};

use crate::error::AgentError;

/// Refuses a plan that wipes a disk, or makes a filesystem, that the policy does not allow: before its first step.
pub(super) fn check(policy: &Policy, plan: &Plan) -> Result<(), AgentError> {
    for planned in &plan.steps {
        match &planned.step {
            // Of a partition, too: what is done with the disk as a whole does not say so.
            Step::Wipe { device, .. } | Step::Encrypt { device, .. } => wiped(policy, plan, device)?,
            Step::MakeFilesystem { filesystem, .. }
                if !policy.filesystems.iter().any(|allowed| allowed.word() == filesystem) =>
            {
                return Err(AgentError::FilesystemForbidden { filesystem: filesystem.clone() });
            }
            _ => {}
        }
    }
    Ok(())
}

fn wiped(policy: &Policy, plan: &Plan, device: &str) -> Result<(), AgentError> {
    let disk = plan.devices.iter().map(|record| &record.disk).find(|disk| disk.name == device);
    match disk {
        Some(disk) if policy.wipe.allows(disk) => Ok(()),
        disk => {
            let device = disk.map_or_else(|| format!("/dev/{device}"), described);
            Err(AgentError::WipeForbidden { device, wipe: words(&policy.wipe) })
        }
    }
}

fn described(disk: &Disk) -> String {
    match &disk.serial {
        Some(serial) => format!("/dev/{} (serial {serial:?})", disk.name),
        None => format!("/dev/{}", disk.name),
    }
}

fn words(wipe: &WipePolicy) -> String {
    match wipe {
        WipePolicy::Declared => "declared".to_owned(),
        WipePolicy::None => "none".to_owned(),
        WipePolicy::Only(selectors) => selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use cloud_machine_plan::PlannedStep;
    use cloud_machine_protocol::{DataContent, DeviceRecord, Method, Probe, Role, StepId, WipeMethod};

    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("agent.yaml", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// A plan that makes a filesystem on a disk, after a wipe of a part of it when one is given.
    fn plan(filesystem: &str, wipe: Option<WipeMethod>) -> Plan {
        let disk = Disk {
            name: "vdb".to_owned(),
            serial: Some("scratch".to_owned()),
            wwn: None,
            size: 1 << 20,
            sector_size: 512,
            read_only: false,
            discard: false,
            probe: Probe::Empty,
            partitions: None,
        };
        // Of a disk whose table is kept: only a step says that a partition is wiped.
        let method = Method::Data { wipe: None, encrypted: false, content: DataContent::Raw };
        let wipe = wipe.map(|method| Step::Wipe { device: "vdb".to_owned(), offset: 4096, length: 4096, method });
        let step = Step::MakeFilesystem {
            device: "vdb".to_owned(),
            partition: None,
            filesystem: filesystem.to_owned(),
            label: None,
            uuid: None,
            options: Vec::new(),
            properties: Vec::new(),
        };
        Plan {
            steps: wipe
                .into_iter()
                .chain([step])
                .map(|step| PlannedStep { id: StepId("scratch".to_owned()), step })
                .collect(),
            devices: vec![DeviceRecord { disk, role: Role::Declared { name: "scratch".to_owned() }, method }],
        }
    }

    #[test]
    fn only_disks_that_the_policy_names_are_wiped() {
        let wiped = plan("ext4", Some(WipeMethod::Zero));
        for (text, allowed) in [
            ("{}", true),
            ("wipe: none", false),
            ("wipe: [serial:scratch]", true),
            ("wipe: [serial:other, /dev/vdc]", false),
        ] {
            assert_eq!(check(&policy(text), &wiped).is_ok(), allowed, "{text}");
            assert!(check(&policy(text), &plan("ext4", None)).is_ok(), "what is made on zeros loses nothing: {text}");
        }
        let refused = check(&policy("wipe: [serial:other]"), &wiped).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the policy of the image does not let /dev/vdb (serial \"scratch\") be wiped: its `wipe` is serial:other"
        );
    }

    #[test]
    fn only_filesystems_that_the_policy_names_are_made() {
        assert!(check(&policy("{}"), &plan("xfs", None)).is_err());
        assert!(check(&policy("filesystems: [xfs]"), &plan("xfs", None)).is_ok());
        // libblkid's word for a pool, and the configuration's.
        assert!(check(&policy("filesystems: [zfs]"), &plan("zfs_member", None)).is_ok());
        assert!(check(&policy("filesystems: []"), &plan("ext4", None)).is_err());
    }
}
