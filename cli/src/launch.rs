//! From a machine's record to one process: volume, pin, command line and drives. Owns what the machine is given;
//! how it is started is the driver's.

use std::{
    cell::Cell,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_config::{CloudInitUrl, Config, Drives, validate};
use cloud_machine_driver::{
    FileBlocks, escape, identity,
    qemu::{DirectBoot, Drive, Launch, Process, Qemu, console_tail, decide},
    ssh::{self, SshError},
    store::{AttemptFolder, DriveRecord, ImageFolder, MachineRecord, Store},
    volume as volume_image,
};
use cloud_machine_image::{Manifest, SECTOR_SIZE, Table, read_manifest};
use cloud_machine_plan::{
    Expected, ExpectedDisk, ExpectedUrl, ImageLayout, RootPool, Treatment, WantedFilesystem, WantedTable, Wiping,
    is_encrypted,
};
use cloud_machine_protocol::{
    Bus, DeviceSelector, Digest, DriveRequest, Extent, FORMAT_VERSION, ImageRequest, ImageSource, Nonce, Request, Role,
    Tier, volume,
};

use crate::{
    admission,
    configuration::{guest, refused},
    disks,
    failure::{Failure, Kind},
    history, startup,
    strategy::{self, Ground},
    verdict,
};

/// Serial of the volume's device.
pub(crate) const VOLUME_SERIAL: &str = "cm-volume";
/// Serial of the device with the packed image.
pub(crate) const IMAGE_SERIAL: &str = "cm-image";
/// What serials begin with that no disk of a configuration may have.
pub(crate) const OWN_SERIALS: &str = "cm-";
/// How long connecting by SSH may take; the key exchange is slow in software emulation.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Seconds that an agent may take; the host's own deadline is usually shorter.
const AGENT_DEADLINE: u64 = 3600;

/// All that one attempt is started with, and what its report is held against.
pub(crate) struct Prepared {
    pub(crate) folder: AttemptFolder,
    pub(crate) launch: Launch,
    pub(crate) expected: Expected,
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
    let manifest = manifest(&folder.packed())?;
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

/// Reads the manifest of a packed file.
pub(crate) fn manifest(path: &std::path::Path) -> Result<Manifest, Failure> {
    let blocks = open_blocks(path)?;
    read_manifest(&blocks).map_err(Failure::during(Kind::Failed, format!("read the image {}", path.display())))
}

/// Makes nonce, volume and launch of the next attempt. The old process must be gone.
pub(crate) fn prepare(
    ground: &Ground<'_>,
    record: &MachineRecord,
    system: strategy::Prepared,
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
    let request = request(record, manifest, minimum, system.tier, identity::nonce().map_err(Failure::failed)?)?;
    let config = config(record)?;
    let url_document = config.cloud_init_url.as_ref().map(guest::url_file).transpose()?.flatten();
    let bytes = volume_bytes(record, &request, manifest, system.dirty.as_deref(), url_document.as_deref())?;
    let pin = volume_image::pin(&bytes);
    let folder = machine.new_attempt(lock)?;
    fs::write(folder.volume(), &bytes).map_err(Failure::during(Kind::Failed, "write the volume"))?;
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
    let given = Given {
        volume: pin,
        volume_size: bytes.len() as u64,
        image_size,
        agent: image.boot.agent,
        table: table(record, manifest, image)?,
        url: config.cloud_init_url.as_ref().map(|url| expected_url(url, url_document.as_deref())),
        append: format!("console=ttyS0 loglevel=6 panic=-1 noresume {}={pin}", volume::PIN_ARGUMENT),
    };
    let launch = Launch {
        name: record.name.clone(),
        uuid: record.uuid.clone(),
        memory_mib: record.ram >> 20,
        cpus: record.cpus,
        accelerator: verdict.accelerator,
        cpu_model: verdict.cpu_model,
        boot: Some(DirectBoot { kernel: image.kernel(), initramfs: image.initramfs(), append: given.append.clone() }),
        drives,
        mac: record.identity.mac,
        ssh_port: Some(record.ssh_port),
        folder: folder.clone(),
    };
    let expected = expected(record, request, &config, given, &ImageLayout::from(manifest));
    Ok(Prepared { folder, launch, expected })
}

/// Digest of the partition table that the system disk gets, when it is not the image's own.
fn table(record: &MachineRecord, manifest: &Manifest, image: &ImageFolder) -> Result<Option<Digest>, Failure> {
    let Some(system) = record.disks.iter().find(|disk| disk.boot) else { return Ok(None) };
    let packed = open_blocks(&image.packed())?;
    let table = Table::for_disk(manifest, &packed, system.size, SECTOR_SIZE)
        .map_err(Failure::during(Kind::Failed, format!("describe the partitions on disk {}", system.name)))?;
    Ok(table.map(|table| table.digest()))
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

/// What the machine will say of its address; the digest where the host knows it.
fn expected_url(url: &CloudInitUrl, document: Option<&[u8]>) -> ExpectedUrl {
    ExpectedUrl { url: url.shown(), document: document.map(volume_image::pin).or(url.sha256) }
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
    let layers = serde_json::to_vec(&record.layers).map_err(encode("layers"))?;
    let meta_data = format!("instance-id: {}\nlocal-hostname: {}\n", record.uuid, record.name);
    let user_data = format!("#cloud-init\n{}", guest::recorded(record)?.to_yaml());
    let manifest = manifest.to_bytes();
    let mut files: Vec<(&str, &[u8])> = vec![
        (volume::USER_DATA, user_data.as_bytes()),
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

/// What the machine is given besides its declared disks.
struct Given {
    volume: Digest,
    volume_size: u64,
    image_size: u64,
    agent: Digest,
    table: Option<Digest>,
    url: Option<ExpectedUrl>,
    append: String,
}

fn expected(record: &MachineRecord, request: Request, config: &Config, given: Given, layout: &ImageLayout) -> Expected {
    let wiping = |disk: &cloud_machine_driver::store::DiskRecord| {
        config.resources.disks.get(&disk.name).and_then(|declared| Wiping::of(request.action, declared))
    };
    let treatment = |disk: &cloud_machine_driver::store::DiskRecord| match (disk.boot, wiping(disk)) {
        (true, _) => Treatment::System,
        (false, Some(_)) => Treatment::Wipe,
        (false, None) => Treatment::Keep,
    };
    let mut disks: Vec<ExpectedDisk> = record
        .disks
        .iter()
        .map(|disk| ExpectedDisk {
            serial: disk.serial.clone(),
            size: disk.size,
            role: Role::Declared { name: disk.name.to_string() },
            treatment: treatment(disk),
            wiping: wiping(disk).unwrap_or_default(),
            encrypted: config.resources.disks.get(&disk.name).is_some_and(is_encrypted),
            read_only: disk.medium.is_some(),
            filesystem: config
                .resources
                .disks
                .get(&disk.name)
                .and_then(|declared| WantedFilesystem::of(&disk.name, declared)),
            root_pool: config.resources.disks.get(&disk.name).and_then(|declared| RootPool::of(&disk.name, declared)),
            partitions: config.resources.disks.get(&disk.name).and_then(WantedTable::of),
        })
        .collect();
    let kept = |serial: &str, size, role| ExpectedDisk::new(serial, size, role, Treatment::Keep);
    disks.push(kept(VOLUME_SERIAL, given.volume_size, Role::Volume));
    if record.image.url.is_none() {
        disks.push(kept(IMAGE_SERIAL, given.image_size, Role::ImageSource));
    }
    let drives = record.drives.iter().enumerate();
    disks.extend(drives.map(|(index, drive)| kept(&drive_serial(index), drive.size, Role::Drive)));
    Expected {
        request,
        volume: given.volume,
        url: given.url,
        drives_trusted: config.drives == Drives::Trusted,
        disks,
        table: given.table,
        generation: layout.generation,
        root: layout.root.clone(),
        identity: record.identity.clone(),
        last_host_key: record.host_key.clone(),
        agent: given.agent,
        // The digest of a text is made as that of a volume.
        command_line: volume_image::pin(given.append.as_bytes()),
        host_boot: true,
    }
}

/// Waits until SSH answers with the pinned host key.
pub(crate) fn wait_ready(
    store: &Store,
    record: &MachineRecord,
    process: &Process,
    folder: &AttemptFolder,
    deadline: Instant,
) -> Result<(), Failure> {
    // A failed look does not mean that the machine has ended: it ends the waiting and is told as what it is.
    let unseen = Cell::new(None);
    let stopped = Cell::new(None);
    let alive = || match process.alive() {
        Ok(true) => {
            // A console that cannot be read says nothing; whoever shows its end tells why.
            let reason = console_tail(folder, usize::MAX).ok().and_then(|console| startup::stopped(&console));
            let goes_on = reason.is_none();
            stopped.set(reason);
            goes_on
        }
        Ok(false) => false,
        Err(error) => {
            unseen.set(Some(error));
            false
        }
    };
    let answered = ssh::wait_banner(record.ssh_port, deadline, &alive);
    if let Some(error) = unseen.take() {
        return Err(Failure::failed(error));
    }
    if let Some(reason) = stopped.take() {
        return Err(Failure::failed(reason));
    }
    answered.map_err(|error| {
        let kind = if matches!(error, SshError::Silent { .. }) { Kind::TimedOut } else { Kind::Failed };
        Failure::new(kind, error)
    })?;
    loop {
        let output = remote(store, record, &["true"])?.output().map_err(Failure::during(Kind::Failed, "start ssh"))?;
        if output.status.success() {
            return Ok(());
        }
        // A server that is busy for a moment ends the connection before it says who it is.
        let unheard = String::from_utf8_lossy(&output.stderr).contains("kex_exchange_identification");
        if !unheard || Instant::now() >= deadline {
            let said = escape::tail(&output.stderr, 5);
            let text = format!("the machine does not answer with its pinned host key\n{said}");
            return Err(Failure::new(Kind::Verification, text));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// `ssh` to a machine, as root and with its pinned host key; arguments can be added.
pub(crate) fn login(store: &Store, record: &MachineRecord) -> Result<Command, Failure> {
    let machine = store.machine(&record.name);
    let target = ssh::Target {
        user: "root".to_owned(),
        port: record.ssh_port,
        key: machine.ssh_key(),
        known_hosts: machine.known_hosts(),
        connect_limit: CONNECT_LIMIT,
    };
    ssh::command(&target).map_err(Failure::failed)
}

/// `ssh` that runs one program; each word arrives as it was given, whatever a shell would make of it.
pub(crate) fn remote(store: &Store, record: &MachineRecord, words: &[&str]) -> Result<Command, Failure> {
    let mut command = login(store, record)?;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    command.arg(quoted.join(" "));
    Ok(command)
}
