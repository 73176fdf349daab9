//! One attempt at a request, in the order that makes its report believable: intent, end of the old process, nonce,
//! new process, report, verification, GO. Each effect is the driver's; the order is owned here.

mod acceptance;
mod keeping;

use std::time::{Duration, Instant};

use cloud_machine_driver::{
    channel::{AgentChannel, ChannelError},
    machine::{Driver, Ended, Running},
};
use cloud_machine_plan::{Verdict, highest_assurance};
use cloud_machine_protocol::{Action, AgentMessage, Assurance, Digest, HostMessage, Report, Secrets, escape};
use cloud_machine_store::{
    AttemptFolder, MachineLock, MachineRecord, MachineState, RequestRecord, Store, Wanted, identity,
};
use jiff::Timestamp;

pub(crate) use keeping::{can_keep, only_disk};

use crate::{
    access, admission,
    clock::{Clock, PhaseTime},
    cloud_init,
    conversation::{Conversation, Heard},
    described::Described,
    error::{ErrorKind, OperationError},
    event::{Notice, Phase, Task},
    evidence, explain,
    hint::Hint,
    host_certificate, host_key, installed, life,
    prepare::{self, OverConnection, Prepared},
    request::{MAX_FAILURES, count_failure, is_pending, next_request},
    space,
    system_disk::{ReimageOptions, SystemDiskPreparation},
    teller::{Teller, Working},
};

/// How often a machine that says nothing is asked whether it stands still.
const LOOK: Duration = Duration::from_secs(5);
/// Characters of the reason of a failure that the record keeps.
const MAX_REASON: usize = 1000;

/// What an attempt needs besides the record.
pub(crate) struct Attempt<'a> {
    pub(crate) driver: &'a dyn Driver,
    pub(crate) store: &'a Store,
    pub(crate) lock: &'a MachineLock,
    pub(crate) teller: Teller<'a>,
    pub(crate) deadline: Instant,
    pub(crate) required: Assurance,
    /// How a reimage may be made short.
    pub(crate) options: ReimageOptions,
    /// What the machine was made from.
    pub(crate) described: &'a Described,
}

/// An attempt that succeeded.
pub(crate) struct Completed {
    pub(crate) report: Report,
    pub(crate) verdict: Verdict,
    pub(crate) phases: Vec<PhaseTime>,
    /// Bytes of an overlay that was discarded.
    pub(crate) discarded: Option<u64>,
}

impl Attempt<'_> {
    /// Serves `action`: a request that is under way is continued, otherwise a new one is stored.
    pub(crate) fn run(&self, record: &mut MachineRecord, action: Action) -> Result<Completed, OperationError> {
        let mut clock = Clock::start(self.teller);
        // What cannot be done, or cannot be proved, is not begun with: the record stays as it is.
        self.driver.preflight()?;
        self.driver.can_connect(&record.connection)?;
        for nic in self.described.config.resources.nics.values() {
            self.driver.can_connect(&nic.network)?;
        }
        if action == Action::Reimage {
            self.reachable()?;
        }
        life::running(self.driver, self.store, record)?;
        if action == Action::Reimage {
            host_key::handed(self.store, record, action)?;
            host_certificate::can_be_issued(self.store)?;
            admission::can_honour(&self.store.image(&record.image.name)?, self.described)?;
            space::check(self.teller, self.store, record, self.described, self.options)?;
            can_keep(self.driver, self.options, record.disks.len())?;
        }
        // As it is stored: what the caller changed in `record` belongs to the attempt.
        let before = self.store.read(&record.name)?;
        let since = self.intend(record, action)?;
        let ended = match life::end_for_attempt(self.driver, self.store, record) {
            Ok(ended) => ended,
            Err(failure) => return Err(self.unchanged(record, before, failure)),
        };
        clock.phase(Phase::EndLastBoot);
        let attempted = self.attempt(record, action, since, ended, &mut clock);
        match attempted {
            Ok(completed) => Ok(Completed { phases: clock.phases, ..completed }),
            Err(failure) => Err(self.failed(record, failure)),
        }
    }

    /// Refuses an assurance that no reimage of this driver reaches, before anything is touched.
    fn reachable(&self) -> Result<(), OperationError> {
        evidence::require(highest_assurance(self.driver.root_of_trust()), self.required)
    }

    /// Puts the record back as it was before the intent of an attempt that was not made.
    pub(crate) fn unchanged(
        &self,
        record: &mut MachineRecord,
        before: MachineRecord,
        failure: OperationError,
    ) -> OperationError {
        *record = before;
        match self.store.write(self.lock, record) {
            Ok(()) => failure,
            Err(error) => failure.hint(Hint::Also(OperationError::from(error).line())),
        }
    }

    /// Stores the intent before any effect. Gives the image since which the system disk's map counts: from here on it
    /// counts no more, until another attempt is accepted.
    pub(crate) fn intend(&self, record: &mut MachineRecord, action: Action) -> Result<Option<Digest>, OperationError> {
        let now = Timestamp::now();
        let id = identity::request_id(now).map_err(OperationError::failed)?;
        let ReimageOptions { strategy, tier, .. } = self.options;
        let wanted = Wanted { strategy, tier, required: Some(self.required) };
        let new = RequestRecord {
            id,
            action,
            attempts: 1,
            failures: 0,
            started: now,
            wanted,
            failure: None,
            no_agent: false,
        };
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
        clock: &mut Clock<'_>,
    ) -> Result<Completed, OperationError> {
        let (image, manifest) = installed::image(self.store, record)?;
        let preparation = SystemDiskPreparation {
            storage: self.driver.storage(),
            store: self.store,
            lock: self.lock,
            teller: self.teller,
            image: &image,
            manifest: &manifest,
        };
        let system = match action {
            Action::Reimage => preparation.reimage(record, self.described, self.options, since)?,
            Action::Boot => preparation.boot(record)?,
        };
        let (strategy, discarded) = (system.strategy, system.discarded);
        clock.phase(Phase::MakeSystemDisk);
        let mut prepared = prepare::prepare(self.driver, &preparation, record, self.described, system, ended)?;
        record.state = MachineState::Writing;
        self.store.write(self.lock, record)?;
        clock.phase(Phase::Prepare);
        let (running, mut channel) = self.start(record, &mut prepared)?;
        let mut conversation = Conversation::default();
        let handed = (&prepared.secrets, prepared.over_connection.as_mut());
        let conversed = self.converse(&mut channel, &*running, &mut conversation, handed, clock);
        let (report, verdict) = match conversed {
            Ok(report) => match self
                .judge(&prepared.expected, &report)
                .and_then(|verdict| silent(&mut channel, &mut conversation).map(|()| verdict))
            {
                Ok(verdict) => (report, verdict),
                Err(failure) => return Err(self.refuse(&mut channel, &prepared, &report, failure)),
            },
            Err(failure) => {
                return Err(explain::with_console(life::with_trouble(failure, &*running), &prepared.boot.folder));
            }
        };
        self.accept(record, strategy, &prepared, &report, &verdict)?;
        clock.phase(Phase::VerifyAndStore);
        silent(&mut channel, &mut conversation)?;
        self.let_go(record, action, &*running, &mut channel, &prepared, clock)?;
        drop(channel);
        self.go_on(record, action, &*running, &prepared.boot.folder, clock)?;
        Ok(Completed { report, verdict, phases: Vec::new(), discarded })
    }

    /// Gives the agent the word to go, and starts the machine's own system where the agent does not.
    fn let_go(
        &self,
        record: &mut MachineRecord,
        action: Action,
        running: &dyn Running,
        channel: &mut AgentChannel,
        prepared: &Prepared,
        clock: &mut Clock<'_>,
    ) -> Result<(), OperationError> {
        let certificate = host_certificate::issue(self.store, record)?;
        let go = HostMessage::Go { nonce: prepared.expected.request.nonce, certificate };
        channel.send(&go, self.deadline).map_err(channel_failure)?;
        // An agent whose connection ends before it does would end in the middle.
        if running.agent_ended(self.deadline)? {
            if action == Action::Reimage && self.options.snapshot {
                self.keep_disk(record)?;
                clock.phase(Phase::KeepDisk);
            }
            if let Some(state) = running.start_system(self.deadline)? {
                record.driver_state = Some(state);
                self.store.write(self.lock, record)?;
            }
        }
        Ok(())
    }

    /// Waits until the machine's own system does what the configuration says of it, and says that it runs.
    pub(crate) fn go_on(
        &self,
        record: &mut MachineRecord,
        action: Action,
        running: &dyn Running,
        folder: &AttemptFolder,
        clock: &mut Clock<'_>,
    ) -> Result<(), OperationError> {
        // Whoever has no network is heard no more; that it went on is all that is known.
        let looked = match access::host(record)? {
            Some(_) => self.wait_ready(record, action, running, folder)?,
            None => Vec::new(),
        };
        clock.phase(Phase::StartSystem);
        if cloud_init::is_awaited(&record.name, self.described.config.wait_for, &looked)? {
            cloud_init::wait(self.store, record, self.teller, self.deadline)?;
            clock.phase(Phase::CloudInit);
        }
        record.state = MachineState::Running;
        if let Some(request) = &mut record.request {
            request.failure = None;
        }
        self.store.write(self.lock, record)?;
        Ok(())
    }

    /// Starts the machine, which does nothing yet, and lets it go on once what it is known by is durable.
    fn start(
        &self,
        record: &mut MachineRecord,
        prepared: &mut Prepared,
    ) -> Result<(Box<dyn Running>, AgentChannel), OperationError> {
        let machine = life::reference(self.store, record);
        let started = self.driver.start(&machine, &prepared.boot, self.deadline).inspect_err(|_| {
            if let Some(request) = &mut record.request {
                request.no_agent = true;
            }
        })?;
        if record.connection.is_user() && started.ssh_port != record.ssh_port {
            record.ssh_port = started.ssh_port;
            self.teller.notice(Notice::PortChanged(record.ssh_port));
        }
        prepared.connected(started.rescue_host_key);
        record.driver_state = Some(started.state);
        self.store.write(self.lock, record)?;
        started.running.resume(self.deadline)?;
        Ok((started.running, AgentChannel::new(started.agent)))
    }

    fn converse(
        &self,
        channel: &mut AgentChannel,
        running: &dyn Running,
        conversation: &mut Conversation,
        (secrets, mut over_connection): (&Secrets, Option<&mut OverConnection>),
        clock: &mut Clock<'_>,
    ) -> Result<Report, OperationError> {
        let mut step: Option<Working<'_>> = None;
        loop {
            match conversation.hear(self.next(channel, running)?)? {
                Heard::Hello => {
                    if let Some(OverConnection { volume, .. }) = over_connection.as_deref() {
                        let message = HostMessage::Volume { bytes: volume.len() as u64 };
                        channel.send_with(&message, volume, self.deadline).map_err(channel_failure)?;
                    }
                    // Once, and only to what the host itself has started: the job's system comes long after.
                    let secrets = HostMessage::Secrets(secrets.clone());
                    channel.send(&secrets, self.deadline).map_err(channel_failure)?;
                    clock.phase(Phase::StartAgent);
                }
                Heard::Event(event) => {
                    let id = event.step.map(|id| id.0).unwrap_or_default();
                    if step.as_ref().is_none_or(|current| !current.is_step(&id)) {
                        // The one before ends first.
                        drop(step.take());
                        step = Some(self.teller.agent_step(&id));
                    }
                    if let (Some(step), Some(done), Some(total)) = (&step, event.done, event.total) {
                        step.progress(done, total);
                    }
                }
                Heard::Read(read) => {
                    let Some(OverConnection { image, .. }) = over_connection.as_deref_mut() else {
                        let text = "the agent reads the image from its host, which attached it";
                        return Err(OperationError::new(ErrorKind::Verification, text.to_owned()));
                    };
                    let message = HostMessage::Data { bytes: read.length };
                    channel.send_with(&message, &image.bytes(read)?, self.deadline).map_err(channel_failure)?;
                }
                Heard::Report(report) => {
                    clock.phase(Phase::AgentSteps);
                    return Ok(*report);
                }
            }
        }
    }

    /// The agent's next message. A machine that stands still, as when the host's disk is full, will not send one.
    fn next(&self, channel: &mut AgentChannel, running: &dyn Running) -> Result<AgentMessage, OperationError> {
        loop {
            let until = self.deadline.min(Instant::now() + LOOK);
            match channel.next(until) {
                Err(ChannelError::TimedOut) if Instant::now() < self.deadline => {
                    if let Some(trouble) = life::trouble(running) {
                        return Err(OperationError::failed(format!("the machine stands still: {trouble}")));
                    }
                }
                message => return message.map_err(channel_failure),
            }
        }
    }

    /// Waits until the machine's own system answers with the pinned host key, and says whether it has cloud-init.
    fn wait_ready(
        &self,
        record: &MachineRecord,
        action: Action,
        running: &dyn Running,
        folder: &AttemptFolder,
    ) -> Result<Vec<u8>, OperationError> {
        let starting = self.teller.begin(Task::StartSystem);
        let ready = access::wait_ready(self.store, record, running, folder, &cloud_init::LOOK, self.deadline).map_err(
            |failure| explain::with_console(explain::with_units(life::with_trouble(failure, running), folder), folder),
        );
        drop(starting);
        match (ready, action) {
            (Err(failure), Action::Boot) => Err(failure.hint(Hint::Reimage(record.name.clone()))),
            (ready, _) => ready,
        }
    }

    /// Ends the process and records the failure; after too many of them the machine is quarantined.
    pub(crate) fn failed(&self, record: &mut MachineRecord, failure: OperationError) -> OperationError {
        let quarantined = count_failure(record);
        if let Some(request) = &mut record.request {
            request.failure = Some(escape::line(failure.line().as_bytes(), MAX_REASON));
        }
        record.state = if quarantined { MachineState::Quarantined } else { MachineState::Failed };
        // A machine that nobody can end goes on as it can.
        let ended =
            if life::is_ended_by(self.driver) { life::end(self.driver, self.store, record).map(drop) } else { Ok(()) };
        let written = self.store.write(self.lock, record).map_err(OperationError::from);
        let mut failure = failure;
        for lost in [ended, written].into_iter().filter_map(Result::err) {
            failure = failure.hint(Hint::Also(lost.line()));
        }
        if quarantined {
            failure.hint(Hint::Quarantined { machine: record.name.clone(), failures: Some(MAX_FAILURES) })
        } else {
            failure
        }
    }
}

/// The agent waits for the host's word; whatever it says in the meantime contradicts the report that was judged.
fn silent(channel: &mut AgentChannel, conversation: &mut Conversation) -> Result<(), OperationError> {
    match channel.waiting().map_err(channel_failure)? {
        Some(message) => conversation.hear(message).map(drop),
        None => Ok(()),
    }
}

fn channel_failure(error: ChannelError) -> OperationError {
    let kind = match &error {
        ChannelError::TimedOut => ErrorKind::TimedOut,
        ChannelError::Connect { .. } | ChannelError::Io { .. } => ErrorKind::Failed,
        // No report, or one that breaks the limits.
        _ => ErrorKind::Verification,
    };
    OperationError::new(kind, error)
}
