//! Strategy `rebuild`: the machine's provider writes the clean disk that it keeps over the one of the job. No agent runs and
//! nothing is read back.

use std::time::Instant;

use cloud_machine_driver::machine::{Driver, Snapshots};
use cloud_machine_protocol::{Action, Assurance};
use cloud_machine_store::{
    AcceptedRecord, DriverState, MachineRecord, MachineState, RequestRecord, SnapshotRecord, Store, Strategy,
};
use jiff::Timestamp;

use crate::{
    access, admission,
    attempt::{Attempt, only_disk},
    clock::{Clock, PhaseTime},
    error::{ErrorKind, OperationError},
    event::{Notice, Phase, Task},
    evidence::{self, RebuildEvidence},
    hint::Hint,
    installed, life,
    rebuilt::{self, REACHES, Rebuilt},
    request::is_pending,
    system_disk::ReimageOptions,
};

/// A rebuild that was chosen.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// What is written.
    snapshot: SnapshotRecord,
    /// Why.
    why: String,
}

/// What is asked of a reimage whose way is to be chosen.
pub(crate) struct Asked<'a> {
    pub(crate) driver: &'a dyn Driver,
    pub(crate) store: &'a Store,
    pub(crate) options: ReimageOptions,
    pub(crate) required: Assurance,
    pub(crate) until: Instant,
}

impl Asked<'_> {
    /// Whether the reimage is a rebuild. One that is not asked for is taken only when no agent could be started the last time, and it
    /// reaches what is required: it proves less.
    pub(crate) fn choose(&self, record: &MachineRecord) -> Result<Option<Chosen>, OperationError> {
        let required = self.required;
        match self.options.strategy {
            Some(Strategy::Rebuild) if self.options.snapshot => {
                let text = "a snapshot is of the disk that an agent has read back, and a rebuild has none";
                Err(OperationError::new(ErrorKind::Refused, text))
            }
            Some(Strategy::Rebuild) => {
                let snapshot = self.kept(record)?;
                evidence::require(REACHES, required)?;
                Ok(Some(Chosen { snapshot, why: format!("it was asked for, and reaches {REACHES}") }))
            }
            None if required <= REACHES && !self.options.snapshot => {
                let is_without_agent = |request: &&RequestRecord| {
                    is_pending(record.state) && request.action == Action::Reimage && request.no_agent
                };
                let Some(request) = record.request.as_ref().filter(is_without_agent) else { return Ok(None) };
                let snapshot = match self.kept(record) {
                    Ok(snapshot) => snapshot,
                    Err(failure) => {
                        tracing::debug!(%failure, "no rebuild");
                        return Ok(None);
                    }
                };
                let failure = request.failure.as_deref().unwrap_or("without a word");
                let why =
                    format!("no agent could be started ({failure}); it reaches {REACHES}, and {required} is required");
                Ok(Some(Chosen { snapshot, why }))
            }
            _ => Ok(None),
        }
    }

    /// The clean disk that the provider keeps for a machine.
    fn kept(&self, record: &MachineRecord) -> Result<SnapshotRecord, OperationError> {
        let refused = |text: String| OperationError::new(ErrorKind::Refused, text);
        let (name, driver) = (&record.name, self.driver);
        let snapshots = driver.snapshots().ok_or_else(|| {
            refused(format!("driver {} has no strategy rebuild: no provider keeps its disks", driver.name()))
        })?;
        only_disk(record.disks.len())?;
        let snapshot = record.remote.as_ref().and_then(|remote| remote.snapshot.as_ref());
        let snapshot = snapshot.ok_or_else(|| {
            refused(format!("the provider keeps no clean disk of machine {name}")).hint(Hint::Snapshot(name.clone()))
        })?;
        if snapshot.image != record.image.digest {
            let text = format!("the clean disk of machine {name} that the provider keeps is of another image");
            return Err(refused(text).hint(Hint::Snapshot(name.clone())));
        }
        let (_, manifest) = installed::image(self.store, record)?;
        admission::minimum_generation(self.store, record, &manifest)?;
        // A rebuild rests on a report before it, so it cannot begin a new chain.
        evidence::count(self.store, record)?;
        evidence::of_snapshot(self.store, record, snapshot)?;
        let request = snapshot.report.trim_start_matches("reports/").trim_end_matches(".json");
        let (machine, owner) = (life::reference(self.store, record), self.store.owner()?);
        snapshots.check(&machine, &owner, request, &snapshot.state, self.until)?;
        Ok(snapshot.clone())
    }
}

impl Attempt<'_> {
    /// Has the provider rebuild the machine; gives how long each phase took.
    pub(crate) fn rebuild(
        &self,
        record: &mut MachineRecord,
        chosen: &Chosen,
    ) -> Result<Vec<PhaseTime>, OperationError> {
        let mut clock = Clock::start(self.teller);
        self.driver.preflight()?;
        life::running(self.driver, self.store, record)?;
        let snapshots = self.snapshots()?;
        let before = self.store.read(&record.name)?;
        self.intend(record, Action::Reimage)?;
        match life::end(self.driver, self.store, record) {
            // No agent starts, so the next boot needs no nonce.
            Ok(ended) => drop(ended),
            Err(failure) => return Err(self.unchanged(record, before, failure)),
        }
        clock.phase(Phase::EndLastBoot);
        match self.written(record, snapshots, chosen, &mut clock) {
            Ok(()) => Ok(clock.phases),
            Err(failure) => Err(self.failed(record, failure)),
        }
    }

    fn written(
        &self,
        record: &mut MachineRecord,
        snapshots: &dyn Snapshots,
        Chosen { snapshot, why }: &Chosen,
        clock: &mut Clock<'_>,
    ) -> Result<(), OperationError> {
        let machine = life::reference(self.store, record);
        self.teller.notice(Notice::Strategy { strategy: Strategy::Rebuild, reasons: vec![why.clone()] });
        record.state = MachineState::Writing;
        record.driver_state = Some(state("rebuild")?);
        self.store.write(self.lock, record)?;
        let writing = self.teller.begin(Task::Rebuild);
        snapshots.rebuild(&machine, &snapshot.state, self.deadline)?;
        drop(writing);
        clock.phase(Phase::Rebuild);
        self.accept_rebuild(record, snapshot)?;
        clock.phase(Phase::VerifyAndStore);
        let running = self.driver.start_system(&machine, self.deadline)?;
        record.driver_state = Some(state("own system")?);
        self.store.write(self.lock, record)?;
        let folder = self.store.machine(&record.name).new_attempt(self.lock)?;
        self.go_on(record, Action::Reimage, &*running, &folder, clock)
    }

    /// Stores the evidence and the state.
    fn accept_rebuild(&self, record: &mut MachineRecord, snapshot: &SnapshotRecord) -> Result<(), OperationError> {
        let request = self.request(record)?;
        let rebuilt = Rebuilt::new(record, &request, snapshot, Timestamp::now());
        let rebuilt = rebuilt.ok_or_else(|| OperationError::failed("only a provider's machine is rebuilt"))?;
        let evidence = RebuildEvidence::after(rebuilt, self.store, record);
        if let Some(lost) = evidence.lost() {
            self.teller.notice(Notice::NewChain(lost.to_owned()));
        }
        let (path, seal) = evidence.store(self.store, self.lock, &request)?;
        record.state = MachineState::Accepted;
        record.last_report = Some(path);
        record.accepted = Some(AcceptedRecord { seal, attempt: serde_json::Value::Null });
        record.assurance = Some(REACHES);
        record.not_covered = rebuilt::not_covered();
        record.not_covered_since.clear();
        record.dirty = snapshot.others;
        record.system.last = Some(rebuilt::last());
        record.host_key = Some(snapshot.host_key.clone());
        self.store.write(self.lock, record)?;
        access::pin(self.store, record)
    }
}

fn state(of: &str) -> Result<DriverState, OperationError> {
    DriverState::of(&of).map_err(OperationError::during(ErrorKind::Failed, "encode the state of the driver"))
}
