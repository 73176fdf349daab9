//! The partitions of a disk as the kernel sees them, held against the table that is really on it. Must not be asked
//! about a disk whose content is not trusted: the parser stops on hostile tables.

use std::{
    fs::File,
    io::ErrorKind,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_disk::ioctl;
use gpt::{GptConfig, disk::LogicalBlockSize};

use crate::SystemError;

/// How long others may look at a partition.
const LOOKED_AT: Duration = Duration::from_secs(10);
/// Pause before the kernel is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// A partition's device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionNode {
    /// Kernel name, such as `vda2`.
    pub name: String,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Makes the kernel read the table of a verified disk again and checks it against the GPT on the disk.
///
/// # Errors
/// [`SystemError::PartitionTableUnreadable`] when the table is no GPT, [`SystemError::Io`] when the kernel refuses.
pub fn reread_partitions(device: &str) -> Result<(), SystemError> {
    let file = reread(device)?;
    let path = format!("/dev/{device}");
    let unreadable = |source| SystemError::PartitionTableUnreadable { device: device.to_owned(), source };
    let sector = match ioctl::sector_size(&file).map_err(SystemError::io("read the sector size of", &path))? {
        4096 => LogicalBlockSize::Lb4096,
        _ => LogicalBlockSize::Lb512,
    };
    let disk =
        GptConfig::new().writable(false).logical_block_size(sector).open_from_device(file).map_err(unreadable)?;
    for (number, partition) in disk.partitions() {
        let sectors = partition.last_lba.saturating_sub(partition.first_lba).saturating_add(1);
        let bytes = |sectors: u64| sectors.saturating_mul(sector.as_u64());
        settled(|| partition_node(device, *number, bytes(partition.first_lba), bytes(sectors)))?;
    }
    Ok(())
}

/// What `look` finds once nobody else reads the table: udev does, too, when a disk that was written is closed, and while the kernel makes
/// its partitions anew, none is there.
fn settled<T>(look: impl Fn() -> Result<T, SystemError>) -> Result<T, SystemError> {
    let until = Instant::now() + LOOKED_AT;
    loop {
        match look() {
            Err(SystemError::PartitionTable { .. }) if Instant::now() < until => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// Makes the kernel read the table of a disk again.
///
/// # Errors
/// [`SystemError::Io`] when the kernel refuses.
pub fn reread_partition_table(device: &str) -> Result<(), SystemError> {
    reread(device).map(drop)
}

/// A partition that somebody has open keeps the kernel from it: where udev runs, it looks at each for a moment whenever a
/// program has written to the disk.
fn reread(device: &str) -> Result<File, SystemError> {
    let path = format!("/dev/{device}");
    let file = File::open(&path).map_err(SystemError::io("open", &path))?;
    let until = Instant::now() + LOOKED_AT;
    loop {
        match ioctl::reread_partition_table(&file) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < until => thread::sleep(PAUSE),
            Err(error) => return Err(SystemError::io("read again the partition table of", path)(error)),
        }
    }
}

/// Finds the node of partition `number` and checks that the kernel's start and length are the expected bytes.
///
/// # Errors
/// [`SystemError::PartitionTable`] when it is absent or lies elsewhere.
pub fn partition_node(device: &str, number: u32, offset: u64, length: u64) -> Result<PartitionNode, SystemError> {
    // A disk whose name ends in a digit puts a p before the partition number (block/partitions/core.c).
    let separator = if device.ends_with(|character: char| character.is_ascii_digit()) { "p" } else { "" };
    let name = format!("{device}{separator}{number}");
    let folder = Path::new("/sys/class/block").join(&name);
    let differs = |difference: String| SystemError::PartitionTable { device: device.to_owned(), difference };
    if !folder.exists() {
        return Err(differs(format!("partition {number} is absent")));
    }
    let sectors = |attribute: &str| -> Result<u64, SystemError> {
        let path = folder.join(attribute);
        let object = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(SystemError::io("read", &object))?;
        let sectors: u64 =
            text.trim().parse().map_err(|_| SystemError::unexpected(&object, &text, "a number of sectors"))?;
        Ok(sectors.saturating_mul(512))
    };
    let (found_offset, found_length) = (sectors("start")?, sectors("size")?);
    if (found_offset, found_length) != (offset, length) {
        return Err(differs(format!(
            "partition {number} has {found_length} bytes at {found_offset}, expected {length} bytes at {offset}"
        )));
    }
    Ok(PartitionNode { name, offset, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_for_a_moment_is_looked_at_again_and_other_errors_are_not() {
        let absent =
            || SystemError::PartitionTable { device: "vda".to_owned(), difference: "partition 1 is absent".to_owned() };
        let looks = std::cell::Cell::new(0);
        let found = settled(|| {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Err(absent()) } else { Ok(looks.get()) }
        });
        assert_eq!(found.unwrap(), 3);
        let refused = settled(|| -> Result<(), _> {
            looks.set(looks.get() + 1);
            Err(SystemError::ModuleAbsent { module: "x".to_owned() })
        });
        assert!(matches!(refused, Err(SystemError::ModuleAbsent { .. })));
        assert_eq!(looks.get(), 4);
    }
}
