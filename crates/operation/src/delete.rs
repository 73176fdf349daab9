//! `delete`: the machine, its disks and its key. Must not ask: whoever calls it has.

use cloud_machine_driver::{qemu::Subject, store::StoreError};
use cloud_machine_protocol::MachineName;

use crate::{
    Operations,
    error::{OperationError, causes},
    event::{Notice, Operation},
    life,
};

impl Operations<'_> {
    /// Deletes the machine `name` with its disks, also when its record cannot be read.
    ///
    /// # Errors
    /// Of [`ErrorKind::NotFound`](crate::ErrorKind) when there is none, and when it cannot be proved that nothing of it runs.
    pub fn delete(&self, name: &MachineName) -> Result<(), OperationError> {
        let (store, teller) = (self.store, self.teller(name, Operation::Delete));
        let lock = store.lock(name)?;
        match store.read(name) {
            Ok(mut record) => drop(life::end(store, &mut record)?),
            Err(error @ StoreError::NoMachine { .. }) => return Err(error.into()),
            Err(error) => {
                // A broken record must not make a machine immortal; its process is known by its files alone.
                teller.notice(Notice::UnreadableRecord(name.clone(), causes(&error)));
                drop(life::end_of(&Subject::without_record(name.clone(), store.machine(name)))?);
            }
        }
        Ok(store.delete(&lock)?)
    }
}
