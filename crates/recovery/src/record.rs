//! The record of where the agent made a recovery partition, which its entry in the partition table is held against. Must not change
//! the table.

use cloud_machine_image::{LEAF_SIZE, ReadBlocks, WriteBlocks};

use crate::{Head, PLACE, RecoveryError, RecoveryPartition, frame::Frame};

impl RecoveryPartition {
    /// The one that the table of `disk` lists, which lies exactly where the agent made it and apart from all others; `None` where the
    /// table lists none.
    ///
    /// # Errors
    /// [`RecoveryError::Table`] without a usable table; [`RecoveryError::Misplaced`], [`RecoveryError::Overlap`],
    /// [`RecoveryError::Unplaced`] and [`RecoveryError::Moved`] for one that is not to be written; those of the disk.
    pub fn of(disk: &dyn ReadBlocks) -> Result<Option<Self>, RecoveryError> {
        let found = Head::read(disk)?.recovery()?;
        found.map_or(Ok(()), |found| found.check_place(disk))?;
        Ok(found)
    }

    /// Writes down where it lies.
    pub(crate) fn keep_place(self, disk: &dyn WriteBlocks) -> Result<(), RecoveryError> {
        let bytes =
            serde_json::to_vec(&self.extent()).map_err(|error| RecoveryError::Control { reason: error.to_string() })?;
        Frame { sequence: 0, bytes }.write(disk, self.reserved(PLACE), LEAF_SIZE)
    }

    /// Refuses a partition that says that it lies elsewhere, or nothing: its record is found from the end of the disk.
    pub(crate) fn check_place(self, disk: &dyn ReadBlocks) -> Result<(), RecoveryError> {
        let frame = Frame::read(disk, self.reserved(PLACE), LEAF_SIZE)?.ok_or(RecoveryError::Unplaced)?;
        let stated = serde_json::from_slice(&frame.bytes).map_err(|_| RecoveryError::Unplaced)?;
        self.is_at(stated, "its own record")
    }
}
