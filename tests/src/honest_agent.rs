//! What an honest agent says of a boot, without one: made from the volume that it was given, by the plan that both sides make.
//! For tests of the host's order; what an agent really does is tried in virtual machines.

use std::fs;

use cloud_machine_config::{Document, merge, validate};
use cloud_machine_driver::{machine::Boot, ssh::generate_key};
use cloud_machine_image::{digest_of_extents, read_manifest};
use cloud_machine_plan::{HOST_KEY, ImageLayout, not_covered, plan};
use cloud_machine_protocol::{
    AgentEvidence, ChangedExtents, ConfigEvidence, Disk, DiskEvidence, FORMAT_VERSION, Hello, Identity, IdentityItem,
    ImageEvidence, Inventory, Outcome, Probe, Report, ReportResult, Request, RootOfTrust, SecretPolicy, Step,
    StepRecord, Tier, volume,
};
use cloud_machine_store::ImageFolder;
use cloud_machine_volume::{Volume, write::pin};

/// Id of the boot that is not one.
const BOOT_ID: &str = "0f6ff1f6-2b0c-4d2a-9a51-6f3a1f0f7d11";
/// Bytes of each sector.
const SECTOR: u64 = 512;

/// The first message.
#[must_use]
pub fn hello() -> Hello {
    Hello { version: FORMAT_VERSION, agent: "0".to_owned(), boot_id: BOOT_ID.to_owned() }
}

/// The volume that is attached, if one is.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn attached_volume(boot: &Boot) -> Option<Vec<u8>> {
    let device = boot.devices.iter().find(|device| device.serial == "cm-volume")?;
    Some(fs::read(&device.file).expect("the volume"))
}

/// The tier that a boot with this volume is asked for.
///
/// # Panics
/// When it has no request.
#[must_use]
pub fn tier(bytes: &[u8]) -> Option<Tier> {
    let request = Volume::open(bytes).and_then(|given| given.read(volume::REQUEST)).expect("a request");
    serde_json::from_slice::<Request>(&request).expect("a request").tier
}

/// The report of a reimage after which nothing had differed, for a machine with one disk as large as its image.
///
/// # Panics
/// When the boot is not such a one.
#[must_use]
pub fn report(boot: &Boot, image: &ImageFolder, bytes: &[u8]) -> Report {
    let given = Volume::open(bytes).expect("a volume");
    let read = |path: &str| given.read(path).expect("a file of the volume");
    let request: Request = serde_json::from_slice(&read(volume::REQUEST)).expect("a request");
    let identity: Identity = serde_json::from_slice(&read(volume::IDENTITY)).expect("an identity");
    let merged = merge(&[Document::from_layers(&read(volume::LAYERS)).expect("layers")]).expect("layers that merge");
    let config = validate(&merged).expect("a configuration");
    let packed = cloud_machine_packing::FileBlocks::open(&image.packed()).expect("the packed image");
    let manifest = read_manifest(&packed).expect("a manifest");
    let inventory = inventory(boot, manifest.size());
    let volume_disk = inventory.disks.iter().find(|disk| disk.serial.as_deref() == Some("cm-volume"));
    let volume_disk = volume_disk.map(|disk| disk.name.as_str());
    let layout = ImageLayout::from(&manifest);
    let plan = plan(&config, &inventory, &request, &layout, volume_disk, &identity.name).expect("a plan");
    let size = manifest.size();
    Report {
        version: FORMAT_VERSION,
        request_id: Some(request.id.clone()),
        nonce: Some(request.nonce),
        machine_uuid: Some(request.machine_uuid.clone()),
        action: Some(request.action),
        boot_id: BOOT_ID.to_owned(),
        result: ReportResult::Done,
        agent: AgentEvidence {
            version: "0".to_owned(),
            digest: Some(image.boot.agent),
            kernel_release: image.boot.kernel_release.clone(),
            command_line_digest: pin(boot.command_line.as_bytes()),
        },
        image: Some(ImageEvidence {
            generation: manifest.generation(),
            minimum_generation: request.image.minimum_generation,
            exceptions: Vec::new(),
        }),
        config: Some(ConfigEvidence {
            volume: Some(pin(bytes)),
            document: pin(&read(volume::USER_DATA)),
            url: None,
            drives: Vec::new(),
            origins: merged.origins(),
        }),
        steps: plan.steps.iter().map(|step| record(&step.id, &step.step, size)).collect(),
        not_covered: not_covered(RootOfTrust::Host, &plan.devices),
        devices: plan.devices,
        image_source: None,
        disks: vec![DiskEvidence {
            device: "vda".to_owned(),
            disk_size: size,
            tier: Some(Tier::Scan),
            read_bytes: size,
            table: None,
            image_root: Some(manifest.digest()),
            image_size: size,
            zero_bytes: 0,
            ranges: Vec::new(),
        }],
        root: None,
        changed: vec![ChangedExtents {
            device: "vda".to_owned(),
            count: 0,
            bytes: 0,
            digest: digest_of_extents(&[]),
            extents: Vec::new(),
        }],
        ignored_volumes: Vec::new(),
        identity: items(&identity, &config.ssh_authorized_keys),
        timings: Vec::new(),
    }
}

/// The devices of a boot as the kernel finds them, all on one bus.
fn inventory(boot: &Boot, image: u64) -> Inventory {
    let disk = |index: usize, serial: &str, size: u64, read_only: bool| Disk {
        name: format!("vd{}", char::from(b'a' + u8::try_from(index).expect("few devices"))),
        serial: Some(serial.to_owned()),
        wwn: None,
        size,
        sector_size: u32::try_from(SECTOR).expect("a sector"),
        read_only,
        discard: !read_only,
        probe: Probe::Empty,
        partitions: None,
    };
    let attached = boot.devices.iter().enumerate().map(|(index, device)| {
        disk(index, &device.serial, fs::metadata(&device.file).expect("the device's file").len(), device.read_only)
    });
    let attached: Vec<Disk> = attached.collect();
    // Of a machine elsewhere nothing is attached, and its own disk is there all the same.
    Inventory { disks: if attached.is_empty() { vec![disk(0, "system", image, false)] } else { attached } }
}

fn record(id: &cloud_machine_protocol::StepId, step: &Step, size: u64) -> StepRecord {
    let (outcome, compared) = match step {
        Step::Reimage { .. } => (Outcome::Unchanged, size),
        _ => (Outcome::Changed, 0),
    };
    StepRecord {
        id: id.clone(),
        step: step.clone(),
        outcome,
        compared_bytes: compared,
        written_bytes: 0,
        zeroed_bytes: 0,
        read_back_bytes: 0,
        milliseconds: 1,
    }
}

fn items(identity: &Identity, configured: &[String]) -> Vec<IdentityItem> {
    let keys = tempfile::tempdir().expect("a folder");
    let host_key = generate_key(&keys.path().join("key"), identity.name.as_str()).expect("a host key");
    let own = identity.authorized_keys.iter().filter(|key| !configured.contains(key));
    let authorized: Vec<String> = own.chain(configured).cloned().collect();
    let item = |name: &str, public: String| IdentityItem {
        name: name.to_owned(),
        policy: if name == HOST_KEY { SecretPolicy::Rotate } else { SecretPolicy::Keep },
        public,
    };
    vec![
        item("hostname", identity.name.to_string()),
        item("machine-id", identity.machine_id.to_string()),
        item("hostid", format!("{:08x}", identity.machine_id.hostid())),
        item("machine-uuid", identity.machine_uuid.clone()),
        item("mac", identity.mac.to_string()),
        item("authorized-keys", authorized.join("\n")),
        item(HOST_KEY, host_key),
    ]
}
