//! What is asked of wherever records, leases and the journal are kept: the files of this host, or later a database that several hosts
//! share. Must not name a path: disks, sockets, logs and images are files of a host in any case, and none of this.

use std::{fmt, time::Duration};

use cloud_machine_protocol::MachineName;

use super::{
    Begun, Journal, JournalFailure, Lease, LeaseRow, MachineLock, MachineRecord, Store, StoreError, SummaryRow,
};

/// Records with their requests, leases and the journal. Whatever returns without an error is on stable storage.
///
/// The embedded one is [`Store`]. What every other one has to hold as well is `state_tests.rs`, which is written against this.
pub trait State: fmt::Debug + Send + Sync {
    /// The right to change one machine, which exists or not. Without waiting; free again when its holder dies.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another program has it.
    fn lock(&self, name: &MachineName) -> Result<MachineLock, StoreError>;

    /// The record of a machine as it was written last, by whichever program.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`]; one for a record that cannot be read.
    fn read(&self, name: &MachineName) -> Result<MachineRecord, StoreError>;

    /// Replaces the record of an existing machine, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`], [`StoreError::WrongLock`].
    fn write(&self, lock: &MachineLock, record: &MachineRecord) -> Result<(), StoreError>;

    /// All machines, sorted by name. What is wrong with one record is in its row.
    ///
    /// # Errors
    /// When there is no list at all.
    fn summaries(&self) -> Result<Vec<SummaryRow>, StoreError>;

    /// Takes a lease, whose number is greater than that of every lease of the machine before it.
    ///
    /// # Errors
    /// [`StoreError::Leased`], [`StoreError::LeaseRefused`].
    fn take_lease(&self, name: &MachineName, owner: &str, time: Duration) -> Result<Lease, StoreError>;

    /// Lets a lease that holds last until `time` from now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::LeaseRefused`].
    fn renew_lease(&self, name: &MachineName, number: u64, time: Duration) -> Result<Lease, StoreError>;

    /// Gives a lease back; again is no error.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    fn give_back_lease(&self, name: &MachineName, number: u64) -> Result<(), StoreError>;

    /// All leases that have not ended, sorted by the machine's name.
    ///
    /// # Errors
    /// When there is no list at all.
    fn leases(&self) -> Result<Vec<LeaseRow>, StoreError>;

    /// Refuses a change of a machine that somebody else has a lease on, or under a lease that holds no longer.
    ///
    /// # Errors
    /// [`StoreError::Leased`], [`StoreError::LeaseLost`]; one for a lease that cannot be read.
    fn check_lease(&self, name: &MachineName) -> Result<(), StoreError>;

    /// Notes that an operation begins.
    ///
    /// # Errors
    /// When it cannot be noted.
    fn journal_begin(&self, lock: &MachineLock, operation: &str) -> Result<Begun, StoreError>;

    /// Notes that it has ended, and how.
    ///
    /// # Errors
    /// When it cannot be noted.
    fn journal_end(
        &self,
        begun: Begun,
        request: Option<String>,
        failure: Option<JournalFailure>,
    ) -> Result<(), StoreError>;

    /// All operations that are still noted, or those on one machine, which may be deleted since, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`] for one that is not there and of which nothing is noted; when there is no journal to be read.
    fn journal(&self, machine: Option<&MachineName>) -> Result<Journal, StoreError>;
}

impl State for Store {
    fn lock(&self, name: &MachineName) -> Result<MachineLock, StoreError> {
        Self::lock(self, name)
    }

    fn read(&self, name: &MachineName) -> Result<MachineRecord, StoreError> {
        Self::read(self, name)
    }

    fn write(&self, lock: &MachineLock, record: &MachineRecord) -> Result<(), StoreError> {
        Self::write(self, lock, record)
    }

    fn summaries(&self) -> Result<Vec<SummaryRow>, StoreError> {
        Self::summaries(self)
    }

    fn take_lease(&self, name: &MachineName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        Self::take_lease(self, name, owner, time)
    }

    fn renew_lease(&self, name: &MachineName, number: u64, time: Duration) -> Result<Lease, StoreError> {
        Self::renew_lease(self, name, number, time)
    }

    fn give_back_lease(&self, name: &MachineName, number: u64) -> Result<(), StoreError> {
        Self::give_back_lease(self, name, number)
    }

    fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        Self::leases(self)
    }

    fn check_lease(&self, name: &MachineName) -> Result<(), StoreError> {
        Self::check_lease(self, name)
    }

    fn journal_begin(&self, lock: &MachineLock, operation: &str) -> Result<Begun, StoreError> {
        Self::journal_begin(self, lock, operation)
    }

    fn journal_end(
        &self,
        begun: Begun,
        request: Option<String>,
        failure: Option<JournalFailure>,
    ) -> Result<(), StoreError> {
        Self::journal_end(self, begun, request, failure)
    }

    fn journal(&self, machine: Option<&MachineName>) -> Result<Journal, StoreError> {
        Self::journal(self, machine)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
