//! `create`: a machine from its description. An existing, equal machine is left alone; a half-made one is continued.

use std::time::{Duration, Instant};

use cloud_machine_config::Merged;
use cloud_machine_driver::{machine::Delivery, ssh};
use cloud_machine_plan::highest_assurance;
use cloud_machine_protocol::{Action, Identity, ImageUrl, MachineName};
use cloud_machine_store::{
    DiskRecord, DriveRecord, ImageRecord, MachineLock, MachineRecord, MachineState, RECORD_VERSION, Store, StoreError,
    Strategy, SystemDisk, identity,
};
use jiff::Timestamp;

use crate::{
    Operations,
    admission::{self, Admitted, Exceptions},
    adopt::take,
    attempt::{Attempt, can_keep},
    audit, configured_driver,
    described::Described,
    disks,
    drives::{self, Drive},
    error::{ErrorKind, OperationError},
    event::{Notice, Operation},
    hint::Hint,
    host_key, network,
    reimage::{Reimaged, quarantined},
    rounding, space,
    system_disk::{self, ReimageOptions},
    teller::Teller,
};

/// A machine as it is asked for.
pub struct Creation {
    /// The merged configuration of all layers of the host.
    pub described: Described,
    /// Volumes that are attached.
    pub drives: Vec<Drive>,
    /// What an operator sets aside of the rules on images.
    pub exceptions: Exceptions,
    /// The address that the machine fetches its image from.
    pub image_url: Option<ImageUrl>,
    /// How its first reimage may be made short.
    pub options: ReimageOptions,
    /// How long it may take.
    pub timeout: Duration,
}

impl Operations<'_> {
    /// Refuses a description that no machine can have, before any is made; tells which values have no effect.
    ///
    /// # Errors
    /// Of [`ErrorKind::Refused`], and of [`ErrorKind::Failed`] for a driver that is not there.
    pub fn check_creation(&self, creation: &Creation) -> Result<(), OperationError> {
        let (described, teller) = (&creation.described, Teller::of_none(self.observer, Operation::Create));
        // Whether the driver is there at all comes before what it satisfies.
        let driver = configured_driver(self.drivers, described)?;
        if !driver.makes() {
            let text = format!("driver {} makes no machines", driver.name());
            return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::AdoptInstead));
        }
        driver.preflight()?;
        audit::honoured(self.drivers, teller, described)?;
        for remark in creation.drives.iter().flat_map(|drive| &drive.unread) {
            teller.notice(Notice::NotRead(remark.clone()));
        }
        drives::check(&described.merged, described.config.cloud_init_url.as_ref(), &creation.drives)?;
        let resources = &described.config.resources;
        for nic in std::iter::once(&resources.nic).chain(resources.nics.values()) {
            configured_driver(self.drivers, described)?.can_connect(&nic.network)?;
        }
        let connection = &described.config.resources.nic.network;
        network::can_fetch(&described.config, connection, creation.image_url.as_ref())?;
        if creation.options.strategy == Some(Strategy::Rebuild) {
            let text = "a machine that is to be made has no snapshot yet: strategy rebuild is for `reimage`, later";
            return Err(OperationError::new(ErrorKind::Refused, text));
        }
        can_keep(driver, creation.options, described.config.resources.disks.len())?;
        if driver.delivery() == Delivery::Connection {
            let disks = described.config.resources.disks.len();
            if disks > 1 {
                let text = format!(
                    "the configuration declares {disks} disks, and driver {} makes a machine with one",
                    driver.name()
                );
                return Err(OperationError::new(ErrorKind::Refused, text));
            }
            if let Some(drive) = creation.drives.first() {
                let text =
                    format!("volume {} cannot be attached to a machine that this host does not run", drive.source);
                return Err(OperationError::new(ErrorKind::Refused, text));
            }
            system_disk::can_be_elsewhere(&described.config, creation.options)?;
        }
        system_disk::check(&described.config, creation.image_url.is_some(), creation.options)
    }

    /// Makes the machine `name`.
    ///
    /// # Errors
    /// Of any kind; what was made of the machine is continued by the next call.
    pub fn create(&self, name: &MachineName, creation: &Creation) -> Result<Reimaged, OperationError> {
        self.under_lock(name, Operation::Create, |lock| self.create_locked(lock, creation))
    }

    fn create_locked(&self, lock: &MachineLock, creation: &Creation) -> Result<Reimaged, OperationError> {
        let name = lock.name();
        let (store, teller) = (self.store, self.teller(name, Operation::Create));
        let mut record = match store.read(name) {
            Ok(record) => {
                same_description(&record, creation)?;
                if record.state == MachineState::Quarantined {
                    return Err(quarantined(&record));
                }
                if !matches!(record.state, MachineState::Creating) && record.last_report.is_some() {
                    teller.notice(Notice::AlreadyCreated(name.clone()));
                    return Ok(Reimaged::unchanged(store, &record));
                }
                record
            }
            Err(StoreError::NoMachine { .. }) => {
                has_own_mac(store, &creation.described)?;
                let delivery = configured_driver(self.drivers, &creation.described)?.delivery();
                let record = new_record(delivery, teller, store, name, creation)?;
                let driver = self.driver_of(&record)?;
                driver.can_be_in(&store.machine(name), &record.connection)?;
                if driver.delivery() == Delivery::Devices {
                    space::fits(store, &record, &creation.described, creation.options)?;
                } else if let Some(sizes) =
                    audit::sizes(driver, &creation.described, store.root(), Instant::now() + creation.timeout)
                {
                    // What the provider does not have leaves no half-made machine; nor does a wrong token, while no list is kept.
                    sizes?;
                }
                store.create(lock, &record)?;
                record
            }
            Err(error) => return Err(error.into()),
        };
        for drive in &creation.drives {
            store.machine(name).store_drive(lock, &drive.digest(), &drive.bytes)?;
        }
        for disk in &record.disks {
            store.machine(name).store_medium(lock, disk)?;
        }
        prepare_login(store, &mut record)?;
        host_key::make(store, &record)?;
        store.write(lock, &record)?;
        let (driver, deadline) = (self.driver_of(&record)?, Instant::now() + creation.timeout);
        if driver.delivery() == Delivery::Connection {
            self.provisioned((lock, teller), driver, &mut record, deadline)?;
        }
        // As the record has it: a machine that is continued is made from that.
        let described = Described::of(&record)?;
        let attempt = Attempt {
            driver,
            store,
            lock,
            teller,
            deadline,
            // Whoever names the driver names who is trusted; less than all that it reaches is a failure.
            required: highest_assurance(driver.root_of_trust()),
            options: creation.options,
            described: &described,
        };
        let completed = attempt.run(&mut record, Action::Reimage)?;
        Ok(Reimaged::new(store, &record, &completed))
    }
}

/// Whether values, drives and the image's address are those of the record; where they come from does not matter.
fn same_description(record: &MachineRecord, creation: &Creation) -> Result<(), OperationError> {
    match record.remote.as_ref().and_then(|remote| remote.facts.as_ref()) {
        Some(facts) => same_values(record, &take::resolved(&creation.described, facts)?)?,
        None => same_values(record, &creation.described)?,
    }
    let drives = record.drives.iter().map(|drive| drive.digest).eq(creation.drives.iter().map(Drive::digest));
    if drives && record.image.url == creation.image_url { Ok(()) } else { Err(described_otherwise(record)) }
}

/// Whether the configuration gives the values of the record.
pub(crate) fn same_values(record: &MachineRecord, described: &Described) -> Result<(), OperationError> {
    let same = Described::of(record)?.merged.to_yaml() == described.merged.to_yaml();
    if same { Ok(()) } else { Err(described_otherwise(record)) }
}

fn described_otherwise(record: &MachineRecord) -> OperationError {
    let name = &record.name;
    OperationError::new(ErrorKind::Refused, format!("machine {name} exists and is described otherwise"))
        .hint(Hint::OtherDescription(name.clone()))
}

/// The refusal of a configuration without an image.
pub(crate) fn no_image() -> OperationError {
    OperationError::new(ErrorKind::Refused, "the configuration names no image").hint(Hint::NameImage)
}

/// Refuses a configured hardware address that another machine has: a network would take both for one. Records that cannot be read
/// say nothing, and two machines that are made at the same moment do not see each other.
pub(crate) fn has_own_mac(store: &Store, described: &Described) -> Result<(), OperationError> {
    let resources = &described.config.resources;
    let configured: Vec<_> =
        std::iter::once(&resources.nic).chain(resources.nics.values()).filter_map(|nic| nic.mac).collect();
    if configured.is_empty() {
        return Ok(());
    }
    for summary in store.summaries()?.into_iter().filter_map(|row| row.summary.ok()) {
        let Ok(MachineRecord { identity, .. }) = store.read(&summary.name) else { continue };
        let mut taken = std::iter::once(&identity.mac).chain(identity.nics.values());
        if let Some(mac) = taken.find(|mac| configured.contains(mac)) {
            let text = format!("machine {} has the hardware address {mac} already", summary.name);
            return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::OtherMac(summary.name)));
        }
    }
    Ok(())
}

fn new_record(
    delivery: Delivery,
    teller: Teller<'_>,
    store: &Store,
    name: &MachineName,
    creation: &Creation,
) -> Result<MachineRecord, OperationError> {
    let config = &creation.described.config;
    let image = config.image.as_ref().ok_or_else(no_image)?;
    let Admitted { record: image, manifest } =
        admission::admit(teller, store, image, &creation.described, creation.exceptions)?;
    let identity = identity::new(
        name.clone(),
        config.resources.nic.mac,
        config.resources.nics.iter().map(|(name, nic)| (name.clone(), nic.mac)).collect(),
        config.ssh_authorized_keys.clone(),
        config.identity.ssh_host_keys,
    )
    .map_err(OperationError::failed)?;
    let connection = &config.resources.nic.network;
    // A provider's machine says itself which it has.
    let disks = if delivery == Delivery::Devices { disks::records(config, &manifest)? } else { Vec::new() };
    let image = ImageRecord { url: creation.image_url.clone(), ..image };
    let ssh_port = if connection.is_user() && delivery == Delivery::Devices {
        ssh::free_port().map_err(OperationError::failed)?
    } else {
        0
    };
    let drives = creation.drives.iter().map(drive_record).collect();
    Ok(MachineRecord { ssh_port, drives, ..record(name, &creation.described, identity, image, disks)? })
}

/// The record of a machine that nothing was done with yet.
pub(crate) fn record(
    name: &MachineName,
    Described { merged, config }: &Described,
    identity: Identity,
    image: ImageRecord,
    disks: Vec<DiskRecord>,
) -> Result<MachineRecord, OperationError> {
    Ok(MachineRecord {
        version: RECORD_VERSION,
        name: name.clone(),
        uuid: identity.machine_uuid.clone(),
        driver: config.driver.clone(),
        image,
        layers: layers(merged)?,
        ram: rounding::memory(config.resources.ram).bytes(),
        cpus: config.resources.cpus,
        disks,
        system: SystemDisk::default(),
        drives: Vec::new(),
        identity,
        ssh_port: 0,
        connection: config.resources.nic.network.clone(),
        remote: None,
        state: MachineState::Creating,
        request: None,
        driver_state: None,
        host_key: None,
        last_report: None,
        assurance: None,
        accepted: None,
        not_covered: Vec::new(),
        not_covered_since: Vec::new(),
        dirty: false,
        created: Timestamp::now(),
    })
}

/// The layers as a record keeps them.
pub(crate) fn layers(merged: &Merged) -> Result<serde_json::Value, OperationError> {
    serde_json::from_slice(&merged.to_layers()).map_err(OperationError::during(ErrorKind::Failed, "encode the layers"))
}

fn drive_record(drive: &Drive) -> DriveRecord {
    let digest = drive.digest();
    DriveRecord {
        source: drive.source.clone(),
        file: format!("drives/{}.img", digest.hex()),
        digest,
        size: drive.bytes.len() as u64,
    }
}

/// A key pair of the host for this machine; its public half becomes one of root's authorized keys.
pub(crate) fn prepare_login(store: &Store, record: &mut MachineRecord) -> Result<(), OperationError> {
    let public = ssh::generate_key(&store.machine(&record.name).ssh_key(), record.name.as_str())
        .map_err(OperationError::failed)?;
    if !record.identity.authorized_keys.contains(&public) {
        record.identity.authorized_keys.push(public);
    }
    Ok(())
}
