//! `start`: what is on the disks, unless a reimage was cut off; that is finished first.

use std::time::{Duration, Instant};

use cloud_machine_driver::machine::Trouble;
use cloud_machine_plan::highest_assurance;
use cloud_machine_protocol::{Action, MachineName};
use cloud_machine_store::{MachineLock, MachineRecord, MachineState, Strategy, Wanted};

use crate::{
    Operations, access,
    attempt::Attempt,
    described::Described,
    error::OperationError,
    event::{Notice, Operation},
    life,
    reimage::{Reimaged, quarantined},
    request::{is_made, pending_action},
    system_disk::ReimageOptions,
};

impl Operations<'_> {
    /// Starts the machine `name`; one that is paused goes on, one that runs is left alone.
    ///
    /// # Errors
    /// Of any kind, as [`Operations::reimage`] when a reimage has to be finished.
    pub fn start(&self, name: &MachineName, timeout: Duration) -> Result<Reimaged, OperationError> {
        self.under_lock(name, Operation::Start, |lock| self.start_locked(lock, timeout))
    }

    fn start_locked(&self, lock: &MachineLock, timeout: Duration) -> Result<Reimaged, OperationError> {
        let name = lock.name();
        let (store, teller) = (self.store, self.teller(name, Operation::Start));
        let mut record = store.read(name)?;
        if record.state == MachineState::Quarantined {
            return Err(quarantined(&record));
        }
        is_made(&record)?;
        let pending = if record.last_report.is_none() { Some(Action::Reimage) } else { pending_action(&record) };
        let pending = if record.remote.is_some() { pending_action(&record) } else { pending };
        if pending.is_none()
            && record.state == MachineState::Running
            && let Some(running) = self.running(&record)?
        {
            teller.notice(match life::trouble(&*running) {
                // Nothing that is already there can be let go on.
                Some(Trouble::Network) => return Err(life::without_network(name)),
                Some(trouble) => {
                    running.resume(Instant::now() + timeout)?;
                    Notice::GoesOn(name.clone(), trouble)
                }
                None => Notice::AlreadyRuns(name.clone()),
            });
            return Ok(Reimaged::unchanged(store, &record));
        }
        if record.remote.is_some() && pending.is_none() {
            return self.start_elsewhere(lock, record, timeout);
        }
        let action = pending.unwrap_or(Action::Boot);
        if action == Action::Reimage {
            teller.notice(Notice::FinishesReimage(name.clone()));
        }
        let described = Described::of(&record)?;
        // With no less than was asked for, and by the way that proves most: a clone or an overlay is asked for each time.
        let wanted = record.request.as_ref().filter(|_| action == Action::Reimage).map(|request| request.wanted);
        let Wanted { strategy, tier, required } = wanted.unwrap_or_default();
        let strategy = strategy.filter(|strategy| *strategy == Strategy::Rewrite);
        let tier = tier.filter(|_| strategy.is_some());
        let driver = self.driver_of(&record)?;
        let most = highest_assurance(driver.root_of_trust());
        let attempt = Attempt {
            driver,
            store,
            lock,
            teller,
            deadline: Instant::now() + timeout,
            required: required.unwrap_or(most).max(most),
            options: ReimageOptions { strategy, tier, ..ReimageOptions::default() },
            described: &described,
        };
        let completed = attempt.run(&mut record, action)?;
        Ok(Reimaged::new(store, &record, &completed))
    }

    /// Starts the own system of a machine that this host does not run: no agent is asked, and nothing new is proved.
    fn start_elsewhere(
        &self,
        lock: &MachineLock,
        mut record: MachineRecord,
        timeout: Duration,
    ) -> Result<Reimaged, OperationError> {
        let (store, until) = (self.store, Instant::now() + timeout);
        let driver = self.driver_of(&record)?;
        driver.preflight()?;
        let is_rebuilt = record.system.last.is_some_and(|last| last.strategy == Strategy::Rebuild);
        let running = match self.running(&record)? {
            // After a report it is the rescue system of a reimage that was cut off; after a rebuild the machine's own.
            Some(running) if record.state != MachineState::Accepted || is_rebuilt || !life::is_ended_by(driver) => {
                running
            }
            found => {
                if found.is_some() {
                    drop(life::end(driver, store, &mut record)?);
                }
                driver.start_system(&life::reference(store, &record), until)?
            }
        };
        if record.host_key.is_some() {
            // It may have been accepted and cut off before that.
            access::pin(store, &record)?;
            let folder = store.machine(&record.name).last_attempt()?;
            let folder = folder.ok_or_else(|| OperationError::failed("the machine has no attempt"))?;
            access::wait_ready(store, &record, &*running, &folder, &["true"], until)?;
        }
        record.state = MachineState::Running;
        store.write(lock, &record)?;
        Ok(Reimaged::unchanged(store, &record))
    }
}
