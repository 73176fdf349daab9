use cloud_machine_store::AttemptFolder;

use super::*;

/// Characters that mean something in XML, in QEMU's options, in JSON or in a shell.
const HOSTILE: &str = "/state/a&b <c> \"d\" 'e', ]]> &amp; %41 $(f) ;g= ü日";

fn launch(folder: &str) -> Launch {
    Launch {
        name: "demo".parse().unwrap(),
        uuid: "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111".to_owned(),
        memory_mib: 1024,
        cpus: 2,
        accelerator: Accelerator::Tcg,
        cpu_model: "qemu64,-cx16,-svm".to_owned(),
        boot: Some(DirectBoot {
            kernel: format!("{folder}/kernel").into(),
            initramfs: format!("{folder}/initramfs").into(),
            append: "console=ttyS0 a=\"<b>\" cloudmachine.pin=sha256:00".to_owned(),
        }),
        drives: vec![
            drive(folder, "volume", Bus::Virtio, true),
            drive(folder, "scsi", Bus::Scsi, false),
            drive(folder, "disc", Bus::Cdrom, true),
            drive(folder, "system", Bus::Virtio, false),
            drive(folder, "fast", Bus::Nvme, false),
        ],
        mac: "52:54:00:12:34:56".parse().unwrap(),
        connection: cloud_machine_protocol::Connection::User,
        nics: Vec::new(),
        ssh_port: Some(2222),
        folder: AttemptFolder::at(format!("{folder}/run").into(), 1),
    }
}

fn drive(folder: &str, serial: &str, bus: Bus, read_only: bool) -> Drive {
    Drive { bus, file: format!("{folder}/{serial}.raw").into(), serial: serial.to_owned(), read_only, node: None }
}

fn written(launch: &Launch) -> String {
    String::from_utf8(write(launch, None).unwrap()).unwrap()
}

/// Every attribute and every text of a document, as `path/@attribute=value` and `path=text`.
fn values(xml: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut values, mut content) = (Vec::new(), Vec::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                path.push(start.name().into_inner().to_owned());
                for attribute in start.attributes() {
                    let attribute = attribute.unwrap();
                    let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap();
                    values.push(format!("{}/@{}={value}", path.join("/"), attribute.key.into_inner()));
                }
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.xml_content(XmlVersion::Implicit1_0)),
            Event::GeneralRef(reference) => {
                let name = reference.xml_content(XmlVersion::Implicit1_0);
                content.push_str(quick_xml::escape::resolve_predefined_entity(&name).unwrap());
            }
            Event::End(_) => {
                if !content.is_empty() {
                    values.push(format!("{}={content}", path.join("/")));
                }
                content.clear();
                path.pop();
            }
            Event::Eof => return values,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_launch_is_this_domain_value_by_value() {
    let domain = values(&written(&launch("/state")));
    let disk = |index: usize, lines: &[&str]| {
        let disks: Vec<&String> = domain.iter().filter(|line| line.starts_with("domain/devices/disk")).collect();
        let starts: Vec<usize> = (0..disks.len()).filter(|at| disks[*at].contains("disk/@type=")).collect();
        let found = disks.get(starts[index]..*starts.get(index + 1).unwrap_or(&disks.len())).unwrap();
        for line in lines {
            assert!(found.iter().any(|found| found.ends_with(line)), "{line} in {found:#?}");
        }
    };
    disk(0, &["@device=disk", "source/@file=/state/volume.raw", "target/@dev=vda", "@bus=virtio", "serial=volume"]);
    disk(1, &["@device=disk", "target/@dev=sda", "@bus=scsi", "serial=scsi", "address/@target=1"]);
    disk(2, &["@device=cdrom", "target/@dev=sdb", "@bus=scsi", "serial=disc", "product=DISC", "address/@target=2"]);
    disk(3, &["source/@file=/state/system.raw", "target/@dev=vdb", "serial=system"]);
    assert_eq!(domain.iter().filter(|line| line.contains("disk/@type")).count(), 4, "NVMe is QEMU's own");
    for line in [
        "domain/@type=qemu",
        "domain/name=cloud-machine-demo",
        "domain/uuid=7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111",
        "domain/memory/@unit=MiB",
        "domain/memory=1024",
        "domain/vcpu=2",
        "domain/os/type/@machine=q35",
        "domain/os/kernel=/state/kernel",
        "domain/os/cmdline=console=ttyS0 a=\"<b>\" cloudmachine.pin=sha256:00",
        "domain/cpu/model=qemu64",
        "domain/cpu/feature/@name=cx16",
        "domain/cpu/feature/@policy=disable",
        "domain/on_reboot=destroy",
        "domain/devices/channel/source/@path=/state/run/agent.sock",
        "domain/devices/channel/target/@name=cloud-machine.agent.0",
        "domain/devices/serial/log/@file=/state/run/console.log",
        "domain/qemu:commandline/qemu:arg/@value=user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22",
    ] {
        assert!(domain.iter().any(|found| found == line), "{line} in {domain:#?}");
    }
    let writable = written(&Launch { drives: vec![drive("/state", "system", Bus::Virtio, false)], ..launch("/state") });
    assert!(!writable.contains("<readonly/>") && written(&launch("/state")).contains("<readonly/>"));
    assert!(!writable.contains("virtio-scsi"), "a controller is there for disks alone");
    assert!(!writable.contains("seclabel"));
    let owned = String::from_utf8(write(&launch("/state"), Some(Owner { user: 7, group: 8 })).unwrap()).unwrap();
    assert!(values(&owned).contains(&"domain/seclabel/label=+7:+8".to_owned()), "{owned}");
}

#[test]
fn no_character_of_a_name_or_path_ends_the_place_it_stands_in() {
    let plain = values(&written(&launch("/state")));
    let hostile = values(&written(&launch(HOSTILE)));
    assert_eq!(plain.len(), hostile.len(), "nothing is added and nothing lost");
    for (plain, hostile) in plain.iter().zip(&hostile) {
        // In the argument for the NVMe drive it stands in JSON.
        if plain.contains("qemu:arg") && plain.contains("/state") {
            let json: serde_json::Value = serde_json::from_str(hostile.split_once('=').unwrap().1).unwrap();
            assert_eq!(json["file"]["filename"], format!("{HOSTILE}/fast.raw"));
        } else {
            assert_eq!(&plain.replace("/state", HOSTILE), hostile);
        }
    }
}

#[test]
fn what_xml_cannot_hold_or_would_change_is_refused() {
    let refused = |launch: Launch| write(&launch, None).unwrap_err().to_string();
    for bad in ["\n", "\t", "\u{1}", "\u{7f}", "\u{ffff}"] {
        assert!(refused(launch(&format!("/st{bad}ate"))).contains("no control characters"), "{bad:?}");
    }
    let mut line = launch("/state");
    line.boot.as_mut().unwrap().append = "a\tb".to_owned();
    assert!(refused(line).starts_with("invalid kernel command line"));
    let deep = refused(launch(&format!("/{}", "d".repeat(100))));
    assert!(deep.contains("path of a socket") && deep.contains("107 bytes"), "{deep}");
    let mut relative = launch("/state");
    relative.drives[0].file = "system.raw".into();
    assert!(refused(relative).contains("an absolute path"));
    for model in ["qemu64,cx16", "host,-svm", "max,+x"] {
        assert!(refused(Launch { cpu_model: model.to_owned(), ..launch("/state") }).contains("processor model"));
    }
}

#[test]
fn the_processor_that_was_decided_on_is_the_one_in_the_domain() {
    for (model, expected) in [
        ("host", "<cpu mode=\"host-passthrough\" check=\"none\"/>"),
        ("max", "<cpu mode=\"maximum\" check=\"none\"/>"),
        ("qemu64,+avx", "<model fallback=\"forbid\">qemu64</model><feature policy=\"require\" name=\"avx\"/></cpu>"),
    ] {
        let domain =
            written(&Launch { accelerator: Accelerator::Kvm, cpu_model: model.to_owned(), ..launch("/state") });
        assert!(domain.contains(expected) && domain.starts_with("<domain type=\"kvm\""), "{domain}");
    }
}

#[test]
fn what_is_written_says_that_it_is_ours_and_nothing_else_does() {
    let launch = launch(HOSTILE);
    let machine = launch.name.clone();
    let read = |xml: &str| super::read(xml, &machine);
    assert_eq!(read(&written(&launch)), Ok(Domain { active: false, ours: true }));
    let domain = |inner: &str| format!("<!-- x --><domain type='qemu' id='3'><name>x</name>{inner}</domain>");
    let ours = format!("<a:machine xmlns:a='urn:cloud-machine:domain:1' name='{machine}'/>");
    assert_eq!(read(&domain(&format!("<metadata>{ours}</metadata>"))), Ok(Domain { active: true, ours: true }));
    for inner in [
        String::new(),
        ours.clone(),
        "<metadata><a:machine xmlns:a='urn:cloud-machine:domain:1'/></metadata>".to_owned(),
        "<metadata><a:machine xmlns:a='urn:cloud-machine:domain:1' name='another'/></metadata>".to_owned(),
        "<metadata><machine/></metadata>".to_owned(),
        "<metadata><cm:machine xmlns:cm='urn:cloud-machine:domain:2'/></metadata>".to_owned(),
        "<metadata><cm:owner xmlns:cm='urn:cloud-machine:domain:1'/></metadata>".to_owned(),
        format!("<metadata><x>{ours}</x></metadata>"),
        format!("<devices><metadata>{ours}</metadata></devices>"),
        format!("<x:metadata xmlns:x='urn:x'>{ours}</x:metadata>"),
        "<description>&lt;metadata&gt;urn:cloud-machine:domain:1</description>".to_owned(),
    ] {
        assert_eq!(read(&domain(&inner)), Ok(Domain { active: true, ours: false }), "{inner}");
    }
    for text in
        ["", "<network/>", "<domain", "<domain id='x'/>", "<domain><a></domain>", "<domain id='3'><metadata>", "no XML"]
    {
        assert!(read(text).is_err(), "{text}");
    }
}
