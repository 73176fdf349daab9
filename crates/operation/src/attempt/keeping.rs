//! How the clean disk of a machine comes to be kept by its provider. Must not judge whether it is clean: the report that was
//! accepted has.

use cloud_machine_driver::machine::{Driver, Snapshots};
use cloud_machine_store::{MachineRecord, SnapshotRecord};
use jiff::Timestamp;

use super::Attempt;
use crate::{
    error::{ErrorKind, OperationError, causes},
    event::{Notice, Task},
    hint::Hint,
    life,
    request::snapshot_attempt,
    system_disk::ReimageOptions,
};

/// Refuses to keep a disk where nobody does, or one of several.
pub(crate) fn can_keep(driver: &dyn Driver, options: ReimageOptions, disks: usize) -> Result<(), OperationError> {
    if !options.snapshot {
        return Ok(());
    }
    if driver.snapshots().is_some() {
        return only_disk(disks);
    }
    let text = format!("driver {} makes no snapshots: no provider keeps its disks", driver.name());
    Err(OperationError::new(ErrorKind::Refused, text))
}

/// Refuses a machine of which a snapshot is not all.
pub(crate) fn only_disk(disks: usize) -> Result<(), OperationError> {
    if disks <= 1 {
        return Ok(());
    }
    let text = format!("a snapshot has the system disk alone, and the machine has {disks} disks");
    Err(OperationError::new(ErrorKind::Refused, text))
}

impl Attempt<'_> {
    /// Has the provider keep the disk, which is clean and whose agent has ended, in the place of the one it kept before.
    pub(crate) fn keep_disk(&self, record: &mut MachineRecord) -> Result<(), OperationError> {
        let snapshots = self.snapshots()?;
        let started = record.driver_state.clone();
        drop(life::end(self.driver, self.store, record)?);
        // Its agent ran: what fails from here on counts.
        record.driver_state = started;
        let machine = life::reference(self.store, record);
        let owner = self.store.owner()?;
        let request = record.request.as_ref().ok_or_else(|| OperationError::failed("the attempt has no request"))?;
        let attempt = snapshot_attempt(request);
        let (Some(remote), Some(report), Some(host_key)) =
            (&mut record.remote, record.last_report.clone(), record.host_key.clone())
        else {
            return Err(OperationError::failed("no report of the disk was accepted yet"));
        };
        let keeping = self.teller.begin(Task::KeepDisk);
        let kept = snapshots.keep(&machine, &owner, &attempt, self.deadline);
        let state = kept.map_err(|error| OperationError::from(error).hint(Hint::MayBeLeft))?;
        drop(keeping);
        let (image, others, taken) = (record.image.digest, record.dirty, Timestamp::now());
        let before = remote.snapshot.replace(SnapshotRecord { state, image, report, host_key, others, taken });
        let written = self.store.write(self.lock, record);
        written.map_err(|error| OperationError::from(error).hint(Hint::MayBeLeft))?;
        let Some(before) = before else { return Ok(()) };
        if let Err(error) = snapshots.discard(&machine, &owner, &before.state, self.deadline) {
            self.teller.notice(Notice::SnapshotLeft(causes(&error)));
        }
        Ok(())
    }

    /// What keeps the disks of the driver.
    pub(crate) fn snapshots(&self) -> Result<&dyn Snapshots, OperationError> {
        self.driver.snapshots().ok_or_else(|| OperationError::failed("no provider keeps the disks of this driver"))
    }

    /// Id of the request that is under way.
    pub(crate) fn request(&self, record: &MachineRecord) -> Result<String, OperationError> {
        let request = record.request.as_ref().map(|request| request.id.clone());
        request.ok_or_else(|| OperationError::failed(format!("machine {} has no request", record.name)))
    }
}
