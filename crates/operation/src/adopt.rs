//! `adopt`: a machine that is there already, as it says it is before any job runs on it. Must not change anything on it: that is
//! what its first reimage does.

mod differences;
mod survey;
pub(crate) mod take;

use std::time::Duration;

use cloud_machine_driver::machine::Power;
use cloud_machine_protocol::{MachineFacts, MachineName};
use cloud_machine_store::{DriverState, MachineLock, MachineRecord, MachineState, RemoteRecord, StoreError};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    Operations,
    admission::{self, Admitted, Exceptions},
    audit, configured_driver, create,
    described::Described,
    error::{ErrorKind, OperationError},
    event::Operation,
    hint::Hint,
    host_key, life, network,
    system_disk::{self, ReimageOptions},
    teller::Teller,
};

pub use survey::{Login, Surveyed, Vouched};

/// A machine as it is to be taken over.
pub struct Adoption {
    /// The merged configuration of all layers of the host.
    pub described: Described,
    /// Where it is, and how a person logs in.
    pub login: Login,
    /// What it said of itself.
    pub surveyed: Surveyed,
    /// What the driver calls what has power over it.
    pub control: String,
    /// What an operator sets aside of the rules on images.
    pub exceptions: Exceptions,
}

/// A machine that was taken over.
#[derive(Debug, Serialize)]
pub struct Adopted {
    /// Whether it had been before, and is as it was.
    pub unchanged: bool,
    /// State of the machine.
    pub state: MachineState,
    /// Host and port of its SSH.
    pub place: String,
    /// Fingerprint of the host key that its system has now.
    pub host_key: String,
    /// What it said of itself. Nobody else says so.
    pub facts: MachineFacts,
    /// What a reimage will change of it, one sentence each.
    pub changes: Vec<String>,
}

impl Operations<'_> {
    /// Takes the machine `name` over, or finds that it is as it was when that was done.
    ///
    /// # Errors
    /// Of [`ErrorKind::Refused`] for a machine that cannot be what is described; of [`ErrorKind::Verification`] for one that was
    /// taken over before and has changed, field by field.
    pub fn adopt(&self, name: &MachineName, adoption: &Adoption) -> Result<Adopted, OperationError> {
        self.under_lock(name, Operation::Adopt, |lock| self.adopt_locked(lock, adoption))
    }

    fn adopt_locked(&self, lock: &MachineLock, adoption: &Adoption) -> Result<Adopted, OperationError> {
        let (name, store) = (lock.name(), self.store);
        let control = self.check_adoption(&adoption.described, &adoption.control)?;
        match store.read(name) {
            Ok(mut record) => {
                differences::refuse(&record, &adoption.login, &adoption.surveyed, &control)?;
                let facts = record.remote.as_ref().and_then(|remote| remote.facts.as_ref());
                let facts = facts.unwrap_or(&adoption.surveyed.facts);
                create::same_values(&record, &take::resolved(&adoption.described, facts)?)?;
                let is_whole = record.state != MachineState::Creating;
                if !is_whole {
                    self.finish(lock, &mut record)?;
                }
                return Ok(adopted(&record, adoption, is_whole));
            }
            Err(StoreError::NoMachine { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let described = take::resolved(&adoption.described, &adoption.surveyed.facts)?;
        create::has_own_mac(store, &adoption.described)?;
        let mut record = self.taken(name, adoption, &described, control)?;
        self.is_alone(&record)?;
        self.control_is_its_own(&record)?;
        store.create(lock, &record)?;
        self.finish(lock, &mut record)?;
        Ok(adopted(&record, adoption, false))
    }

    /// What comes after its record is there; a call that was cut off is finished by the next one.
    fn finish(&self, lock: &MachineLock, record: &mut MachineRecord) -> Result<(), OperationError> {
        create::prepare_login(self.store, record)?;
        host_key::make(self.store, record)?;
        // It runs, and no report says what.
        record.state = MachineState::Running;
        Ok(self.store.write(lock, record)?)
    }

    /// Refuses a machine that has a record under another name: two locks would be held on one machine.
    fn is_alone(&self, record: &MachineRecord) -> Result<(), OperationError> {
        let place = |record: &MachineRecord| record.remote.as_ref().map(|remote| (remote.address.clone(), remote.port));
        for other in self.store.list()?.into_iter().filter_map(|row| row.record.ok()) {
            if other.uuid == record.uuid || (place(&other).is_some() && place(&other) == place(record)) {
                let text = format!("the machine is adopted already, as {}", other.name);
                return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::OtherDescription(other.name)));
            }
        }
        Ok(())
    }

    /// Refuses a control of another machine, or one that says nothing: the machine that has just answered is on.
    fn control_is_its_own(&self, record: &MachineRecord) -> Result<(), OperationError> {
        let machine = life::reference(self.store, record);
        match self.driver_of(record)?.power(&machine, Duration::ZERO) {
            Power::On(_) => Ok(()),
            Power::Off => {
                let text =
                    format!("the control of machine {} says that it is off, and it answers over SSH", record.name);
                Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::OtherControl))
            }
            Power::Unknown(doubt) => {
                let text =
                    format!("the control of machine {} does not say whether it runs: {}", record.name, doubt.why);
                let failure = OperationError::new(ErrorKind::Refused, text);
                Err(doubt.way_out.into_iter().fold(failure, |failure, way_out| failure.hint(Hint::OfDriver(way_out))))
            }
        }
    }

    /// Refuses what no machine of this driver can be, before anything is recorded.
    fn check_adoption(&self, described: &Described, control: &str) -> Result<DriverState, OperationError> {
        let teller = Teller::of_none(self.observer, Operation::Adopt);
        let driver = configured_driver(self.drivers, described)?;
        let control = driver.control(control).ok_or_else(|| {
            let text = format!("cannot adopt a machine: driver {} makes all its machines", driver.name());
            OperationError::new(ErrorKind::Refused, text).hint(Hint::AdoptingDriver)
        })??;
        driver.preflight()?;
        audit::honoured(self.drivers, teller, described)?;
        driver.can_connect(&described.config.resources.nic.network)?;
        network::can_fetch(&described.config, &described.config.resources.nic.network, None)?;
        system_disk::can_be_elsewhere(&described.config, ReimageOptions::default())?;
        Ok(control)
    }

    fn taken(
        &self,
        name: &MachineName,
        adoption: &Adoption,
        described: &Described,
        control: DriverState,
    ) -> Result<MachineRecord, OperationError> {
        let teller = self.teller(name, Operation::Adopt);
        let config = &described.config;
        let image = config.image.as_ref().ok_or_else(create::no_image)?;
        let Admitted { record: image, manifest } =
            admission::admit(teller, self.store, image, described, adoption.exceptions)?;
        let facts = &adoption.surveyed.facts;
        let identity = take::identity(name, config, &adoption.login.address, facts)?;
        let disks = take::disks(config, facts, manifest.size())?;
        let remote = RemoteRecord {
            address: adoption.login.address.clone(),
            port: adoption.login.port,
            host_key: Some(adoption.surveyed.host_key.clone()),
            control,
            facts: Some(facts.clone()),
            adopted: Timestamp::now(),
            snapshot: None,
        };
        let record = create::record(name, described, identity, image, disks)?;
        Ok(MachineRecord { remote: Some(remote), ssh_port: 0, dirty: true, ..record })
    }
}

fn adopted(record: &MachineRecord, adoption: &Adoption, unchanged: bool) -> Adopted {
    Adopted {
        unchanged,
        state: record.state,
        place: adoption.surveyed.place.clone(),
        host_key: cloud_machine_driver::ssh::fingerprint(&adoption.surveyed.host_key),
        facts: adoption.surveyed.facts.clone(),
        changes: take::changes(record, &adoption.surveyed.facts),
    }
}

#[cfg(test)]
mod tests;
