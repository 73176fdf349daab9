//! One small machine: a system disk, a scratch disk, a cache that is kept, an image source and the volume.

use cloud_machine_config::{Config, LayerKind, defaults, merge, parse, validate};
use cloud_machine_plan::{ImageLayout, Plan, PlanError, RootPartition, plan};
use cloud_machine_protocol::{
    Action, Algorithm, Digest, Disk, FORMAT_VERSION, History, ImageRequest, ImageSource, Inventory, Nonce, Probe,
    Request,
};

pub(crate) const DISKS: &str =
    "{system: {boot-partition: true}, scratch: {wipe-on-boot: true}, cache: {on-reimage: keep}}";
pub(crate) const IMAGE: u64 = 1 << 20;
pub(crate) const SYSTEM: u64 = 4 << 20;

pub(crate) fn config(disks: &str, undeclared: &str) -> Config {
    let text = format!("cloud-machine: {{disks-undeclared: {undeclared}, resources: {{disks: {disks}}}}}");
    let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    validate(&merge(&[defaults(), document]).unwrap()).unwrap_or_else(|errors| panic!("{errors}"))
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest::new(Algorithm::Blake3, [byte; 32])
}

pub(crate) fn disk(name: &str, serial: &str, size: u64) -> Disk {
    let serial = Some(serial.to_owned());
    Disk {
        name: name.into(),
        serial,
        wwn: None,
        size,
        sector_size: 512,
        read_only: false,
        discard: false,
        probe: Probe::Empty,
        partitions: None,
    }
}

pub(crate) fn inventory() -> Inventory {
    let mut source = disk("vdd", "image", 1 << 19);
    source.read_only = true;
    let mut volume = disk("vde", "volume", 1 << 18);
    volume.read_only = true;
    let mut disks = vec![disk("vda", "system", SYSTEM), disk("vdb", "scratch", 2 << 20), disk("vdc", "cache", 3 << 20)];
    disks.extend([source, volume]);
    Inventory { disks }
}

pub(crate) fn request(action: Action) -> Request {
    Request {
        version: FORMAT_VERSION,
        id: "01K9ZXN3QJ5J2Z6Q0V1T4W7Y8A".into(),
        attempt: 1,
        nonce: Nonce::from_random([7; 32]),
        machine_uuid: "7d8f0c9e-4a9c-4b5e-9d63-5d6c1f0b2a11".into(),
        action,
        image: ImageRequest {
            name: "debian-12".into(),
            digest: digest(1),
            size: IMAGE,
            source: ImageSource::Device("serial:image".parse().unwrap()),
            minimum_generation: 3,
            exceptions: Vec::new(),
        },
        tier: None,
        drives: Vec::new(),
        histories: std::collections::BTreeMap::new(),
        kept: std::collections::BTreeSet::new(),
        unsupported: Vec::new(),
        deadline_seconds: 600,
    }
}

pub(crate) fn image() -> ImageLayout {
    let root = RootPartition { number: 2, offset: 1 << 19, length: 1 << 18, filesystem: "ext4".into() };
    ImageLayout { digest: digest(1), size: IMAGE, generation: 4, root }
}

pub(crate) fn planned(config: &Config, inventory: &Inventory, action: Action) -> Result<Plan, PlanError> {
    planned_for(config, inventory, &request(action))
}

pub(crate) fn planned_for(config: &Config, inventory: &Inventory, request: &Request) -> Result<Plan, PlanError> {
    plan(config, inventory, request, &image(), Some("vde"), &"demo".parse().unwrap())
}

/// A request that says of all these disks the same.
pub(crate) fn request_for(action: Action, disks: &[&str], history: History) -> Request {
    let histories = disks.iter().map(|disk| (disk.parse().unwrap(), history)).collect();
    Request { histories, ..request(action) }
}

pub(crate) fn good(action: Action) -> Plan {
    planned(&config(DISKS, "refuse"), &inventory(), action).unwrap()
}

pub(crate) fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.0.as_str()).collect()
}
