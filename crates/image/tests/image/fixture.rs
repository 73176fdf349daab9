//! Raw images with a partition table, and disks full of dirt. Owns the shapes that the tests share.

use std::{collections::BTreeMap, io::Cursor};

use cloud_machine_image::{
    CompareMode, ImageError, Manifest, Options, PackOptions, ReadBlocks, Rewritten, Table, WriteBlocks, pack, rewrite,
};
use gpt::{GptConfig, mbr::ProtectiveMBR, partition::Partition, partition_types};
use uuid::Uuid;

use crate::disk::Disk;

pub(crate) const LEAF: usize = 65_536;
pub(crate) const MIB: usize = 1 << 20;

/// Bytes that nobody chose, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn options() -> PackOptions {
    PackOptions {
        name: "debian-12".to_owned(),
        generation: 1,
        kernel_release: "6.1.0-56-cloud-amd64".to_owned(),
        root_partition: None,
    }
}

pub(crate) fn entry(
    number: u64,
    type_guid: partition_types::Type,
    first_lba: u64,
    last_lba: u64,
    name: &str,
) -> Partition {
    Partition {
        part_type_guid: type_guid,
        part_guid: Uuid::from_u64_pair(number, 0x8000_0000_0000_0000),
        first_lba,
        last_lba,
        flags: 0,
        name: name.to_owned(),
    }
}

/// Writes protective MBR and both GPTs into `bytes`.
pub(crate) fn write_table(bytes: Vec<u8>, entries: Vec<Partition>) -> Vec<u8> {
    write_table_of(bytes, entries, Uuid::from_u64_pair(7, 7))
}

fn write_table_of(bytes: Vec<u8>, entries: Vec<Partition>, guid: Uuid) -> Vec<u8> {
    let sectors = u32::try_from(bytes.len() / 512 - 1).unwrap();
    let mut device = Cursor::new(bytes);
    ProtectiveMBR::with_lb_size(sectors).update_conservative(&mut device).unwrap();
    let mut disk = GptConfig::new().writable(true).create_from_device(device, Some(guid)).unwrap();
    let entries: BTreeMap<u32, Partition> = (1..).zip(entries).collect();
    disk.update_partitions(entries).unwrap();
    disk.write().unwrap().into_inner()
}

/// A raw image of `size` bytes: the first partition is the root, from 128 KiB to the backup table. `data` says for each
/// leaf of the root whether it has bytes; the leaves are taken in turn.
pub(crate) fn image_of(size: usize, data: &[bool]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (index, leaf) in bytes.chunks_mut(LEAF).enumerate().skip(2) {
        if data[index % data.len()] {
            let fill = noise(leaf.len() / 2, index as u64);
            leaf[..fill.len()].copy_from_slice(&fill);
        }
    }
    let last = size as u64 / 512 - 34;
    let mut bytes = write_table(bytes, vec![entry(1, partition_types::LINUX_ROOT_X64, 256, last, "root")]);
    // Boot code and a gap behind the table, so that the head holds more than the table.
    bytes[..5].copy_from_slice(b"\xeb\x63\x90AB");
    bytes[40_000..40_004].copy_from_slice(b"gap!");
    bytes[2 * LEAF + 1080..2 * LEAF + 1082].copy_from_slice(&[0x53, 0xef]);
    bytes
}

/// An image whose leaves are by turns data and zero.
pub(crate) fn image(size: usize) -> Vec<u8> {
    image_of(size, &[true, true, false, true, false, false, false])
}

/// A packed image, its manifest and what it was made of.
pub(crate) struct Packed {
    pub(crate) raw: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) file: Vec<u8>,
}

pub(crate) fn packed(raw: Vec<u8>) -> Packed {
    let mut file = Vec::new();
    let manifest = pack(&Disk::new(raw.clone()), &mut file, &options(), &|_, _| ()).unwrap();
    Packed { raw, manifest, file }
}

impl Packed {
    pub(crate) fn rewrite(&self, target: &dyn WriteBlocks) -> Result<Rewritten, ImageError> {
        self.rewrite_by(target, CompareMode::default())
    }

    pub(crate) fn rewrite_by(
        &self,
        target: &dyn WriteBlocks,
        compare_mode: CompareMode<'_>,
    ) -> Result<Rewritten, ImageError> {
        let options = Options { compare_mode, ..Options::default() };
        rewrite(&self.manifest, &Source(&self.file), target, options, &|_, _| ())
    }

    /// What a disk of `size` bytes must hold after a rewrite: the image, then zeros, and the tables for this size.
    pub(crate) fn expected(&self, size: usize) -> Vec<u8> {
        let mut bytes = self.raw.clone();
        bytes.resize(size, 0);
        if size > self.raw.len() {
            let tables = self.raw.len() - 33 * 512;
            bytes[tables..self.raw.len()].fill(0);
            let mut table = GptConfig::new().writable(true).open_from_device(Cursor::new(self.raw.clone())).unwrap();
            let guid = *table.guid();
            let entries: Vec<Partition> = table.take_partitions().into_values().collect();
            bytes = write_table_of(bytes, entries, guid);
        }
        bytes
    }

    /// The computed table for a disk of `size` bytes.
    pub(crate) fn table(&self, size: usize) -> Option<Table> {
        Table::for_disk(&self.manifest, &Source(&self.file), size as u64, 512).unwrap()
    }
}

/// A read-only file.
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl ReadBlocks for Source<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let start = offset as usize;
        let bytes = self.0.get(start..start + buffer.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A disk that a job has used: the image with some leaves changed, its table's backup moved to the end of the disk as
/// a grown disk has it, and dirt behind the image.
pub(crate) fn used(packed: &Packed, size: usize, every: usize) -> Vec<u8> {
    let mut bytes = packed.expected(size);
    for (index, leaf) in bytes.chunks_mut(LEAF).enumerate().skip(1) {
        if index % every == 0 {
            leaf.copy_from_slice(&noise(leaf.len(), 1000 + index as u64));
        }
    }
    let last = packed.raw.len() as u64 / 512 - 34;
    let entries = vec![entry(9, partition_types::LINUX_FS, 256, last, "evil")];
    write_table(bytes, entries)
}

/// Whether a firmware would find a partition table: the primary one, or the backup in the last sector, with both
/// checksums right.
pub(crate) fn has_table(disk: &[u8]) -> bool {
    GptConfig::new().open_from_device(Cursor::new(disk.to_vec())).is_ok()
}
