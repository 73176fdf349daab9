//! Where every operation that changes a machine begins and ends: its lock, the lease of somebody else, the journal. Must not know what
//! the operation does.

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{JournalFailure, MachineLock, State, StoreError};

use crate::{
    Operations,
    error::{OperationError, causes},
    event::{Notice, Operation},
};

impl Operations<'_> {
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
