//! Which short cut a reimage takes on the host, and what the machine gets for a system disk then. Owns the choice and its
//! reasons; files and block nodes are the driver's, and what is proved is judged elsewhere.

mod device;
mod dirty_map;
mod pool;

use std::{path::PathBuf, sync::OnceLock};

use cloud_machine_config::Config;
use cloud_machine_driver::machine::{Backing, BlockDevice, Storage};
use cloud_machine_image::Manifest;
use cloud_machine_packing::golden::{self, Checked, Compare, GoldenError};
use cloud_machine_plan::is_encrypted;
use cloud_machine_protocol::{Digest, Extent, Tier};
use cloud_machine_store::{DiskBacking, DiskRecord, ImageFolder, MachineLock, MachineRecord, Store, Strategy};

use crate::{
    described::Described,
    error::{ErrorKind, OperationError, causes},
    event::{self, Notice, Task},
    hint::Hint,
    room,
    teller::Teller,
};

use device::{raw_device, system_device};
pub(crate) use dirty_map::preview;
pub use pool::check;
pub(crate) use pool::root_pool;

/// How a reimage may be made short.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReimageOptions {
    /// `None`: the cheapest that is possible now.
    pub strategy: Option<Strategy>,
    /// What the agent does for [`Strategy::Rewrite`]; `None`: it chooses.
    pub tier: Option<Tier>,
    /// Compare the golden disk even when its file has not changed.
    pub verify_golden: bool,
    /// Have the machine's provider keep the clean disk, for [`Strategy::Rebuild`].
    pub snapshot: bool,
}

/// What a system disk is made from. The machine's last boot has ended.
pub(crate) struct SystemDiskPreparation<'a> {
    /// What makes a reimage short, where the driver has it.
    pub(crate) storage: Option<&'a dyn Storage>,
    pub(crate) store: &'a Store,
    pub(crate) lock: &'a MachineLock,
    pub(crate) teller: Teller<'a>,
    pub(crate) image: &'a ImageFolder,
    pub(crate) manifest: &'a Manifest,
}

/// A system disk that is ready for the next boot.
#[derive(Debug)]
pub(crate) struct PreparedDisk {
    /// `None` where it is a device of a machine that this host does not run.
    pub(crate) device: Option<BlockDevice>,
    /// `None` for a boot.
    pub(crate) strategy: Option<Strategy>,
    /// What the agent is asked for.
    pub(crate) tier: Option<Tier>,
    /// The map, for [`Tier::Hinted`].
    pub(crate) dirty: Option<Vec<Extent>>,
    /// The golden disk that a root is received from, in place of the packed image.
    pub(crate) golden: Option<PathBuf>,
    /// Bytes on the host of an overlay that was discarded: all that was written to the system disk since it was made.
    pub(crate) discarded: Option<u64>,
}

/// The disk that the image goes to.
pub(crate) fn system_disk(record: &MachineRecord) -> Result<&DiskRecord, OperationError> {
    record.disks.iter().find(|disk| disk.boot).ok_or_else(|| OperationError::failed("the machine has no system disk"))
}

impl SystemDiskPreparation<'_> {
    /// Chooses for a reimage and makes what it needs. `since`: the image that the disk was equal to when the last reimage
    /// was accepted.
    pub(crate) fn reimage(
        &self,
        record: &mut MachineRecord,
        described: &Described,
        options: ReimageOptions,
        since: Option<Digest>,
    ) -> Result<PreparedDisk, OperationError> {
        let discarded = match record.system.backing {
            DiskBacking::Overlay { .. } => Some(self.store.machine(&record.name).taken(system_disk(record)?)?),
            DiskBacking::Raw | DiskBacking::Mapped => None,
        };
        if let Some(bytes) = discarded {
            self.teller.notice(Notice::DiscardedOverlay(bytes));
        }
        Ok(PreparedDisk { discarded, ..self.made(record, described, options, since)? })
    }

    fn made(
        &self,
        record: &mut MachineRecord,
        described: &Described,
        options: ReimageOptions,
        since: Option<Digest>,
    ) -> Result<PreparedDisk, OperationError> {
        let disk = system_disk(record)?.clone();
        check(&described.config, record.image.url.is_some(), options)?;
        if disk.file.is_none() {
            return self.elsewhere(described, options);
        }
        if root_pool(&described.config).is_some() {
            return self.pool(record, &disk, options);
        }
        let since = if self.make_room(record, &disk)? { None } else { since };
        let mut reasons = Vec::new();
        if options.strategy.is_none_or(|asked| asked == Strategy::Overlay) {
            match self.overlay(record, &disk, options) {
                Ok(Ok(prepared)) => return Ok(prepared),
                Ok(Err(why)) => reasons.push(format!("not overlay: {why}")),
                Err(failure) if options.strategy.is_some() => return Err(failure),
                Err(failure) => reasons.push(format!("not overlay: {}", failure.line())),
            }
        }
        if options.strategy.is_none_or(|asked| asked == Strategy::Hinted) {
            match self.hint(record, &disk, options, since) {
                Ok(dirty) => return self.in_place(record, &disk, Strategy::Hinted, options, Some(dirty), &reasons),
                Err(why) => reasons.push(format!("not hinted: {why}")),
            }
        }
        self.in_place(record, &disk, Strategy::Rewrite, options, None, &reasons)
    }

    /// A disk that only the agent reaches: it is compared, and rewritten where it differs.
    fn elsewhere(&self, described: &Described, options: ReimageOptions) -> Result<PreparedDisk, OperationError> {
        can_be_elsewhere(&described.config, options)?;
        let reasons = vec![ELSEWHERE.to_owned()];
        self.teller.notice(Notice::Strategy { strategy: Strategy::Rewrite, reasons });
        let (strategy, tier) = (Some(Strategy::Rewrite), options.tier);
        Ok(PreparedDisk { device: None, strategy, tier, dirty: None, golden: None, discarded: None })
    }

    /// Discards the old system disk first when what becomes of it finds no room beside it; says whether it did. Its map is
    /// gone then, too.
    fn make_room(&self, record: &mut MachineRecord, disk: &DiskRecord) -> Result<bool, OperationError> {
        let folder = self.store.machine(&record.name);
        let (free, taken) = (self.store.free()?, folder.taken(disk)?);
        if !room::discards_first(free, taken, self.manifest.data_bytes(), folder.growth_of(record, disk)?) {
            return Ok(false);
        }
        self.teller.notice(Notice::DiscardedFirst(free));
        record.system.backing = DiskBacking::Raw;
        self.store.write(self.lock, record)?;
        folder.discard(self.lock, disk)?;
        Ok(true)
    }

    /// A fresh overlay on the golden disk. The inner error says why `auto` takes something else; who asked for an overlay
    /// never gets it.
    fn overlay(
        &self,
        record: &mut MachineRecord,
        disk: &DiskRecord,
        options: ReimageOptions,
    ) -> Result<Result<PreparedDisk, &'static str>, OperationError> {
        let digest = self.manifest.digest();
        let Some(storage) = self.storage else { return Ok(Err(NO_STORAGE)) };
        let golden = self.store.golden(&digest, disk.size);
        if options.strategy.is_none() && !golden.exists()? {
            return Ok(Err("there is no golden disk of this image and size; `--strategy overlay` makes one"));
        }
        let checked = self.golden(disk, options)?;
        let folder = self.store.machine(&record.name);
        let overlay = folder.overlay(disk)?;
        // A machine with firmware variables of its own would get the golden ones back here; with a kernel from the host
        // it has none.
        storage.new_overlay(&overlay, &golden.disk(), disk.size)?;
        self.set_backing(record, disk, DiskBacking::Overlay { golden: digest })?;
        let told = format!("a fresh overlay on the golden disk ({})", event::checked(checked));
        self.teller.notice(Notice::Strategy { strategy: Strategy::Overlay, reasons: vec![told] });
        Ok(Ok(PreparedDisk {
            device: Some(system_device(disk, overlay, Backing::Golden(golden.disk()))),
            strategy: Some(Strategy::Overlay),
            tier: Some(Tier::Overlay),
            dirty: None,
            golden: None,
            discarded: None,
        }))
    }

    /// The golden disk of the machine, made or compared where that is needed.
    fn golden(&self, disk: &DiskRecord, options: ReimageOptions) -> Result<Checked, OperationError> {
        self.golden_of(disk.size, options)
    }

    /// The golden disk of the image with `size` bytes, made or compared where that is needed.
    fn golden_of(&self, size: u64, options: ReimageOptions) -> Result<Checked, OperationError> {
        let golden = self.store.golden(&self.manifest.digest(), size);
        let when = if options.verify_golden { Compare::Always } else { Compare::IfChanged };
        // Nothing is told of a disk that needs no work.
        let working = OnceLock::new();
        let tell = |done, total| {
            working.get_or_init(|| self.teller.begin(Task::GoldenDisk)).progress(done, total);
        };
        let packed = self.image.packed();
        golden::ensure(self.store, &golden, size, self.manifest, &packed, when, &tell)
            .map_err(|error| self.golden_failure(error, golden.path()))
    }

    fn golden_failure(&self, error: GoldenError, folder: &std::path::Path) -> OperationError {
        if !matches!(error, GoldenError::Differs { .. }) {
            return OperationError::failed(error);
        }
        let digest = self.manifest.digest();
        let stands = |record: &MachineRecord| record.system.backing == DiskBacking::Overlay { golden: digest };
        let rows = self.store.list().unwrap_or_default();
        let machines: Vec<String> = rows
            .iter()
            .filter_map(|row| row.record.as_ref().ok())
            .filter(|record| stands(record))
            .map(|record| record.name.to_string())
            .collect();
        OperationError::new(ErrorKind::Verification, error)
            .hint(Hint::GoldenDiskUsers { machines, folder: folder.to_owned() })
    }

    /// The raw file with a fresh map, for a rewrite that looks at `dirty` or at everything.
    fn in_place(
        &self,
        record: &mut MachineRecord,
        disk: &DiskRecord,
        strategy: Strategy,
        options: ReimageOptions,
        dirty: Option<Vec<Extent>>,
        reasons: &[String],
    ) -> Result<PreparedDisk, OperationError> {
        let folder = self.store.machine(&record.name);
        let (raw, map) = (folder.make_disk(disk)?, folder.map(disk)?);
        let made = self.storage.map(|storage| storage.new_map(&map, disk.size));
        let backing = match made {
            Some(Ok(())) => DiskBacking::Mapped,
            None => DiskBacking::Raw,
            // The next reimage looks at everything then.
            Some(Err(error)) => {
                self.teller.notice(Notice::NoDirtyMap(causes(&error)));
                DiskBacking::Raw
            }
        };
        self.set_backing(record, disk, backing)?;
        let named = dirty.as_ref().map(|dirty| {
            let bytes: u64 = dirty.iter().map(|extent| extent.length).sum();
            format!("the map names {bytes} of {} bytes in {} extents", disk.size, dirty.len())
        });
        let reasons = named.into_iter().chain(reasons.iter().cloned()).collect();
        self.teller.notice(Notice::Strategy { strategy, reasons });
        let device = raw_device(record, disk, raw, map);
        let tier = if dirty.is_some() { Some(Tier::Hinted) } else { options.tier };
        Ok(PreparedDisk { device: Some(device), strategy: Some(strategy), tier, dirty, golden: None, discarded: None })
    }

    /// Records what the disk is made of now, then removes what it was made of before.
    fn set_backing(
        &self,
        record: &mut MachineRecord,
        disk: &DiskRecord,
        backing: DiskBacking,
    ) -> Result<(), OperationError> {
        if record.system.backing != backing {
            record.system.backing = backing;
            self.store.write(self.lock, record)?;
        }
        Ok(self.store.machine(&record.name).remove_other_backings(self.lock, disk, &record.system.backing)?)
    }

    /// The disk as it is, for a boot: what the machine writes goes where the last process wrote.
    pub(crate) fn boot(&self, record: &mut MachineRecord) -> Result<PreparedDisk, OperationError> {
        let disk = system_disk(record)?.clone();
        let folder = self.store.machine(&record.name);
        let device = match record.system.backing {
            DiskBacking::Overlay { golden } => {
                if golden != self.manifest.digest() {
                    return Err(OperationError::failed(format!(
                        "the system disk stands on {golden}, which is another image"
                    )));
                }
                self.golden(&disk, ReimageOptions::default())?;
                let (overlay, golden) = (folder.overlay(&disk)?, self.store.golden(&golden, disk.size));
                system_device(&disk, overlay, Backing::Golden(golden.disk()))
            }
            DiskBacking::Mapped | DiskBacking::Raw => {
                self.keep_map(record, &disk)?;
                raw_device(record, &disk, folder.make_disk(&disk)?, folder.map(&disk)?)
            }
        };
        Ok(PreparedDisk {
            device: Some(device),
            strategy: None,
            tier: None,
            dirty: None,
            golden: None,
            discarded: None,
        })
    }
}

/// Refuses what needs the disk's file, or a start by the host's own initramfs.
pub(crate) fn can_be_elsewhere(config: &Config, options: ReimageOptions) -> Result<(), OperationError> {
    let refused = |what: &str| {
        let text = format!("{what} is not possible on a machine that this host does not run");
        Err(OperationError::new(ErrorKind::Refused, text))
    };
    if let Some(strategy) = options.strategy.filter(|strategy| *strategy != Strategy::Rewrite) {
        return refused(&format!("strategy {strategy}"));
    }
    if root_pool(config).is_some() {
        return refused("a root on ZFS");
    }
    if let Some((name, _)) = config.resources.disks.iter().find(|(_, disk)| is_encrypted(disk)) {
        return refused(&format!("encryption of disk {name}"));
    }
    if let Some((name, _)) = config.resources.disks.iter().find(|(_, disk)| disk.readonly) {
        return refused(&format!("disk {name}, whose content would come from a file of this host,"));
    }
    Ok(())
}

/// Why a machine that this host does not run has neither overlay nor map.
const ELSEWHERE: &str = "the disk is not on this host";
/// Why a driver without storage of its own has neither overlay nor map.
const NO_STORAGE: &str = "the driver has neither overlays nor dirty maps";
