//! The report as it grows. Records what was found and done; the verdict is the host's.

use std::{fs, time::Duration};

use cloud_machine_plan::{not_covered, recovery_not_covered};
use cloud_machine_protocol::{
    Action, AgentEvidence, Algorithm, ChangedExtents, ConfigEvidence, DeviceRecord, Digest, DiskEvidence,
    DriveEvidence, Extent, FORMAT_VERSION, IdentityItem, IgnoredVolume, ImageEvidence, ImageRequest, Nonce, Report,
    ReportResult, Request, RootEvidence, SourceEvidence, StepId, StepRecord, Timing,
};
use cloud_machine_recovery::RecoveryPartition;
use cloud_machine_system::{SystemError, kernel, sha256};

use crate::{error::AgentError, running_in::RunningIn};

/// Collects a report while the pipe runs.
pub(crate) struct ReportBuilder {
    running_in: RunningIn,
    report: Report,
    step: Option<StepId>,
    /// What is not covered besides.
    recovery: Option<String>,
}

impl ReportBuilder {
    /// Starts with what the agent knows of itself.
    pub(crate) fn new(running_in: RunningIn) -> Result<Self, AgentError> {
        let mut builder = Self::without_own_digest(running_in)?;
        builder.own_digest()?;
        Ok(builder)
    }

    /// Likewise, without a look at its own file: reading and hashing that takes longer than all else in a boot with nothing to do.
    pub(crate) fn without_own_digest(running_in: RunningIn) -> Result<Self, AgentError> {
        let agent =
            AgentEvidence { command_line_digest: sha256(kernel::command_line()?.as_bytes()), ..unknown_agent() };
        let report = Report { boot_id: kernel::boot_id()?, agent, ..empty(running_in) };
        Ok(Self { running_in, report, step: None, recovery: None })
    }

    /// Says which agent it is, when the report says that something was done.
    pub(crate) fn own_digest(&mut self) -> Result<(), AgentError> {
        let own = fs::read("/proc/self/exe").map_err(SystemError::io("read", "/proc/self/exe"))?;
        self.report.agent.digest = Some(sha256(&own));
        Ok(())
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.report.boot_id
    }

    pub(crate) fn request(&mut self, request: &Request) {
        self.report.request_id = Some(request.id.clone());
        self.report.nonce = Some(request.nonce);
        self.report.machine_uuid = Some(request.machine_uuid.clone());
        self.report.action = Some(request.action);
    }

    /// What a machine does of which no host asked anything.
    pub(crate) fn action(&mut self, action: Action) {
        self.report.action = Some(action);
    }

    /// The image that is asked for, of which the manifest states `generation`.
    pub(crate) fn image(&mut self, asked: &ImageRequest, generation: u64) {
        let (minimum_generation, exceptions) = (asked.minimum_generation, asked.exceptions.clone());
        self.report.image = Some(ImageEvidence { generation, minimum_generation, exceptions });
    }

    pub(crate) fn config(&mut self, config: ConfigEvidence) {
        self.report.config = Some(config);
    }

    pub(crate) fn devices(&mut self, devices: Vec<DeviceRecord>) {
        self.report.not_covered = not_covered(self.running_in.root_of_trust(), &devices);
        self.report.not_covered.extend(self.recovery.clone());
        self.report.devices = devices;
    }

    /// The recovery partition of a disk, of which nothing is said.
    pub(crate) fn kept_for_recovery(&mut self, device: &str, partition: RecoveryPartition) {
        let RecoveryPartition { offset, length } = partition;
        self.recovery = Some(recovery_not_covered(device, Extent { offset, length }));
    }

    /// Adds what did not count of volumes, and why: in place of what was said before of the same volumes, and of those
    /// that `counted` after all.
    pub(crate) fn ignored_volumes(&mut self, ignored: Vec<IgnoredVolume>, counted: &[DriveEvidence]) {
        let judged = |device: &str| {
            ignored.iter().any(|one| one.device == device) || counted.iter().any(|drive| drive.device == device)
        };
        self.report.ignored_volumes.retain(|one| !judged(&one.device));
        self.report.ignored_volumes.extend(ignored);
    }

    /// The files of a root in a pool.
    pub(crate) fn root(&mut self, root: RootEvidence) {
        self.report.root = Some(root);
    }

    /// A step begins; it is named if the attempt fails before [`Self::step_ended`].
    pub(crate) fn step_begins(&mut self, id: &StepId) {
        self.step = Some(id.clone());
    }

    pub(crate) fn step_ended(&mut self, record: StepRecord) {
        self.timing(&record.id.0, Duration::from_millis(record.milliseconds));
        self.report.steps.push(record);
        self.step = None;
    }

    pub(crate) fn current_step(&self) -> Option<StepId> {
        self.step.clone()
    }

    pub(crate) fn image_source(&mut self, evidence: SourceEvidence) {
        self.report.image_source = Some(evidence);
    }

    pub(crate) fn disk(&mut self, evidence: DiskEvidence) {
        self.report.disks.push(evidence);
    }

    pub(crate) fn changed(&mut self, changed: ChangedExtents) {
        self.report.changed.push(changed);
    }

    pub(crate) fn identity(&mut self, items: Vec<IdentityItem>) {
        self.report.identity = items;
    }

    pub(crate) fn timing(&mut self, phase: &str, duration: Duration) {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.report.timings.push(Timing { phase: phase.to_owned(), milliseconds });
    }

    /// The report and the nonce that an answer must carry.
    pub(crate) fn finish(mut self, result: ReportResult) -> (Option<Nonce>, Report) {
        self.report.result = result;
        (self.report.nonce, self.report)
    }
}

/// The report for a worker that died: nothing is known but the reason.
pub(crate) fn without_worker(running_in: RunningIn, reason: String) -> Report {
    Report { result: ReportResult::Failed { step: None, causes: vec![reason] }, ..empty(running_in) }
}

fn unknown_agent() -> AgentEvidence {
    AgentEvidence {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        digest: None,
        kernel_release: kernel::release(),
        command_line_digest: Digest::new(Algorithm::Sha256, [0; 32]),
    }
}

fn empty(running_in: RunningIn) -> Report {
    Report {
        version: FORMAT_VERSION,
        request_id: None,
        nonce: None,
        machine_uuid: None,
        action: None,
        boot_id: String::new(),
        result: ReportResult::Failed { step: None, causes: vec!["the agent did not finish".to_owned()] },
        agent: unknown_agent(),
        image: None,
        config: None,
        steps: Vec::new(),
        devices: Vec::new(),
        disks: Vec::new(),
        root: None,
        changed: Vec::new(),
        image_source: None,
        ignored_volumes: Vec::new(),
        identity: Vec::new(),
        not_covered: not_covered(running_in.root_of_trust(), &[]),
        timings: Vec::new(),
    }
}
