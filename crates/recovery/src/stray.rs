//! A boot head that starts a recovery partition, seen apart from whether that partition may be used: what the request was that put it
//! there, and the head of before. Must not decide when that comes back.

use cloud_machine_image::{LEAF_SIZE, ReadBlocks, WriteBlocks};

use crate::{
    BOOT_CODE, Head, RESERVED, RecoveryError, RecoveryPartition, State,
    blocks::read,
    control::newest_state,
    ends::{Ends, tail_of},
    partition, starts,
    table::Table,
};

/// A request that is under way by the boot head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its state and its token; `None` where no record of it can be read.
    pub request: Option<(State, String)>,
    partition: RecoveryPartition,
}

impl Stray {
    /// What the boot head of `disk` was written for; `None` when it does not start a recovery partition. A BIOS is known by the boot code
    /// that counts, UEFI by the partition's type.
    ///
    /// # Errors
    /// [`RecoveryError::Table`] without a usable table; [`RecoveryError::DiskTooSmall`], [`RecoveryError::Io`].
    pub fn of(disk: &dyn ReadBlocks) -> Result<Option<Self>, RecoveryError> {
        let ends = Ends::read(disk)?;
        let Some(partition) = started(&Table::read(&ends)?, &ends) else { return Ok(None) };
        let request = newest_state(disk, partition).unwrap_or_default();
        Ok(Some(Self { request, partition }))
    }

    /// Whether one system is whole on the disk, and its boot head is the one that is kept: that of before, or the new one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.request, Some((State::Armed | State::Reported, _)))
    }

    /// The head that is kept, with a backup table for the size that the disk has now.
    ///
    /// # Errors
    /// [`RecoveryError::Table`] when none is kept, or one that starts a recovery partition; those of the disk.
    pub fn kept_head(&self, disk: &dyn ReadBlocks) -> Result<Head, RecoveryError> {
        let first = read(disk, self.partition.head_at(), LEAF_SIZE)?.to_vec();
        let mut ends = Ends { first, ..Ends::read(disk)? };
        let table = Table::primary(&ends)?;
        if started(&table, &ends).is_some() {
            return Err(RecoveryError::Table { reason: "the head that is kept starts the recovery partition, too" });
        }
        table.write(&mut ends);
        Ok(Head::of(ends))
    }
}

/// The recovery partition that this head starts, wherever it lies: one that has no entry ends where one must.
pub(crate) fn started(table: &Table, ends: &Ends) -> Option<RecoveryPartition> {
    let counts = ends.first.get(..BOOT_CODE).is_some_and(starts::is_counted_by);
    if !counts && !partition::is_started_anywhere(table) {
        return None;
    }
    let end = tail_of(ends.size);
    let at_end = RecoveryPartition { offset: end.saturating_sub(RESERVED), length: RESERVED.min(end) };
    let is_inside = |one: &RecoveryPartition| {
        one.length >= RESERVED && one.offset.checked_add(one.length).is_some_and(|end| end <= tail_of(ends.size))
    };
    Some(partition::listed(table, ends).filter(is_inside).unwrap_or(at_end))
}

/// What became of a boot head that starts a recovery partition which cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBack {
    /// It does not start one.
    NotStarted,
    /// The head that was kept is in its place.
    Back,
    /// Nothing was written: nothing says that a system on the disk is whole.
    NotWhole,
}

/// Puts the head that is kept in the place of one that starts a recovery partition, where a system on the disk is whole.
///
/// # Errors
/// Those of [`Stray::of`], [`Stray::kept_head`] and [`Head::start_system`].
pub fn give_back(disk: &dyn WriteBlocks) -> Result<GivenBack, RecoveryError> {
    let Some(stray) = Stray::of(disk as &dyn ReadBlocks)? else { return Ok(GivenBack::NotStarted) };
    if !stray.is_whole() {
        return Ok(GivenBack::NotWhole);
    }
    stray.kept_head(disk as &dyn ReadBlocks)?.start_system(disk)?;
    Ok(GivenBack::Back)
}
