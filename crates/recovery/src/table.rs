//! A GPT as bytes (UEFI 2.10, section 5.3): both copies are read, one that is whole counts, and both are written from it. Must not
//! know what a partition is for.

use cloud_machine_protocol::Extent;

use crate::{RecoveryError, ends::Ends, number, put};

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
    pub(crate) fn read(ends: &Ends) -> Result<Self, RecoveryError> {
        Self::primary(ends).or_else(|_| {
            let header = ends.size - ends.size % ends.sector - ends.sector;
            let entries_at = ends.number(header, 72, 8).saturating_mul(ends.sector);
            Self::copy(ends, header, entries_at)
        })
    }

    /// The primary copy alone.
    pub(crate) fn primary(ends: &Ends) -> Result<Self, RecoveryError> {
        // Where they are written, and where everybody's are: elsewhere something else may lie at that place.
        Self::copy(ends, ends.sector, 2 * ends.sector)
    }

    fn copy(ends: &Ends, header_at: u64, entries_at: u64) -> Result<Self, RecoveryError> {
        let wrong = |reason| RecoveryError::Table { reason };
        let bytes = ends.bytes(header_at, HEADER).ok_or(wrong("its header is not where it must be"))?;
        let mut header = <[u8; HEADER]>::try_from(bytes).map_err(|_| wrong("its header is cut off"))?;
        if !header.starts_with(SIGNATURE) {
            return Err(wrong("neither copy has a header"));
        }
        let at = [number(&header, 24, 8), number(&header, 72, 8)].map(|sector| sector.saturating_mul(ends.sector));
        if at != [header_at, entries_at] {
            return Err(wrong("the header of neither copy is where it says"));
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
        let entries = ends.bytes(entries_at, count * ENTRY).ok_or(wrong("its entries are not beside its header"))?;
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

    /// Writes both copies into `ends`, for a disk of its size, and lets the protective MBR reach to the disk's end.
    pub(crate) fn write(&self, ends: &mut Ends) {
        let sector = ends.sector;
        let last = ends.size / sector - 1;
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
            ends.put(own * sector, &block);
            ends.put(entries * sector, &self.entries);
        }
        ends.protect(last);
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
