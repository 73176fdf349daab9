//! `plan`: what a reimage would do, step by step, without doing it.

use std::collections::BTreeMap;

use cloud_machine_config::{Config, DiskConfig};
use cloud_machine_driver::machine::Delivery;
use cloud_machine_plan::{ImageLayout, WantedFilesystem, Wiping, plan};
use cloud_machine_protocol::{
    Action, Bus, DeviceRecord, DeviceSelector, Disk, Inventory, MachineName, Nonce, Probe, Signature, Step, Tier,
    volume,
};
use cloud_machine_store::{DiskRecord, MachineRecord, Strategy};
use serde::Serialize;

use crate::{
    Operations, admission,
    agent_request::{self, Serving},
    described::Described,
    devices, disks,
    error::{ErrorKind, OperationError},
    event::{Notice, Operation},
    installed,
    request::is_made,
    system_disk,
};

/// What a reimage would do.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// What it would choose by itself.
    pub strategy: Strategy,
    /// Why.
    pub strategy_reason: String,
    /// What the agent would do, in that order.
    pub steps: Vec<PlannedStep>,
    /// What would become of each disk.
    pub devices: Vec<DeviceRecord>,
    /// Disks whose content is not known here: their steps are those of an empty one. Content as it is described is used as it is,
    /// and any other refuses the reimage.
    pub assumed_empty: Vec<String>,
}

/// A step that the agent would do.
#[derive(Debug, Serialize)]
pub struct PlannedStep {
    /// By which events and reports name it.
    pub id: String,
    /// What it does.
    pub step: Step,
}

impl Operations<'_> {
    /// Plans a reimage of the machine `name`, which is not looked at: its disks are taken for empty.
    ///
    /// # Errors
    /// Those of a reimage that is refused.
    pub fn plan(&self, name: &MachineName) -> Result<Planned, OperationError> {
        let (store, teller) = (self.store, self.teller(name, Operation::Plan));
        let record = self.read_settled(name)?;
        is_made(&record)?;
        let described = Described::of(&record)?;
        let (config, driver) = (&described.config, self.driver_of(&record)?);
        let (image, manifest) = installed::image(store, &record)?;
        let minimum = admission::minimum_generation(store, &record, &manifest)?;
        let (strategy, strategy_reason) = system_disk::preview(driver, store, &record, config)?;
        let tier = match strategy {
            Strategy::Overlay => Some(Tier::Overlay),
            Strategy::Hinted => Some(Tier::Hinted),
            Strategy::Clone => Some(Tier::Clone),
            Strategy::Rewrite | Strategy::Rebuild => None,
        };
        let file = installed::file_size(&image.packed())?;
        let (action, minimum_generation) = (Action::Reimage, minimum);
        let serving = Serving { id: "plan", attempt: 1, action, minimum_generation, tier, packed: file };
        // No agent will see this request, so its nonce binds nothing.
        let nonce = Nonce::from_random([0; 32]);
        let mut request = agent_request::request(driver, &record, &described, &serving, &manifest, nonce)?;
        // Nobody looks at the disks here, so that what the record says of them has nothing to be held against.
        request.histories.clear();
        let packed = match system_disk::root_pool(config) {
            Some(_) => manifest.size(),
            None => file,
        };
        let inventory = inventory(&record, config, packed, driver.delivery());
        let volume = inventory.disks.iter().find(|disk| disk.serial.as_deref() == Some(devices::VOLUME));
        let volume = volume.map(|disk| disk.name.as_str());
        let layout = ImageLayout::from(&manifest);
        let mut assumed_empty = Vec::new();
        for (disk, kept) in &config.resources.disks {
            let described = (kept.filesystem.is_some() && !kept.boot_partition) || !kept.partitions.is_empty();
            if described && !kept.readonly && Wiping::of(request.action, kept).is_none() {
                teller.notice(Notice::AssumedEmpty(disk.to_string()));
                assumed_empty.push(disk.to_string());
            }
        }
        let planned = plan(config, &inventory, &request, &layout, volume, name)
            .map_err(|error| OperationError::new(ErrorKind::Refused, error))?;
        let steps = planned.steps.into_iter();
        let steps = steps.map(|step| PlannedStep { id: step.id.to_string(), step: step.step }).collect();
        Ok(Planned { strategy, strategy_reason, steps, devices: planned.devices, assumed_empty })
    }
}

/// The disks as the driver attaches them; each bus names its own in that order.
fn inventory(record: &MachineRecord, config: &Config, packed: u64, delivery: Delivery) -> Inventory {
    let disk = |serial: &str, size: u64, read_only: bool, probe: Probe| Disk {
        name: String::new(),
        serial: Some(serial.to_owned()),
        wwn: None,
        size,
        sector_size: 512,
        read_only,
        // As virtio-blk offers it.
        discard: !read_only,
        probe,
        partitions: None,
    };
    let disks = record
        .disks
        .iter()
        .map(|found| (found.bus, disk(&found.serial, found.size, found.medium.is_some(), content(found, config))));
    let label = Signature { label: Some(volume::LABEL.to_owned()), ..Signature::default() };
    let bus = disks::volume_bus(config);
    let volume = (bus, disk(devices::VOLUME, 1 << 20, true, Probe::Found(label)));
    let has_device = record.image.url.is_none();
    let image = has_device.then(|| (Bus::Virtio, disk(devices::IMAGE, packed, true, Probe::Empty)));
    let drives = record.drives.iter().enumerate();
    let drives =
        drives.map(|(index, drive)| (Bus::Virtio, disk(&devices::drive(index), drive.size, true, Probe::Empty)));
    let mut disks = match delivery {
        Delivery::Devices => devices::in_order(disks, (bus, volume), image, drives),
        Delivery::Connection => disks.collect(),
    };
    let mut counts: BTreeMap<Bus, usize> = BTreeMap::new();
    for (bus, disk) in &mut disks {
        let count = counts.entry(*bus).or_default();
        disk.name = disks::name_on(*bus, *count);
        *count += 1;
    }
    Inventory { disks: disks.into_iter().map(|(_, disk)| disk).collect() }
}

/// What is taken to be on a disk: on one that is never written what the configuration says of it.
fn content(disk: &DiskRecord, config: &Config) -> Probe {
    let declared = config.resources.disks.get(&disk.name).filter(|declared| declared.readonly);
    let wanted = declared.and_then(|declared| WantedFilesystem::of(&disk.name, declared));
    let label = |declared: &DiskConfig| match &declared.devicepath {
        DeviceSelector::Label(label) => Some(label.clone()),
        _ => None,
    };
    match (wanted, declared.and_then(label)) {
        (None, None) => Probe::Empty,
        (Some(wanted), label) => Probe::Found(Signature {
            filesystem: Some(wanted.kind),
            label: wanted.label.or(label),
            ..Signature::default()
        }),
        (None, label) => Probe::Found(Signature { label, ..Signature::default() }),
    }
}
