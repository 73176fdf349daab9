//! Where every operation that changes a machine begins and ends: its lock, the lease of somebody else, the journal. Must not know what
//! the operation does.

use cloud_machine_protocol::{Action, MachineName};
use cloud_machine_store::{JournalFailure, MachineLock, MachineRecord, MachineState, State, StoreError};

use crate::{
    Operations,
    error::{ErrorKind, OperationError, causes},
    event::{Notice, Operation},
    hint::Hint,
    request::is_pending,
};

impl Operations<'_> {
    /// The record of the machine `name`, once nobody is about to make it another one.
    ///
    /// # Errors
    /// Of [`ErrorKind::Locked`], with what is under way; and those of the store.
    pub(crate) fn read_settled(&self, name: &MachineName) -> Result<MachineRecord, OperationError> {
        let store = self.store;
        let record = store.read(name)?;
        if !is_unsettled(&record) {
            return Ok(record);
        }
        match store.lock(name) {
            Ok(lock) => drop(lock),
            Err(error @ StoreError::Locked { .. }) => {
                let failure = OperationError::during(ErrorKind::Locked, under_way(&record))(error);
                return Err(failure.hint(Hint::WaitForOther));
            }
            Err(error) => return Err(error.into()),
        }
        // Nobody is at it any more: it was cut off, or has just been done.
        Ok(store.read(name)?)
    }

    /// Does `work` as the only operation on the machine `name`, if nobody else has a lease on it, and notes begin and end.
    ///
    /// A journal that cannot be written stops nothing, and is told: what is safe is decided by record and lock, which are written
    /// first, and on a full disk it must stay possible to stop and to delete machines.
    pub(crate) fn under_lock<T>(
        &self,
        name: &MachineName,
        operation: Operation,
        work: impl FnOnce(&MachineLock) -> Result<T, OperationError>,
    ) -> Result<T, OperationError> {
        let state: &dyn State = self.store;
        let lock = state.lock(name)?;
        state.check_lease(name)?;
        let begun = state.journal_begin(&lock, &operation.to_string());
        let teller = self.teller(name, operation);
        let not_noted = |error: &StoreError| teller.notice(Notice::NotInJournal(causes(error)));
        let begun = begun.map_err(|error| not_noted(&error)).ok();
        let result = work(&lock);
        if let Some(begun) = begun {
            let request = state.read(name).ok().and_then(|record| record.request).map(|request| request.id);
            let failure =
                result.as_ref().err().map(|error| JournalFailure { kind: error.kind.to_string(), error: error.line() });
            if let Err(error) = state.journal_end(begun, request, failure) {
                not_noted(&error);
            }
        }
        result
    }
}

/// Whether an operation has begun that makes another machine of it, and has not ended well.
fn is_unsettled(record: &MachineRecord) -> bool {
    is_pending(record.state) || matches!(record.state, MachineState::Creating | MachineState::Accepted)
}

fn under_way(record: &MachineRecord) -> String {
    let name = &record.name;
    let what = match record.request.as_ref().map(|request| request.action) {
        _ if record.last_report.is_none() => "created",
        Some(Action::Boot) => "started",
        Some(Action::Reimage) | None => "reimaged",
    };
    format!("machine {name} is being {what} (state {})", record.state)
}
