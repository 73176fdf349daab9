//! Executing one step: no choice is left here, only the effect and its record. Trust is a value: only a verified
//! image lets the root of a reimaged disk be mounted.

use std::time::Instant;

use cloud_machine_disk::{Access, Disk};
use cloud_machine_image::{CompareMode, Options, ReadBlocks, Rewritten, VerifiedImage, WriteBlocks, rewrite};
use cloud_machine_plan::PlannedStep;
use cloud_machine_protocol::{Action, ChangedExtents, DiskEvidence, HostKeySeed, Step, StepId, StepRecord, Tier};
use cloud_machine_system::{mounts, partition_node, reread_partitions, root, root_pool};

use crate::{
    cost::Cost,
    disk_steps::Machine,
    error::AgentError,
    host::Host,
    identity,
    layers::Layers,
    modules::Modules,
    network_session::Over,
    pass::{Progress, THREADS, node},
    recovery::Recovery,
    report::ReportBuilder,
    root_pool::{Partition, RootPool},
    source::with_packed,
    volume::Documents,
};

/// Executes the steps of one plan in order.
pub(crate) struct Executor<'a> {
    documents: &'a Documents,
    layers: &'a Layers,
    /// What an image at an address is read over.
    over: Over<'a>,
    host_key: Option<HostKeySeed>,
    machine: Machine,
    verified: Option<VerifiedImage>,
    root_pool: RootPool,
    /// What the machine was started from, where that is its own disk.
    recovery: Option<&'a Recovery>,
}

/// A disk that becomes the image.
struct Rewriting<'a> {
    device: &'a str,
    /// The tier that the step asks for.
    asked: Option<Tier>,
    id: &'a StepId,
}

impl Rewriting<'_> {
    /// What was done, in the words of the step.
    fn tier(&self, done: &Rewritten) -> Result<Tier, AgentError> {
        if self.asked != Some(Tier::Overlay) {
            return Ok(done.tier);
        }
        // Also when a full scan has put it right: the golden disk below is wrong, and other machines stand on it.
        match &done.changed {
            Some(changed) if changed.bytes > 0 => {
                Err(AgentError::OverlayDiffers { device: self.device.to_owned(), bytes: changed.bytes })
            }
            _ => Ok(Tier::Overlay),
        }
    }
}

impl<'a> Executor<'a> {
    /// `host_key`: that of a machine which keeps one.
    pub(crate) fn new(
        modules: Modules,
        documents: &'a Documents,
        layers: &'a Layers,
        over: Over<'a>,
        host_key: Option<HostKeySeed>,
        recovery: Option<&'a Recovery>,
    ) -> Self {
        let machine = Machine { modules, hostid: Some(documents.identity.machine_id.hostid()) };
        Self { documents, layers, over, host_key, machine, verified: None, root_pool: RootPool::default(), recovery }
    }

    /// Executes `planned` and records what it cost.
    pub(crate) fn execute(
        &mut self,
        planned: &PlannedStep,
        host: &mut Host,
        report: &mut ReportBuilder,
    ) -> Result<StepRecord, AgentError> {
        let began = Instant::now();
        let cost = match &planned.step {
            Step::Reimage { device, source, tier, .. } => {
                let what = Rewriting { device, asked: *tier, id: &planned.id };
                self.reimage(&what, source, host, report)?
            }
            Step::MountRoot { device, partition, offset, length, filesystem } => {
                self.mount_root(device, *partition, *offset, *length, filesystem)?
            }
            Step::CheckImage { device, .. } => {
                let progress = Progress::new(host, &planned.id, "read the image");
                self.root_pool.check_image(self.documents, device, report, &progress)?
            }
            Step::ReceiveRoot { device, partition, offset, length, filesystem, dataset } => {
                let progress = Progress::new(host, &planned.id, "receive the image's files");
                let (number, offset, length) = (*partition, *offset, *length);
                self.root_pool.receive(&Partition { device, number, offset, length, filesystem }, dataset, &progress)?
            }
            Step::CloneRoot { received, dataset, properties, tier } => {
                let progress = Progress::new(host, &planned.id, "compare every file");
                self.root_pool.clone(received, dataset, properties, *tier, report, &progress)?
            }
            Step::MountDataset { pool, dataset } => self.root_pool.mount(pool, dataset.as_deref())?,
            Step::CommitRoot { received, dataset, .. } => {
                root_pool::commit(received, dataset)?;
                Cost { changed: true, ..Cost::default() }
            }
            Step::WriteIdentity { .. } => {
                let (identity, request) = (&self.documents.identity, &self.documents.request);
                let kept = self.host_key.as_ref();
                report.identity(identity::write(root::new_root(), identity, request, self.layers, kept)?);
                root::flush()?;
                Cost { changed: true, ..Cost::default() }
            }
            // The other steps are of other disks, wherever the agent runs.
            _ => self.machine.execute(planned, host, report)?.unwrap_or_default(),
        };
        Ok(cost.record(planned, began.elapsed()))
    }

    fn reimage(
        &mut self,
        what: &Rewriting<'_>,
        source: &str,
        host: &mut Host,
        report: &mut ReportBuilder,
    ) -> Result<Cost, AgentError> {
        let request = &self.documents.request;
        let (cost, image) =
            with_packed(&request.image.source, source, self.over, host, report, |packed, host, report| {
                self.rewrite(what, packed, host, report)
            })?;
        self.verified = Some(image);
        Ok(cost)
    }

    /// Makes the disk equal to the image, whose frames come from `packed`.
    fn rewrite(
        &self,
        what: &Rewriting<'_>,
        packed: &dyn ReadBlocks,
        host: &mut Host,
        report: &mut ReportBuilder,
    ) -> Result<(Cost, VerifiedImage), AgentError> {
        let device = what.device;
        let target = Disk::open(&node(device), Access::Write)?;
        let progress = Progress::new(host, what.id, "compare and rewrite");
        let options = Options { threads: THREADS, compare_mode: self.compare_mode(what.asked) };
        let rewritten = |target: &dyn WriteBlocks| {
            let tell = |done, total| progress.tell(done, total);
            let done = rewrite(&self.documents.manifest, packed, target, options, &tell);
            done.map_err(|source| AgentError::Reimage { device: device.to_owned(), source })
        };
        let done = match self.recovery.filter(|recovery| recovery.device() == device) {
            Some(recovery) => recovery.rewrite(&target, rewritten)?,
            None => rewritten(&target)?,
        };
        let tier = what.tier(&done)?;
        target.check_size()?;
        // The kernel reads a table again only when nobody holds the disk.
        drop(target);
        reread_partitions(device)?;
        let cost = record_rewritten(device, tier, &done, report);
        Ok((cost, done.image))
    }

    /// How a disk is made equal to the image by the tier that the step asks for.
    fn compare_mode(&self, asked: Option<Tier>) -> CompareMode<'_> {
        let seed = self.documents.request.nonce.seed();
        match asked {
            // The last two are not of a disk that becomes the image.
            None | Some(Tier::Clone | Tier::Receive) => CompareMode::Auto,
            Some(Tier::Scan) => CompareMode::Scan,
            Some(Tier::Stream) => CompareMode::Stream,
            Some(Tier::Hinted) => CompareMode::Hinted { dirty: &self.documents.dirty, seed },
            // Nothing may differ there; a sample still looks whether that is so.
            Some(Tier::Overlay) => CompareMode::Hinted { dirty: &[], seed },
        }
    }

    fn mount_root(
        &mut self,
        device: &str,
        partition: u32,
        offset: u64,
        length: u64,
        filesystem: &str,
    ) -> Result<Cost, AgentError> {
        if self.documents.request.action == Action::Reimage && self.verified.take().is_none() {
            return Err(AgentError::NotVerified);
        }
        let node = partition_node(device, partition, offset, length)?;
        mounts::mount_root(&node.name, filesystem)?;
        Ok(Cost { changed: true, ..Cost::default() })
    }
}

fn record_rewritten(device: &str, tier: Tier, done: &Rewritten, report: &mut ReportBuilder) -> Cost {
    report.disk(DiskEvidence {
        device: device.to_owned(),
        disk_size: done.image.disk_size(),
        tier: Some(tier),
        read_bytes: done.image.read_bytes(),
        image_root: done.image.root(),
        table: done.image.table(),
        image_size: done.image.image_size(),
        zero_bytes: done.image.zero_bytes(),
        ranges: Vec::new(),
    });
    if let Some(changed) = &done.changed {
        report.changed(ChangedExtents {
            device: device.to_owned(),
            count: changed.count,
            bytes: changed.bytes,
            digest: changed.digest,
            extents: changed.extents.clone(),
        });
    }
    Cost {
        changed: done.written_bytes + done.zeroed_bytes > 0,
        compared: done.compared_bytes,
        written: done.written_bytes,
        zeroed: done.zeroed_bytes,
        read_back: done.read_back_bytes,
    }
}
