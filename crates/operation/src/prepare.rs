//! From a machine's record to one process: volume, pin, command line and drives. Owns what the machine is given;
//! how it is started is the driver's.

use std::path::{Path, PathBuf};

use cloud_machine_config::{Config, Nic};
use cloud_machine_driver::{
    console,
    machine::{BlockDevice, Boot, Delivery, Driver, Ended, Interface},
};
use cloud_machine_plan::{Expected, ImageLayout};
use cloud_machine_protocol::{Bus, Digest, NicName, Request, RescueHostKey, Secrets, volume::PIN_ARGUMENT};
use cloud_machine_store::{AttemptFolder, MachineFolder, MachineRecord};
use cloud_machine_volume::write::{self as volume_image};

use crate::{
    admission,
    agent_request::{self, Serving},
    described::Described,
    devices, disks,
    error::OperationError,
    event::Notice,
    expectation::{AttemptFacts, expected_url, table},
    host_key::{self, Kept},
    installed,
    served_image::ServedImage,
    system_disk::{PreparedDisk, SystemDiskPreparation},
    url_document::url_file,
    volume::{self, sha256},
};

/// What the kernel is told besides the pin and what its driver needs: no resume from what a job may have left in a swap area, and a
/// reset in place of a machine that stands still after a panic. The kernel's own test of the timer's interrupt counts on a processor
/// that is never kept waiting, and panics on a busy host in software emulation; where it knows the hypervisor it leaves it out by itself.
const KERNEL_ARGUMENTS: &str = "loglevel=6 panic=-1 noresume no_timer_check";

/// All that one attempt is started with, and what its report is held against.
pub(crate) struct Prepared {
    pub(crate) boot: Boot,
    pub(crate) expected: Expected,
    pub(crate) facts: AttemptFacts,
    /// What of the configuration the agent is told over its port, since the volume stays attached.
    pub(crate) secrets: Secrets,
    /// What is handed over the connection, where nothing is attached.
    pub(crate) over_connection: Option<OverConnection>,
}

/// What an agent on a rescue system is handed over its connection.
pub(crate) struct OverConnection {
    pub(crate) volume: Vec<u8>,
    pub(crate) image: ServedImage,
}

impl Prepared {
    /// Notes what was known of a rescue system's host key before it was connected to.
    pub(crate) fn connected(&mut self, rescue_host_key: Option<RescueHostKey>) {
        self.facts.rescue_host_key = rescue_host_key;
        self.expected.rescue_host_key = rescue_host_key;
    }
}

/// Makes nonce, volume and launch of the next attempt, once the last one has ended.
pub(crate) fn prepare(
    driver: &dyn Driver,
    preparation: &SystemDiskPreparation<'_>,
    record: &MachineRecord,
    described: &Described,
    system: PreparedDisk,
    ended: Ended,
) -> Result<Prepared, OperationError> {
    let SystemDiskPreparation { store, lock, teller, image, .. } = *preparation;
    let (config, machine) = (&described.config, store.machine(&record.name));
    // May take seconds, so before there is a nonce.
    let processor = driver.processor(store, image)?;
    // What a machine elsewhere runs on is its owner's.
    if driver.delivery() == Delivery::Devices {
        teller.notice(Notice::Accelerator { name: processor.accelerator.clone(), reason: processor.reason.clone() });
    }
    let handed = Handed::of(driver, preparation, record, described, &system, ended)?;
    if let Some(last) = machine.last_attempt()? {
        console::cut(&last)?;
    }
    let folder = machine.new_attempt(lock)?;
    folder.write_volume(&handed.volume)?;
    let is_handed = driver.delivery() == Delivery::Connection;
    let over_connection = if is_handed {
        Some(OverConnection { volume: handed.volume.clone(), image: ServedImage::open(&image.packed())? })
    } else {
        None
    };
    let source = system.golden.clone().unwrap_or_else(|| image.packed());
    let command_line = command_line(driver, handed.pin);
    let kept = host_key::handed(store, record, handed.request.action)?;
    let facts = facts(preparation, record, described, handed, &source, &command_line, kept.as_ref())?;
    let boot = Boot {
        name: record.name.clone(),
        uuid: record.uuid.clone(),
        ram: record.ram,
        cpus: record.cpus,
        processor,
        mac: record.identity.mac,
        connection: record.connection.clone(),
        nics: nics(record, config),
        ssh_port: record.ssh_port,
        kernel: image.kernel(),
        initramfs: image.initramfs(),
        agent: image.agent(),
        agent_digest: image.boot.agent,
        command_line,
        devices: attached(&machine, record, described, system.device.filter(|_| !is_handed), (&folder, source))?,
        folder,
    };
    let expected = facts.expected(driver, record, described);
    let secrets = volume::secrets(record, config, kept.map(|kept| kept.seed));
    Ok(Prepared { boot, expected, facts, secrets, over_connection })
}

/// The further interfaces, by name; each has had an address since the machine was made.
fn nics(record: &MachineRecord, config: &Config) -> Vec<Interface> {
    let with_address = |(name, nic): (&NicName, &Nic)| {
        Some(Interface { mac: *record.identity.nics.get(name)?, connection: nic.network.clone() })
    };
    config.resources.nics.iter().filter_map(with_address).collect()
}

/// What the agent is handed: its request, on the volume that the kernel's command line pins.
struct Handed {
    request: Request,
    volume: Vec<u8>,
    pin: Digest,
    /// The document behind `cloud-init-url`, when the host has it.
    url_document: Option<Vec<u8>>,
}

impl Handed {
    /// With a nonce of its own, which there can only be once the last attempt has ended.
    fn of(
        driver: &dyn Driver,
        preparation: &SystemDiskPreparation<'_>,
        record: &MachineRecord,
        described: &Described,
        system: &PreparedDisk,
        ended: Ended,
    ) -> Result<Self, OperationError> {
        let manifest = preparation.manifest;
        let minimum = admission::minimum_generation(preparation.store, record, manifest)?;
        let packed = installed::file_size(&preparation.image.packed())?;
        let serving = Serving::of(record, minimum, system.tier, packed)?;
        let nonce = ended.nonce().map_err(OperationError::failed)?;
        let request = agent_request::request(driver, record, described, &serving, manifest, nonce)?;
        let url_document = described.config.cloud_init_url.as_ref().map(url_file).transpose()?.flatten();
        let dirty = system.dirty.as_deref();
        let volume = volume::bytes(record, described, &request, manifest, dirty, url_document.as_deref())?;
        Ok(Self { pin: volume_image::pin(&volume), request, volume, url_document })
    }
}

/// What the report is held against besides the record: all of it is kept with the evidence.
fn facts(
    preparation: &SystemDiskPreparation<'_>,
    record: &MachineRecord,
    described: &Described,
    handed: Handed,
    source: &Path,
    command_line: &str,
    kept: Option<&Kept>,
) -> Result<AttemptFacts, OperationError> {
    let SystemDiskPreparation { image, manifest, .. } = *preparation;
    let Handed { request, volume, pin, url_document } = handed;
    Ok(AttemptFacts {
        request,
        volume: pin,
        volume_size: volume.len() as u64,
        image_size: installed::file_size(source)?,
        packed_size: installed::file_size(&image.packed())?,
        agent: image.boot.agent,
        kernel_release: image.boot.kernel_release.clone(),
        table: table(record, manifest, image)?,
        generation: manifest.generation(),
        root: ImageLayout::from(manifest).root,
        url: described.config.cloud_init_url.as_ref().map(|url| expected_url(url, url_document.as_deref())),
        command_line: sha256(command_line.as_bytes()),
        last_host_key: record.host_key.clone(),
        kept_host_key: kept.map(|kept| kept.public.clone()),
        // Known once the machine is started.
        rescue_host_key: None,
    })
}

/// What is attached, in that order: the machine's disks, the volume, the image in `source`, the drives. Nothing, where the disks are
/// elsewhere.
fn attached(
    machine: &MachineFolder,
    record: &MachineRecord,
    described: &Described,
    system: Option<BlockDevice>,
    (folder, source): (&AttemptFolder, PathBuf),
) -> Result<Vec<BlockDevice>, OperationError> {
    let Some(system) = system else { return Ok(Vec::new()) };
    let mut disks = Vec::new();
    for disk in &record.disks {
        disks.push(if disk.boot {
            system.clone()
        } else {
            BlockDevice::raw(disk.bus, machine.make_disk(disk)?, &disk.serial, disk.medium.is_some())
        });
    }
    let bus = disks::volume_bus(&described.config);
    let volume = BlockDevice::raw(bus, folder.volume(), devices::VOLUME, true);
    let has_device = record.image.url.is_none();
    let image = has_device.then(|| BlockDevice::raw(Bus::Virtio, source, devices::IMAGE, true));
    let mut drives = Vec::new();
    for (index, one) in record.drives.iter().enumerate() {
        drives.push(BlockDevice::raw(Bus::Virtio, machine.resolve(&one.file)?, &devices::drive(index), true));
    }
    Ok(devices::in_order(disks, (bus, volume), image, drives))
}

/// The kernel command line: what the driver needs, what every agent is started with, and the digest of its volume.
#[must_use]
pub fn command_line(driver: &dyn Driver, pin: Digest) -> String {
    format!("{} {KERNEL_ARGUMENTS} {PIN_ARGUMENT}={pin}", driver.kernel_arguments())
}
