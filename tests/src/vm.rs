//! One boot of the agent with everything under the test's hand: what is on the volume, on the disks and on the
//! command line. Starts QEMU through the driver and ends it, whatever happens.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_config::{LayerKind, defaults, merge, parse};
use cloud_machine_driver::{
    FileBlocks,
    channel::{AgentChannel, ChannelError},
    identity,
    qemu::{self, DirectBoot, Drive, Launch, Process, Qemu, disk},
    store::{AttemptFolder, ImageFolder},
    volume as volume_image,
};
use cloud_machine_image::{Manifest, Table, read_manifest};
use cloud_machine_plan::{Expected, ExpectedDisk, ExpectedUrl, ImageLayout, Treatment, Wiping};
use cloud_machine_protocol::{
    Action, AgentMessage, Bus, DeviceSelector, Digest, DriveRequest, Event, Extent, FORMAT_VERSION, HostMessage,
    Identity, ImageRequest, ImageSource, ImageUrl, Report, Request, Role, SecretPolicy, Tier, volume,
};

use crate::fixture::{Fixture, IMAGE, dirty};

/// The device of the system disk, which is attached first; the one on the PCI bus is only its shell.
const SYSTEM_DEVICE: &str = "/machine/peripheral/drive0/virtio-backend";

/// How long one boot may take in software emulation on a busy host.
const DEADLINE: Duration = Duration::from_secs(240);

/// Everything that one boot is given. Starts good; a test breaks one thing.
pub struct Boot {
    /// The request as JSON, so that a test can write what no type allows.
    pub request: serde_json::Value,
    /// The document that the host's layers are made of.
    pub user_data: String,
    /// What the volume says in `user-data`, when it is not what the layers say.
    pub other_user_data: Option<&'static str>,
    /// The document behind a `file:` address.
    pub url_document: Option<Vec<u8>>,
    /// Volumes besides the host's, and whether their devices are read-only; the request names them.
    pub drives: Vec<(Vec<u8>, bool)>,
    /// What the host expects to be read from an address.
    pub expected_url: Option<ExpectedUrl>,
    /// Whether the host expects that other volumes count.
    pub drives_trusted: bool,
    /// Bytes of the manifest.
    pub manifest: Vec<u8>,
    /// Changes the finished volume before its pin is taken.
    pub before_pin: fn(&mut Vec<u8>),
    /// Changes the finished volume after its pin was taken.
    pub after_pin: fn(&mut Vec<u8>),
    /// How many times the volume is attached.
    pub volumes: usize,
    /// Further drives: serial, content.
    pub more: Vec<(String, Vec<u8>)>,
    /// A drive that is plugged in on a SCSI bus when the agent waits for a disk: serial, content.
    pub late: Option<(String, Vec<u8>)>,
    /// Bytes of the system disk.
    pub system: Vec<u8>,
    /// Bytes of the packed image; no device has them once [`Boot::fetch_image`] was called.
    pub packed: Vec<u8>,
    /// What lies between the machine and the file with [`Self::system`].
    pub form: Form,
    /// Ranges of the system disk that the request calls dirty.
    pub dirty: Option<Vec<Extent>>,
    /// A faulty block node for a drive, by its serial; `FILE` stands for its file.
    pub fault: Option<(&'static str, String)>,
    /// Bytes that may be written to the system disk in a second; no limit when 0.
    pub write_limit: u64,
    /// Processors of the machine.
    pub cpus: u32,
    identity: Identity,
    expected: Request,
    layout: ImageLayout,
    image: ImageFolder,
    folder: tempfile::TempDir,
    attempts: u32,
}

/// What a system disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The file itself.
    Raw,
    /// The file, and a fresh dirty map beside it.
    Mapped,
    /// A fresh overlay above the file.
    Overlay,
}

/// How a boot ended.
pub struct BootEnd {
    /// The report, if one came.
    pub report: Option<Report>,
    /// Whether the agent said hello.
    pub greeted: bool,
    /// Progress that came before it.
    pub events: Vec<Event>,
    /// How long it took from the start of the process to the report, or to the end without one.
    pub took: Duration,
    /// Whether the process ended by itself after it was refused or had failed.
    pub powered_off: bool,
    /// The system disk afterwards.
    pub system: Vec<u8>,
    /// The file of the system disk; the map of [`Form::Mapped`] is beside it.
    pub file: PathBuf,
    /// The console.
    pub console: String,
    /// What the host expected.
    pub expected: Expected,
}

impl BootEnd {
    /// All causes of a failed report in one text.
    ///
    /// # Panics
    /// When there is no report or it did not fail.
    #[must_use]
    pub fn causes(&self) -> String {
        match self.report.as_ref().map(|report| &report.result) {
            Some(cloud_machine_protocol::ReportResult::Failed { causes, .. }) => causes.join(": "),
            other => panic!("the attempt did not fail: {other:?}\n{}", self.console),
        }
    }

    /// The dirty map.
    #[must_use]
    pub fn map(&self) -> PathBuf {
        self.file.with_extension("map.qcow2")
    }

    /// Whether the disk has a GPT header where firmware looks for one.
    #[must_use]
    pub fn is_bootable(&self) -> bool {
        self.system.get(512..520) == Some(b"EFI PART")
    }
}

impl Boot {
    /// A boot that succeeds: a dirty system disk of the image's size and a config that declares it.
    ///
    /// # Panics
    /// When the fixture is broken.
    #[must_use]
    pub fn good(fixture: &Fixture) -> Self {
        let image = fixture.image();
        let packed = fs::read(image.packed()).expect("the packed image");
        let manifest =
            read_manifest(&FileBlocks::open(&image.packed()).expect("the packed image")).expect("a manifest");
        let name = "case".parse().expect("a name");
        let identity = identity::new(name, None, vec![], SecretPolicy::Rotate).expect("an identity");
        let request = Request {
            version: FORMAT_VERSION,
            id: "01JD0000000000000000000000".to_owned(),
            attempt: 1,
            nonce: identity::nonce().expect("a nonce"),
            machine_uuid: identity.machine_uuid.clone(),
            action: Action::Reimage,
            image: ImageRequest {
                name: IMAGE.to_owned(),
                digest: manifest.digest(),
                size: manifest.size(),
                source: ImageSource::Device(DeviceSelector::Serial("cm-image".to_owned())),
                minimum_generation: manifest.generation(),
                exceptions: Vec::new(),
            },
            tier: None,
            drives: Vec::new(),
            unhonoured: Vec::new(),
            deadline_seconds: 600,
        };
        Self {
            request: serde_json::to_value(&request).expect("JSON"),
            user_data: "#cloud-init\ncloud-machine:\n  resources:\n    disks:\n      system: {boot-partition: true}\n"
                .to_owned(),
            other_user_data: None,
            url_document: None,
            drives: Vec::new(),
            expected_url: None,
            drives_trusted: false,
            manifest: manifest.to_bytes(),
            before_pin: |_| {},
            after_pin: |_| {},
            volumes: 1,
            more: Vec::new(),
            late: None,
            system: dirty(&fixture.raw()),
            packed,
            form: Form::Raw,
            dirty: None,
            fault: None,
            write_limit: 0,
            cpus: 2,
            identity,
            expected: request,
            layout: ImageLayout::from(&manifest),
            image,
            folder: tempfile::tempdir().expect("a folder"),
            attempts: 0,
        }
    }

    /// Lets the machine fetch its image from an address.
    ///
    /// # Panics
    /// When the request is no longer one.
    pub fn fetch_image(&mut self, url: String) {
        let source = ImageSource::Url(ImageUrl { url, ca: None });
        self.request["image"]["source"] = serde_json::to_value(&source).expect("JSON");
        self.expected.image.source = source;
    }

    /// The manifest as it is now.
    ///
    /// # Panics
    /// When a test broke it.
    #[must_use]
    pub fn parsed_manifest(&self) -> Manifest {
        Manifest::parse(&self.manifest).expect("a manifest")
    }

    /// Asks for `tier`, and expects it.
    pub fn ask(&mut self, tier: Option<Tier>) {
        self.request["tier"] = serde_json::to_value(tier).expect("JSON");
        self.expected.tier = tier;
    }

    /// Boots and answers a good report with `Stop`, so that the machine powers off.
    #[must_use]
    pub fn run(&mut self) -> BootEnd {
        self.boot(|_| false, None)
    }

    /// Boots and kills the process when it has run that long, unless the report came before.
    #[must_use]
    pub fn run_for(&mut self, time: Duration) -> BootEnd {
        self.boot(|_| false, Some(time))
    }

    /// Makes the next boot another attempt at the request, as the host does: with a nonce of its own.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn next_attempt(&mut self) {
        self.expected.attempt += 1;
        self.expected.nonce = identity::nonce().expect("a nonce");
        self.request["attempt"] = self.expected.attempt.into();
        self.request["nonce"] = serde_json::to_value(self.expected.nonce).expect("JSON");
    }

    /// Boots and kills the process as soon as `kill` says so of an event.
    #[must_use]
    pub fn run_until(&mut self, kill: impl Fn(&Event) -> bool) -> BootEnd {
        self.boot(kill, None)
    }

    fn boot(&mut self, kill: impl Fn(&Event) -> bool, time: Option<Duration>) -> BootEnd {
        self.attempts += 1;
        self.name_drives();
        let path = self.folder.path().join(format!("attempt-{}", self.attempts));
        fs::create_dir(&path).expect("a folder");
        let folder = AttemptFolder::at(path, self.attempts);
        let (drives, pin) = self.drives(&folder);
        let launch = self.launch(&folder, drives.clone(), pin);
        let deadline = Instant::now() + DEADLINE;
        let began = Instant::now();
        let process = Guard(Qemu::default().launch(&launch).expect("QEMU starts"));
        self.limit_writes(&process.0, deadline);
        let mut channel = AgentChannel::connect(&folder.agent_socket(), deadline).expect("the agent's port");
        process.0.resume(deadline).expect("QEMU resumes");
        let stop = time.map_or(deadline, |time| began + time);
        let kill = |event: &Event| {
            if event.message.starts_with("wait for the disk") {
                self.plug_in(&folder, &process.0, deadline);
            }
            kill(event)
        };
        let (greeted, report, events) = converse(&mut channel, &process.0, stop, kill);
        let took = began.elapsed();
        if report.is_some() {
            let stop = HostMessage::Stop { reason: "the test is over".to_owned() };
            // A failed agent may be gone already.
            channel.send(&stop, deadline).unwrap_or_default();
        }
        let powered_off = process.0.ended(deadline).expect("the process can be watched");
        drop(process);
        self.system = fs::read(&drives[0].file).expect("the system disk");
        BootEnd {
            report,
            greeted,
            events,
            took,
            powered_off,
            system: self.system.clone(),
            file: drives[0].file.clone(),
            console: qemu::console_tail(&folder, 200).expect("the console"),
            expected: self.expectation(pin, &drives),
        }
    }

    fn limit_writes(&self, process: &Process, deadline: Instant) {
        if self.write_limit == 0 {
            return;
        }
        let none = ["bps", "bps_rd", "iops", "iops_rd", "iops_wr"].map(|limit| (limit.to_owned(), 0.into()));
        let mut limits: serde_json::Map<String, serde_json::Value> = none.into_iter().collect();
        limits.insert("id".to_owned(), SYSTEM_DEVICE.into());
        limits.insert("bps_wr".to_owned(), self.write_limit.into());
        let mut monitor = process.monitor(deadline).expect("the monitor");
        monitor.execute("block_set_io_throttle", &limits.into(), deadline).expect("a limit");
    }

    /// Plugs the late drive in.
    fn plug_in(&self, folder: &AttemptFolder, process: &Process, deadline: Instant) {
        let Some((serial, bytes)) = &self.late else { return };
        let file = folder.path().join(format!("{serial}.raw"));
        fs::write(&file, bytes).expect("a drive");
        let mut monitor = process.monitor(deadline).expect("the monitor");
        let node = serde_json::json!({
            "driver": "raw", "node-name": "late", "file": {"driver": "file", "filename": file},
        });
        monitor.execute("blockdev-add", &node, deadline).expect("a node");
        let device = serde_json::json!({
            "driver": "scsi-hd", "bus": "scsi.0", "scsi-id": 100, "drive": "late", "serial": serial,
        });
        monitor.execute("device_add", &device, deadline).expect("a device");
    }

    /// Writes the drives into the request, unless a test did.
    fn name_drives(&mut self) {
        let named = |(index, (bytes, _)): (usize, &(Vec<u8>, bool))| DriveRequest {
            device: DeviceSelector::Serial(format!("cm-drive{index}")),
            digest: volume_image::pin(bytes),
        };
        self.expected.drives = self.drives.iter().enumerate().map(named).collect();
        if self.request["drives"] == serde_json::json!([]) {
            self.request["drives"] = serde_json::to_value(&self.expected.drives).expect("JSON");
        }
    }

    fn volume(&self) -> Vec<u8> {
        let request = serde_json::to_vec(&self.request).expect("JSON");
        let identity = serde_json::to_vec(&self.identity).expect("JSON");
        let document = parse(LayerKind::Project, "case.yaml", self.user_data.as_bytes()).expect("a document");
        let merged = merge(&[defaults(), document]).expect("layers that merge");
        let (layers, user_data) = (merged.to_layers(), format!("#cloud-init\n{}", merged.to_yaml()));
        let mut files: Vec<(&str, &[u8])> = vec![
            (volume::USER_DATA, self.other_user_data.unwrap_or(&user_data).as_bytes()),
            (volume::META_DATA, b"instance-id: case\n"),
            (volume::LAYERS, &layers),
            (volume::REQUEST, &request),
            (volume::IDENTITY, &identity),
            (volume::MANIFEST, &self.manifest),
        ];
        let dirty = self.dirty.as_ref().map(|dirty| serde_json::to_vec(dirty).expect("JSON"));
        files.extend(dirty.as_deref().map(|dirty| (volume::DIRTY, dirty)));
        files.extend(self.url_document.as_deref().map(|document| (volume::URL_DOCUMENT, document)));
        volume_image::build(&files).expect("a volume")
    }

    fn drives(&self, folder: &AttemptFolder) -> (Vec<Drive>, Digest) {
        let mut bytes = self.volume();
        (self.before_pin)(&mut bytes);
        let pin = volume_image::pin(&bytes);
        (self.after_pin)(&mut bytes);
        let mut contents = vec![("system".to_owned(), self.system.clone(), false)];
        if matches!(self.expected.image.source, ImageSource::Device(_)) {
            contents.push(("cm-image".to_owned(), self.packed.clone(), true));
        }
        contents.extend((0..self.volumes).map(|index| (format!("cm-volume{index}"), bytes.clone(), true)));
        let drives = self.drives.iter().enumerate();
        contents
            .extend(drives.map(|(index, (bytes, read_only))| (format!("cm-drive{index}"), bytes.clone(), *read_only)));
        contents.extend(self.more.iter().map(|(serial, bytes)| (serial.clone(), bytes.clone(), false)));
        let drive = |(serial, bytes, read_only): (String, Vec<u8>, bool)| {
            let file = folder.path().join(format!("{serial}.raw"));
            fs::write(&file, bytes).expect("a drive");
            let fault = self.fault.as_ref().filter(|(faulty, _)| *faulty == serial);
            let node = fault.map(|(_, node)| node.replace("FILE", &file.to_string_lossy()));
            let node = node.or_else(|| if serial == "system" { self.system_node(&file) } else { None });
            // The bus for the late one is there from the beginning.
            let bus = if self.late.is_some() && serial == "cm-image" { Bus::Scsi } else { Bus::Virtio };
            Drive { bus, file, serial, read_only, node }
        };
        (contents.into_iter().map(drive).collect(), pin)
    }

    /// The block node of the system disk, with its other file made anew.
    fn system_node(&self, file: &Path) -> Option<String> {
        let size = self.system.len() as u64;
        match self.form {
            Form::Raw => None,
            Form::Mapped => {
                let map = file.with_extension("map.qcow2");
                disk::new_map(&map, size).expect("a map");
                Some(disk::mapped_node(&map, file).expect("a node"))
            }
            Form::Overlay => {
                let overlay = file.with_extension("overlay.qcow2");
                disk::new_overlay(&overlay, file, size).expect("an overlay");
                Some(disk::overlay_node(&overlay, file).expect("a node"))
            }
        }
    }

    fn launch(&self, folder: &AttemptFolder, drives: Vec<Drive>, pin: Digest) -> Launch {
        Launch {
            name: self.identity.name.clone(),
            uuid: self.identity.machine_uuid.clone(),
            memory_mib: 512,
            cpus: self.cpus,
            accelerator: qemu::Accelerator::Tcg,
            cpu_model: qemu::TCG_CPU.to_owned(),
            boot: Some(DirectBoot {
                kernel: self.image.kernel(),
                initramfs: self.image.initramfs(),
                append: append(pin),
            }),
            drives,
            mac: self.identity.mac,
            ssh_port: None,
            folder: folder.clone(),
        }
    }

    /// Digest of the partition table that the system disk gets.
    fn table(&self, drives: &[Drive]) -> Option<Digest> {
        let system = drives.iter().find(|drive| drive.serial == "system")?;
        let size = fs::metadata(&system.file).expect("the system disk").len();
        let packed = FileBlocks::open(&self.image.packed()).expect("the packed image");
        let manifest = read_manifest(&packed).expect("a manifest");
        // A disk that is too small has none; the agent is what must refuse it.
        let table = if size < manifest.size() {
            None
        } else {
            Table::for_disk(&manifest, &packed, size, 512).expect("a table")
        };
        table.map(|table| table.digest())
    }

    fn expectation(&self, pin: Digest, drives: &[Drive]) -> Expected {
        let size = |drive: &Drive| fs::metadata(&drive.file).map(|found| found.len()).unwrap_or_default();
        let disk = |drive: &Drive| {
            let (role, treatment) = match drive.serial.as_str() {
                "system" => (Role::Declared { name: "system".to_owned() }, Treatment::System),
                "cm-image" => (Role::ImageSource, Treatment::Keep),
                serial if serial.starts_with("cm-drive") => (Role::Drive, Treatment::Keep),
                _ => (Role::Volume, Treatment::Keep),
            };
            ExpectedDisk {
                serial: drive.serial.clone(),
                size: size(drive),
                role,
                treatment,
                wiping: Wiping::default(),
                encrypted: false,
                read_only: false,
                filesystem: None,
                root_pool: None,
                partitions: None,
            }
        };
        Expected {
            request: self.expected.clone(),
            volume: pin,
            url: self.expected_url.clone(),
            drives_trusted: self.drives_trusted,
            disks: drives.iter().map(disk).collect(),
            table: self.table(drives),
            generation: self.layout.generation,
            root: self.layout.root.clone(),
            identity: self.identity.clone(),
            last_host_key: None,
            agent: self.image.boot.agent,
            command_line: volume_image::pin(append(pin).as_bytes()),
            host_boot: true,
        }
    }
}

fn append(pin: Digest) -> String {
    format!("console=ttyS0 loglevel=6 panic=-1 {}={pin}", volume::PIN_ARGUMENT)
}

/// Reads until the report or the end; what is still alive at `stop` is killed.
fn converse(
    channel: &mut AgentChannel,
    process: &Process,
    stop: Instant,
    kill: impl Fn(&Event) -> bool,
) -> (bool, Option<Report>, Vec<Event>) {
    let (mut greeted, mut events) = (false, Vec::new());
    loop {
        match channel.next(stop) {
            Ok(AgentMessage::Hello(hello)) => {
                assert_eq!(hello.version, FORMAT_VERSION);
                greeted = true;
            }
            Ok(AgentMessage::Event(event)) => {
                let now = kill(&event);
                events.push(event);
                if now {
                    kill_now(process);
                    return (greeted, None, events);
                }
            }
            Ok(AgentMessage::Report(report)) => return (greeted, Some(*report), events),
            Err(ChannelError::Closed) => return (greeted, None, events),
            Err(ChannelError::TimedOut) => {
                kill_now(process);
                return (greeted, None, events);
            }
            Err(error) => panic!("the agent's port: {error}"),
        }
    }
}

/// SIGKILL: the process gets no chance to write anything.
fn kill_now(process: &Process) {
    let status = Command::new("kill").args(["-KILL", &process.pid().to_string()]).status();
    assert!(status.expect("kill runs").success(), "the process is killed");
}

/// Ends the process of a test that panicked.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.stop(Duration::from_secs(5)) {
            assert!(std::thread::panicking(), "QEMU is left behind: {error}");
        }
    }
}
