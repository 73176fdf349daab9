//! The driver for libvirt on a real daemon, with machines that never run: what is started, seen, lost and ended. Nothing is
//! booted.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    DriverError, DriverErrorKind,
    libvirt::Libvirt,
    machine::{self, BlockDevice, Boot, Driver, MachineRef, Power, Processor, Started},
    qemu::TCG_CPU,
};
use cloud_machine_protocol::{Bus, MachineName, SecretPolicy};
use cloud_machine_store::{AttemptFolder, Store, identity};
use cloud_machine_tests::{artifacts::Artifacts, libvirtd::Libvirtd};

/// Names of files in which each character means something to somebody on the way to QEMU.
const HOSTILE: &str = "a&b <c> \"d\" 'e',f %41";
const GRACE: Duration = Duration::from_secs(10);

/// Machines of one state folder, and the driver.
struct Host {
    folder: tempfile::TempDir,
    kernel: PathBuf,
    libvirt: Libvirt,
}

impl Host {
    fn new(uri: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("cm-").tempdir().unwrap();
        fs::create_dir(folder.path().join(HOSTILE)).unwrap();
        let kernel = folder.path().join(HOSTILE).join("kernel");
        fs::copy(Artifacts::from_environment().unwrap().image.join("kernel"), &kernel).unwrap();
        fs::write(folder.path().join(HOSTILE).join("initramfs"), "none").unwrap();
        Self { folder, kernel, libvirt: Libvirt::new("virsh", Some(uri.into())) }
    }

    fn machine(&self, name: &str) -> (MachineRef, Boot) {
        let name: MachineName = name.parse().unwrap();
        let store = Store::open(self.folder.path().join(HOSTILE)).unwrap();
        let identity = identity::new(name.clone(), None, Default::default(), Vec::new(), SecretPolicy::Rotate).unwrap();
        let folder = store.machine(&name);
        fs::create_dir_all(folder.disks()).unwrap();
        let attempt = AttemptFolder::at(folder.run().join("attempt-001"), 1);
        fs::create_dir_all(attempt.path()).unwrap();
        let device = |serial: &str, bus, read_only| {
            let file = folder.disks().join(format!("{serial}.raw"));
            File::create(&file).unwrap().set_len(1 << 20).unwrap();
            BlockDevice::raw(bus, file, serial, read_only)
        };
        let devices = vec![
            device("volume", Bus::Virtio, true),
            device("system", Bus::Virtio, false),
            device("scsi", Bus::Scsi, false),
            device("disc", Bus::Cdrom, true),
            device("fast", Bus::Nvme, false),
        ];
        let processor = Processor {
            accelerator: "tcg".to_owned(),
            model: TCG_CPU.to_owned(),
            reason: "as tests need it".to_owned(),
        };
        let boot = Boot {
            name: name.clone(),
            uuid: identity.machine_uuid.clone(),
            ram: 128 << 20,
            cpus: 2,
            processor,
            mac: identity.mac,
            connection: cloud_machine_protocol::Connection::User,
            nics: Vec::new(),
            ssh_port: cloud_machine_driver::ssh::free_port().unwrap(),
            kernel: self.kernel.clone(),
            initramfs: self.kernel.with_file_name("initramfs"),
            agent: self.kernel.with_file_name("agent"),
            agent_digest: format!("sha256:{}", "cd".repeat(32)).parse().unwrap(),
            command_line: "console=ttyS0 a=\"<b>&\" c='d',e".to_owned(),
            devices,
            folder: attempt,
        };
        (MachineRef { name, uuid: Some(identity.machine_uuid), state: None, remote: None, folder }, boot)
    }

    fn start(&self, machine: &MachineRef, boot: &Boot) -> Result<Started, DriverError> {
        self.libvirt.start(machine, boot, Instant::now() + Duration::from_secs(60))
    }

    fn power(&self, machine: &MachineRef) -> Power {
        self.libvirt.power(machine, Duration::ZERO)
    }

    fn end(&self, machine: &MachineRef) -> Result<(), DriverError> {
        machine::end(&self.libvirt, machine, GRACE).map(drop)
    }
}

fn words_of(started: &Started) -> Vec<String> {
    let pid = started.state.read::<serde_json::Value>().unwrap()["pid"].clone();
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// One daemon for all: its first answer takes it seconds.
#[test]
fn a_machine_is_the_same_machine_whatever_becomes_of_its_daemon() {
    let mut daemon = Libvirtd::start();
    let host = Host::new(&daemon.uri());
    host.libvirt.preflight().unwrap();
    what_is_started_is_what_was_asked_for(&host, &daemon);
    what_is_in_the_way_is_named_and_left_alone(&host, &daemon);
    a_machine_outlives_its_daemon_and_is_found_by_the_next(&host, &mut daemon);
    a_machine_that_libvirt_forgot_is_not_off(&host, &mut daemon);
}

fn what_is_started_is_what_was_asked_for(host: &Host, daemon: &Libvirtd) {
    let (machine, boot) = host.machine("demo");
    assert!(matches!(host.power(&machine), Power::Off));
    let started = host.start(&machine, &boot).unwrap();
    assert_eq!(started.ssh_port, boot.ssh_port);
    assert_eq!(daemon.virsh(&["domstate", &boot.uuid]).trim(), "paused", "nothing runs before it may");
    assert_eq!(daemon.virsh(&["list", "--all", "--persistent", "--uuid"]).trim(), "", "nothing of it stays");
    let words = words_of(&started);
    let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).unwrap().as_str();
    assert_eq!(after("-append"), boot.command_line);
    assert_eq!(after("-kernel"), boot.kernel.to_str().unwrap());
    assert_eq!(after("-uuid"), boot.uuid);
    assert!(after("-smp").starts_with("2,"), "{words:?}");
    assert_eq!(after("-netdev"), format!("user,id=net0,hostfwd=tcp:127.0.0.1:{}-:22", boot.ssh_port));
    for file in boot.devices.iter().map(|device| serde_json::json!(device.file).to_string()) {
        assert!(words.iter().any(|word| word.contains(&file)), "{file} in {words:?}");
    }
    // Every disk is found by its serial, and what may only be read cannot be written.
    for (serial, device, read_only) in [
        ("volume", "virtio-blk-pci", true),
        ("system", "virtio-blk-pci", false),
        ("scsi", "scsi-hd", false),
        ("disc", "scsi-cd", true),
        ("fast", "nvme", false),
    ] {
        let parsed = words.iter().filter_map(|word| serde_json::from_str::<serde_json::Value>(word).ok());
        let (mut devices, mut nodes) = (Vec::new(), Vec::new());
        for value in parsed {
            if value["node-name"].is_string() { nodes.push(value) } else { devices.push(value) }
        }
        let found =
            devices.iter().find(|found| found["serial"] == serial).unwrap_or_else(|| panic!("{serial}: {words:?}"));
        assert_eq!(found["driver"], device);
        let node = nodes.iter().find(|node| node["node-name"] == found["drive"]).unwrap();
        assert_eq!(node["read-only"], read_only, "{serial}");
        assert!(device != "scsi-cd" || found["product"] == "DISC");
    }
    assert!(TcpListener::bind(("127.0.0.1", boot.ssh_port)).is_err(), "the port leads to the machine");
    let mode = fs::metadata(boot.folder.console_log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Power::On(running) = host.power(&machine) else { panic!("it is there") };
    assert!(!running.ended(Instant::now()).unwrap());
    host.end(&machine).unwrap();
    assert!(running.ended(Instant::now()).unwrap(), "the process is gone, as it says");
    assert!(matches!(host.power(&machine), Power::Off));
}

fn what_is_in_the_way_is_named_and_left_alone(host: &Host, daemon: &Libvirtd) {
    // A port: the machine takes another one.
    let (machine, boot) = host.machine("port");
    let taken = TcpListener::bind(("127.0.0.1", boot.ssh_port)).unwrap();
    let started = host.start(&machine, &boot).unwrap();
    assert_ne!(started.ssh_port, boot.ssh_port);
    host.end(&machine).unwrap();
    drop(taken);

    // The name, as a machine of another state folder has it.
    let (first, boot) = host.machine("name");
    host.start(&first, &boot).unwrap();
    let (second, boot) = host.machine("name");
    let error = host.start(&second, &boot).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Refused);
    assert!(error.to_string().contains("another domain of the name cloud-machine-name"), "{error}");
    assert!(error.way_out.unwrap().contains("virsh dumpxml cloud-machine-name"));
    assert!(matches!(host.power(&first), Power::On(_)));
    host.end(&first).unwrap();

    // A domain with the machine's UUID that somebody else made.
    let (machine, boot) = host.machine("foreign");
    let foreign = host.folder.path().join("foreign.xml");
    let domain = format!(
        "<domain type='qemu'><name>other</name><uuid>{}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type></os></domain>",
        boot.uuid
    );
    fs::write(&foreign, domain).unwrap();
    daemon.virsh(&["create", "--paused", foreign.to_str().unwrap()]);
    let Power::Unknown(doubt) = host.power(&machine) else { panic!("whose it is cannot be told") };
    assert!(doubt.why.contains("does not say that it is cloud-machine's"), "{}", doubt.why);
    let error = host.end(&machine).unwrap_err();
    assert!(error.to_string().contains("cannot prove"), "{error}");
    assert_eq!(daemon.virsh(&["domstate", "other"]).trim(), "paused", "it was left alone");
    daemon.virsh(&["destroy", "other"]);
    assert!(matches!(host.power(&machine), Power::Off));
}

fn a_machine_outlives_its_daemon_and_is_found_by_the_next(host: &Host, daemon: &mut Libvirtd) {
    let (machine, boot) = host.machine("demo");
    host.start(&machine, &boot).unwrap();
    daemon.kill();
    assert!(matches!(host.power(&machine), Power::On(_)), "its process is there");
    let error = host.end(&machine).unwrap_err();
    assert_eq!(error.to_string(), "cannot end machine demo");
    assert!(error.way_out.unwrap().contains("starts its daemon"));
    let error = host.libvirt.preflight().unwrap_err().to_string();
    assert!(error.starts_with("cannot reach libvirt at qemu+unix:///system"), "{error}");
    let (other, _) = host.machine("other");
    assert!(matches!(host.power(&other), Power::Unknown(_)), "nobody says that it is off");
    daemon.start_again();
    assert_eq!(daemon.virsh(&["domstate", &boot.uuid]).trim(), "paused", "it found its domain");
    host.end(&machine).unwrap();
    assert!(matches!(host.power(&machine), Power::Off));
}

fn a_machine_that_libvirt_forgot_is_not_off(host: &Host, daemon: &mut Libvirtd) {
    let (machine, boot) = host.machine("demo");
    let started = host.start(&machine, &boot).unwrap();
    daemon.kill();
    daemon.start_without_memory();
    assert_eq!(daemon.virsh(&["list", "--all", "--uuid"]).trim(), "", "it knows nothing of it");
    assert!(matches!(host.power(&machine), Power::On(_)), "its process is there");
    host.end(&machine).unwrap();
    assert!(started.running.ended(Instant::now()).unwrap());
    assert!(matches!(host.power(&machine), Power::Off));
}
