//! The driver of machines that reimage themselves, with a real sshd on loopback. In the place of the program that stages a request, and
//! of the machine's start, are scripts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    DriverError, DriverErrorKind,
    channel::AgentChannel,
    machine::{Boot, Driver, MachineRef, Power, Processor},
    remote::SelfReimage,
};
use cloud_machine_protocol::{
    AgentMessage, Connection, Digest, HostKeySeed, HostMessage, MachineName, Report, ReportResult, Secrets, volume,
};
use cloud_machine_store::{DriverState, MachineLock, RemoteRecord, Store};
use cloud_machine_tests::sshd::Sshd;
use jiff::Timestamp;
use serde_json::json;

const UUID: &str = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
const DISK: u64 = 1 << 30;
/// More than one message, and more than a pipe holds.
const IMAGE: usize = (9 << 20) + 3;
/// What is in the place of the program: a request is what comes, and done once the machine starts again.
const PROGRAM: &str = r#"#!/bin/sh
set -eu
PATH=/usr/bin:/bin
cd "$(dirname "$0")/.."
case $1 in
    show) cat told ;;
    stage)
        cat >staged
        token=$(head -n 1 staged | sed 's/.*"token":"\([0-9a-f]*\)".*/\1/')
        sed 's/}$/,"staged":{"state":"staged","token":"'"$token"'","attempts":0}}/' told >new
        mv new told
        ;;
    report) grep -q "\"$2\"" told && cat report ;;
    *) exit 2 ;;
esac
"#;
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
PATH=/usr/bin:/bin
cd "$(dirname "$0")/.."
[ "$*" = "reboot --no-block" ]
sed -i 's/"state":"staged"/"state":"done"/; s/"boot_id":"first"/"boot_id":"second"/' told
"#;

struct Scene {
    _sshd: Sshd,
    machine: MachineRef,
    boot: Boot,
    folder: tempfile::TempDir,
    _lock: MachineLock,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("state")).unwrap();
        let name: MachineName = "web".parse().unwrap();
        let lock = store.lock(&name).unwrap();
        let own = store.machine(&name);
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, text) in [("cloud-machine-recovery", PROGRAM), ("systemctl", SYSTEMCTL)] {
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // No other program can be called: this host is not to be started again.
        let forced = format!("ForceCommand PATH={}; eval \"$SSH_ORIGINAL_COMMAND\"", bin.display());
        let sshd = Sshd::start(own.path(), &forced);
        fs::remove_file(own.known_hosts()).unwrap();
        fs::copy(sshd.host_key_file(), own.kept_host_key()).unwrap();
        let remote = RemoteRecord {
            address: "127.0.0.1".to_owned(),
            port: sshd.target.port,
            host_key: Some(sshd.host_key.clone()),
            control: DriverState::of(&"default").unwrap(),
            facts: None,
            snapshot: None,
            adopted: Timestamp::UNIX_EPOCH,
        };
        let at = |name: &str| folder.path().join(name);
        fs::write(at("kernel"), kernel()).unwrap();
        fs::write(at("initramfs"), [&b"070701"[..], &[b'0'; 1000]].concat()).unwrap();
        let boot = Boot {
            name: name.clone(),
            uuid: String::new(),
            ram: 0,
            cpus: 1,
            processor: Processor { accelerator: String::new(), model: String::new(), reason: String::new() },
            mac: "52:54:00:12:34:56".parse().unwrap(),
            connection: Connection::User,
            nics: Vec::new(),
            ssh_port: 0,
            kernel: at("kernel"),
            initramfs: at("initramfs"),
            command_line: "panic=-1".to_owned(),
            agent_digest: digest(b""),
            agent: at("agent"),
            devices: Vec::new(),
            folder: own.new_attempt(&lock).unwrap(),
        };
        let machine = MachineRef { name, uuid: None, state: None, remote: Some(remote), folder: own };
        let scene = Self { _sshd: sshd, machine, boot, folder, _lock: lock };
        scene.tell("bios", false);
        fs::write(scene.at("report"), serde_json::to_vec(&report()).unwrap()).unwrap();
        scene
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn tell(&self, firmware: &str, secure_boot: bool) {
        let told = json!({
            "version": 2, "boot_id": "first", "disk": "vda", "disk_size": DISK, "sector_size": 512,
            "offset": DISK - (65 << 20), "length": 64 << 20, "firmware": firmware, "secure_boot": secure_boot,
            "machine": UUID, "consoles": ["ttyS0"],
        });
        fs::write(self.at("told"), told.to_string()).unwrap();
    }

    fn refused(&self) -> DriverError {
        SelfReimage.start(&self.machine, &self.boot, soon()).map(drop).unwrap_err()
    }
}

/// The header of a bzImage.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![7; 1300];
    for (at, part) in [(0x202, &b"HdrS"[..]), (0x206, &[0x0f, 2]), (0x238, &[0xff, 7, 0, 0])] {
        kernel[at..at + part.len()].copy_from_slice(part);
    }
    kernel
}

fn digest(bytes: &[u8]) -> Digest {
    cloud_machine_volume::write::pin(bytes)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A report that nobody has judged.
fn report() -> Report {
    let none = digest(b"").to_string();
    let report = json!({
        "version": cloud_machine_protocol::FORMAT_VERSION, "request_id": "r", "nonce": "11".repeat(32), "machine_uuid": UUID,
        "action": "reimage", "boot_id": "third", "result": {"kind": "done"},
        "agent": {"version": "0", "digest": none, "kernel_release": "6", "command_line_digest": none},
        "image": null, "config": null, "steps": [], "devices": [], "image_source": null, "disks": [], "root": null, "changed": [],
        "ignored_volumes": [], "identity": [], "not_covered": [], "timings": [],
    });
    serde_json::from_value(report).unwrap()
}

fn request() -> Vec<u8> {
    let request = json!({
        "version": cloud_machine_protocol::FORMAT_VERSION, "id": "r", "attempt": 1, "nonce": "11".repeat(32), "machine_uuid": UUID,
        "action": "reimage", "tier": null, "drives": [], "unsupported": [], "deadline_seconds": 60,
        "image": {
            "name": "x", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1, "source": {"connection": {"size": IMAGE}},
            "minimum_generation": 0, "exceptions": [],
        },
    });
    let request: cloud_machine_protocol::Request = serde_json::from_value(request).unwrap();
    let bytes = serde_json::to_vec(&request).unwrap();
    cloud_machine_volume::write::build(&[(volume::REQUEST, &bytes)]).unwrap()
}

/// The host's part of an attempt; gives the report.
fn converse(channel: &mut AgentChannel, image: &[u8]) -> Report {
    loop {
        match channel.next(soon()).unwrap() {
            AgentMessage::Hello(_) => {
                let volume = request();
                channel.send_with(&HostMessage::Volume { bytes: volume.len() as u64 }, &volume, soon()).unwrap();
                let secrets = Secrets { host_key: Some(HostKeySeed::new([1; 32])), ..Secrets::default() };
                channel.send(&HostMessage::Secrets(secrets), soon()).unwrap();
            }
            AgentMessage::Event(_) => {}
            AgentMessage::Read(read) => {
                let start = usize::try_from(read.offset).unwrap();
                let bytes = &image[start..start + usize::try_from(read.length).unwrap()];
                channel.send_with(&HostMessage::Data { bytes: read.length }, bytes, soon()).unwrap();
            }
            AgentMessage::Report(report) => return *report,
        }
    }
}

#[test]
fn a_request_arrives_over_ssh_and_its_report_comes_back() {
    let scene = Scene::new();
    assert!(matches!(SelfReimage.power(&scene.machine, Duration::ZERO), Power::On(_)));
    let started = SelfReimage.start(&scene.machine, &scene.boot, soon()).unwrap();
    assert_eq!(started.rescue_host_key, None);
    let image: Vec<u8> = (0..IMAGE).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let told = converse(&mut AgentChannel::new(started.agent), &image);
    assert_eq!(told, report(), "{:?}", told.result);
    let staged = fs::read(scene.at("staged")).unwrap();
    let end = staged.iter().position(|byte| *byte == b'\n').unwrap();
    let control: serde_json::Value = serde_json::from_slice(&staged[..end]).unwrap();
    let length = |area: &str| usize::try_from(control[area]["length"].as_u64().unwrap()).unwrap();
    assert_eq!(staged.len(), end + 1 + length("boot") + length("volume") + IMAGE);
    assert!(staged.ends_with(&[request(), image].concat()), "the volume and the image behind the boot files");
}

#[test]
fn what_a_machine_lacks_is_told_before_it_is_touched() {
    let scene = Scene::new();
    scene.tell("uefi", true);
    let error = scene.refused();
    assert_eq!(error.kind, DriverErrorKind::Refused);
    assert!(error.to_string().contains("secure boot is on"), "{error}");
    fs::remove_file(scene.at("bin/cloud-machine-recovery")).unwrap();
    let error = scene.refused();
    assert!(error.to_string().contains("has no program cloud-machine-recovery"), "{error}");
    assert!(error.way_out.is_some());
    // Whoever has another key is not let in.
    let key = scene.machine.folder.ssh_key();
    fs::remove_file(&key).unwrap();
    cloud_machine_driver::ssh::generate_key(&key, "other").unwrap();
    let error = scene.refused();
    assert!(error.to_string().contains("cannot log in to machine web as root"), "{error}");
    assert!(error.way_out.unwrap().contains("id_ed25519.pub"), "the key that it needs is named");
    fs::remove_file(scene.machine.folder.kept_host_key()).unwrap();
    let error = scene.refused();
    assert!(error.to_string().contains("keeps no host key"), "{error}");
    assert!(!Path::new(&scene.at("staged")).exists());
}

#[test]
fn a_machine_with_another_host_key_is_told_with_both_keys() {
    let mut scene = Scene::new();
    let other = cloud_machine_driver::ssh::generate_key(&scene.at("other"), "other").unwrap();
    let known = &mut scene.machine.remote.as_mut().unwrap().host_key;
    let answers = known.replace(other.clone()).unwrap();
    let Power::Unknown(doubt) = SelfReimage.power(&scene.machine, Duration::ZERO) else { panic!("it is not known") };
    for key in [&answers, &other] {
        let print = cloud_machine_driver::ssh::fingerprint(key);
        assert!(doubt.why.contains(&print), "{} and not {print}", doubt.why);
    }
    assert!(doubt.way_out.unwrap().contains("cloud-machine adopt"));
}

#[test]
fn what_a_machine_says_when_it_takes_nothing_reaches_the_host() {
    let scene = Scene::new();
    let program = PROGRAM.replace("cat >staged\n", "printf 'error: another\\none is under way\\n' >&2; exit 1\n");
    fs::write(scene.at("bin/cloud-machine-recovery"), program).unwrap();
    let started = SelfReimage.start(&scene.machine, &scene.boot, soon()).unwrap();
    let report = converse(&mut AgentChannel::new(started.agent), &vec![0; IMAGE]);
    let ReportResult::Failed { causes, .. } = report.result else { panic!("{report:?}") };
    assert!(
        causes[0].ends_with("did not stage the request (exit status: 1): error: another; one is under way"),
        "{causes:?}"
    );
}
