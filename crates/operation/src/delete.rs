//! `delete`: the machine, its disks and its key. Must not ask: whoever calls it has.

use std::time::{Duration, Instant};

use cloud_machine_driver::machine::{self, Delivery, Driver, KnownMachine, MachineRef};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineLock, MachineRecord, StoreError};

use crate::{
    Operations,
    error::{ErrorKind, OperationError, causes},
    event::{Notice, Operation},
    hint::Hint,
    life::{self, END_TIME},
};

/// How long a provider may take to delete a snapshot.
const DISCARD_TIME: Duration = Duration::from_secs(60);

impl Operations<'_> {
    /// Deletes the machine `name` with its disks, also when its record cannot be read.
    ///
    /// # Errors
    /// Of [`ErrorKind::NotFound`](crate::ErrorKind) when there is none, and when it cannot be proved that nothing of it runs.
    pub fn delete(&self, name: &MachineName) -> Result<(), OperationError> {
        self.under_lock(name, Operation::Delete, |lock| self.delete_locked(lock))
    }

    fn delete_locked(&self, lock: &MachineLock) -> Result<(), OperationError> {
        let name = lock.name();
        let (store, teller) = (self.store, self.teller(name, Operation::Delete));
        match store.read(name) {
            // Its owner goes on with it as it is.
            Ok(record) if record.remote.is_some() => {
                let (driver, machine) = (self.driver_of(&record)?, life::reference(store, &record));
                let snapshot = record.remote.as_ref().and_then(|remote| remote.snapshot.as_ref());
                driver.release(&machine)?;
                if let (Some(snapshot), Some(snapshots)) = (snapshot, driver.snapshots()) {
                    snapshots.discard(&machine, &store.owner()?, &snapshot.state, Instant::now() + DISCARD_TIME)?;
                }
                // What was cut off before it was recorded.
                if driver.snapshots().is_some() {
                    self.forget(name, &record)?;
                }
            }
            Ok(record) if record.driver_state.is_none() && self.is_elsewhere(&record)? => {
                self.forget(name, &record)?;
            }
            Ok(mut record) => drop(life::end(self.driver_of(&record)?, store, &mut record)?),
            Err(error @ StoreError::NoMachine { .. }) => return Err(error.into()),
            Err(error) => {
                // A broken record must not make a machine immortal; what runs of it is known by its files alone, and which
                // driver it has is not known at all.
                teller.notice(Notice::UnreadableRecord(name.clone(), causes(&error)));
                let machine = MachineRef::without_record(name.clone(), store.machine(name));
                let runs_here = |driver: &&dyn Driver| driver.delivery() == Delivery::Devices;
                for driver in self.drivers.all().filter(runs_here) {
                    drop(machine::end(driver, &machine, END_TIME)?);
                }
            }
        }
        Ok(store.delete(lock)?)
    }

    /// Deletes what an operation that was cut off may have made of a machine and not recorded.
    fn forget(&self, name: &MachineName, record: &MachineRecord) -> Result<(), OperationError> {
        let (driver, owner) = (self.driver_of(record)?, self.store.owner()?);
        if !driver.makes() {
            return Ok(());
        }
        // A server that was there before is its owner's, whatever its labels say.
        let adopted = record.remote.as_ref().filter(|remote| remote.host_key.is_some());
        let known = adopted.map(|remote| KnownMachine {
            name: name.clone(),
            control: Some(remote.control.clone()),
            snapshot: None,
            making: None,
        });
        let Some(orphans) = driver.orphans(&owner, known.as_slice()) else {
            let text = format!(
                "cannot tell whether a provider has made machine {name}: driver {} has no settings here",
                driver.name()
            );
            return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::RestoreSettings(driver.name())));
        };
        for orphan in orphans?.iter().filter(|orphan| orphan.machine == name.as_str()) {
            driver.remove_orphan(&owner, orphan)?;
        }
        Ok(())
    }

    /// Whether its driver's machines run somewhere else.
    fn is_elsewhere(&self, record: &MachineRecord) -> Result<bool, OperationError> {
        Ok(self.driver_of(record)?.delivery() == Delivery::Connection)
    }
}
