//! `reimage`: the machine becomes what it was described to be, and the host holds the evidence.

use std::time::{Duration, Instant};

use cloud_machine_protocol::{
    Action, Assurance, ChangedExtents, IgnoredVolume, ImageUrl, MachineName, RescueHostKey, StepRecord, Tier,
};
use cloud_machine_store::{ImageName, ImageRecord, MachineLock, MachineRecord, MachineState, Store, Strategy};
use serde::Serialize;

use crate::{
    Operations,
    admission::{self, Exceptions},
    attempt::{Attempt, Completed},
    clock::PhaseTime,
    described::Described,
    error::{ErrorKind, OperationError},
    event::Operation,
    evidence::gaps_of,
    hint::Hint,
    network, rebuild,
    rebuilt::NOT_RECORDED,
    request::is_made,
    system_disk::{self, ReimageOptions},
};

/// What a reimage is asked for.
#[derive(Clone, Debug)]
pub struct Reimage {
    /// Another image than the machine has.
    pub image: Option<ImageName>,
    /// The address that the machine fetches its image from.
    pub image_url: Option<ImageUrl>,
    /// What an operator sets aside of the rules on images.
    pub exceptions: Exceptions,
    /// How it may be made short.
    pub options: ReimageOptions,
    /// Less than this is a failure.
    pub required: Assurance,
    /// Try again although the machine is quarantined.
    pub release: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// The result of `create`, `start` and `reimage`.
#[derive(Serialize)]
pub struct Reimaged {
    /// State of the machine.
    pub state: MachineState,
    /// Port of this host on which its SSH answers.
    pub ssh_port: Option<u16>,
    /// Its image.
    pub image: ImageRecord,
    /// How far the last accepted report can be trusted.
    pub assurance: Option<Assurance>,
    /// What that does not cover.
    pub does_not_cover: Option<String>,
    /// What was known of the host key of the rescue system that it was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue_host_key: Option<RescueHostKey>,
    /// How the system disk became the image again.
    pub strategy: Option<Strategy>,
    /// What the machine read before it wrote.
    pub tier: Option<Tier>,
    /// Id of the request.
    pub request: Option<String>,
    /// Path of the evidence.
    pub report: Option<String>,
    /// What was checked, one sentence each.
    pub checked: Vec<String>,
    /// How long each phase took.
    pub phases: Vec<PhaseTime>,
    /// What the agent did.
    pub steps: Vec<StepRecord>,
    /// What had changed on the disks before.
    pub changed: Vec<ChangedExtents>,
    /// Why `changed` says nothing, when it does not.
    pub not_recorded: Option<&'static str>,
    /// Bytes on the host of an overlay that was discarded: all that was written to the system disk since it was made.
    pub discarded_overlay_bytes: Option<u64>,
    /// Volumes that did not count, and why.
    pub ignored_volumes: Vec<IgnoredVolume>,
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
            ssh_port: Some(record.ssh_port).filter(|port| *port != 0),
            image: record.image.clone(),
            assurance: record.standing_assurance(),
            does_not_cover: record.standing_assurance().map(|level| gaps_of(record, level)),
            rescue_host_key: last.and_then(|last| last.rescue_host_key),
            strategy: last.map(|last| last.strategy),
            tier: last.and_then(|last| last.tier),
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
            does_not_cover: record.assurance.map(|level| gaps_of(record, level)),
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

impl Operations<'_> {
    /// Makes the machine `name` what it was described to be.
    ///
    /// # Errors
    /// Of any kind: [`ErrorKind::Refused`] before anything was touched, [`ErrorKind::Verification`] for a report that is not
    /// believed.
    pub fn reimage(&self, name: &MachineName, reimage: &Reimage) -> Result<Reimaged, OperationError> {
        self.under_lock(name, Operation::Reimage, |lock| self.reimage_locked(lock, reimage))
    }

    fn reimage_locked(&self, lock: &MachineLock, reimage: &Reimage) -> Result<Reimaged, OperationError> {
        let name = lock.name();
        let (store, teller) = (self.store, self.teller(name, Operation::Reimage));
        let mut record = store.read(name)?;
        is_made(&record)?;
        release(&mut record, reimage.release)?;
        let described = Described::of(&record)?;
        let exceptions = reimage.exceptions;
        if let Some(image) = &reimage.image {
            let admitted = admission::admit(teller, store, image, &described, exceptions)?;
            fits(&record, admitted.manifest.size())?;
            record.image = ImageRecord { url: None, ..admitted.record };
        } else if exceptions != Exceptions::default() {
            // The image that the machine has, judged again; that it is still this one is checked with every attempt.
            let admitted = admission::admit(teller, store, &record.image.name, &described, exceptions)?;
            if admitted.record.digest == record.image.digest {
                record.image = ImageRecord { url: record.image.url.take(), ..admitted.record };
            }
        }
        if let Some(url) = &reimage.image_url {
            record.image.url = Some(url.clone());
        }
        let driver = self.driver_of(&record)?;
        let (options, required, until) = (reimage.options, reimage.required, Instant::now() + reimage.timeout);
        let rebuild = rebuild::Asked { driver, store, options, required, until }.choose(&record)?;
        network::can_fetch(&described.config, &record.connection, record.image.url.as_ref())?;
        system_disk::check(&described.config, record.image.url.is_some(), reimage.options)?;
        let attempt =
            Attempt { driver, store, lock, teller, deadline: until, required, options, described: &described };
        if let Some(chosen) = rebuild {
            let phases = attempt.rebuild(&mut record, &chosen)?;
            let not_recorded = Some(NOT_RECORDED);
            return Ok(Reimaged { phases, not_recorded, ..Reimaged::unchanged(store, &record) });
        }
        let completed = attempt.run(&mut record, Action::Reimage)?;
        Ok(Reimaged::new(store, &record, &completed))
    }
}

/// A quarantined machine tries again only when an operator says so.
fn release(record: &mut MachineRecord, released: bool) -> Result<(), OperationError> {
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
pub(crate) fn quarantined(record: &MachineRecord) -> OperationError {
    let name = &record.name;
    OperationError::failed(format!("machine {name} is quarantined: its reimage failed too often"))
        .hint(Hint::Quarantined { machine: name.clone(), failures: None })
}

fn fits(record: &MachineRecord, image: u64) -> Result<(), OperationError> {
    match record.disks.iter().find(|disk| disk.boot) {
        Some(disk) if disk.size < image => {
            let text = format!("disk {} has {} bytes, the image needs {image}", disk.name, disk.size);
            Err(OperationError::new(ErrorKind::Refused, text))
        }
        _ => Ok(()),
    }
}
