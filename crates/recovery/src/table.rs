//! A GPT as bytes (UEFI 2.10, section 5.3): both copies are read, one that is whole counts, and both are written from it. Must not
//! know what a partition is for.

use cloud_machine_protocol::Extent;

use crate::{RecoveryError, head::Head};

/// Bytes of an entry, and how many there are at most.
pub(crate) const ENTRY: usize = 128;
const MAX_ENTRIES: usize = 128;
/// Bytes of the header that its checksum is about.
const HEADER: usize = 92;
const SIGNATURE: &[u8] = b"EFI PART";

/// The entries of a table, and what its header says besides where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    header: [u8; HEADER],
    entries: Vec<u8>,
}

impl Table {
    /// The primary copy, or where that is not whole the backup.
    pub(crate) fn read(head: &Head) -> Result<Self, RecoveryError> {
        let entries_at = head.number(head.sector, 72, 8).saturating_mul(head.sector);
        Self::copy(head, head.sector, entries_at).or_else(|_| {
            let header = head.size - head.size % head.sector - head.sector;
            let entries_at = head.number(header, 72, 8).saturating_mul(head.sector);
            Self::copy(head, header, entries_at)
        })
    }

    fn copy(head: &Head, header_at: u64, entries_at: u64) -> Result<Self, RecoveryError> {
        let wrong = |reason| RecoveryError::Table { reason };
        let bytes = head.bytes(header_at, HEADER).ok_or(wrong("its header is not where it must be"))?;
        let mut header = <[u8; HEADER]>::try_from(bytes).map_err(|_| wrong("its header is cut off"))?;
        if !header.starts_with(SIGNATURE) {
            return Err(wrong("neither copy has a header"));
        }
        let stated = number(&header, 16, 4);
        put(&mut header, 16, &[0; 4]);
        let count = usize::try_from(number(&header, 80, 4)).unwrap_or(usize::MAX);
        if number(&header, 12, 4) != HEADER as u64
            || number(&header, 84, 4) != ENTRY as u64
            || !(1..=MAX_ENTRIES).contains(&count)
            || stated != u64::from(crc32fast::hash(&header))
        {
            return Err(wrong("the header of neither copy is whole"));
        }
        let entries = head.bytes(entries_at, count * ENTRY).ok_or(wrong("its entries are not beside its header"))?;
        if number(&header, 88, 4) != u64::from(crc32fast::hash(entries)) {
            return Err(wrong("the entries of neither copy are whole"));
        }
        Ok(Self { header, entries: entries.to_vec() })
    }

    /// All entries, used or not, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8; ENTRY]> {
        self.entries.as_chunks::<ENTRY>().0.iter()
    }

    /// All entries, to be changed.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut [u8; ENTRY]> {
        self.entries.as_chunks_mut::<ENTRY>().0.iter_mut()
    }

    /// Writes both copies into `head`, for a disk of its size, and lets the protective MBR reach to the disk's end.
    pub(crate) fn write(&self, head: &mut Head) {
        let sector = head.sector;
        let last = head.size / sector - 1;
        let entry_sectors = (self.entries.len() as u64).div_ceil(sector);
        let backup_entries = last - entry_sectors;
        let mut header = self.header;
        put(&mut header, 48, &(backup_entries - 1).to_le_bytes());
        put(&mut header, 88, &crc32fast::hash(&self.entries).to_le_bytes());
        for (own, other, entries) in [(1, last, 2), (last, 1, backup_entries)] {
            put(&mut header, 24, &own.to_le_bytes());
            put(&mut header, 32, &other.to_le_bytes());
            put(&mut header, 72, &entries.to_le_bytes());
            put(&mut header, 16, &[0; 4]);
            let checksum = crc32fast::hash(&header);
            put(&mut header, 16, &checksum.to_le_bytes());
            let mut block = vec![0; sector as usize];
            put(&mut block, 0, &header);
            head.put(own * sector, &block);
            head.put(entries * sector, &self.entries);
        }
        head.protect(last);
    }
}

/// Whether an entry is used, and the bytes that its partition has.
pub(crate) fn extent(entry: &[u8; ENTRY], sector: u64) -> Option<Extent> {
    if entry[..16] == [0; 16] {
        return None;
    }
    let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
    let offset = first.checked_mul(sector)?;
    let length = last.checked_add(1)?.checked_sub(first)?.checked_mul(sector)?;
    Some(Extent { offset, length })
}

/// The little-endian number of `bytes` at `at`.
pub(crate) fn number(from: &[u8], at: usize, bytes: usize) -> u64 {
    let place = from.get(at..at + bytes).unwrap_or_default();
    place.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Puts `bytes` at `at`, all of them or none.
pub(crate) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
