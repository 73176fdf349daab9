//! The recovery partition that the agent was started from, and what is staged there. Owns in which order the disk, its head and the
//! control are written; must not decide when.

mod staged;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{Rewritten, WriteBlocks, wipe};
use cloud_machine_protocol::causes;
use cloud_machine_recovery::{Control, Head, RESERVED, RecoveryError, RecoveryPartition, ShieldedDisk, State};
use cloud_machine_system::{UeventSocket, channel::Channel, disk_names, kernel};

use crate::{command_line::CommandLine, error::AgentError, pass::node, volume::PATIENCE};

/// The disk with the recovery partition, and what is staged there.
pub(crate) struct Recovery {
    device: String,
    partition: RecoveryPartition,
    control: Mutex<Control>,
}

impl Recovery {
    /// Looks at all disks for the request whose token the kernel command line has.
    pub(crate) fn find() -> Result<Self, AgentError> {
        let line = kernel::command_line()?;
        let token = CommandLine::new(&line).token().ok_or(AgentError::TokenAbsent)?;
        let events = UeventSocket::open()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            for device in disk_names()? {
                match Self::on(&device, token) {
                    Ok(Some(recovery)) => return Ok(recovery),
                    Ok(None) => {}
                    Err(error) => kernel::log(&format!("{device}: {}", causes(&error))),
                }
            }
            if !events.wait(deadline)? {
                return Err(AgentError::StagedAbsent);
            }
        }
    }

    fn on(device: &str, token: &str) -> Result<Option<Self>, AgentError> {
        let disk = match Disk::open(&node(device), Access::Read) {
            Ok(disk) => disk,
            // A drive without a medium, and whatever else is no disk.
            Err(_) => return Ok(None),
        };
        let partition = match Head::read(&disk).and_then(|head| head.recovery()) {
            Ok(Some(partition)) => partition,
            Ok(None) | Err(RecoveryError::Table { .. } | RecoveryError::DiskTooSmall { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let control = Control::read(&disk, partition)?.filter(|control| control.token == token);
        let recovery = |control| Self { device: device.to_owned(), partition, control: Mutex::new(control) };
        Ok(control.map(recovery))
    }

    /// Kernel name of the disk.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Where the partition lies.
    pub(crate) fn partition(&self) -> RecoveryPartition {
        self.partition
    }

    /// How far the request has come, and how often the partition was started for it.
    pub(crate) fn progress(&self) -> (State, u32) {
        let control = self.control();
        (control.state, control.attempts)
    }

    /// The host's side of the conversation.
    pub(crate) fn channel(&self) -> Result<Box<dyn Channel>, AgentError> {
        staged::open(&self.device, self.partition, &self.control())
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> Result<Disk, AgentError> {
        Ok(Disk::open(&node(&self.device), Access::Write)?)
    }

    /// Writes what `change` makes of the control.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Control)) -> Result<(), AgentError> {
        let mut control = self.control();
        change(&mut control);
        Ok(control.write(&self.disk()?, self.partition)?)
    }

    /// The first step comes: from here on the disk holds neither the one system nor the other.
    pub(crate) fn begin(&self) -> Result<(), AgentError> {
        self.set(|control| control.state = State::Begun)
    }

    /// Rewrites the disk but for its head, which stays one that starts the recovery partition, and keeps the one that is to come.
    pub(crate) fn rewrite(
        &self,
        disk: &Disk,
        rewrite: impl FnOnce(&dyn WriteBlocks) -> Result<Rewritten, AgentError>,
    ) -> Result<Rewritten, AgentError> {
        let shielded = ShieldedDisk::new(disk)?;
        let done = rewrite(&shielded)?;
        let system = shielded.prepared(self.control().boot_code()?.as_ref())?;
        self.partition.keep_head(disk, &system)?;
        Ok(done)
    }

    /// Everything but the boot head is written: this is the report of it.
    pub(crate) fn report(&self, report: &[u8]) -> Result<(), AgentError> {
        self.partition.keep_report(&self.disk()?, report)?;
        self.set(|control| control.state = State::Reported)
    }

    /// The new system starts from here on.
    pub(crate) fn finish(&self) -> Result<(), AgentError> {
        finish(&self.disk()?, self.partition, self.control().clone())
    }

    /// The machine's own system starts again, of which nothing was changed.
    pub(crate) fn give_back(&self, reason: String) -> Result<(), AgentError> {
        give_back(&self.device, self.partition, &self.control(), reason)
    }
}

/// Starts the new system from here on: its boot head, then zeros in place of all that was staged, then the used token.
pub(crate) fn finish(disk: &Disk, partition: RecoveryPartition, mut control: Control) -> Result<(), AgentError> {
    partition.kept_head(disk)?.start_system(disk)?;
    let staged = partition.length - RESERVED;
    wipe(disk, partition.offset, staged, &|_, _| {}).map_err(AgentError::RecoveryWipe)?;
    control.state = State::Done;
    control.secrets = None;
    Ok(control.write_over(disk, partition)?)
}

/// Starts the machine's own system again, of which nothing was changed, and gives the request up for `reason`.
pub(crate) fn give_back(
    device: &str,
    partition: RecoveryPartition,
    control: &Control,
    reason: String,
) -> Result<(), AgentError> {
    let disk = Disk::open(&node(device), Access::Write)?;
    partition.kept_head(&disk)?.start_system(&disk)?;
    let mut failed = control.clone();
    failed.give_up(reason);
    Ok(failed.write_over(&disk, partition)?)
}
