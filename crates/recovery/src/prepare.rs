//! Making a recovery partition on a disk that has none. Must not know what it is for.

use cloud_machine_image::{ReadBlocks, WriteBlocks};

use crate::{
    RESERVED, RecoveryError,
    blocks::write,
    ends::Ends,
    head::Head,
    partition::{self, RecoveryPartition},
    stray,
    table::Table,
};

/// Makes a recovery partition of `length` bytes at the end of `disk`, unless it has one, and gives it; `true` when it was made.
/// `identity` are the random bytes of its unique GUID. The disk may hold a table that was made for a smaller one. Nothing else
/// on it changes, and a cut leaves the table of before or the new one.
///
/// # Errors
/// [`RecoveryError::Overlap`], [`RecoveryError::Unplaced`] and [`RecoveryError::Moved`] for one that is there and is not to be
/// written; [`RecoveryError::UnderWay`] where the boot head starts another one; [`RecoveryError::NoRoom`], [`RecoveryError::DiskTooSmall`], [`RecoveryError::TableFull`], [`RecoveryError::Table`] and those of
/// the disk.
pub fn prepare(
    disk: &dyn WriteBlocks,
    length: u64,
    identity: [u8; 16],
) -> Result<(RecoveryPartition, bool), RecoveryError> {
    let mut ends = Ends::read(disk as &dyn ReadBlocks)?;
    let mut table = Table::read(&ends)?;
    let started = stray::started(&table, &ends);
    // One of a disk that has grown, or that somebody moved, is forgotten.
    partition::remove_misplaced(&mut table, &ends);
    if let Some(there) = partition::find(&table, &ends)? {
        there.check_place(disk as &dyn ReadBlocks)?;
        return Ok((there, false));
    }
    if let Some(started) = started {
        return Err(RecoveryError::UnderWay { kept: started.head_at() });
    }
    let made = RecoveryPartition::at_end(disk.size(), length)?;
    partition::add(&mut table, &partition::entry(made, ends.sector, identity), ends.sector)?;
    // What lay there before could look like something that was staged.
    write(disk, made.end() - RESERVED, &vec![0; RESERVED as usize])?;
    made.keep_place(disk)?;
    table.write(&mut ends);
    Head::of(ends).start_recovery(disk)?;
    Ok((made, true))
}
