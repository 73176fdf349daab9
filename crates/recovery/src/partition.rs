//! Where the recovery partition lies, and what its entry in the partition table says. Must not write a table.

use cloud_machine_protocol::Extent;

use crate::{
    MIN_SIZE, RESERVED, RecoveryError, UNIT,
    ends::{Ends, tail_of},
    put,
    table::{self, ENTRY, Table},
};

/// Type of a recovery partition, as the table has it: b7f3c41e-52d8-4c06-9a6f-0d3e8b1f7a94.
const RECOVERY: [u8; 16] =
    [0x1e, 0xc4, 0xf3, 0xb7, 0xd8, 0x52, 0x06, 0x4c, 0x9a, 0x6f, 0x0d, 0x3e, 0x8b, 0x1f, 0x7a, 0x94];
/// Type of an EFI system partition: c12a7328-f81f-11d2-ba4b-00a0c93ec93b (UEFI 2.10, section 5.3.3).
const EFI_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Its name, by which it is known also while its type is that of an EFI system partition.
const NAME: &str = "cloud-machine-recovery";

/// A recovery partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPartition {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl RecoveryPartition {
    /// One of `length` bytes at the end of a disk of `size`.
    ///
    /// # Errors
    /// [`RecoveryError::DiskTooSmall`].
    pub fn at_end(size: u64, length: u64) -> Result<Self, RecoveryError> {
        let length = length.max(MIN_SIZE).next_multiple_of(UNIT);
        let offset = tail_of(size).checked_sub(length).filter(|offset| *offset > 0);
        let offset = offset.ok_or(RecoveryError::DiskTooSmall { wanted: length, size })?;
        Ok(Self { offset, length })
    }

    /// Where it ends.
    pub(crate) fn end(self) -> u64 {
        self.offset + self.length
    }

    /// Where it lies, as a record has it.
    #[must_use]
    pub fn extent(self) -> Extent {
        Extent { offset: self.offset, length: self.length }
    }

    /// Where on the disk `place` of the last [`RESERVED`] bytes is.
    pub(crate) fn reserved(self, place: u64) -> u64 {
        self.end() - RESERVED + place
    }

    /// Refuses another place than `stated`, which `record` says.
    pub(crate) fn is_at(self, stated: Extent, record: &'static str) -> Result<(), RecoveryError> {
        let found = self.extent();
        if stated == found { Ok(()) } else { Err(RecoveryError::Moved { record, stated, found }) }
    }
}

/// The one that is listed, which lies where one must, and apart from all others.
pub(crate) fn find(table: &Table, ends: &Ends) -> Result<Option<RecoveryPartition>, RecoveryError> {
    let found = table.entries().enumerate().find_map(|(index, entry)| Some((index, placed(entry, ends)?)));
    let Some((own, found)) = found else {
        let mut entries = table.entries().enumerate().filter(|(_, entry)| is_recovery(entry));
        return entries.next().map_or(Ok(None), |(index, entry)| {
            let found = table::extent(entry, ends.sector).unwrap_or(Extent { offset: 0, length: 0 });
            Err(RecoveryError::Misplaced { number: index + 1, found, end: tail_of(ends.size) })
        });
    };
    for (index, entry) in table.entries().enumerate().filter(|(index, _)| *index != own) {
        let end = end_of(entry, ends.sector);
        if end > found.offset {
            return Err(RecoveryError::Overlap { number: index + 1, end, start: found.offset });
        }
    }
    Ok(Some(found))
}

/// Where the partition of an entry ends; 0 for one that is not used.
fn end_of(entry: &[u8; ENTRY], sector: u64) -> u64 {
    table::extent(entry, sector).map_or(0, |extent| extent.offset.saturating_add(extent.length))
}

/// The recovery partition of an entry, where it lies as one must: on a disk that has grown since it was made, none does.
fn placed(entry: &[u8; ENTRY], ends: &Ends) -> Option<RecoveryPartition> {
    let Extent { offset, length } = table::extent(entry, ends.sector).filter(|_| is_recovery(entry))?;
    let placed = offset > 0
        && length >= MIN_SIZE
        && offset.is_multiple_of(UNIT)
        && offset.checked_add(length) == Some(tail_of(ends.size));
    placed.then_some(RecoveryPartition { offset, length })
}

/// Forgets those that lie elsewhere.
pub(crate) fn remove_misplaced(table: &mut Table, ends: &Ends) {
    for entry in table.entries_mut().filter(|entry| is_recovery(entry) && placed(entry, ends).is_none()) {
        entry.fill(0);
    }
}

fn is_recovery(entry: &[u8; ENTRY]) -> bool {
    entry[..16] == RECOVERY || (entry[..16] == EFI_SYSTEM && entry[56..] == name())
}

fn name() -> [u8; 72] {
    let mut units = [0; 72];
    for (place, unit) in units.as_chunks_mut::<2>().0.iter_mut().zip(NAME.encode_utf16()) {
        *place = unit.to_le_bytes();
    }
    units
}

/// Makes it the partition that UEFI starts.
pub(crate) fn let_it_start(table: &mut Table, ends: &Ends) -> Result<(), RecoveryError> {
    let mut found = false;
    for entry in table.entries_mut() {
        if placed(entry, ends).is_some() {
            entry[..16].copy_from_slice(&EFI_SYSTEM);
            found = true;
        } else if entry[..16] == EFI_SYSTEM {
            entry.fill(0);
        }
    }
    if found { Ok(()) } else { Err(RecoveryError::Absent) }
}

/// Whether it is the partition that UEFI starts.
pub(crate) fn is_started(table: &Table, ends: &Ends) -> bool {
    table.entries().any(|entry| entry[..16] == EFI_SYSTEM && placed(entry, ends).is_some())
}

/// Whether UEFI starts one, wherever it lies.
pub(crate) fn is_started_anywhere(table: &Table) -> bool {
    table.entries().any(|entry| entry[..16] == EFI_SYSTEM && is_recovery(entry))
}

/// The first one that is listed, wherever it lies.
pub(crate) fn listed(table: &Table, ends: &Ends) -> Option<RecoveryPartition> {
    let entry = table.entries().find(|entry| is_recovery(entry))?;
    table::extent(entry, ends.sector).map(|Extent { offset, length }| RecoveryPartition { offset, length })
}

/// Puts the entry that `before` has into `table`, as one that no firmware starts.
pub(crate) fn take_over(table: &mut Table, before: &Table, ends: &Ends) -> Result<(), RecoveryError> {
    let found = before.entries().find(|entry| placed(entry, ends).is_some());
    let mut entry = *found.ok_or(RecoveryError::Absent)?;
    entry[..16].copy_from_slice(&RECOVERY);
    add(table, &entry, ends.sector)
}

pub(crate) fn add(table: &mut Table, entry: &[u8; ENTRY], sector: u64) -> Result<(), RecoveryError> {
    let Extent { offset, length } = table::extent(entry, sector).ok_or(RecoveryError::Absent)?;
    for (index, other) in table.entries().enumerate() {
        let end = end_of(other, sector);
        if end > offset {
            return Err(RecoveryError::NoRoom { wanted: length, number: index + 1, end, start: offset });
        }
    }
    let free = table.entries_mut().find(|entry| entry[..16] == [0; 16]).ok_or(RecoveryError::TableFull)?;
    *free = *entry;
    Ok(())
}

/// The entry of a new one, with the random bytes of its unique GUID.
pub(crate) fn entry(partition: RecoveryPartition, sector: u64, identity: [u8; 16]) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..16].copy_from_slice(&RECOVERY);
    entry[16..32].copy_from_slice(&identity);
    put(&mut entry, 32, &(partition.offset / sector).to_le_bytes());
    put(&mut entry, 40, &(partition.end() / sector - 1).to_le_bytes());
    entry[56..].copy_from_slice(&name());
    entry
}
