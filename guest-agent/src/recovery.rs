//! The recovery partition that the agent was started from, and what is staged there. Owns in which order the disk, its head and the
//! control are written; must not decide when.

pub(crate) mod next;
mod staged;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{Manifest, ReadBlocks, Rewritten, WriteBlocks};
use cloud_machine_plan::Plan;
use cloud_machine_protocol::{Step, causes};
use cloud_machine_recovery::{Control, RecoveryError, RecoveryPartition, ShieldedDisk, State, Stray};
use cloud_machine_system::{UeventSocket, channel::Channel, disk_names, kernel, product_uuid};
use next::Progress;

use crate::{command_line::CommandLine, error::AgentError, pass::node, volume::PATIENCE};

/// Entries of a partition table, of which the recovery partition has one.
const MAX_PARTITIONS: usize = 128;

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
            let (mut found, mut unreadable) = (Vec::new(), false);
            for device in disk_names()? {
                match Self::on(&device, token) {
                    Ok(one) => found.extend(one),
                    Err(error) => {
                        unreadable = true;
                        kernel::log(&format!("{device}: {}", causes(&error)));
                    }
                }
            }
            match (found.pop(), found.pop()) {
                (Some(one), None) => return Ok(one),
                (Some(one), Some(two)) => {
                    return Err(AgentError::StagedTwice { first: two.device, second: one.device });
                }
                (None, _) if events.wait(deadline)? => {}
                (None, _) => {
                    let elsewhere = disk_names()?.into_iter().find(|device| Self::is_elsewhere(device, token));
                    return Err(match elsewhere {
                        Some(device) => AgentError::StagedElsewhere { device },
                        None => AgentError::StagedAbsent { unreadable },
                    });
                }
            }
        }
    }

    /// Whether the boot head of a disk starts a recovery partition with the request of this token, for whatever machine and place.
    pub(crate) fn is_elsewhere(device: &str, token: &str) -> bool {
        let stray = Disk::open(&node(device), Access::Read).ok().and_then(|disk| Stray::of(&disk).ok().flatten());
        stray.and_then(|stray| stray.request).is_some_and(|(_, of)| of == token)
    }

    fn on(device: &str, token: &str) -> Result<Option<Self>, AgentError> {
        let disk = match Disk::open(&node(device), Access::Read) {
            Ok(disk) => disk,
            // A drive without a medium, and whatever else is no disk.
            Err(_) => return Ok(None),
        };
        let partition = match RecoveryPartition::of(&disk) {
            Ok(Some(partition)) => partition,
            Ok(None) | Err(RecoveryError::Table { .. } | RecoveryError::DiskTooSmall { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let uuid = product_uuid()?.map(|uuid| uuid.to_string());
        let is_it = |control: &Control| {
            control.token == token && Some(&control.machine) == uuid.as_ref() && control.disk_size == disk.size()
        };
        let control = Control::read(&disk, partition)?.filter(is_it);
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

    /// How far the request has come.
    pub(crate) fn progress(&self) -> Progress {
        let control = self.control();
        Progress { state: control.state, attempts: control.attempts, failures: control.failures }
    }

    /// The disk is written in part, and nothing more is tried.
    pub(crate) fn give_up(&self, reason: String) -> Result<(), AgentError> {
        let mut control = self.control();
        let before = control.reason.take().unwrap_or_default();
        control.give_up(format!("{reason}; what the last one failed with: {before}"));
        Ok(control.write_over(&self.disk()?, self.partition)?)
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

    /// The agent has come up, for one attempt more.
    pub(crate) fn count_attempt(&self) -> Result<(), AgentError> {
        self.set(|control| control.attempts += 1)?;
        let begun = self.progress().state == State::Begun;
        Ok(self.partition.count_starts_anew(&self.disk()?, begun)?)
    }

    /// Writes what `change` makes of the control.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Control)) -> Result<(), AgentError> {
        let mut control = self.control();
        change(&mut control);
        Ok(control.write(&self.disk()?, self.partition)?)
    }

    /// Another state is in both places of the control, so that a sector that is lost later does not bring the one of before back.
    fn set_state(&self, state: State) -> Result<(), AgentError> {
        let mut control = self.control();
        control.state = state;
        Ok(control.write_over(&self.disk()?, self.partition)?)
    }

    /// The first step comes: from here on the disk holds neither the one system nor the other. Refuses what could only fail then.
    pub(crate) fn begin(&self, plan: &Plan, manifest: &Manifest) -> Result<(), AgentError> {
        let is_elsewhere = |step: &Step| matches!(step, Step::Reimage { device, .. } if *device != self.device);
        if plan.steps.iter().any(|planned| is_elsewhere(&planned.step)) {
            return Err(AgentError::OtherDisk { device: self.device.clone() });
        }
        let (image, room) = (manifest.size(), self.partition.offset);
        if image > room || manifest.partitions().len() >= MAX_PARTITIONS {
            return Err(AgentError::ImageTooLarge { image, room, most: MAX_PARTITIONS - 1 });
        }
        // From here on what a BIOS starts must not fall back on the system of before.
        self.partition.count_starts_anew(&self.disk()?, true)?;
        self.set_state(State::Begun)
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
        self.set_state(State::Reported)
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
    control.finish();
    Ok(control.write_last(disk, partition)?)
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
    Ok(failed.write_last(&disk, partition)?)
}
