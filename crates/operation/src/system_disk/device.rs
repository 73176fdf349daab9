//! The system disk as a block device of a boot. Must not make a file.

use std::path::PathBuf;

use cloud_machine_driver::machine::{Backing, BlockDevice};
use cloud_machine_store::{DiskBacking, DiskRecord, MachineRecord};

pub(super) fn system_device(disk: &DiskRecord, file: PathBuf, backing: Backing) -> BlockDevice {
    BlockDevice { bus: disk.bus, file, serial: disk.serial.clone(), read_only: false, backing }
}

/// The raw file of the system disk, with its map where it has one.
pub(super) fn raw_device(record: &MachineRecord, disk: &DiskRecord, raw: PathBuf, map: PathBuf) -> BlockDevice {
    let mapped = record.system.backing == DiskBacking::Mapped;
    system_device(disk, raw, if mapped { Backing::Map(map) } else { Backing::None })
}
