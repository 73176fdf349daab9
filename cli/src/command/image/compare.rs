//! `image verify --disk`: a disk or disk file held against an image, and where it differs. Must not write, mount or
//! guess what lies in a filesystem.

use std::path::Path;

use cloud_machine_disk::{Access, Disk, DiskError};
use cloud_machine_image::{Manifest, Partition, ReadBlocks, Table, compare};
use cloud_machine_protocol::{Extent, escape};
use comfy_table::{Table as Columns, presets::NOTHING};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// Where a disk differs from an image.
#[derive(Serialize)]
struct Compared {
    image: String,
    digest: String,
    disk: String,
    disk_size: u64,
    partition_table: &'static str,
    equal: bool,
    differing_bytes: u64,
    /// Whole leaves of 64 KiB, sorted; cut where a partition begins or ends.
    differing: Vec<Difference>,
}

/// One differing range. All numbers are bytes.
#[derive(Serialize)]
struct Difference {
    offset: u64,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    /// Where it begins in the partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_offset: Option<u64>,
    place: String,
}

impl Show for Compared {
    const KIND: &'static str = "image-compared";

    fn table(&self) -> String {
        let head = format!(
            "image        {} {}\ndisk         {}, {} bytes\ntable        {}\n",
            self.image, self.digest, self.disk, self.disk_size, self.partition_table
        );
        if self.equal {
            return format!("{head}verified     every byte of the disk was read and is right\n");
        }
        let mut table = Columns::new();
        table.load_style(NOTHING).set_header(["OFFSET", "BYTES", "PLACE", "AT BYTE OF IT"]);
        for range in &self.differing {
            table.add_row([
                range.offset.to_string(),
                range.length.to_string(),
                range.place.clone(),
                range.partition_offset.map(|offset| offset.to_string()).unwrap_or_default(),
            ]);
        }
        format!("{head}differing    {} bytes\n\n{table}", self.differing_bytes)
    }
}

/// Compares the disk with the image; that it differs is exit code 5, after the result.
pub(super) fn run(
    ui: &Ui,
    manifest: &Manifest,
    source: &dyn ReadBlocks,
    path: &Path,
    threads: usize,
) -> Result<(), Failure> {
    let disk = open_disk(path, Access::Read)?;
    let during = || format!("compare {} with image {}", path.display(), manifest.name());
    let table = Table::for_disk(manifest, source, disk.size(), disk.sector_size())
        .map_err(Failure::during(Kind::Failed, during()))?;
    let progress = ui.progress(&format!("verify {}", path.display()));
    let differing = compare(manifest, table.as_ref(), &disk, threads, &|done, total| progress.set(done, total))
        .map_err(Failure::during(Kind::Failed, during()))?;
    drop(progress);
    let differing_bytes = differing.iter().map(|range| range.length).sum();
    let compared = Compared {
        image: manifest.name().to_owned(),
        digest: manifest.digest().to_string(),
        disk: path.display().to_string(),
        disk_size: disk.size(),
        partition_table: if table.is_some() { "computed for this disk" } else { "the image's own" },
        equal: differing.is_empty(),
        differing_bytes,
        differing: differing.iter().flat_map(|range| places(manifest, disk.size(), *range)).collect(),
    };
    ui.result(&compared)?;
    if compared.equal {
        return Ok(());
    }
    let text = format!("{} differs from image {} in {differing_bytes} bytes", path.display(), manifest.name());
    Err(Failure::new(Kind::Verification, text).hint("`cloud-machine image write` makes them equal"))
}

/// Opens a disk; that it is absent, held and unreadable are different failures, each with its way out.
pub(super) fn open_disk(path: &Path, access: Access) -> Result<Disk, Failure> {
    Disk::open(path, access).map_err(|error| {
        let (kind, hint) = match &error {
            DiskError::Absent { .. } => {
                (Kind::NotFound, Some("`truncate -s 10G FILE` makes a disk file; `lsblk` lists block devices"))
            }
            DiskError::Held { .. } => (Kind::Locked, Some("end that use first")),
            DiskError::ReadOnly { .. } => {
                (Kind::Failed, Some("`blockdev --setrw` or `chmod u+w` allows writing, where the medium does"))
            }
            _ => (Kind::Failed, None),
        };
        let failure = Failure::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Cuts a range where partitions begin and end, and names each part.
fn places(manifest: &Manifest, disk_size: u64, range: Extent) -> Vec<Difference> {
    let end = range.offset + range.length;
    let edges = |partition: &Partition| [partition.offset, partition.offset + partition.length];
    let mut cuts: Vec<u64> = manifest.partitions().iter().flat_map(edges).chain([manifest.size()]).collect();
    cuts.retain(|cut| (range.offset + 1..end).contains(cut));
    cuts.extend([range.offset, end]);
    cuts.sort_unstable();
    cuts.dedup();
    let part = |pair: &[u64]| {
        let (offset, length) = (pair[0], pair[1] - pair[0]);
        let inside = manifest
            .partitions()
            .iter()
            .find(|partition| (partition.offset..partition.offset + partition.length).contains(&offset));
        let place = match inside {
            Some(partition) => {
                format!("partition {} {}", partition.number, escape::line(partition.name.as_bytes(), 36))
            }
            None if offset == 0 => "boot sector and partition table".to_owned(),
            None if pair[1] == disk_size => "backup partition table".to_owned(),
            None if offset >= manifest.size() => "behind the image".to_owned(),
            None => "between partitions".to_owned(),
        };
        Difference {
            offset,
            length,
            partition: inside.map(|partition| partition.number),
            partition_offset: inside.map(|partition| offset - partition.offset),
            place,
        }
    };
    cuts.windows(2).map(part).collect()
}
