//! One attempt at a request, in the order that makes its report believable: intent, end of the old process, nonce,
//! new process, report, verification, GO. Each effect is the driver's; the order is owned here.

use std::time::Instant;

use cloud_machine_driver::{
    channel::{AgentChannel, ChannelError},
    escape, identity,
    qemu::{Ended, Process, QemuError, console_tail},
    ssh,
    store::{
        AcceptedRecord, AttemptFolder, DiskForm, LastReimage, MachineLock, MachineRecord, MachineState, RequestRecord,
        Store, Strategy,
    },
};
use cloud_machine_plan::{Expected, Verdict, verify};
use cloud_machine_protocol::{Action, Assurance, Digest, HostMessage, Report, Secrets, Tier};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    conversation::{Conversation, Heard},
    evidence::{self, Evidence},
    failure::{Failure, Kind},
    history,
    launch::{self, Prepared},
    life::{self, END_TIME},
    login,
    request::{MAX_FAILURES, count_failure, is_pending, next_request},
    space, startup,
    strategy::{Ground, Wish},
    ui::{Progress, Ui},
};

/// Lines of the console that a failure shows.
const TAIL: usize = 20;

/// What an attempt needs besides the record.
pub(crate) struct Attempt<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lock: &'a MachineLock,
    pub(crate) ui: &'a Ui,
    pub(crate) deadline: Instant,
    pub(crate) required: Assurance,
    /// How a reimage may be made short.
    pub(crate) wish: Wish,
}

/// How long a phase took on the host's clock.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) milliseconds: u64,
}

/// An attempt that succeeded.
pub(crate) struct Completed {
    pub(crate) report: Report,
    pub(crate) verdict: Verdict,
    pub(crate) phases: Vec<Phase>,
    /// Bytes of an overlay that was discarded.
    pub(crate) discarded: Option<u64>,
}

/// Measures phases one after the other.
struct Clock {
    since: Instant,
    phases: Vec<Phase>,
}

impl Clock {
    fn start() -> Self {
        Self { since: Instant::now(), phases: Vec::new() }
    }

    fn phase(&mut self, name: &str) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.phases.push(Phase { name: name.to_owned(), milliseconds });
        self.since = Instant::now();
    }
}

impl Attempt<'_> {
    /// Serves `action`: a request that is under way is continued, otherwise a new one is stored.
    pub(crate) fn run(&self, record: &mut MachineRecord, action: Action) -> Result<Completed, Failure> {
        let mut clock = Clock::start();
        // What cannot be ended for certain is not begun with: the record stays as it is.
        life::process(self.store, record)?;
        if action == Action::Reimage {
            space::check(self.ui, self.store, record, self.wish)?;
        }
        // As it is stored: what the caller changed in `record` belongs to the attempt.
        let before = self.store.read(&record.name)?;
        let since = self.intend(record, action)?;
        let ended = match life::end(self.store, record) {
            Ok(ended) => ended,
            Err(failure) => return Err(self.unchanged(record, before, failure)),
        };
        clock.phase("end the old process");
        let attempted = self.attempt(record, action, since, ended, &mut clock);
        match attempted {
            Ok(completed) => Ok(Completed { phases: clock.phases, ..completed }),
            Err(failure) => Err(self.failed(record, failure)),
        }
    }

    /// Puts the record back as it was before the intent of an attempt that was not made.
    fn unchanged(&self, record: &mut MachineRecord, before: MachineRecord, failure: Failure) -> Failure {
        *record = before;
        match self.store.write(self.lock, record) {
            Ok(()) => failure,
            Err(error) => failure.hint(format!("also: {}", Failure::from(error).causes().join(": "))),
        }
    }

    /// Stores the intent before any effect. Gives the image since which the system disk's map counts: from here on it
    /// counts no more, until another attempt is accepted.
    fn intend(&self, record: &mut MachineRecord, action: Action) -> Result<Option<Digest>, Failure> {
        let now = Timestamp::now();
        let id = identity::request_id(now).map_err(Failure::failed)?;
        let new = RequestRecord { id, action, attempts: 1, failures: 0, started: now };
        let pending = record.request.take().filter(|request| request.action == action && is_pending(record.state));
        record.request = Some(next_request(pending, new, record.last_report.as_deref()));
        record.state = MachineState::Requested;
        let since = if action == Action::Reimage { record.system.mapped_since.take() } else { None };
        self.store.write(self.lock, record)?;
        Ok(since)
    }

    fn attempt(
        &self,
        record: &mut MachineRecord,
        action: Action,
        since: Option<Digest>,
        ended: Ended,
        clock: &mut Clock,
    ) -> Result<Completed, Failure> {
        let (image, manifest) = launch::image(self.store, record)?;
        let ground = Ground { store: self.store, lock: self.lock, ui: self.ui, image: &image, manifest: &manifest };
        let system = match action {
            Action::Reimage => ground.reimage(record, self.wish, since)?,
            Action::Boot => ground.boot(record)?,
        };
        let (strategy, discarded) = (system.strategy, system.discarded);
        clock.phase("make the system disk");
        let mut prepared = launch::prepare(&ground, record, system, ended)?;
        record.state = MachineState::Writing;
        self.store.write(self.lock, record)?;
        clock.phase("prepare");
        let (process, mut channel) = self.start(record, &mut prepared)?;
        let mut conversation = Conversation::default();
        let conversed = self.converse(&mut channel, &mut conversation, &prepared.secrets, clock);
        let (report, verdict) = match conversed {
            Ok(report) => match self
                .judge(&prepared.expected, &report)
                .and_then(|verdict| silent(&mut channel, &mut conversation).map(|()| verdict))
            {
                Ok(verdict) => (report, verdict),
                Err(failure) => return Err(self.refuse(&mut channel, &prepared, &report, failure)),
            },
            Err(failure) => return Err(with_console(life::with_trouble(failure, &process), &prepared.folder)),
        };
        self.accept(record, strategy, &prepared, &report, &verdict)?;
        clock.phase("verify and store");
        silent(&mut channel, &mut conversation)?;
        let go = HostMessage::Go { nonce: prepared.expected.request.nonce };
        channel.send(&go, self.deadline).map_err(channel_failure)?;
        drop(channel);
        self.wait_ready(record, action, &process, &prepared.folder)?;
        clock.phase("start the system until SSH answers");
        record.state = MachineState::Running;
        self.store.write(self.lock, record)?;
        Ok(Completed { report, verdict, phases: Vec::new(), discarded })
    }

    /// Starts the process paused, connects to the agent's port, then lets it run.
    fn start(&self, record: &mut MachineRecord, prepared: &mut Prepared) -> Result<(Process, AgentChannel), Failure> {
        let qemu = launch::qemu(&record.driver)?;
        let mut launched = qemu.launch(&prepared.launch);
        // The port was free when the machine was created; something else may have taken it since.
        if launched.as_ref().is_err_and(QemuError::is_port_taken) {
            record.ssh_port = ssh::free_port().map_err(Failure::failed)?;
            self.ui.note(&format!("the machine's SSH port was taken; it is {} now", record.ssh_port));
            self.store.write(self.lock, record)?;
            prepared.launch.ssh_port = Some(record.ssh_port);
            launched = qemu.launch(&prepared.launch);
        }
        let process = launched.map_err(Failure::failed)?;
        // The proof of which process it is is durable before it may do anything.
        record.process = Some(life::subject(self.store, record).proof(&process).map_err(Failure::failed)?);
        self.store.write(self.lock, record)?;
        let channel = AgentChannel::connect(&prepared.folder.agent_socket(), self.deadline).map_err(channel_failure)?;
        process.resume(self.deadline).map_err(|error| {
            let kind = if Instant::now() >= self.deadline { Kind::TimedOut } else { Kind::Failed };
            Failure::new(kind, error)
        })?;
        Ok((process, channel))
    }

    fn converse(
        &self,
        channel: &mut AgentChannel,
        conversation: &mut Conversation,
        secrets: &Secrets,
        clock: &mut Clock,
    ) -> Result<Report, Failure> {
        let mut shown: Option<(String, Progress)> = None;
        loop {
            match conversation.hear(channel.next(self.deadline).map_err(channel_failure)?)? {
                Heard::Hello => {
                    // Once, and only to what the host itself has started: the job's system comes long after.
                    let secrets = HostMessage::Secrets(secrets.clone());
                    channel.send(&secrets, self.deadline).map_err(channel_failure)?;
                    clock.phase("start the agent");
                }
                Heard::Event(event) => {
                    let step = event.step.map(|id| escape::line(id.0.as_bytes(), 28)).unwrap_or_default();
                    if shown.as_ref().is_none_or(|(current, _)| *current != step) {
                        shown = Some((step.clone(), self.ui.progress(&step)));
                    }
                    if let (Some((_, bar)), Some(done), Some(total)) = (&shown, event.done, event.total) {
                        bar.set(done, total);
                    }
                }
                Heard::Report(report) => {
                    clock.phase("the agent's steps");
                    return Ok(*report);
                }
            }
        }
    }

    fn judge(&self, expected: &Expected, report: &Report) -> Result<Verdict, Failure> {
        let verdict = verify(expected, report).map_err(|rejection| evidence::rejected(&rejection))?;
        if expected.request.action == Action::Reimage {
            evidence::require(verdict.assurance, self.required)?;
        }
        Ok(verdict)
    }

    /// Tells the agent, and keeps the refused report beside the accepted ones.
    fn refuse(&self, channel: &mut AgentChannel, prepared: &Prepared, report: &Report, failure: Failure) -> Failure {
        let stop = HostMessage::Stop { reason: failure.error.to_string() };
        // The agent may be gone already, and its process is ended in any case.
        if let Err(error) = channel.send(&stop, Instant::now() + END_TIME) {
            tracing::debug!(%error, "the agent was not told");
        }
        let attempt = prepared.expected.request.attempt;
        let name = format!("{}refused{attempt}", prepared.expected.request.id);
        match Evidence::new(&prepared.expected, report).store(self.store, self.lock, &name) {
            Ok((path, _)) => failure.hint(format!("the refused report is kept as {path}")),
            Err(error) => failure.hint(format!("the refused report could not be kept: {}", error.error)),
        }
    }

    /// Stores the evidence and the state before the machine may go on.
    fn accept(
        &self,
        record: &mut MachineRecord,
        strategy: Option<Strategy>,
        prepared: &Prepared,
        report: &Report,
        verdict: &Verdict,
    ) -> Result<(), Failure> {
        record.state = MachineState::Accepted;
        history::accepted(&mut record.disks, &prepared.expected);
        if prepared.expected.request.action == Action::Reimage {
            let evidence = Evidence::new(&prepared.expected, report).after(self.store, record);
            if let Some(lost) = evidence.lost() {
                self.ui.note(&format!(
                    "the reports before this one cannot be told to be whole, and a new chain begins: {lost}"
                ));
            }
            let (path, seal) = evidence.store(self.store, self.lock, &prepared.expected.request.id)?;
            record.last_report = Some(path);
            // Of the same image packed again it may be another.
            record.image.generation = prepared.facts.generation;
            record.accepted = Some(AcceptedRecord { seal, attempt: prepared.facts.to_json()? });
            record.assurance = Some(verdict.assurance);
            record.not_covered.clone_from(&verdict.not_covered);
            record.dirty = login::may_others_log_in(self.store, record, report)?;
            record.system.last = strategy.zip(verdict.tier).map(|(strategy, tier)| LastReimage { strategy, tier });
            let mapped = record.system.form == DiskForm::Mapped;
            record.system.mapped_since = mapped.then_some(prepared.expected.request.image.digest);
            self.remark(prepared.expected.request.tier, verdict.tier);
            record.host_key = Some(evidence::host_key(report)?);
        }
        self.store.write(self.lock, record)?;
        if let Some(host_key) = &record.host_key {
            let known_hosts = self.store.machine(&record.name).known_hosts();
            ssh::write_known_hosts(&known_hosts, record.ssh_port, host_key).map_err(Failure::failed)?;
        }
        Ok(())
    }

    /// A machine that found the host's own map wrong is a reason to look at the host.
    fn remark(&self, asked: Option<Tier>, done: Option<Tier>) {
        if (asked, done) == (Some(Tier::Hinted), Some(Tier::Scan)) {
            self.ui.note("the dirty map was wrong: a block that it calls unchanged had differed, so all of the disk was compared");
        }
    }

    /// Waits until the machine's own system answers with the pinned host key.
    fn wait_ready(
        &self,
        record: &MachineRecord,
        action: Action,
        process: &Process,
        folder: &AttemptFolder,
    ) -> Result<(), Failure> {
        let progress = self.ui.progress("start the system");
        let ready = login::wait_ready(self.store, record, process, folder, self.deadline)
            .map_err(|failure| with_console(with_units(life::with_trouble(failure, process), folder), folder));
        drop(progress);
        match (ready, action) {
            (Err(failure), Action::Boot) => {
                Err(failure.hint(format!("`cloud-machine reimage {}` makes it new", record.name)))
            }
            (ready, _) => ready,
        }
    }

    /// Ends the process and records the failure; after too many of them the machine is quarantined.
    fn failed(&self, record: &mut MachineRecord, failure: Failure) -> Failure {
        let quarantined = count_failure(record);
        record.state = if quarantined { MachineState::Quarantined } else { MachineState::Failed };
        let ended = life::end(self.store, record).map(drop);
        let written = self.store.write(self.lock, record).map_err(Failure::from);
        let mut failure = failure;
        for lost in [ended, written].into_iter().filter_map(Result::err) {
            failure = failure.hint(format!("also: {}", lost.causes().join(": ")));
        }
        let name = &record.name;
        if quarantined {
            failure.hint(format!(
                "{MAX_FAILURES} attempts failed: {name} is quarantined until `cloud-machine reimage {name} --release`"
            ))
        } else {
            failure
        }
    }
}

/// The agent waits for the host's word; whatever it says in the meantime contradicts the report that was judged.
fn silent(channel: &mut AgentChannel, conversation: &mut Conversation) -> Result<(), Failure> {
    match channel.waiting().map_err(channel_failure)? {
        Some(message) => conversation.hear(message).map(drop),
        None => Ok(()),
    }
}

fn channel_failure(error: ChannelError) -> Failure {
    let kind = match &error {
        ChannelError::TimedOut => Kind::TimedOut,
        ChannelError::Connect { .. } | ChannelError::Io { .. } => Kind::Failed,
        // No report, or one that breaks the limits.
        _ => Kind::Verification,
    };
    Failure::new(kind, error)
}

/// Adds the units that the system says have failed, when the failure does not name them already.
fn with_units(failure: Failure, folder: &AttemptFolder) -> Failure {
    let console = console_tail(folder, startup::LINES).unwrap_or_default();
    let told = failure.error.to_string();
    let units: Vec<String> = startup::failed_units(&console).into_iter().filter(|unit| !told.contains(unit)).collect();
    if units.is_empty() { failure } else { failure.hint(format!("the console says: {}", units.join("; "))) }
}

/// Adds the end of the console, escaped: it is text of the guest.
fn with_console(failure: Failure, folder: &AttemptFolder) -> Failure {
    match console_tail(folder, TAIL) {
        Ok(tail) if !tail.trim().is_empty() => failure.hint(format!("the console ends with\n{tail}")),
        Ok(_) => failure.hint("the console is empty"),
        Err(error) => failure.hint(format!("the console cannot be read: {error}")),
    }
}
