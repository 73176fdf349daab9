//! A GPT of our own for a data disk (UEFI 2.10, section 5.3): its bytes, and the order in which they reach the disk. Must
//! not choose where partitions lie.
//!
//! The order survives a power cut at every write, torn and reordered between two flushes as well:
//!
//! 1. both ends of every partition are zero, so that nothing in one looks like what was there before;
//! 2. entries of the backup, then its header: until here a reader finds the old primary table, if there was one;
//! 3. the primary header is zero: from here on only the backup can be read;
//! 4. entries of the primary, then its header: from here on both can;
//! 5. the protective MBR, without which readers look for no GPT: a disk that held nothing holds nothing until now.
//!
//! A flush ends every stage. A disk in stage 2 to 5 that had no MBR is found empty, and the next attempt begins anew.

use std::io;

use cloud_machine_protocol::{Extent, NewTable};
use gpt::{
    disk::LogicalBlockSize,
    header::{Header, HeaderBuilder, HeaderError},
    mbr::ProtectiveMBR,
    partition::Partition,
};

use crate::{
    ALIGNMENT, AlignedBuffer, ImageError, Wiped, WriteBlocks,
    blocks::Target,
    partition::ENTRY_BYTES,
    sparse::{Cell, Sparse},
    wipe,
};

/// What is made zero at each end of a partition: every signature that libblkid knows lies in it, and so do the labels of
/// ZFS (2 of 256 KiB at each end).
const ENDS: u64 = 1 << 20;
/// Bytes of the entries.
const ENTRIES: usize = 128 * ENTRY_BYTES as usize;

/// What writing a table did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableWritten {
    /// Bytes of the table.
    pub written_bytes: u64,
    /// Bytes at the ends of partitions that were made zero.
    pub zeroed_bytes: u64,
    /// Bytes that were read again after that.
    pub read_back_bytes: u64,
}

/// Writes `table` to `target` and reads it back.
///
/// # Errors
/// A disk of another size or with other sectors, partitions that do not lie between the tables or overlap, a read, write
/// or flush that fails, or a disk that gives back other bytes.
pub fn write_table(target: &dyn WriteBlocks, table: &NewTable) -> Result<TableWritten, ImageError> {
    let bytes = TableBytes::new(table)?;
    if (target.size(), target.sector_size()) != (table.disk_size, u64::from(table.sector_size)) {
        let (size, sector) = (target.size(), target.sector_size());
        return Err(unfit(format!("the disk has {size} bytes in sectors of {sector}")));
    }
    let mut done = TableWritten { written_bytes: 0, zeroed_bytes: 0, read_back_bytes: 0 };
    for range in table.partitions.iter().flat_map(|partition| ends(partition.offset, partition.length)) {
        let Wiped { zeroed_bytes, read_back_bytes, .. } = wipe(target, range.offset, range.length, &|_, _| {})?;
        done.zeroed_bytes += zeroed_bytes;
        done.read_back_bytes += read_back_bytes;
    }
    let target = Target(target);
    let mut head = Blocks::read(target, 0, bytes.head().len() as u64)?;
    let mut tail = Blocks::read(target, bytes.tail_start(), table.disk_size)?;
    for (offset, part) in bytes.stages() {
        let blocks = if offset < bytes.tail_start() { &mut head } else { &mut tail };
        done.written_bytes += blocks.write(target, offset, part)?;
        target.flush()?;
    }
    for blocks in [head, tail] {
        let found = Blocks::read(target, blocks.offset, blocks.offset + blocks.bytes.len() as u64)?;
        if found.bytes[..] != blocks.bytes[..] {
            return Err(ImageError::TableDiffers { offset: blocks.offset, length: blocks.bytes.len() as u64 });
        }
        done.read_back_bytes += blocks.bytes.len() as u64;
    }
    Ok(done)
}

/// The blocks around one copy of a table as they are on the disk: unbuffered access takes no less, and what else is in
/// them stays as it was.
struct Blocks {
    offset: u64,
    bytes: AlignedBuffer,
}

impl Blocks {
    fn read(target: Target<'_>, start: u64, end: u64) -> Result<Self, ImageError> {
        let offset = start - start % ALIGNMENT;
        let length = end.next_multiple_of(ALIGNMENT).min(target.size()) - offset;
        let mut bytes = AlignedBuffer::new(length as usize);
        target.read(&mut bytes, offset)?;
        Ok(Self { offset, bytes })
    }

    /// Writes the blocks in which `part` lies at `offset`. Disks write sectors whole, so a cut leaves each other sector in
    /// them as it was.
    fn write(&mut self, target: Target<'_>, offset: u64, part: &[u8]) -> Result<u64, ImageError> {
        let start = (offset - self.offset) as usize;
        let end = start + part.len();
        self.bytes[start..end].copy_from_slice(part);
        let first = start - start % ALIGNMENT as usize;
        let last = end.next_multiple_of(ALIGNMENT as usize).min(self.bytes.len());
        // Copied, since the middle of a buffer is aligned and a slice of it does not say so.
        let blocks = AlignedBuffer::from(&self.bytes[first..last]);
        target.write(&blocks, self.offset + first as u64)?;
        Ok(blocks.len() as u64)
    }
}

/// The first and the last part of a partition; one range for a short one.
fn ends(offset: u64, length: u64) -> Vec<Extent> {
    if length <= 2 * ENDS {
        return vec![Extent { offset, length }];
    }
    [offset, offset + length - ENDS].map(|offset| Extent { offset, length: ENDS }).to_vec()
}

fn unfit(reason: String) -> ImageError {
    ImageError::TableUnfit { reason }
}

/// Where the two cells of a table are.
const HEAD: usize = 0;
const TAIL: usize = 1;

/// All bytes of a table: what lies before the first and behind the last sector that partitions can use.
#[derive(Debug)]
struct TableBytes {
    sector: usize,
    disk: Sparse,
}

impl TableBytes {
    fn new(table: &NewTable) -> Result<Self, ImageError> {
        let block = match table.sector_size {
            512 => LogicalBlockSize::Lb512,
            4096 => LogicalBlockSize::Lb4096,
            other => return Err(unfit(format!("sectors of {other} bytes are neither of 512 nor of 4096"))),
        };
        let (sector, size) = (table.sector_size as usize, table.disk_size);
        let (head, tail) = (2 * sector + ENTRIES, sector + ENTRIES);
        check(table, head as u64, size.saturating_sub(tail as u64))?;
        let mut bytes = {
            let cell = |offset, length| Cell { offset, bytes: vec![0; length] };
            let cells = vec![cell(0, head), cell(size - tail as u64, tail)];
            Self { sector, disk: Sparse::new(size, cells) }
        };
        let failed = |source| ImageError::TableComputed { source };
        let sectors = size / block.as_u64();
        for primary in [false, true] {
            let header = HeaderBuilder::new()
                .disk_guid(table.uuid)
                .backup_lba(sectors - 1)
                .primary(primary)
                .build(block)
                .map_err(|error| failed(io::Error::other(error)))?;
            bytes.write_copy(table, header, primary, block).map_err(failed)?;
        }
        let rest = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
        bytes.disk.cells[HEAD].bytes[..512].copy_from_slice(&ProtectiveMBR::with_lb_size(rest).to_bytes());
        Ok(bytes)
    }

    fn write_copy(
        &mut self,
        table: &NewTable,
        mut header: Header,
        primary: bool,
        block: LogicalBlockSize,
    ) -> io::Result<()> {
        for partition in &table.partitions {
            let entry = Partition {
                part_type_guid: partition.r#type.into(),
                part_guid: partition.uuid,
                first_lba: partition.offset / block.as_u64(),
                last_lba: (partition.offset + partition.length) / block.as_u64() - 1,
                flags: 0,
                name: partition.name.clone(),
            };
            let index = u64::from(partition.number) - 1;
            entry.write_to_device(&mut self.disk, index, header.part_start, block, ENTRY_BYTES)?;
        }
        let written = if primary {
            header.write_primary(&mut self.disk, block)
        } else {
            header.write_backup(&mut self.disk, block)
        };
        written.map(drop).map_err(|error| match error {
            HeaderError::Io(error) => error,
            other => io::Error::other(other),
        })
    }

    fn head(&self) -> &[u8] {
        &self.disk.cells[HEAD].bytes
    }

    fn tail(&self) -> &[u8] {
        &self.disk.cells[TAIL].bytes
    }

    fn tail_start(&self) -> u64 {
        self.disk.cells[TAIL].offset
    }

    /// What is written, in this order, each with where it goes.
    fn stages(&self) -> [(u64, &[u8]); 6] {
        static ZERO: [u8; 4096] = [0; 4096];
        let sector = self.sector;
        let (mbr, primary) = self.head().split_at(sector);
        let (header, entries) = primary.split_at(sector);
        let (backup_entries, backup_header) = self.tail().split_at(ENTRIES);
        [
            (self.tail_start(), backup_entries),
            (self.tail_start() + ENTRIES as u64, backup_header),
            (sector as u64, &ZERO[..sector]),
            (2 * sector as u64, entries),
            (sector as u64, header),
            (0, mbr),
        ]
    }
}

/// Whether partitions lie apart between `start` and `end`, in whole sectors, each with a number of its own.
fn check(table: &NewTable, start: u64, end: u64) -> Result<(), ImageError> {
    let sector = u64::from(table.sector_size);
    if end <= start || !table.disk_size.is_multiple_of(sector) {
        return Err(unfit(format!("a disk of {} bytes has no room for it", table.disk_size)));
    }
    let mut sorted: Vec<_> = table.partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.offset);
    let mut free = start;
    for partition in sorted {
        let (number, offset, length) = (partition.number, partition.offset, partition.length);
        let after = offset.checked_add(length).filter(|after| *after <= end);
        let (Some(after), true) = (after, offset >= free && length > 0) else {
            return Err(unfit(format!("partition {number} with {length} bytes at {offset} has no room")));
        };
        if !(offset | length).is_multiple_of(sector) || !(1..=128).contains(&number) {
            return Err(unfit(format!("partition {number} with {length} bytes at {offset} cannot be listed")));
        }
        free = after;
    }
    let mut numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != table.partitions.len() {
        return Err(unfit("two partitions have one number".to_owned()));
    }
    Ok(())
}
