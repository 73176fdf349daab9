//! `reimage`: the machine becomes what it was described to be, and the host holds the evidence.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_driver::store::{ImageRecord, MachineRecord, MachineState, Store, Strategy};
use cloud_machine_protocol::{Action, Assurance, ChangedExtents, IgnoredVolume, MachineName, StepRecord, Tier};
use serde::Serialize;

use crate::{
    admission,
    arguments::{Exceptions, Reimage},
    attempt::{Attempt, Completed, Phase},
    evidence::gaps_of,
    failure::{Failure, Kind},
    launch,
    several::{self, Line},
    source,
    strategy::{self, Wish},
    ui::Ui,
};

/// The result of `create`, `start` and `reimage`.
#[derive(Serialize)]
pub(crate) struct Reimaged {
    pub(crate) state: MachineState,
    pub(crate) ssh_port: u16,
    pub(crate) image: ImageRecord,
    pub(crate) assurance: Option<Assurance>,
    pub(crate) does_not_cover: Option<String>,
    pub(crate) strategy: Option<Strategy>,
    pub(crate) tier: Option<Tier>,
    pub(crate) request: Option<String>,
    pub(crate) report: Option<String>,
    pub(crate) checked: Vec<String>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) changed: Vec<ChangedExtents>,
    /// Why `changed` says nothing, when it does not.
    pub(crate) not_recorded: Option<&'static str>,
    /// Bytes on the host of an overlay that was discarded: all that was written to the system disk since it was made.
    pub(crate) discarded_overlay_bytes: Option<u64>,
    pub(crate) ignored_volumes: Vec<IgnoredVolume>,
}

impl Reimaged {
    /// Of a machine on which nothing was done.
    pub(crate) fn unchanged(store: &Store, record: &MachineRecord) -> Self {
        let last = record.system.last;
        let report = record
            .last_report
            .as_ref()
            .map(|relative| store.machine(&record.name).path().join(relative).display().to_string());
        Self {
            state: record.state,
            ssh_port: record.ssh_port,
            image: record.image.clone(),
            assurance: record.standing_assurance(),
            does_not_cover: record.standing_assurance().map(|level| gaps_of(record, level, &record.not_covered)),
            strategy: last.map(|last| last.strategy),
            tier: last.map(|last| last.tier),
            request: record.request.as_ref().map(|request| request.id.clone()),
            report,
            checked: Vec::new(),
            phases: Vec::new(),
            steps: Vec::new(),
            changed: Vec::new(),
            not_recorded: None,
            discarded_overlay_bytes: None,
            ignored_volumes: Vec::new(),
        }
    }

    /// Of a completed attempt.
    pub(crate) fn new(store: &Store, record: &MachineRecord, completed: &Completed) -> Self {
        Self {
            does_not_cover: record.assurance.map(|level| gaps_of(record, level, &completed.verdict.not_covered)),
            checked: completed.verdict.checked.clone(),
            phases: completed.phases.clone(),
            steps: completed.report.steps.clone(),
            changed: completed.report.changed.clone(),
            not_recorded: completed.verdict.not_recorded,
            discarded_overlay_bytes: completed.discarded,
            ignored_volumes: completed.report.ignored_volumes.clone(),
            ..Self::unchanged(store, record)
        }
    }
}

impl Line for Reimaged {
    fn cells(&self) -> Vec<String> {
        let assurance = match (self.assurance, &self.does_not_cover) {
            (Some(level), Some(gap)) => format!("{level} (does not cover: {gap})"),
            _ => String::new(),
        };
        let way = match (self.strategy, self.tier) {
            (Some(strategy), Some(tier)) => format!("strategy {strategy}, tier {tier}"),
            _ => String::new(),
        };
        vec![self.state.to_string(), way, assurance, format!("signature: {}", self.image.signature)]
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, reimage: &Reimage) -> Result<ExitCode, Failure> {
    let wish = reimage.short_cut.wish()?;
    if wish.strategy == Some(Strategy::Clone) && reimage.require_assurance > Assurance::Unproven {
        let text = format!("a clone is unproven, and {} is required", reimage.require_assurance);
        return Err(Failure::new(Kind::Usage, text).hint("write --require-assurance unproven, or --strategy rewrite"));
    }
    several::each(ui, &reimage.machines.names, |name| one(ui, store, name, reimage, wish))
}

fn one(ui: &Ui, store: &Store, name: &MachineName, reimage: &Reimage, wish: Wish) -> Result<Reimaged, Failure> {
    let lock = store.lock(name)?;
    let mut record = store.read(name)?;
    release(&mut record, reimage.release)?;
    let keys = launch::config(&record)?.image_keys;
    if let Some(image) = &reimage.image {
        let image = image.parse().map_err(Failure::failed)?;
        let admitted = admission::admit(ui, store, &image, &keys, reimage.exceptions)?;
        fits(&record, admitted.manifest.size())?;
        record.image = ImageRecord { url: None, ..admitted.record };
    } else if reimage.exceptions != Exceptions::default() {
        // The image that the machine has, judged again; that it is still this one is checked with every attempt.
        let admitted = admission::admit(ui, store, &record.image.name, &keys, reimage.exceptions)?;
        if admitted.record.digest == record.image.digest {
            record.image = ImageRecord { url: record.image.url.take(), ..admitted.record };
        }
    }
    if let Some(url) = source::address(&reimage.address)? {
        record.image.url = Some(url);
    }
    strategy::check(&launch::config(&record)?, record.image.url.is_some(), wish)?;
    let deadline = Instant::now() + Duration::from_secs(reimage.time.timeout);
    let attempt = Attempt { store, lock: &lock, ui, deadline, required: reimage.require_assurance, wish };
    let completed = attempt.run(&mut record, Action::Reimage)?;
    Ok(Reimaged::new(store, &record, &completed))
}

/// A quarantined machine tries again only when an operator says so.
fn release(record: &mut MachineRecord, released: bool) -> Result<(), Failure> {
    if record.state != MachineState::Quarantined {
        return Ok(());
    }
    if !released {
        return Err(quarantined(record));
    }
    record.request = None;
    record.state = MachineState::Failed;
    Ok(())
}

/// Why a quarantined machine does not start.
pub(crate) fn quarantined(record: &MachineRecord) -> Failure {
    let name = &record.name;
    Failure::failed(format!("machine {name} is quarantined: its reimage failed too often"))
        .hint(format!("`cloud-machine console {name}` shows why; `cloud-machine reimage {name} --release` tries again"))
}

fn fits(record: &MachineRecord, image: u64) -> Result<(), Failure> {
    match record.disks.iter().find(|disk| disk.boot) {
        Some(disk) if disk.size < image => {
            let text = format!("disk {} has {} bytes, the image needs {image}", disk.name, disk.size);
            Err(Failure::new(Kind::Refused, text))
        }
        _ => Ok(()),
    }
}
