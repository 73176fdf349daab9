//! What providers have that was made for this host and that no record knows: listed, and deleted when that is asked for. Must not
//! delete what a record names.

use cloud_machine_driver::machine::{Delivery, Driver, KnownMachine, Orphan};
use cloud_machine_store::MachineState;
use serde::Serialize;

use crate::{
    Operations,
    error::{ErrorKind, OperationError},
    request::snapshot_attempt,
};

/// Something that nobody knows any more.
#[derive(Debug, Serialize)]
pub struct Forgotten {
    /// The driver whose provider has it.
    pub driver: &'static str,
    /// What it is.
    #[serde(flatten)]
    pub orphan: Orphan,
    /// Whether it was deleted now.
    pub deleted: bool,
}

impl Operations<'_> {
    /// Lists what was made for this host and has no record, and deletes it when `delete` says so. Drivers without settings are asked
    /// nothing.
    ///
    /// # Errors
    /// When a record cannot be read: what it knows would count as forgotten; and those of the drivers.
    pub fn forgotten(&self, driver: Option<&str>, delete: bool) -> Result<Vec<Forgotten>, OperationError> {
        let drivers: Vec<&dyn Driver> = match driver {
            Some(name) => vec![self.maker(name)?],
            None => self.drivers.all().collect(),
        };
        // Nothing carries a label that was never made.
        let Some(owner) = self.store.kept_owner()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for one in drivers {
            let known = self.known(one.name())?;
            let orphans = match one.orphans(&owner, &known) {
                None if driver.is_some() => {
                    let name = one.name();
                    let text = format!(
                        "driver {name} has no settings here, such as ~/.config/cloud-machine/drivers/{name}.yaml"
                    );
                    return Err(OperationError::new(ErrorKind::Refused, text));
                }
                None => continue,
                Some(orphans) => orphans?,
            };
            // What a record was changed for meanwhile is not forgotten: it is written before anything is made, and after.
            let since = self.known(one.name())?;
            let is_new =
                |orphan: &Orphan| since.iter().any(|now| now.name.as_str() == orphan.machine && !known.contains(now));
            for orphan in orphans.into_iter().filter(|orphan| !is_new(orphan)) {
                if delete {
                    one.remove_orphan(&owner, &orphan)?;
                }
                found.push(Forgotten { driver: one.name(), orphan, deleted: delete });
            }
        }
        Ok(found)
    }

    /// Whether this state folder has ever made anything at a provider.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn has_owner(&self) -> Result<bool, OperationError> {
        Ok(self.store.kept_owner()?.is_some())
    }

    /// A driver by name, one that makes machines at a provider.
    fn maker(&self, name: &str) -> Result<&dyn Driver, OperationError> {
        let driver = self.driver(name)?;
        if driver.delivery() == Delivery::Connection && driver.makes() {
            return Ok(driver);
        }
        Err(OperationError::new(ErrorKind::Refused, format!("driver {name} makes nothing at a provider")))
    }

    /// The machines of a driver.
    fn known(&self, driver: &str) -> Result<Vec<KnownMachine>, OperationError> {
        let mut known = Vec::new();
        for row in self.store.list()? {
            let record = row.record.map_err(OperationError::from)?;
            if record.driver == driver {
                // One that is being made has a name, and what is made of it is not forgotten.
                let (control, snapshot) = match record.remote {
                    Some(remote) => (Some(remote.control), remote.snapshot.map(|snapshot| snapshot.state)),
                    None => (None, None),
                };
                let is_under_way =
                    matches!(record.state, MachineState::Requested | MachineState::Writing | MachineState::Accepted);
                let making = record.request.filter(|_| is_under_way).as_ref().map(snapshot_attempt);
                known.push(KnownMachine { name: record.name, control, snapshot, making });
            }
        }
        Ok(known)
    }
}
