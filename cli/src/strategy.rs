//! Which short cut a reimage takes on the host, and what the machine gets for a system disk then. Owns the choice and its
//! reasons; files and block nodes are the driver's, and what is proved is judged elsewhere.

mod hint;
mod pool;

use std::{path::PathBuf, sync::Mutex};

use cloud_machine_driver::{
    golden::{self, Checked, Compare, GoldenError},
    qemu::{Drive, disk},
    store::{DiskForm, DiskRecord, ImageFolder, MachineLock, MachineRecord, Store, Strategy},
};
use cloud_machine_image::Manifest;
use cloud_machine_protocol::{Digest, Extent, Tier};

use crate::{
    failure::{Failure, Kind},
    launch, space,
    ui::Ui,
};

pub(crate) use hint::outlook;
pub(crate) use pool::{check, root_pool};

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// `None`: the cheapest that is possible now.
    pub(crate) strategy: Option<Strategy>,
    /// What the agent does for [`Strategy::Rewrite`]; `None`: it chooses.
    pub(crate) tier: Option<Tier>,
    /// Compare the golden disk even when its file has not changed.
    pub(crate) verify_golden: bool,
}

/// What a choice is made from and acts on. The old process is gone.
pub(crate) struct Ground<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lock: &'a MachineLock,
    pub(crate) ui: &'a Ui,
    pub(crate) image: &'a ImageFolder,
    pub(crate) manifest: &'a Manifest,
}

/// A system disk that is ready for the next process.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) drive: Drive,
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
pub(crate) fn system_disk(record: &MachineRecord) -> Result<&DiskRecord, Failure> {
    record.disks.iter().find(|disk| disk.boot).ok_or_else(|| Failure::failed("the machine has no system disk"))
}

impl Ground<'_> {
    /// Chooses for a reimage and makes what it needs. `since`: the image that the disk was equal to when the last reimage
    /// was accepted.
    pub(crate) fn reimage(
        &self,
        record: &mut MachineRecord,
        wish: Wish,
        since: Option<Digest>,
    ) -> Result<Prepared, Failure> {
        let discarded = match record.system.form {
            DiskForm::Overlay { .. } => Some(self.store.machine(&record.name).taken(system_disk(record)?)?),
            DiskForm::Raw | DiskForm::Mapped => None,
        };
        if let Some(bytes) = discarded {
            self.ui.note(&format!("the overlay that is discarded holds {}", space::shown(bytes)));
        }
        Ok(Prepared { discarded, ..self.made(record, wish, since)? })
    }

    fn made(&self, record: &mut MachineRecord, wish: Wish, since: Option<Digest>) -> Result<Prepared, Failure> {
        let disk = system_disk(record)?.clone();
        let config = launch::config(record)?;
        check(&config, record.image.url.is_some(), wish)?;
        if root_pool(&config).is_some() {
            return self.pool(record, &disk, wish);
        }
        let since = if self.make_room(record, &disk)? { None } else { since };
        let mut reasons = Vec::new();
        if wish.strategy.is_none_or(|wished| wished == Strategy::Overlay) {
            match self.overlay(record, &disk, wish) {
                Ok(Ok(prepared)) => return Ok(prepared),
                Ok(Err(why)) => reasons.push(format!("not overlay: {why}")),
                Err(failure) if wish.strategy.is_some() => return Err(failure),
                Err(failure) => reasons.push(format!("not overlay: {}", failure.causes().join(": "))),
            }
        }
        if wish.strategy.is_none_or(|wished| wished == Strategy::Hinted) {
            match self.hint(record, &disk, wish, since) {
                Ok(dirty) => return self.in_place(record, &disk, Strategy::Hinted, wish, Some(dirty), &reasons),
                Err(why) => reasons.push(format!("not hinted: {why}")),
            }
        }
        self.in_place(record, &disk, Strategy::Rewrite, wish, None, &reasons)
    }

    /// Discards the old system disk first when what becomes of it finds no room beside it; says whether it did. Its map is
    /// gone then, too.
    fn make_room(&self, record: &mut MachineRecord, disk: &DiskRecord) -> Result<bool, Failure> {
        let folder = self.store.machine(&record.name);
        let (free, taken) = (self.store.free()?, folder.taken(disk)?);
        if !space::discards_first(free, taken, self.manifest.data_bytes(), folder.growth_of(record, disk)?) {
            return Ok(false);
        }
        self.ui.note(&format!("{} are free: the old system disk is discarded first", space::shown(free)));
        record.system.form = DiskForm::Raw;
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
        wish: Wish,
    ) -> Result<Result<Prepared, &'static str>, Failure> {
        let digest = self.manifest.digest();
        let golden = self.store.golden(&digest, disk.size);
        if wish.strategy.is_none() && !golden.exists()? {
            return Ok(Err("there is no golden disk of this image and size; `--strategy overlay` makes one"));
        }
        let checked = self.golden(disk, wish)?;
        let folder = self.store.machine(&record.name);
        let overlay = folder.overlay(disk)?;
        // A machine with firmware variables of its own would get the golden ones back here; with a kernel from the host
        // it has none.
        disk::new_overlay(&overlay, &golden.disk(), disk.size).map_err(tools)?;
        self.take_form(record, disk, DiskForm::Overlay { golden: digest })?;
        self.ui.note(&format!("strategy overlay: a fresh overlay on the golden disk ({})", told(checked)));
        Ok(Ok(Prepared {
            drive: node(overlay.clone(), disk, disk::overlay_node(&overlay, &golden.disk()))?,
            strategy: Some(Strategy::Overlay),
            tier: Some(Tier::Overlay),
            dirty: None,
            golden: None,
            discarded: None,
        }))
    }

    /// The golden disk of the machine, made or compared where that is needed.
    fn golden(&self, disk: &DiskRecord, wish: Wish) -> Result<Checked, Failure> {
        self.golden_of(disk.size, wish)
    }

    /// The golden disk of the image with `size` bytes, made or compared where that is needed.
    fn golden_of(&self, size: u64, wish: Wish) -> Result<Checked, Failure> {
        let golden = self.store.golden(&self.manifest.digest(), size);
        let when = if wish.verify_golden { Compare::Always } else { Compare::IfChanged };
        // Nothing is shown for a disk that needs no work.
        let bar = Mutex::new(None);
        let tell = |done, total| {
            if let Ok(mut bar) = bar.try_lock() {
                bar.get_or_insert_with(|| self.ui.progress("golden disk")).set(done, total);
            }
        };
        let packed = self.image.packed();
        golden::ensure(self.store, &golden, size, self.manifest, &packed, when, &tell)
            .map_err(|error| self.golden_failure(error, golden.path()))
    }

    fn golden_failure(&self, error: GoldenError, folder: &std::path::Path) -> Failure {
        if !matches!(error, GoldenError::Differs { .. }) {
            return Failure::failed(error);
        }
        let digest = self.manifest.digest();
        let stands = |record: &MachineRecord| record.system.form == DiskForm::Overlay { golden: digest };
        let rows = self.store.list().unwrap_or_default();
        let machines: Vec<String> = rows
            .iter()
            .filter_map(|row| row.record.as_ref().ok())
            .filter(|record| stands(record))
            .map(|record| record.name.to_string())
            .collect();
        let machines = if machines.is_empty() { "none".to_owned() } else { machines.join(", ") };
        Failure::new(Kind::Verification, error).hint(format!(
            "machines that stand on it: {machines}; without {} it is made anew, and `--strategy rewrite` needs none",
            folder.display()
        ))
    }

    /// The raw file with a fresh map, for a rewrite that looks at `dirty` or at everything.
    fn in_place(
        &self,
        record: &mut MachineRecord,
        disk: &DiskRecord,
        strategy: Strategy,
        wish: Wish,
        dirty: Option<Vec<Extent>>,
        reasons: &[String],
    ) -> Result<Prepared, Failure> {
        let folder = self.store.machine(&record.name);
        let (raw, map) = (folder.make_disk(disk)?, folder.map(disk)?);
        let form = match disk::new_map(&map, disk.size) {
            Ok(()) => DiskForm::Mapped,
            // The next reimage looks at everything then.
            Err(error) => {
                self.ui.note(&format!("no dirty map is kept: {}", tools(error).causes().join(": ")));
                DiskForm::Raw
            }
        };
        self.take_form(record, disk, form)?;
        let mut told = vec![match &dirty {
            Some(dirty) => {
                let bytes: u64 = dirty.iter().map(|extent| extent.length).sum();
                format!("strategy hinted: the map names {bytes} of {} bytes in {} extents", disk.size, dirty.len())
            }
            None => "strategy rewrite".to_owned(),
        }];
        told.extend_from_slice(reasons);
        self.ui.note(&told.join("; "));
        let drive = self.raw_drive(record, disk, raw, map)?;
        let tier = if dirty.is_some() { Some(Tier::Hinted) } else { wish.tier };
        Ok(Prepared { drive, strategy: Some(strategy), tier, dirty, golden: None, discarded: None })
    }

    fn raw_drive(
        &self,
        record: &MachineRecord,
        disk: &DiskRecord,
        raw: PathBuf,
        map: PathBuf,
    ) -> Result<Drive, Failure> {
        match record.system.form {
            DiskForm::Mapped => node(raw.clone(), disk, disk::mapped_node(&map, &raw)),
            _ => Ok(Drive { bus: disk.bus, file: raw, serial: disk.serial.clone(), read_only: false, node: None }),
        }
    }

    /// Records what the disk is made of now, then removes what it was made of before.
    fn take_form(&self, record: &mut MachineRecord, disk: &DiskRecord, form: DiskForm) -> Result<(), Failure> {
        if record.system.form != form {
            record.system.form = form;
            self.store.write(self.lock, record)?;
        }
        Ok(self.store.machine(&record.name).remove_other_forms(self.lock, disk, &record.system.form)?)
    }

    /// The disk as it is, for a boot: what the machine writes goes where the last process wrote.
    pub(crate) fn boot(&self, record: &mut MachineRecord) -> Result<Prepared, Failure> {
        let disk = system_disk(record)?.clone();
        let folder = self.store.machine(&record.name);
        let drive = match record.system.form {
            DiskForm::Overlay { golden } => {
                if golden != self.manifest.digest() {
                    return Err(Failure::failed(format!("the system disk stands on {golden}, which is another image")));
                }
                self.golden(&disk, Wish::default())?;
                let (overlay, golden) = (folder.overlay(&disk)?, self.store.golden(&golden, disk.size));
                node(overlay.clone(), &disk, disk::overlay_node(&overlay, &golden.disk()))?
            }
            DiskForm::Mapped | DiskForm::Raw => {
                self.keep_map(record, &disk)?;
                self.raw_drive(record, &disk, folder.make_disk(&disk)?, folder.map(&disk)?)?
            }
        };
        Ok(Prepared { drive, strategy: None, tier: None, dirty: None, golden: None, discarded: None })
    }
}

fn node(
    file: PathBuf,
    disk: &DiskRecord,
    node: Result<String, cloud_machine_driver::qemu::QemuError>,
) -> Result<Drive, Failure> {
    let node = Some(node.map_err(Failure::failed)?);
    Ok(Drive { bus: disk.bus, file, serial: disk.serial.clone(), read_only: false, node })
}

/// How it is known that the golden disk is right.
fn told(checked: Checked) -> &'static str {
    match checked {
        Checked::Made => "made, written and read back now",
        Checked::Compared => "all of it compared now",
        Checked::Unchanged => "its file is as it was when all of it was right",
    }
}

/// A failure of QEMU's disk tools.
fn tools(error: cloud_machine_driver::qemu::QemuError) -> Failure {
    Failure::failed(error).hint("`apt-get install qemu-utils` brings qemu-img and qemu-nbd; see `cloud-machine doctor`")
}
