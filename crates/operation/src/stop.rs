//! `stop`: the system is asked to shut down, then the machine is ended.

use std::time::{Duration, Instant};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineLock, MachineRecord, MachineState};
use serde::Serialize;

use crate::{
    Operations,
    error::{OperationError, causes},
    event::{Notice, Operation, Task},
    life,
    request::is_made,
    teller::Teller,
};

/// How a machine is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Without asking its system.
    pub now: bool,
    /// How long its system may take to shut down.
    pub grace: Duration,
}

/// A machine that was stopped.
#[derive(Debug, Serialize)]
pub struct Stopped {
    /// Its state.
    pub state: MachineState,
    /// Whether anything of it ran.
    pub ran: bool,
    /// Whether its system shut down by itself.
    pub shut_down: bool,
}

impl Operations<'_> {
    /// Stops the machine `name`.
    ///
    /// # Errors
    /// When it cannot be proved that nothing of it runs any more.
    pub fn stop(&self, name: &MachineName, stop: Stop) -> Result<Stopped, OperationError> {
        self.under_lock(name, Operation::Stop, |lock| self.stop_locked(lock, stop))
    }

    fn stop_locked(&self, lock: &MachineLock, stop: Stop) -> Result<Stopped, OperationError> {
        let name = lock.name();
        let (store, teller) = (self.store, self.teller(name, Operation::Stop));
        let mut record = store.read(name)?;
        if record.remote.is_none() {
            // What a provider may have made and nobody has written down cannot be named to it.
            is_made(&record)?;
        }
        let ran = self.running(&record).map_or(true, |running| running.is_some());
        let ask = !stop.now && record.state == MachineState::Running;
        let shut_down = ask && self.shut_down(teller, &record, stop.grace)?;
        drop(life::end(self.driver_of(&record)?, store, &mut record)?);
        // A reimage that is under way stays so: stopping does not make it done.
        if matches!(record.state, MachineState::Running | MachineState::Stopped) {
            record.state = MachineState::Stopped;
            store.write(lock, &record)?;
        }
        Ok(Stopped { state: record.state, ran, shut_down })
    }

    /// Asks the system to shut down; whatever does not come of it, the machine is ended afterwards.
    fn shut_down(&self, teller: Teller<'_>, record: &MachineRecord, grace: Duration) -> Result<bool, OperationError> {
        let Some(running) = self.running(record)? else { return Ok(false) };
        let _working = teller.begin(Task::ShutDown(record.name.clone()));
        match running.shut_down(Instant::now() + grace) {
            Ok(ended) => Ok(ended),
            // One that hangs, or whose monitor somebody else holds, is what ending it is for.
            Err(error) => {
                teller.notice(Notice::NotAskedToShutDown(record.name.clone(), causes(&error)));
                Ok(false)
            }
        }
    }
}
