//! What the host expects of an attempt: made from the machine's record, its configuration and the image, once when the
//! attempt begins and again whenever its evidence is judged. Must not take anything from a report.

use cloud_machine_config::{CloudInitUrl, Config, Drives};
use cloud_machine_driver::machine::{Delivery, Driver};
use cloud_machine_image::{Manifest, SECTOR_SIZE, Table};
use cloud_machine_plan::{
    Disposition, Expected, ExpectedDisk, ExpectedUrl, ImageLayout, RootPartition, RootPool, WantedFilesystem,
    WantedTable, Wiping, is_encrypted,
};
use cloud_machine_protocol::{Bus, Digest, Request, RescueHostKey, Role, RootOfTrust};
use cloud_machine_store::{DiskRecord, ImageFolder, MachineRecord};
use serde::{Deserialize, Serialize};

use crate::{
    described::Described,
    devices, disks,
    error::{ErrorKind, OperationError},
    history,
    installed::open_blocks,
    volume::{sha256, user_data},
};

/// What the host gave one attempt besides what is in the machine's record, and keeps there once its report was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptFacts {
    pub(crate) request: Request,
    pub(crate) volume: Digest,
    pub(crate) volume_size: u64,
    /// Bytes of the device with the image.
    pub(crate) image_size: u64,
    pub(crate) packed_size: u64,
    pub(crate) agent: Digest,
    pub(crate) kernel_release: String,
    pub(crate) table: Option<Digest>,
    pub(crate) generation: u64,
    pub(crate) root: RootPartition,
    pub(crate) url: Option<ExpectedUrl>,
    pub(crate) command_line: Digest,
    /// The host key of the report before.
    pub(crate) last_host_key: Option<String>,
    /// The host key that was handed over, for a machine that keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept_host_key: Option<String>,
    /// What was known of the host key of a provider's rescue system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rescue_host_key: Option<RescueHostKey>,
}

impl AttemptFacts {
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, OperationError> {
        serde_json::to_value(self)
            .map_err(OperationError::during(ErrorKind::Failed, "encode what the attempt was given"))
    }

    /// The facts of the last accepted attempt, held against the record.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`]: none, or those of another machine, image or report.
    pub(crate) fn of_last(record: &MachineRecord, described: &Described) -> Result<Self, OperationError> {
        let refuse = |text: String| OperationError::new(ErrorKind::Verification, text);
        let name = &record.name;
        let accepted =
            record.accepted.as_ref().ok_or_else(|| refuse(format!("machine {name} has no accepted attempt")))?;
        let facts: Self = serde_json::from_value(accepted.attempt.clone()).map_err(OperationError::during(
            ErrorKind::Verification,
            format!("read the last accepted attempt of machine {name}"),
        ))?;
        let request = &facts.request;
        let report = format!("reports/{}.json", request.id);
        let differs = if request.machine_uuid != record.uuid {
            Some("another machine")
        } else if request.image.digest != record.image.digest || request.image.size != record.image.size {
            Some("another image")
        } else if facts.generation != record.image.generation || request.image.exceptions != record.image.exceptions {
            Some("another generation of the image, or other exceptions")
        } else if request.kept != history::kept(&described.config)
            || request.histories != history::before(&record.disks)
        {
            Some("disks with another history")
        } else if record.last_report.as_ref() != Some(&report) {
            Some("another report")
        } else {
            None
        };
        match differs {
            Some(of) => Err(refuse(format!("the last accepted attempt in the record of machine {name} is of {of}"))),
            None => Ok(facts),
        }
    }

    /// Holds the facts against an image that is still installed.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`]: the same image, and another root partition or table.
    pub(crate) fn check_image(
        &self,
        record: &MachineRecord,
        image: &ImageFolder,
        manifest: &Manifest,
    ) -> Result<(), OperationError> {
        // What else was packed beside the same disk (agent, kernel, generation) may have changed since.
        let root = ImageLayout::from(manifest).root;
        if (root.number != self.root.number || root == self.root) && table(record, manifest, image)? == self.table {
            return Ok(());
        }
        let text = format!(
            "the last accepted attempt of machine {} was made with other parts of image {}",
            record.name, image.name
        );
        Err(OperationError::new(ErrorKind::Verification, text))
    }

    /// What a report of the attempt has to say.
    pub(crate) fn expected(&self, driver: &dyn Driver, record: &MachineRecord, described: &Described) -> Expected {
        let config = &described.config;
        let (own_keys, authorized_keys) = authorized_keys(record, config);
        let root_of_trust = driver.root_of_trust();
        // A provider starts a kernel of its own, with a command line of its own.
        let own_kernel = root_of_trust != RootOfTrust::Provider;
        Expected {
            request: self.request.clone(),
            volume: self.volume,
            document: sha256(&user_data(described)),
            // As the volume has them: without what gives access.
            origins: described.merged.without_access().origins(),
            url: self.url.clone(),
            drives_trusted: config.drives == Drives::Trusted,
            disks: self.disks(record, config, driver.delivery()),
            volume_attached: driver.delivery() == Delivery::Devices,
            table: self.table,
            generation: self.generation,
            root: self.root.clone(),
            identity: record.identity.clone(),
            last_host_key: self.last_host_key.clone(),
            kept_host_key: self.kept_host_key.clone(),
            authorized_keys,
            own_keys,
            agent: self.agent,
            kernel_release: own_kernel.then(|| self.kernel_release.clone()),
            packed_size: self.packed_size,
            // The boot loader of a machine's disk adds to it.
            command_line: (root_of_trust == RootOfTrust::Host).then_some(self.command_line),
            root_of_trust,
            rescue_host_key: self.rescue_host_key,
        }
    }

    fn disks(&self, record: &MachineRecord, config: &Config, delivery: Delivery) -> Vec<ExpectedDisk> {
        let mut disks: Vec<ExpectedDisk> = record.disks.iter().map(|disk| self.declared(disk, config)).collect();
        if delivery == Delivery::Connection {
            return disks;
        }
        let fixed = |serial: &str, size, role, bus| ExpectedDisk {
            bus,
            read_only: true,
            ..ExpectedDisk::new(serial, size, role, Disposition::Keep)
        };
        disks.push(fixed(devices::VOLUME, self.volume_size, Role::Volume, disks::volume_bus(config)));
        if record.image.url.is_none() {
            disks.push(fixed(devices::IMAGE, self.image_size, Role::ImageSource, Bus::Virtio));
        }
        let drives = record.drives.iter().enumerate();
        disks.extend(drives.map(|(index, drive)| fixed(&devices::drive(index), drive.size, Role::Drive, Bus::Virtio)));
        disks
    }

    fn declared(&self, disk: &DiskRecord, config: &Config) -> ExpectedDisk {
        let declared = config.resources.disks.get(&disk.name);
        let wiping = declared.and_then(|declared| Wiping::of(self.request.action, declared));
        let disposition = match (disk.boot, wiping) {
            (true, _) => Disposition::System,
            (false, Some(_)) => Disposition::Wipe,
            (false, None) => Disposition::Keep,
        };
        ExpectedDisk {
            serial: disk.serial.clone(),
            size: disk.size,
            role: Role::Declared { name: disk.name.to_string() },
            disposition,
            wiping: wiping.unwrap_or_default(),
            encrypted: declared.is_some_and(is_encrypted),
            bus: disk.bus,
            read_only: disk.medium.is_some(),
            filesystem: declared.and_then(|declared| WantedFilesystem::of(&disk.name, declared)),
            root_pool: declared.and_then(|declared| RootPool::of(&disk.name, declared)),
            partitions: declared.and_then(WantedTable::of),
        }
    }
}

/// Lines of root's `authorized_keys` by the host's layers, the host's own first, and how many those are: the same as the
/// machine makes of them.
fn authorized_keys(record: &MachineRecord, config: &Config) -> (usize, Vec<String>) {
    let configured = &config.ssh_authorized_keys;
    let own = record.identity.authorized_keys.iter().filter(|key| !configured.contains(key));
    let mut keys: Vec<String> = own.cloned().collect();
    let count = keys.len();
    keys.extend(configured.iter().cloned());
    (count, keys)
}

/// Digest of the partition table that the system disk gets, when it is not the image's own.
pub(crate) fn table(
    record: &MachineRecord,
    manifest: &Manifest,
    image: &ImageFolder,
) -> Result<Option<Digest>, OperationError> {
    let Some(system) = record.disks.iter().find(|disk| disk.boot) else { return Ok(None) };
    let packed = open_blocks(&image.packed())?;
    let table = Table::for_disk(manifest, &packed, system.size, SECTOR_SIZE).map_err(OperationError::during(
        ErrorKind::Failed,
        format!("describe the partitions on disk {}", system.name),
    ))?;
    Ok(table.map(|table| table.digest()))
}

/// What the machine will say of its address; the digest where the host knows it.
pub(crate) fn expected_url(url: &CloudInitUrl, document: Option<&[u8]>) -> ExpectedUrl {
    ExpectedUrl { url: url.redacted(), document: document.map(sha256).or(url.sha256) }
}
