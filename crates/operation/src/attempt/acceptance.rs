//! What becomes of an attempt's report: it is judged, and refused or accepted, and kept in either case. Must not let the machine go on:
//! that comes after, and is the attempt's.

use std::time::Instant;

use cloud_machine_driver::channel::AgentChannel;
use cloud_machine_plan::{Expected, Verdict, verify};
use cloud_machine_protocol::{Action, DiskName, HostMessage, Report, Tier};
use cloud_machine_store::{AcceptedRecord, DiskBacking, LastReimage, MachineRecord, MachineState, Strategy};

use super::Attempt;
use crate::{
    access,
    error::OperationError,
    event::Notice,
    evidence::{self, Evidence},
    hint::Hint,
    history,
    life::END_TIME,
    prepare::Prepared,
};

impl Attempt<'_> {
    pub(super) fn judge(&self, expected: &Expected, report: &Report) -> Result<Verdict, OperationError> {
        let verdict =
            verify(expected, report).map_err(|rejection| self.with_kept(evidence::rejected(&rejection), expected))?;
        if expected.request.action == Action::Reimage {
            evidence::require(verdict.assurance, self.required)?;
        }
        Ok(verdict)
    }

    /// Adds where a kept disk that the failure names lies on this host: what is on it is the operator's to give up.
    fn with_kept(&self, failure: OperationError, expected: &Expected) -> OperationError {
        let text = failure.line();
        let machine = &expected.identity.name;
        let named = |disk: &&DiskName| text.contains(&format!("`{disk}`")) || text.contains(&format!("{disk:?}"));
        let kept = history::kept(&self.described.config);
        match kept.iter().find(named) {
            Some(disk) => {
                let file = self.store.machine(machine).disks().join(format!("{disk}.raw"));
                failure.hint(Hint::KeptDisk { machine: machine.clone(), disk: disk.to_string(), file })
            }
            None => failure,
        }
    }

    /// Tells the agent, and keeps the refused report beside the accepted ones.
    pub(super) fn refuse(
        &self,
        channel: &mut AgentChannel,
        prepared: &Prepared,
        report: &Report,
        failure: OperationError,
    ) -> OperationError {
        let stop = HostMessage::Stop { reason: failure.error.to_string() };
        // The agent may be gone already, and its process is ended in any case.
        if let Err(error) = channel.send(&stop, Instant::now() + END_TIME) {
            tracing::debug!(%error, "the agent was not told");
        }
        let attempt = prepared.expected.request.attempt;
        let name = format!("{}refused{attempt}", prepared.expected.request.id);
        match Evidence::new(&prepared.expected, report).store(self.store, self.lock, &name) {
            Ok((path, _)) => failure.hint(Hint::RefusedReport(self.store.machine(self.lock.name()).path().join(path))),
            Err(error) => failure.hint(Hint::RefusedReportLost(error.line())),
        }
    }

    /// Stores the evidence and the state before the machine may go on.
    pub(super) fn accept(
        &self,
        record: &mut MachineRecord,
        strategy: Option<Strategy>,
        prepared: &Prepared,
        report: &Report,
        verdict: &Verdict,
    ) -> Result<(), OperationError> {
        record.state = MachineState::Accepted;
        history::accepted(&mut record.disks, &prepared.expected);
        if prepared.expected.request.action == Action::Reimage {
            let evidence = Evidence::new(&prepared.expected, report).after(self.store, record);
            if let Some(lost) = evidence.lost() {
                self.teller.notice(Notice::NewChain(lost.to_owned()));
            }
            let (path, seal) = evidence.store(self.store, self.lock, &prepared.expected.request.id)?;
            record.last_report = Some(path);
            // Of the same image packed again it may be another.
            record.image.generation = prepared.facts.generation;
            record.accepted = Some(AcceptedRecord { seal, attempt: prepared.facts.to_json()? });
            record.assurance = Some(verdict.assurance);
            record.not_covered.clone_from(&verdict.not_covered);
            record.not_covered_since.clear();
            record.dirty = access::may_others_log_in(self.store, record, self.described, report)?;
            let rescue_host_key = verdict.rescue_host_key;
            let last = |(strategy, tier)| LastReimage { strategy, tier: Some(tier), rescue_host_key };
            record.system.last = strategy.zip(verdict.tier).map(last);
            let mapped = record.system.backing == DiskBacking::Mapped;
            record.system.mapped_since = mapped.then_some(prepared.expected.request.image.digest);
            self.tell_wrong_map(prepared.expected.request.tier, verdict.tier);
            record.host_key = Some(evidence::host_key(report)?);
        } else {
            evidence::note_start(record, &verdict.not_covered);
        }
        self.store.write(self.lock, record)?;
        access::pin(self.store, record)
    }

    /// A machine that found the host's own map wrong is a reason to look at the host.
    fn tell_wrong_map(&self, asked: Option<Tier>, done: Option<Tier>) {
        if (asked, done) == (Some(Tier::Hinted), Some(Tier::Scan)) {
            self.teller.notice(Notice::DirtyMapWrong);
        }
    }
}
