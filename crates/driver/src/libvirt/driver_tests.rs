use std::process::{Child, Command, Stdio};

use super::*;
use crate::{
    libvirt::stand_in::StandIn,
    machine::{self, BlockDevice},
};

const OURS: &str =
    "<domain id='1'><metadata><c:machine xmlns:c='urn:cloud-machine:domain:1' name='demo'/></metadata></domain>";
const STOPPED: &str =
    "<domain><metadata><c:machine xmlns:c='urn:cloud-machine:domain:1' name='demo'/></metadata></domain>";
const FOREIGN: &str = "<domain id='1'/>";
const ANOTHER: &str =
    "<domain id='1'><metadata><c:machine xmlns:c='urn:cloud-machine:domain:1' name='other'/></metadata></domain>";
const CLOSED: &str = "echo 'error: failed to connect to the hypervisor' >&2; exit 1";

/// A machine of which there is nothing yet, with a UUID of its own: tests run at the same time on the same host.
fn machine(stand_in: &StandIn) -> MachineRef {
    let store = Store::open(stand_in.folder().join("state")).unwrap();
    let name = "demo".parse().unwrap();
    let folder = store.machine(&name);
    let identity = cloud_machine_store::identity::new(
        name.clone(),
        None,
        Default::default(),
        Vec::new(),
        cloud_machine_protocol::SecretPolicy::Rotate,
    );
    MachineRef { name, uuid: Some(identity.unwrap().machine_uuid), state: None, remote: None, folder }
}

/// Answers with a domain of the machine's UUID and the content of `xml`, which `destroy` takes away.
fn has(machine: &MachineRef) -> String {
    let uuid = machine.uuid.as_deref().unwrap();
    format!("case $1 in list) [ -e xml ] && echo {uuid};; dumpxml) cat xml;; destroy) rm xml;; esac; true")
}

/// What has the machine's UUID on its command line, as QEMU has it.
struct Process(Child);

impl Process {
    fn of(machine: &MachineRef) -> Self {
        let words = ["-c", "read line", "--", "-uuid", machine.uuid.as_deref().unwrap()];
        Self(Command::new("sh").args(words).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn doubt(power: Power) -> Doubt {
    match power {
        Power::Unknown(doubt) => doubt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_is_off_when_libvirt_has_none_and_no_process_is_it() {
    let stand_in = StandIn::new("");
    let machine = machine(&stand_in);
    stand_in.answer(&has(&machine));
    let power = || stand_in.libvirt().power(&machine, Duration::ZERO);
    assert!(matches!(power(), Power::Off));
    stand_in.write("xml", STOPPED);
    assert!(matches!(power(), Power::Off), "what is only defined does not run");
    stand_in.write("xml", OURS);
    assert!(doubt(power()).why.contains("no process of it is shown"));
    let _process = Process::of(&machine);
    assert!(matches!(power(), Power::On(_)));
    stand_in.write("xml", FOREIGN);
    let doubt = doubt(power());
    assert!(doubt.why.contains("does not say that it is cloud-machine's"), "{}", doubt.why);
    assert!(doubt.way_out.unwrap().contains("virsh dumpxml"));
}

#[test]
fn a_libvirt_that_does_not_answer_is_no_machine_that_is_off() {
    for (script, why, way_out) in [
        (CLOSED, "cannot reach libvirt at qemu:///system: ", Some("CLOUD_MACHINE_LIBVIRT_URI")),
        ("exit 3", "cannot list the domains: ", None),
        ("echo nonsense", "cannot list the domains: ", None),
    ] {
        let stand_in = StandIn::new(script);
        let machine = machine(&stand_in);
        let libvirt = stand_in.libvirt();
        let doubt = doubt(libvirt.power(&machine, Duration::ZERO));
        assert!(doubt.why.starts_with(why), "{}", doubt.why);
        assert_eq!(doubt.way_out.is_some(), way_out.is_some());
        let error = machine::end(&libvirt, &machine, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "cannot end machine demo");
        assert!(way_out.is_none_or(|way_out| error.way_out.unwrap().contains(way_out)));
        // A process that is there is there, whoever answers.
        let mut process = Process::of(&machine);
        assert!(matches!(libvirt.power(&machine, Duration::ZERO), Power::On(_)));
        assert!(!process.ended());
    }
    let stand_in = StandIn::new("");
    let absent = Libvirt::new("/nonexistent/virsh", None);
    let doubt = doubt(absent.power(&machine(&stand_in), Duration::ZERO));
    assert!(doubt.way_out.unwrap().contains("apt-get install libvirt-clients"));
    let missing = DriverErrorKind::MissingTool { package: "libvirt-clients", programs: "virsh" };
    assert_eq!(absent.preflight().unwrap_err().kind, missing);
}

#[test]
fn what_is_only_shown_does_not_wait_long_for_a_libvirt_that_hangs() {
    let stand_in = StandIn::new("exec sleep 60");
    let machine = machine(&stand_in);
    let doubt = doubt(stand_in.libvirt().power(&machine, Duration::ZERO));
    assert!(doubt.why.contains("did not end within 5 s"), "{}", doubt.why);
}

#[test]
fn a_domain_that_is_not_ours_is_never_ended() {
    let stand_in = StandIn::new("");
    let machine = machine(&stand_in);
    stand_in.answer(&has(&machine));
    for xml in [FOREIGN, ANOTHER] {
        stand_in.write("xml", xml);
        let error = machine::end(&stand_in.libvirt(), &machine, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Unproven { pid: None });
        assert!(error.way_out.unwrap().contains("if it is none of yours"));
        assert!(!stand_in.read("asked").contains("destroy"), "{}", stand_in.read("asked"));
    }
}

#[test]
fn our_domain_is_ended_by_libvirt_and_what_libvirt_lost_by_a_signal() {
    let stand_in = StandIn::new("");
    let machine = machine(&stand_in);
    stand_in.answer(&has(&machine));
    stand_in.write("xml", OURS);
    let libvirt = stand_in.libvirt();
    drop(machine::end(&libvirt, &machine, Duration::from_secs(1)).unwrap());
    assert!(stand_in.read("asked").contains("destroy"));
    // Of this one libvirt knows nothing.
    let mut process = Process::of(&machine);
    drop(machine::end(&libvirt, &machine, Duration::from_secs(1)).unwrap());
    assert!(process.ended());
    // One that stays whatever libvirt is told.
    stand_in.answer(&has(&machine).replace("rm xml", "true"));
    stand_in.write("xml", OURS);
    let error = machine::end(&libvirt, &machine, Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("which still runs"), "{error}");
}

#[test]
fn without_a_record_the_files_of_a_machine_say_whether_it_runs_and_libvirt_is_not_needed() {
    let stand_in = StandIn::new("");
    let known = machine(&stand_in);
    let machine = MachineRef::without_record(known.name.clone(), known.folder);
    drop(machine::end(&Libvirt::new("/nonexistent/virsh", None), &machine, Duration::from_secs(1)).unwrap());
}

#[test]
fn what_an_overlay_or_a_map_is_needed_for_is_refused_and_nothing_is_started() {
    let stand_in = StandIn::new("");
    let machine = machine(&stand_in);
    for backing in [Backing::Map("/map".into()), Backing::Golden("/golden".into())] {
        let disk = BlockDevice::raw(cloud_machine_protocol::Bus::Virtio, "/disk".into(), "system", false);
        let boot = Boot {
            name: machine.name.clone(),
            uuid: machine.uuid.clone().unwrap(),
            ram: 1 << 30,
            cpus: 1,
            processor: Processor { accelerator: "tcg".into(), model: "qemu64".into(), reason: String::new() },
            mac: "52:54:00:12:34:56".parse().unwrap(),
            connection: cloud_machine_protocol::Connection::User,
            nics: Vec::new(),
            ssh_port: 2222,
            kernel: "/kernel".into(),
            initramfs: "/initramfs".into(),
            agent: "/agent".into(),
            agent_digest: format!("sha256:{}", "cd".repeat(32)).parse().unwrap(),
            command_line: String::new(),
            devices: vec![BlockDevice { backing, ..disk }],
            folder: cloud_machine_store::AttemptFolder::at(stand_in.folder().to_owned(), 1),
        };
        let error = stand_in.libvirt().start(&machine, &boot, Instant::now()).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Refused);
        assert!(!stand_in.folder().join("asked").exists(), "nothing was asked");
    }
}

#[test]
fn only_networks_that_it_has_are_connected() {
    use cloud_machine_protocol::Connection;
    let libvirt = Libvirt::default();
    for good in [Connection::User, Connection::None] {
        assert!(libvirt.can_connect(&good).is_ok());
    }
    for other in [Connection::Bridge("br0".parse().unwrap()), Connection::Tap("tap0".parse().unwrap())] {
        let refused = libvirt.can_connect(&other).unwrap_err();
        assert_eq!(refused.kind, DriverErrorKind::Refused);
        let expected = format!("cannot connect a machine to {other}: driver libvirt does not do that");
        assert_eq!(refused.to_string(), expected);
        assert!(refused.way_out.unwrap().contains("driver qemu"));
    }
    assert_eq!(libvirt.describe().support("resources.nic.network.bridge"), Support::Unsupported);
}
