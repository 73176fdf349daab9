//! A machine that a provider makes: from its description to a record that an attempt can work with. Must not make one twice.

use std::time::Instant;

use cloud_machine_driver::{
    machine::{Driver, Provisioned, WantedMachine},
    ssh,
};
use cloud_machine_image::Manifest;
use cloud_machine_store::{MachineLock, MachineRecord, RemoteRecord};
use jiff::Timestamp;

use crate::{
    Operations,
    adopt::take,
    described::Described,
    error::{ErrorKind, OperationError},
    event::{Notice, Task},
    installed, life,
    teller::Teller,
};

impl Operations<'_> {
    /// Makes the machine of `record` at its driver's provider, or finds what a call before made, and records what it is. Nothing
    /// is left to be done for a driver that makes its machines when it starts them.
    ///
    /// # Errors
    /// The driver's; and when what was made cannot be what is described.
    pub(crate) fn provisioned(
        &self,
        (lock, teller): (&MachineLock, Teller<'_>),
        driver: &dyn Driver,
        record: &mut MachineRecord,
        until: Instant,
    ) -> Result<(), OperationError> {
        if record.remote.as_ref().is_some_and(|remote| remote.facts.is_some()) {
            return Ok(());
        }
        let (store, described) = (self.store, Described::of(record)?);
        let (image, manifest) = installed::image(store, record)?;
        let owner = store.owner()?;
        let public_key = ssh::public_key(&store.machine(&record.name).ssh_key()).map_err(OperationError::failed)?;
        let wanted = WantedMachine {
            name: &record.name,
            uuid: &record.uuid,
            owner: &owner,
            ram: record.ram,
            cpus: record.cpus,
            disk: disk(&described, &manifest),
            public_key: &public_key,
            cache: store.root(),
        };
        let making = teller.begin(Task::Provision);
        let Some(made) = driver.provision(&wanted, until) else { return Ok(()) };
        let Provisioned { control, address, port, told } = made?;
        drop(making);
        teller.notice(Notice::Provisioned(told));
        // Before anything else can fail: what costs is known.
        let adopted = Timestamp::now();
        record.remote =
            Some(RemoteRecord { address, port, host_key: None, control, facts: None, adopted, snapshot: None });
        store.write(lock, record)?;
        let looking = teller.begin(Task::Survey);
        let agent = image.agent();
        let facts = driver.survey(&life::reference(store, record), (&agent, image.boot.agent), until)?;
        drop(looking);
        if !facts.in_memory {
            let text = "the provider's rescue system did not start: what answered runs from a disk of the machine";
            return Err(OperationError::new(ErrorKind::Verification, text));
        }
        let Described { merged, config } = take::resolved(&described, &facts)?;
        let address = record.remote.as_ref().map(|remote| remote.address.clone()).unwrap_or_default();
        let found = take::identity(&record.name, &config, &address, &facts)?;
        record.disks = take::disks(&config, &facts, manifest.size())?;
        record.identity.mac = found.mac;
        record.layers = crate::create::layers(&merged)?;
        if let Some(remote) = &mut record.remote {
            remote.facts = Some(facts);
        }
        store.write(lock, record)?;
        Ok(())
    }
}

/// The least size of the system disk.
fn disk(described: &Described, manifest: &Manifest) -> u64 {
    let boot = described.config.resources.disks.values().find(|disk| disk.boot_partition);
    let asked = boot.and_then(|disk| disk.allocation).map_or(0, |size| size.bytes());
    asked.max(manifest.size())
}
