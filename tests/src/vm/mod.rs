//! One boot of the agent with everything under the test's hand: what is on the volume, on the disks and on the
//! command line. Starts QEMU through the driver and ends it, whatever happens.

mod expected;
mod given;
mod run;
mod staged;

use std::{fs, path::PathBuf, time::Duration};

use cloud_machine_image::{Manifest, read_manifest};
use cloud_machine_packing::FileBlocks;
use cloud_machine_plan::{Expected, ExpectedUrl, ImageLayout};
use cloud_machine_protocol::{
    Action, DeviceSelector, Event, Extent, FORMAT_VERSION, Identity, ImageRequest, ImageSource, ImageUrl, Report,
    Request, SecretPolicy, SecretUrl, Secrets, Tier,
};
use cloud_machine_store::{ImageFolder, identity};

pub use staged::PartitionFile;

use crate::fixture::{Fixture, IMAGE, dirty};

/// Everything that one boot is given. Starts good; a test breaks one thing.
pub struct Boot {
    /// The request as JSON, so that a test can write what no type allows.
    pub request: serde_json::Value,
    /// The document that the host's layers are made of.
    pub user_data: String,
    /// What the volume says in `user-data`, when it is not what the layers say.
    pub other_user_data: Option<&'static str>,
    /// What the agent is told over its port.
    pub secrets: Secrets,
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
    /// The rescue system, when the agent runs on one.
    pub rescue: Option<Rescue>,
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

/// The rescue system that a boot starts in place of the agent, which is handed everything over the connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rescue {
    /// A device that something there has mounted.
    pub hold: Option<&'static str>,
    /// The host hangs up once, at the first event of which this says so, and begins anew.
    pub hang_up: Option<fn(&Event) -> bool>,
    /// The host accepts the report.
    pub go: bool,
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
    /// Bytes of the image that were asked for over the connection.
    pub served: u64,
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
        let identity =
            identity::new(name, None, Default::default(), vec![], SecretPolicy::Rotate).expect("an identity");
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
            histories: std::collections::BTreeMap::new(),
            kept: std::collections::BTreeSet::new(),
            unsupported: Vec::new(),
            deadline_seconds: 600,
        };
        Self {
            request: serde_json::to_value(&request).expect("JSON"),
            user_data: "#cloud-init\ncloud-machine:\n  resources:\n    disks:\n      system: {boot-partition: true}\n"
                .to_owned(),
            other_user_data: None,
            secrets: Secrets::default(),
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
            rescue: None,
            identity,
            expected: request,
            layout: ImageLayout::from(&manifest),
            image,
            folder: tempfile::tempdir().expect("a folder"),
            attempts: 0,
        }
    }

    /// A boot that succeeds on a rescue system.
    ///
    /// # Panics
    /// When the fixture is broken.
    #[must_use]
    pub fn on_rescue_system(fixture: &Fixture, rescue: Rescue) -> Self {
        let mut boot = Self::good(fixture);
        boot.image = fixture.rescue_image();
        let source = ImageSource::Connection { size: boot.packed.len() as u64 };
        boot.request["image"]["source"] = serde_json::to_value(&source).expect("JSON");
        boot.expected.image.source = source;
        boot.volumes = 0;
        boot.rescue = Some(rescue);
        boot
    }

    /// Lets the machine fetch its image from an address.
    ///
    /// # Panics
    /// When the request is no longer one.
    pub fn fetch_image(&mut self, url: String) {
        let url: SecretUrl = url.parse().expect("an address");
        self.secrets.image = url.gives_access().then(|| url.clone());
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
}
