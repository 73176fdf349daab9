//! When the host's dirty map of a disk may be believed. Must not believe one that could have missed a write.

use cloud_machine_config::Config;
use cloud_machine_driver::machine::{DirtyMap, Driver};
use cloud_machine_protocol::{Digest, Extent};
use cloud_machine_store::{DiskBacking, DiskRecord, MachineRecord, Store, Strategy};

use super::{NO_STORAGE, ReimageOptions, SystemDiskPreparation, system_disk};
use crate::{
    error::{ErrorKind, OperationError, causes},
    event::Notice,
};

/// Share of a disk, in percent, above which a map saves less than looking at everything proves.
const MAX_PERCENT: u64 = 30;

impl SystemDiskPreparation<'_> {
    /// What may differ from the image, or why that is not known. The map holds all writes of every process since the last
    /// accepted reimage, the agent's own included, because it was made before the first of them; and that reimage was
    /// accepted, so outside the map the disk is the image.
    pub(super) fn hint(
        &self,
        record: &MachineRecord,
        disk: &DiskRecord,
        options: ReimageOptions,
        since: Option<Digest>,
    ) -> Result<Vec<Extent>, String> {
        promising(record, since, self.manifest.digest())?;
        let storage = self.storage.ok_or_else(|| NO_STORAGE.to_owned())?;
        let folder = self.store.machine(&record.name);
        let raw = folder.file_of(disk).map_err(|error| causes(&error))?;
        let map = folder.map(disk).map_err(|error| causes(&error))?;
        // Compared before any tool opens the map, so that no tool can make it look newer.
        let there = map.try_exists().map_err(|error| causes(&error))?;
        let is_newer = there && storage.is_newer_than_map(&raw, &map).map_err(|error| causes(&error))?;
        let dirty = believed(storage.read_map(&map, &raw, disk.size).map_err(|error| causes(&error))?, is_newer)?;
        let bytes: u64 = dirty.iter().map(|extent| extent.length).sum();
        if options.strategy.is_none() && bytes > disk.size / 100 * MAX_PERCENT {
            return Err(format!("the map names {bytes} of {} bytes: looking at everything costs as little", disk.size));
        }
        Ok(dirty)
    }

    /// Before a boot: whether the map can go on counting. What it misses now it would never know.
    pub(super) fn keep_map(&self, record: &mut MachineRecord, disk: &DiskRecord) -> Result<(), OperationError> {
        if record.system.backing != DiskBacking::Mapped {
            return Ok(());
        }
        let folder = self.store.machine(&record.name);
        let (raw, map) = (folder.file_of(disk)?, folder.map(disk)?);
        let there = map.try_exists().map_err(OperationError::during(ErrorKind::Failed, "look for the dirty map"))?;
        let newer = self.storage.filter(|_| there).map(|storage| storage.is_newer_than_map(&raw, &map)).transpose()?;
        let good = newer == Some(false);
        if !there {
            record.system.backing = DiskBacking::Raw;
        }
        if !good && record.system.mapped_since.take().is_some() {
            self.teller.notice(Notice::DirtyMapIncomplete);
        }
        if !good {
            self.store.write(self.lock, record)?;
        }
        Ok(())
    }
}

/// What a map names, or why it does not count. A process that was killed left both a map that it had not closed and a
/// disk that is newer than it; the first is the reason.
fn believed(map: DirtyMap, disk_is_newer: bool) -> Result<Vec<Extent>, String> {
    match map {
        DirtyMap::Absent => Err("the map is gone".to_owned()),
        DirtyMap::Inconsistent => Err("the machine's process did not close the map, so it was killed".to_owned()),
        _ if disk_is_newer => {
            Err("the disk was written after its map was closed, by something else than the machine".to_owned())
        }
        DirtyMap::TooMany => Err("the map names more extents than are of use".to_owned()),
        DirtyMap::Extents(dirty) => Ok(dirty),
    }
}

/// Whether the record lets a map count at all.
fn promising(record: &MachineRecord, since: Option<Digest>, image: Digest) -> Result<(), String> {
    if record.system.backing != DiskBacking::Mapped {
        return Err(format!("the system disk is a {}, without a map", record.system.backing));
    }
    match since {
        None => Err("the last attempt was not accepted".to_owned()),
        Some(since) if since != image => Err("the disk held another image".to_owned()),
        Some(_) => Ok(()),
    }
}

/// What `auto` would take, as far as it can be said while the machine may run, and why.
pub(crate) fn preview(
    driver: &dyn Driver,
    store: &Store,
    record: &MachineRecord,
    config: &Config,
) -> Result<(Strategy, String), OperationError> {
    if super::root_pool(config).is_some() {
        return Ok((Strategy::Rewrite, "the root is on zfs: the pool is recreated".to_owned()));
    }
    if system_disk(record)?.file.is_none() {
        return Ok((Strategy::Rewrite, super::ELSEWHERE.to_owned()));
    }
    if driver.storage().is_none() {
        return Ok((Strategy::Rewrite, super::NO_STORAGE.to_owned()));
    }
    let disk = system_disk(record)?;
    if store.golden(&record.image.digest, disk.size).exists()? {
        return Ok((Strategy::Overlay, "there is a golden disk of this image and size".to_owned()));
    }
    let none = "there is no golden disk of this image and size";
    Ok(match promising(record, record.system.mapped_since, record.image.digest) {
        Ok(()) => {
            (Strategy::Hinted, format!("{none}; the map is read when the process has ended, and has to be a good one"))
        }
        Err(why) => (Strategy::Rewrite, format!("{none}; {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_counts_only_when_it_was_closed_and_nothing_was_written_since() {
        let dirty = vec![Extent { offset: 65_536, length: 1 }];
        assert_eq!(believed(DirtyMap::Extents(dirty.clone()), false), Ok(dirty.clone()));
        let cases = [
            (DirtyMap::Extents(dirty), true, "written after its map was closed"),
            (DirtyMap::Inconsistent, true, "so it was killed"),
            (DirtyMap::Inconsistent, false, "so it was killed"),
            (DirtyMap::Absent, true, "the map is gone"),
            (DirtyMap::TooMany, false, "names more extents"),
        ];
        for (map, newer, expected) in cases {
            let why = believed(map, newer).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
