//! The partition table of an image, computed for a disk of another size or with other sectors (UEFI 2.10, section 5.3):
//! protective MBR, both GPTs, nothing left of the image's own. Must not write it to a disk.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use cloud_machine_protocol::Extent;
use gpt::{
    disk::LogicalBlockSize,
    header::{Header, HeaderBuilder},
};

use crate::{
    ImageError, Manifest, ReadBlocks, SECTOR_SIZE, Table, extent,
    manifest::check_target,
    mbr, own_table,
    packed::{FrameReader, Leaves},
    partition::{self, ENTRY_BYTES},
    sparse::Sparse,
};

/// Sectors and bytes of a disk.
#[derive(Clone, Copy)]
struct Geometry {
    size: u64,
    sector: LogicalBlockSize,
}

impl Geometry {
    fn sector(self) -> u64 {
        self.sector.as_u64()
    }

    /// Sectors of the entries of `header`.
    fn entry_sectors(self, header: &Header) -> u64 {
        (u64::from(header.num_parts) * u64::from(header.part_size)).div_ceil(self.sector())
    }

    /// Where the first partition may begin: behind MBR, header and entries.
    fn head_end(self, header: &Header) -> u64 {
        (2 + self.entry_sectors(header)) * self.sector()
    }

    /// Entries and header of the backup, before which the last partition must end.
    fn tail(self, header: &Header) -> Extent {
        let length = ((1 + self.entry_sectors(header)) * self.sector()).min(self.size);
        Extent { offset: self.size - length, length }
    }
}

impl Table {
    /// The table of the image for a disk of `size` bytes with sectors of `sector_size`; `None` when the image's own is
    /// right, because the disk has its size and sectors.
    ///
    /// # Errors
    /// When the disk's sectors are neither 512 nor 4096 bytes, or the image's partitions cannot be described on it, or
    /// the image cannot be read.
    pub fn for_disk(
        manifest: &Manifest,
        source: &dyn ReadBlocks,
        size: u64,
        sector_size: u64,
    ) -> Result<Option<Self>, ImageError> {
        let sector = match sector_size {
            512 => LogicalBlockSize::Lb512,
            4096 => LogicalBlockSize::Lb4096,
            _ => return Err(impossible(format!("sectors of {sector_size} bytes are neither of 512 nor of 4096"))),
        };
        if size == manifest.size() && sector_size == SECTOR_SIZE {
            return Ok(None);
        }
        check_target(manifest, size)?;
        let disk = Geometry { size: size - size % sector_size, sector };
        let mut image = Leaves { manifest, frames: FrameReader::new(manifest, source) };
        own_table::check(&mut image)?;
        let first = image.read(0)?;
        let (header, _) = partition::parse_table(Cursor::new(&first))?;
        let old = own_tables(&header, manifest.size())?;
        check(manifest, &header, disk, &old)?;

        // What is not a table stays as it is in the image: boot code, gaps, the ends of partitions.
        let mut sparse = Sparse::new(size, Vec::new());
        let new = [Extent { offset: 0, length: disk.head_end(&header) }, disk.tail(&header)];
        for range in old.iter().chain(&new) {
            sparse.touch(&mut image, *range)?;
        }
        let computed = |source: io::Error| ImageError::TableComputed { source };
        for range in &old {
            sparse.zero(*range).map_err(computed)?;
        }
        write_table(&mut sparse, &header, &first, disk).map_err(computed)?;
        let sectors = [manifest.size() / SECTOR_SIZE, disk.size / disk.sector()];
        if let Some(cell) = sparse.cells.first_mut() {
            mbr::fit(&mut cell.bytes, sectors[0], sectors[1], disk.sector()).map_err(impossible)?;
        }
        Ok(Some(Self::new(sparse.cells)))
    }
}

fn impossible(reason: String) -> ImageError {
    ImageError::TableImpossible { reason }
}

/// Where the image has its own tables: both headers and both lists of entries.
fn own_tables(header: &Header, size: u64) -> Result<Vec<Extent>, ImageError> {
    let sectors = (u64::from(header.num_parts) * u64::from(header.part_size)).div_ceil(SECTOR_SIZE);
    let ranges = [
        (header.current_lba, 1),
        (header.part_start, sectors),
        // A header that names no backup, or one before its own entries, is of no tool; the range is then empty.
        (header.backup_lba.saturating_sub(sectors), (sectors + 1).min(header.backup_lba)),
    ];
    let range = |(first, count): (u64, u64)| {
        let end = first.checked_add(count).and_then(|end| end.checked_mul(SECTOR_SIZE));
        if end.is_none_or(|end| end > size) {
            return Err(impossible(format!("the image's table at sector {first} lies beyond the image")));
        }
        Ok(Extent { offset: first * SECTOR_SIZE, length: count * SECTOR_SIZE })
    };
    ranges.into_iter().map(range).collect()
}

fn check(manifest: &Manifest, header: &Header, disk: Geometry, old: &[Extent]) -> Result<(), ImageError> {
    let sector = disk.sector();
    let (start, end) = (disk.head_end(header), disk.tail(header).offset);
    let mut partitions: Vec<&partition::Partition> = manifest.partitions().iter().collect();
    partitions.sort_unstable_by_key(|partition| partition.offset);
    let nexts = partitions.iter().skip(1).map(|next| next.offset).chain([end]);
    for (partition, next) in partitions.iter().zip(nexts) {
        let (number, first) = (partition.number, partition.offset);
        let after = (first + partition.length).next_multiple_of(sector);
        if let Some(range) =
            old.iter().find(|range| range.offset < first + partition.length && first < extent::end(range))
        {
            return Err(impossible(format!("partition {number} overlaps the image's table at byte {}", range.offset)));
        }
        if !first.is_multiple_of(sector) || (after > next && next != end) {
            return Err(impossible(format!("partition {number} is not made of the disk's sectors of {sector} bytes")));
        }
        if first < start || after > end {
            return Err(impossible(format!(
                "partition {number} from byte {first} to {after} leaves no room for the disk's tables, which need all \
                 before byte {start} and all from byte {end}"
            )));
        }
    }
    Ok(())
}

/// Writes the backup and the primary GPT. The entries are those of the image, of which `first` is the first leaf, byte for
/// byte: only where a partition begins and ends counts in the sectors of the disk.
fn write_table(device: &mut Sparse, header: &Header, first: &[u8], disk: Geometry) -> Result<(), io::Error> {
    let (sector, sectors) = (disk.sector, disk.size / disk.sector());
    let invalid = |error: gpt::header::HeaderError| io::Error::new(io::ErrorKind::InvalidData, error);
    let entries = scaled_entries(header, first, disk)?;
    for primary in [false, true] {
        let mut own = HeaderBuilder::from_header(header)
            .first_usable(
                header.first_usable.saturating_mul(SECTOR_SIZE).max(disk.head_end(header)).div_ceil(disk.sector()),
            )
            .last_usable(disk.tail(header).offset / disk.sector() - 1)
            .backup_lba(sectors - 1)
            .primary(primary)
            .build(sector)
            .map_err(invalid)?;
        device.seek(SeekFrom::Start(own.part_start * disk.sector()))?;
        device.write_all(&entries)?;
        let written = if primary { own.write_primary(device, sector) } else { own.write_backup(device, sector) };
        written.map_err(invalid)?;
    }
    Ok(())
}

/// The list of entries in the image's first leaf, in sectors of the disk.
fn scaled_entries(header: &Header, first: &[u8], disk: Geometry) -> io::Result<Vec<u8>> {
    let start = header.part_start.saturating_mul(SECTOR_SIZE) as usize;
    let length = (u64::from(header.num_parts) * u64::from(header.part_size)) as usize;
    let listed = first.get(start..start.saturating_add(length)).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut entries = listed.to_vec();
    for entry in entries.as_chunks_mut::<{ ENTRY_BYTES as usize }>().0 {
        if entry[..16] == [0; 16] {
            continue;
        }
        let number = |at: usize| entry[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let bytes = |sector: u64| sector.saturating_mul(SECTOR_SIZE);
        // A partition that ends inside a larger sector gets all of it.
        let (start, after) =
            (bytes(number(32)) / disk.sector(), bytes(number(40).saturating_add(1)).div_ceil(disk.sector()));
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&after.saturating_sub(1).to_le_bytes());
    }
    Ok(entries)
}
