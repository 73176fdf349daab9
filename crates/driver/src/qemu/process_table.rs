//! One look at all processes, open files and locks of the host, by which it can be said of many machines that nothing of them runs.
//! Must say it only where asking for that one machine would say the same; every doubt is left to that question.

use std::{
    collections::{BTreeSet, HashSet},
    io,
};

use cloud_machine_store::DriverState;

use super::{
    kernel::Kernel,
    pidfd::Pidfd,
    state::{FileId, ProcessRecord},
};
use crate::machine::{MachineIdentifiers, ProcessTable};

/// What the host shows at one moment.
#[derive(Debug)]
pub(super) struct HostProcesses {
    namespace: u64,
    boot_id: String,
    processes: HashSet<i32>,
    uuids: HashSet<Vec<u8>>,
    /// Files that processes other than this one have open.
    open: BTreeSet<FileId>,
    /// Inodes on which there is a lock, whoever holds it. Their devices are left out: some file systems show another one there.
    locked: HashSet<u64>,
}

impl HostProcesses {
    pub(super) fn take(kernel: &Kernel) -> io::Result<Self> {
        let mut table = Self {
            namespace: kernel.namespace()?,
            boot_id: kernel.boot_id()?,
            processes: HashSet::new(),
            uuids: HashSet::new(),
            open: BTreeSet::new(),
            locked: kernel.locked_inodes()?,
        };
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        for pid in kernel.processes()? {
            table.processes.insert(pid);
            if pid != own {
                table.uuids.extend(kernel.uuid(pid)?);
                table.open.extend(kernel.open_files(pid)?);
            }
        }
        Ok(table)
    }

    fn is_used(&self, file: &FileId) -> bool {
        self.open.contains(file) || self.locked.contains(&file.inode)
    }

    /// Whether a recorded process has ended, for certain.
    fn is_gone(&self, process: &ProcessRecord) -> bool {
        let is_absent = || matches!(Pidfd::open(process.pid), Ok(None));
        process.boot_id != self.boot_id
            || (process.namespace == self.namespace && !self.processes.contains(&process.pid) && is_absent())
    }
}

impl ProcessTable for HostProcesses {
    fn is_off(&self, machine: &MachineIdentifiers<'_>) -> bool {
        let process = match machine.state.map(DriverState::read::<ProcessRecord>) {
            Some(Ok(process)) => Some(process),
            Some(Err(_)) => return false,
            None => None,
        };
        let disks = machine.disks.iter().map(|(device, inode)| FileId { device: *device, inode: *inode });
        let recorded = process.iter().flat_map(|process| process.disks.iter().copied());
        process.as_ref().is_none_or(|process| self.is_gone(process))
            && !self.uuids.contains(&machine.uuid.to_ascii_lowercase().into_bytes())
            && !disks.chain(recorded).any(|file| self.is_used(&file))
    }
}

#[cfg(test)]
#[path = "process_table_tests.rs"]
mod tests;
