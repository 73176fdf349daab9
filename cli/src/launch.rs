//! From a machine's record to one process: volume, pin, command line and drives. Owns what the machine is given;
//! how it is started is the driver's.

use std::{fs, path::PathBuf};

use cloud_machine_config::{Config, validate};
use cloud_machine_driver::{
    FileBlocks, console,
    qemu::{DirectBoot, Drive, Ended, Launch, Qemu, decide},
    store::{AttemptFolder, DriveRecord, ImageFolder, MachineRecord, Store},
    volume as volume_image,
};
use cloud_machine_image::{Manifest, read_manifest_unless};
use cloud_machine_plan::{Expected, ImageLayout};
use cloud_machine_protocol::{
    Bus, DeviceSelector, Digest, DriveRequest, Extent, FORMAT_VERSION, ImageRequest, ImageSource, Nonce, Request,
    SecretUrl, Secrets, Tier, volume,
};

use crate::{
    admission,
    configuration::{guest, refused},
    disks,
    expectation::{AttemptFacts, expected_url, table},
    failure::{Failure, Kind},
    history,
    source::unreadable,
    strategy::{self, Ground},
    verdict,
};

/// Serial of the volume's device.
pub(crate) const VOLUME_SERIAL: &str = "cm-volume";
/// Serial of the device with the packed image.
pub(crate) const IMAGE_SERIAL: &str = "cm-image";
/// What serials begin with that no disk of a configuration may have.
pub(crate) const OWN_SERIALS: &str = "cm-";
/// Seconds that an agent may take; the host's own deadline is usually shorter.
const AGENT_DEADLINE: u64 = 3600;

/// All that one attempt is started with, and what its report is held against.
pub(crate) struct Prepared {
    pub(crate) folder: AttemptFolder,
    pub(crate) launch: Launch,
    pub(crate) expected: Expected,
    pub(crate) facts: AttemptFacts,
    /// What of the configuration the agent is told over its port, since the volume stays attached.
    pub(crate) secrets: Secrets,
}

/// The driver called `name`.
pub(crate) fn qemu(name: &str) -> Result<Qemu, Failure> {
    match name {
        "qemu" => {
            let qemu = Qemu::default();
            qemu.version().map_err(|error| {
                Failure::failed(error).hint("`apt-get install qemu-system-x86` brings it; see `cloud-machine doctor`")
            })?;
            Ok(qemu)
        }
        other => Err(Failure::new(Kind::Refused, format!("no driver is called {other:?}; this program has qemu"))),
    }
}

/// The installed image of a machine, checked against its record.
pub(crate) fn image(store: &Store, record: &MachineRecord) -> Result<(ImageFolder, Manifest), Failure> {
    let folder = store.image(&record.image.name)?;
    let manifest = installed(&folder)?;
    if manifest.digest() != record.image.digest {
        let (name, image) = (&record.name, &record.image.name);
        let text = format!("image {image} was replaced since machine {name} was last reimaged");
        return Err(
            Failure::failed(text).hint(format!("`cloud-machine reimage {name} --image {image}` takes the new one"))
        );
    }
    folder.verify_boot_files()?;
    Ok((folder, manifest))
}

/// Opens a packed or raw image; that it is absent is told apart from that it cannot be opened.
pub(crate) fn open_blocks(path: &std::path::Path) -> Result<FileBlocks, Failure> {
    FileBlocks::open(path).map_err(|error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, format!("open {}", path.display()))(error)
    })
}

/// Reads the manifest of an installed image. Its zeros are hashed only where they are not known already.
pub(crate) fn installed(folder: &ImageFolder) -> Result<Manifest, Failure> {
    let path = folder.packed();
    read_manifest_unless(&open_blocks(&path)?, folder.proved_manifest(), &|_, _| ())
        .map_err(|error| unreadable(error, format!("read the image {}", path.display())))
}

/// Makes nonce, volume and launch of the next attempt, once the last one has ended.
pub(crate) fn prepare(
    ground: &Ground<'_>,
    record: &MachineRecord,
    system: strategy::Prepared,
    ended: Ended,
) -> Result<Prepared, Failure> {
    let Ground { store, lock, ui, image, manifest } = *ground;
    let machine = store.machine(&record.name);
    let mut drives = Vec::new();
    for disk in &record.disks {
        drives.push(if disk.boot {
            system.drive.clone()
        } else {
            drive(disk.bus, machine.make_disk(disk)?, &disk.serial, disk.medium.is_some())
        });
    }
    let minimum = admission::minimum_generation(store, record, manifest)?;
    let request = request(record, manifest, minimum, system.tier, ended.nonce().map_err(Failure::failed)?)?;
    let config = config(record)?;
    let url_document = config.cloud_init_url.as_ref().map(guest::url_file).transpose()?.flatten();
    let bytes = volume_bytes(record, &request, manifest, system.dirty.as_deref(), url_document.as_deref())?;
    let pin = volume_image::pin(&bytes);
    if let Some(last) = machine.last_attempt()? {
        console::cut(&last)?;
    }
    let folder = machine.new_attempt(lock)?;
    folder.write_volume(&bytes)?;
    let bus = disks::volume_bus(&config);
    // Behind the machine's disks, but before its optical drives when it is one of them.
    let place = if bus == Bus::Cdrom { 0 } else { drives.len() };
    drives.insert(place, drive(bus, folder.volume(), VOLUME_SERIAL, true));
    let source = system.golden.unwrap_or_else(|| image.packed());
    let image_size = fs_length(&source)?;
    if record.image.url.is_none() {
        drives.push(drive(Bus::Virtio, source, IMAGE_SERIAL, true));
    }
    for (index, one) in record.drives.iter().enumerate() {
        drives.push(drive(Bus::Virtio, machine.resolve(&one.file)?, &drive_serial(index), true));
    }
    let verdict = decide(&qemu(&record.driver)?, store, image).map_err(Failure::failed)?;
    ui.note(&format!("accelerator {}: {}", verdict.accelerator, verdict.reason));
    let append = format!("console=ttyS0 loglevel=6 panic=-1 noresume {}={pin}", volume::PIN_ARGUMENT);
    let facts = AttemptFacts {
        request,
        volume: pin,
        volume_size: bytes.len() as u64,
        image_size,
        packed_size: fs_length(&image.packed())?,
        agent: image.boot.agent,
        kernel_release: image.boot.kernel_release.clone(),
        table: table(record, manifest, image)?,
        generation: manifest.generation(),
        root: ImageLayout::from(manifest).root,
        url: config.cloud_init_url.as_ref().map(|url| expected_url(url, url_document.as_deref())),
        command_line: sha256(append.as_bytes()),
        last_host_key: record.host_key.clone(),
    };
    let launch = Launch {
        name: record.name.clone(),
        uuid: record.uuid.clone(),
        memory_mib: record.ram >> 20,
        cpus: record.cpus,
        accelerator: verdict.accelerator,
        cpu_model: verdict.cpu_model,
        boot: Some(DirectBoot { kernel: image.kernel(), initramfs: image.initramfs(), append }),
        drives,
        mac: record.identity.mac,
        ssh_port: Some(record.ssh_port),
        folder: folder.clone(),
    };
    let expected = facts.expected(record)?;
    Ok(Prepared { folder, launch, expected, facts, secrets: secrets(record, &config) })
}

/// The addresses of which the volume states only the place.
fn secrets(record: &MachineRecord, config: &Config) -> Secrets {
    let whole = |url: &SecretUrl| url.gives_access().then(|| url.clone());
    Secrets {
        image: record.image.url.as_ref().and_then(|url| whole(&url.url)),
        document: config.cloud_init_url.as_ref().and_then(|url| whole(&url.url)),
    }
}

fn drive(bus: Bus, file: PathBuf, serial: &str, read_only: bool) -> Drive {
    Drive { bus, file, serial: serial.to_owned(), read_only, node: None }
}

fn fs_length(path: &std::path::Path) -> Result<u64, Failure> {
    let length = fs::metadata(path).map(|found| found.len());
    length.map_err(Failure::during(Kind::Failed, format!("read the size of {}", path.display())))
}

/// Serial of the device with a drive, counted from 0.
pub(crate) fn drive_serial(index: usize) -> String {
    format!("{OWN_SERIALS}drive{index}")
}

/// The request of the record as it goes to the agent, with the lowest generation that it allows.
pub(crate) fn request(
    record: &MachineRecord,
    manifest: &Manifest,
    minimum_generation: u64,
    tier: Option<Tier>,
    nonce: Nonce,
) -> Result<Request, Failure> {
    let stored = record.request.as_ref().ok_or_else(|| Failure::failed("the machine has no request"))?;
    let source = match &record.image.url {
        Some(url) => ImageSource::Url(url.clone()),
        None => ImageSource::Device(DeviceSelector::Serial(IMAGE_SERIAL.to_owned())),
    };
    Ok(Request {
        version: FORMAT_VERSION,
        id: stored.id.clone(),
        attempt: stored.attempts,
        nonce,
        machine_uuid: record.uuid.clone(),
        action: stored.action,
        image: ImageRequest {
            name: record.image.name.to_string(),
            digest: manifest.digest(),
            size: manifest.size(),
            source,
            minimum_generation,
            exceptions: record.image.exceptions.clone(),
        },
        tier,
        drives: record.drives.iter().enumerate().map(drive_request).collect(),
        histories: history::sent(&record.disks),
        kept: history::kept(&config(record)?),
        unhonoured: verdict::unhonoured(&record.driver)?,
        deadline_seconds: AGENT_DEADLINE,
    })
}

fn drive_request((index, drive): (usize, &DriveRecord)) -> DriveRequest {
    DriveRequest { device: DeviceSelector::Serial(drive_serial(index)), digest: drive.digest }
}

/// The document on the volume: the host's layers for readers that know no layers.
pub(crate) fn user_data(record: &MachineRecord) -> Result<Vec<u8>, Failure> {
    Ok(format!("#cloud-init\n{}", guest::recorded(record)?.without_access().to_yaml()).into_bytes())
}

/// SHA-256 of bytes that the machine is given.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    // A volume's pin is made so.
    volume_image::pin(bytes)
}

fn volume_bytes(
    record: &MachineRecord,
    request: &Request,
    manifest: &Manifest,
    dirty: Option<&[Extent]>,
    url_document: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    let encode = |what| Failure::during(Kind::Failed, format!("encode the {what}"));
    let request = serde_json::to_vec_pretty(request).map_err(encode("request"))?;
    let identity = serde_json::to_vec_pretty(&record.identity).map_err(encode("identity"))?;
    // The volume stays attached while the machine's own system runs.
    let configuration = guest::recorded(record)?.without_access();
    let layers = configuration.to_layers();
    let meta_data = format!("instance-id: {}\nlocal-hostname: {}\n", record.uuid, record.name);
    let user_data = user_data(record)?;
    let manifest = manifest.to_bytes();
    let mut files: Vec<(&str, &[u8])> = vec![
        (volume::USER_DATA, &user_data),
        (volume::META_DATA, meta_data.as_bytes()),
        (volume::LAYERS, &layers),
        (volume::REQUEST, &request),
        (volume::IDENTITY, &identity),
        (volume::MANIFEST, &manifest),
    ];
    let dirty = dirty.map(serde_json::to_vec).transpose().map_err(encode("dirty map"))?;
    files.extend(dirty.as_deref().map(|dirty| (volume::DIRTY, dirty)));
    files.extend(url_document.map(|document| (volume::URL_DOCUMENT, document)));
    volume_image::build(&files).map_err(Failure::failed)
}

/// The configuration of the record as types.
pub(crate) fn config(record: &MachineRecord) -> Result<Config, Failure> {
    validate(&guest::recorded(record)?).map_err(refused)
}
