use super::*;

fn launch() -> Launch {
    Launch {
        name: "demo".parse().unwrap(),
        uuid: "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111".to_owned(),
        memory_mib: 1024,
        cpus: 2,
        accelerator: Accelerator::Tcg,
        cpu_model: "qemu64,-cx16,-svm".to_owned(),
        boot: Some(DirectBoot {
            kernel: "/images/a,b/kernel".into(),
            initramfs: "/images/a,b/initramfs".into(),
            append: "console=ttyS0 cloudmachine.pin=sha256:00".to_owned(),
        }),
        drives: vec![drive("/state/a,b \"c\"/volume.img", "volume", true), drive("/state/system.raw", "system", false)],
        mac: "52:54:00:12:34:56".parse().unwrap(),
        connection: cloud_machine_protocol::Connection::User,
        nics: Vec::new(),
        ssh_port: Some(2222),
        folder: AttemptFolder::at("/state/run/attempt-001".into(), 1),
    }
}

fn drive(file: &str, serial: &str, read_only: bool) -> Drive {
    Drive { bus: Bus::Virtio, file: file.into(), serial: serial.to_owned(), read_only, node: None }
}

fn words(launch: &Launch) -> Vec<String> {
    arguments(launch).unwrap().into_iter().map(|word| word.into_string().unwrap()).collect()
}

#[test]
fn a_launch_is_these_arguments_word_by_word() {
    let expected = [
        "-name",
        "guest=demo,debug-threads=on",
        "-uuid",
        "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111",
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "qemu64,-cx16,-svm",
        "-smp",
        "2",
        "-m",
        "1024M",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-S",
        "-daemonize",
        "-display",
        "none",
        "-pidfile",
        "/state/run/attempt-001/pid",
        "-kernel",
        "/images/a,b/kernel",
        "-initrd",
        "/images/a,b/initramfs",
        "-append",
        "console=ttyS0 cloudmachine.pin=sha256:00",
        "-blockdev",
        "{\"detect-zeroes\":\"off\",\"discard\":\"unmap\",\"driver\":\"raw\",\"file\":{\"cache\":{\"direct\":false,\"no-flush\":false},\"discard\":\"unmap\",\"driver\":\"file\",\"filename\":\"/state/a,b \\\"c\\\"/volume.img\",\"locking\":\"on\",\"read-only\":true},\"node-name\":\"node0\",\"read-only\":true}",
        "-device",
        "virtio-blk-pci,id=drive0,drive=node0,serial=volume",
        "-blockdev",
        "{\"detect-zeroes\":\"off\",\"discard\":\"unmap\",\"driver\":\"raw\",\"file\":{\"cache\":{\"direct\":false,\"no-flush\":false},\"discard\":\"unmap\",\"driver\":\"file\",\"filename\":\"/state/system.raw\",\"locking\":\"on\",\"read-only\":false},\"node-name\":\"node1\",\"read-only\":false}",
        "-device",
        "virtio-blk-pci,id=drive1,drive=node1,serial=system",
        "-chardev",
        "socket,id=agent,path=agent.sock,server=on,wait=off",
        "-device",
        "virtio-serial-pci,id=ports",
        "-device",
        "virtserialport,bus=ports.0,chardev=agent,name=cloud-machine.agent.0",
        "-device",
        "virtio-rng-pci",
        "-netdev",
        "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22",
        "-device",
        "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56,romfile=",
        "-chardev",
        "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on",
        "-device",
        "isa-serial,chardev=console",
        "-qmp",
        "unix:qmp.sock,server=on,wait=off",
    ];
    assert_eq!(words(&launch()), expected);
}

#[test]
fn kvm_no_port_and_no_kernel_change_only_their_words() {
    let mut other = launch();
    other.accelerator = Accelerator::Kvm;
    other.cpu_model = "host".to_owned();
    other.ssh_port = None;
    other.boot = None;
    let words = words(&other);
    for pair in [["-accel", "kvm"], ["-cpu", "host"], ["-netdev", "user,id=net0"]] {
        assert!(words.windows(2).any(|window| window == pair), "{pair:?} in {words:?}");
    }
    assert!(!words.iter().any(|word| matches!(word.as_str(), "-kernel" | "-initrd" | "-append")));
}

#[test]
fn each_bus_has_its_own_device_and_one_scsi_host_serves_all() {
    let mut other = launch();
    let on = |bus, serial: &str| Drive { bus, ..drive("/x", serial, true) };
    other.drives = vec![on(Bus::Scsi, "a"), on(Bus::Nvme, "b"), on(Bus::Cdrom, "c"), on(Bus::Virtio, "d")];
    let words = words(&other);
    let devices: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| word.contains("scsi") || word.contains("serial=")).collect();
    assert_eq!(
        devices,
        [
            "virtio-scsi-pci,id=scsi",
            "scsi-hd,bus=scsi.0,scsi-id=0,id=drive0,drive=node0,serial=a",
            "nvme,id=drive1,drive=node1,serial=b",
            "scsi-cd,bus=scsi.0,scsi-id=2,product=DISC,id=drive2,drive=node2,serial=c",
            "virtio-blk-pci,id=drive3,drive=node3,serial=d",
        ]
    );
}

#[test]
fn a_test_can_put_a_whole_node_in_a_drives_place() {
    let mut other = launch();
    other.drives =
        vec![Drive { node: Some("{\"driver\": \"null-co\", \"size\": 512}".to_owned()), ..drive("", "x", false) }];
    let words = words(&other);
    assert!(words.contains(&"{\"driver\":\"null-co\",\"node-name\":\"node0\",\"size\":512}".to_owned()), "{words:?}");
    for text in ["", "[]", "{"] {
        other.drives[0].node = Some(text.to_owned());
        let error = arguments(&other).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid block node {text:?}: expected a JSON object"));
    }
}

#[test]
fn values_that_qemu_would_read_as_something_else_are_refused() {
    type Change = fn(&mut Launch);
    let cases: [(Change, &str); 13] = [
        (|launch| launch.uuid = "x".to_owned(), "invalid UUID \"x\""),
        (|launch| launch.uuid = "{7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111}".to_owned(), "invalid UUID"),
        (|launch| launch.cpus = 0, "invalid number of processors \"0\": expected 1 to 255"),
        (|launch| launch.memory_mib = 0, "invalid memory \"0\": expected at least 1 MiB"),
        (|launch| launch.cpu_model = String::new(), "invalid processor model \"\""),
        (|launch| launch.drives[0].serial = "a,drive=x".to_owned(), "invalid serial of a drive \"a,drive=x\""),
        (|launch| launch.drives[0].serial = String::new(), "invalid serial of a drive \"\""),
        (|launch| launch.drives[0].serial = "x".repeat(21), "invalid serial of a drive"),
        (|launch| launch.drives[0].serial = "a b".to_owned(), "invalid serial of a drive \"a b\""),
        (
            |launch| launch.drives[0].file = "volume.img".into(),
            "invalid path \"volume.img\": expected an absolute path",
        ),
        (
            |launch| launch.folder = AttemptFolder::at("run".into(), 1),
            "invalid path \"run\": expected an absolute path",
        ),
        (|launch| launch.boot.as_mut().unwrap().append = "a\nb".to_owned(), "invalid kernel command line \"a\\nb\""),
        (|launch| launch.boot.as_mut().unwrap().append = "x".repeat(2048), "invalid kernel command line"),
    ];
    for (change, message) in cases {
        let mut launch = launch();
        change(&mut launch);
        let stderr = arguments(&launch).unwrap_err().to_string();
        assert!(stderr.starts_with(message), "{stderr}");
    }
}

#[test]
fn a_path_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut launch = launch();
    launch.drives[0].file = OsString::from_vec(b"/a\xff".to_vec()).into();
    assert_eq!(arguments(&launch).unwrap_err().to_string(), "invalid path of a drive \"/a\u{fffd}\": expected UTF-8");
}

#[test]
fn each_connection_has_its_own_words_and_none_has_none() {
    let words = |connection: cloud_machine_protocol::Connection| {
        let list = arguments(&Launch { connection, ..launch() }).unwrap();
        let list: Vec<String> = list.into_iter().map(|word| word.into_string().unwrap()).collect();
        let at = list.iter().position(|word| word == "-netdev");
        (at.map(|at| list[at + 1].clone()), list.iter().any(|word| word.starts_with("virtio-net-pci")))
    };
    use cloud_machine_protocol::Connection::{Bridge, None as Nothing, Tap};
    assert_eq!(words(Bridge("br0".parse().unwrap())), (Some("bridge,id=net0,br=br0".to_owned()), true));
    let tap = "tap,id=net0,ifname=tap0,script=no,downscript=no";
    assert_eq!(words(Tap("tap0".parse().unwrap())), (Some(tap.to_owned()), true));
    assert_eq!(words(Nothing), (None, false));
}

#[test]
fn further_interfaces_follow_the_first_each_with_its_own_connection() {
    use cloud_machine_protocol::Connection::{Bridge, None as Nothing, Tap};
    let nic = |mac: &str, connection| Interface { mac: mac.parse().unwrap(), connection };
    let nics = vec![
        nic("52:54:00:00:00:01", Bridge("br1".parse().unwrap())),
        nic("52:54:00:00:00:02", Tap("tap1".parse().unwrap())),
    ];
    let list = words(&Launch { nics, ..launch() });
    let of = |option: &str, start: &str| {
        let found = list.windows(2).filter(|pair| pair[0] == option && pair[1].starts_with(start));
        found.map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let backends = of("-netdev", "");
    assert_eq!(backends[1..], ["bridge,id=net1,br=br1", "tap,id=net2,ifname=tap1,script=no,downscript=no"]);
    let cards = of("-device", "virtio-net-pci");
    let expected = ["net0,mac=52:54:00:12:34:56", "net1,mac=52:54:00:00:00:01", "net2,mac=52:54:00:00:00:02"];
    assert_eq!(cards, expected.map(|card| format!("virtio-net-pci,netdev={card},romfile=")));
    let alone = Launch { nics: vec![nic("52:54:00:00:00:01", Nothing)], ..launch() };
    assert_eq!(words(&alone), words(&launch()));
}

#[test]
fn what_the_interface_sends_reaches_the_closed_user_network_only_through_both_sockets() {
    let closed = Launch { connection: cloud_machine_protocol::Connection::UserClosed, ..launch() };
    let list = arguments(&closed).unwrap();
    let of_network: Vec<&str> =
        list.windows(2).filter(|pair| pair[0] == "-netdev").map(|pair| pair[1].to_str().unwrap()).collect();
    let folder = closed.folder.path().display();
    let expected = [
        &*format!("stream,id=net0,server=on,addr.type=unix,addr.path={folder}/interface.sock"),
        &*format!("stream,id=relay,server=on,addr.type=unix,addr.path={folder}/user.sock"),
        "user,id=user,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,hostfwd=tcp:127.0.0.1:2222-:22",
        "hubport,id=port0,hubid=0,netdev=relay",
        "hubport,id=port1,hubid=0,netdev=user",
    ];
    assert_eq!(of_network, expected);
    let elsewhere = backends(&closed, Path::new("/a,b"));
    assert!(elsewhere[0].ends_with("addr.path=/a,,b/interface.sock"), "{elsewhere:?}");
    for (length, fits) in [(40, true), (50, false)] {
        let store =
            cloud_machine_store::Store::open(tempfile::tempdir().unwrap().path().join("d".repeat(length))).unwrap();
        let machine = store.machine(&closed.name);
        let found = |connection| crate::machine::Driver::can_be_in(&crate::qemu::Qemu::default(), &machine, connection);
        assert_eq!(found(&closed.connection).is_ok(), fits, "{}", machine.path().display());
        assert!(found(&launch().connection).is_ok());
    }
    let deep = AttemptFolder::at(Path::new("/").join("d".repeat(100)), 1);
    let refused = arguments(&Launch { folder: deep, ..closed }).unwrap_err().to_string();
    assert!(refused.contains("path of a socket") && refused.contains("`resources.nic.host-access: true`"), "{refused}");
}
