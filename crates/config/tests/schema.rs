//! What `validate` makes of merged documents, and every value that it refuses.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{
    Config, ConfigError, ConfigErrors, LayerKind, OnReimage, Undeclared, WipeOnBoot, defaults, merge, parse, set,
    validate,
};

fn validated(text: &str) -> Result<Config, Vec<ConfigError>> {
    let document = parse(LayerKind::Project, "f.yaml", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let merged = merge(&[defaults(), document]).unwrap();
    validate(&merged).map_err(|errors: ConfigErrors| errors.errors().to_vec())
}

fn config(text: &str) -> Config {
    validated(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn only(text: &str) -> ConfigError {
    let errors = validated(text).unwrap_err();
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors[0].clone()
}

#[test]
fn nothing_gives_the_defaults_and_one_system_disk() {
    let config = config("");
    assert_eq!((config.driver.as_str(), config.resources.cpus, config.resources.ram.0), ("qemu", 2, 1 << 30));
    let disks: Vec<_> = config.resources.disks.iter().collect();
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].0.as_str(), "system");
    assert_eq!(disks[0].1.devicepath.to_string(), "serial:system");
    assert!(disks[0].1.boot_partition && disks[0].1.wipe_on_boot.is_none());
    assert_eq!(config.disks_undeclared, Undeclared::Refuse);
    assert!(config.cloud_init.is_empty() && config.image.is_none() && config.resources.nic.mac.is_none());
    // Without the document of defaults the values are the same.
    assert_eq!(validate(&merge(&[]).unwrap()).unwrap(), config);
}

#[test]
fn every_key_is_read() {
    let config = config(
        "#cloud-init
hostname: demo
cloud-machine:
  driver: qemu
  image: debian-12
  require: [resources.ram, resources.disks.system.allocation]
  resources:
    ram: 1.5
    cpus: 4
    disks:
      system: {devicepath: /dev/vda, allocation: 20GB, boot-partition: true, overwrite: false, readonly: false, wipe-on-boot:}
      scratch: {wipe-on-boot: true, on-reimage: wipe}
      cache: {wipe-on-boot: zero, on-reimage: keep}
    nic: {mac: '52:54:00:12:34:56', network: user, address: dhcp}
  disks-undeclared: ignore
  identity: {ssh-host-keys: rotate}
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw me
users: [default]
",
    );
    assert_eq!(config.resources.ram.0, 1536 << 20);
    assert_eq!(config.image.as_ref().map(|image| image.as_str()), Some("debian-12"));
    assert_eq!(config.require.len(), 2);
    assert_eq!(config.disks_undeclared, Undeclared::Ignore);
    assert_eq!(config.resources.nic.mac.unwrap().to_string(), "52:54:00:12:34:56");
    assert_eq!(
        config.ssh_authorized_keys,
        ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw me"]
    );
    let disk = |name: &str| config.resources.disks[&name.parse().unwrap()].clone();
    assert_eq!(disk("system").allocation.unwrap().0, 20_000_000_000);
    assert_eq!(disk("scratch").wipe_on_boot, Some(WipeOnBoot::Auto));
    assert_eq!((disk("cache").wipe_on_boot, disk("system").wipe_on_boot), (Some(WipeOnBoot::Zero), None));
    assert_eq!((disk("scratch").on_reimage, disk("cache").on_reimage), (OnReimage::Wipe, OnReimage::Keep));
    let keys: Vec<_> = config.cloud_init.keys().collect();
    assert_eq!(keys, ["hostname", "ssh_authorized_keys", "users"]);
}

#[test]
fn memory_counts_gib_and_is_rounded_up_to_whole_mib() {
    for (text, bytes) in [
        ("4", 4 << 30),
        ("0.1", 103 << 20),
        ("0.5", 512 << 20),
        ("1.0009765625", 1025 << 20),
        ("512MiB", 512 << 20),
        ("4GB", 4_000_000_000),
        ("65536", 65_536 << 30),
        ("65536GiB", 65_536 << 30),
    ] {
        assert_eq!(config(&format!("cloud-machine: {{resources: {{ram: {text}}}}}")).resources.ram.0, bytes, "{text}");
    }
}

#[test]
fn each_wrong_value_is_refused_with_its_place_and_what_is_allowed() {
    const MEMORY: &str =
        "a number of GiB above 0, such as 4 or 1.5, or an integer with a unit, such as 512MiB; at most 65536 GiB";
    let disk = |text: &str| format!("resources: {{disks: {{system: {{boot-partition: true}}, d: {{{text}}}}}}}");
    for (machine, path, message, allowed) in [
        ("driver: 1".to_owned(), "driver", "invalid value `1`, a number", "a text of a-z, 0-9 and -"),
        ("driver: Qemu".to_owned(), "driver", "invalid value `Qemu`, a text", "a text of a-z, 0-9 and -"),
        ("image: ''".to_owned(), "image", "invalid value `\"\"`, a text", "the name of an image, 1 to 63 of a-z"),
        ("image: ../x".to_owned(), "image", "invalid value `\"../x\"`, a text", "the name of an image, 1 to 63 of a-z"),
        ("image: [a]".to_owned(), "image", "found a list", "the name of an image, 1 to 63 of a-z"),
        ("require: resources.ram".to_owned(), "require", "invalid value `resources.ram`", "a list of key paths"),
        ("require: [1]".to_owned(), "require", "found a list", "a list of key paths"),
        ("require: [resources.rum]".to_owned(), "require", "`resources.rum` is not a key below `cloud-machine`", ""),
        ("image-keys: RWQ".to_owned(), "image-keys", "invalid value `RWQ`", "a list of public keys of minisign"),
        ("image-keys: [RWQ]".to_owned(), "image-keys", "found a list", "a list of public keys of minisign"),
        (format!("image-keys: [RUQ{}]", "A".repeat(53)), "image-keys", "found a list", "a list of public keys"),
        (format!("image-keys: [RWQ{}]", "A".repeat(54)), "image-keys", "found a list", "a list of public keys"),
        (format!("image-keys: [RWQ{}]", "-".repeat(53)), "image-keys", "found a list", "a list of public keys"),
        ("wait-for: ssh".to_owned(), "wait-for", "invalid value `ssh`, a text", "a list of ssh and cloud-init"),
        ("wait-for: []".to_owned(), "wait-for", "found a list", "a list of ssh and cloud-init"),
        ("wait-for: [ssh, docker]".to_owned(), "wait-for", "found a list", "a list of ssh and cloud-init"),
        ("resources: 4".to_owned(), "resources", "invalid value `4`", "a map with the keys ram, cpus, disks, nic"),
        ("resources: {ram: 0}".to_owned(), "resources.ram", "invalid value `0`", "a number of GiB above 0"),
        ("resources: {ram: 100000}".to_owned(), "resources.ram", "invalid value `100000`", MEMORY),
        ("resources: {ram: 65537GiB}".to_owned(), "resources.ram", "invalid value", MEMORY),
        ("resources: {ram: -1}".to_owned(), "resources.ram", "invalid value `-1`", "a number of GiB above 0"),
        ("resources: {ram: .inf}".to_owned(), "resources.ram", "invalid value `.inf`", "a number of GiB above 0"),
        ("resources: {ram: .nan}".to_owned(), "resources.ram", "invalid value `.nan`", "a number of GiB above 0"),
        ("resources: {ram: 1e400}".to_owned(), "resources.ram", "invalid value `\"1e400\"`", "a number of GiB above 0"),
        ("resources: {ram: 1e18}".to_owned(), "resources.ram", "invalid value `1e18`", "a number of GiB above 0"),
        ("resources: {ram: 0GB}".to_owned(), "resources.ram", "invalid value", "a number of GiB above 0"),
        ("resources: {ram: 99999999999GB}".to_owned(), "resources.ram", "invalid value", "a number of GiB above 0"),
        ("resources: {cpus: 0}".to_owned(), "resources.cpus", "invalid value `0`", "a whole number from 1 to 64"),
        ("resources: {cpus: 65}".to_owned(), "resources.cpus", "invalid value `65`", "a whole number from 1 to 64"),
        ("resources: {cpus: 1.5}".to_owned(), "resources.cpus", "invalid value `1.5`", "a whole number from 1 to 64"),
        ("resources: {disks: [a]}".to_owned(), "resources.disks", "found a list", "a map with a disk's name"),
        (
            "resources: {disks: {a: }}".to_owned(),
            "resources.disks.a",
            "the disk `a` has no value, which states nothing",
            "",
        ),
        ("resources: {disks: {A: {}}}".to_owned(), "resources.disks.A", "invalid disk name `A`", "1 to 20 of a-z"),
        (
            "resources: {nic: {mac: x}}".to_owned(),
            "resources.nic.mac",
            "invalid value `x`",
            "auto, or a unicast address",
        ),
        ("resources: {nic: {network: bridge}}".to_owned(), "resources.nic.network", "invalid value `bridge`", "user"),
        (
            "resources: {nic: {network: {bridge: a/b}}}".to_owned(),
            "resources.nic.network.bridge",
            "invalid value `a/b`",
            "the name of an interface of the host",
        ),
        ("resources: {nic: {address: 10.0.0.1}}".to_owned(), "resources.nic.address", "invalid value", "dhcp"),
        ("disks-undeclared: wipe".to_owned(), "disks-undeclared", "invalid value `wipe`", "refuse or ignore"),
        (
            "identity: {ssh-host-keys: burn}".to_owned(),
            "identity.ssh-host-keys",
            "invalid value `burn`",
            "rotate or keep",
        ),
        (
            disk("devicepath: vda"),
            "resources.disks.d.devicepath",
            "invalid value `vda`",
            "/dev/NAME, /dev/disk/by-id/NAME, serial:TEXT, wwn:TEXT or label:TEXT",
        ),
        (
            disk("allocation: 20"),
            "resources.disks.d.allocation",
            "invalid value `20`",
            "an integer above 0 with a unit",
        ),
        (disk("allocation: -20GB"), "resources.disks.d.allocation", "invalid value", "an integer above 0 with a unit"),
        (disk("allocation: 0GB"), "resources.disks.d.allocation", "invalid value", "an integer above 0 with a unit"),
        (disk("readonly: 1"), "resources.disks.d.readonly", "invalid value `1`", "true or false"),
        (
            disk("wipe-on-boot: shred"),
            "resources.disks.d.wipe-on-boot",
            "invalid value `shred`",
            "true or false, recreate",
        ),
        (disk("on-reimage: burn"), "resources.disks.d.on-reimage", "invalid value `burn`", "wipe, keep or recreate"),
    ] {
        let error = only(&format!("cloud-machine:\n  {machine}\n"));
        assert_eq!(error.path, format!("cloud-machine.{path}"), "{machine}");
        assert!(error.message.starts_with(message), "{machine}: {}", error.message);
        assert!(error.allowed.unwrap_or_default().starts_with(allowed), "{machine}");
        assert_eq!(error.line, 2, "{machine}");
    }
}

#[test]
fn an_empty_value_states_nothing() {
    config("cloud-machine: {cloud-init-url: , resources: {nic: }}\ndocker:\nrancher: {}\n");
}

#[test]
fn configurations_of_other_programs_are_checked_for_their_shape() {
    for (text, path, message) in [
        ("docker: [a]", "docker", "found a list"),
        ("docker: {engin: {}}", "docker.engin", "unknown key `engin`"),
        ("rancher: {k8s: {}}", "rancher.k8s", "unknown key `k8s`"),
        ("rancher: text", "rancher", "invalid value `text`, a text"),
    ] {
        let error = only(text);
        assert_eq!((error.path.as_str(), error.message.as_str()), (path, message), "{error}");
    }
    let error = only("docker: {engin: {}}");
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `engine`?"));
    let errors = validated("docker: {engine: fast}").unwrap_err();
    assert!(errors.iter().any(|error| error.allowed.as_deref() == Some("a map")), "{errors:?}");
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let error = only("cloud-machine:\n  resources:\n    rum: 4\n");
    assert_eq!((error.line, error.column, error.path.as_str()), (3, 5, "cloud-machine.resources.rum"));
    assert_eq!(error.message, "unknown key `rum`");
    assert_eq!(error.allowed.as_deref(), Some("ram, cpus, disks, nic, nics, cloud-init-url"));
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `ram`?"));
    let error = only("cloud_machine: {driver: qemu}");
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `cloud-machine`?"));
    let error = only("cloud-machine:\nresources: {ram: 4}");
    assert_eq!(error.suggestion.as_deref(), Some("indent it below `cloud-machine:`"));
}

#[test]
fn a_word_of_yaml_1_1_where_a_boolean_is_wanted_is_explained() {
    for (word, advice) in
        [("yes", "write `true`"), ("off", "write `false`"), ("On", "write `true`"), ("0", "write `false`")]
    {
        let error = only(&format!("cloud-machine: {{resources: {{disks: {{d: {{boot-partition: {word}}}}}}}}}"));
        assert_eq!(error.suggestion.as_deref(), Some(advice), "{word}");
        assert_eq!(error.allowed.as_deref(), Some("true or false"));
    }
}

#[test]
fn disks_must_make_sense_together() {
    for (disks, message) in [
        ("{system: {}}", "no disk is the system disk, and the disk `system` is another one"),
        ("{a: {readonly: true, wipe-on-boot: true}}", "a read-only disk cannot be written"),
        ("{a: {wipe-on-boot: crypto}}", "`crypto` needs a filesystem that is made on the cipher"),
        ("{a: {wipe-on-boot: crypto, filesystem: zfs}}", "`crypto` needs a filesystem that is made on the cipher"),
        ("{a: {readonly: true, overwrite: true}}", "a read-only disk cannot be written"),
        ("{a: {readonly: true, filesystem: swap}}", "swap on a read-only disk is of no use"),
        ("{a: {readonly: true, source: /x.iso, allocation: 1MiB}}", "a disk with `source` is as large as that file"),
        ("{a: {source: /x.iso}}", "a disk with `source` would be written over"),
        ("{a: {bus: cdrom}}", "a disc in an optical drive cannot be written"),
        ("{a: {devicepath: /dev/sr0}}", "a disc in an optical drive cannot be written"),
        (
            "{a: {filesystem: squashfs}}",
            "squashfs cannot be created empty on a disk of the machine: it comes with its content",
        ),
        (
            "{a: {devicepath: 'label:x'}}",
            "a label lies on the disk itself, and a job could write it on another one: only read-only disks are named so",
        ),
        ("{a: {filesystem: {type: ext4, datasets: [x]}}}", "ext4 has no properties and no datasets: only zfs has"),
        (
            "{a: {filesystem: {type: zfs, label: t}}, b: {filesystem: {type: zfs, label: t}}}",
            "disks `a` and `b` have pools of one name, `t`",
        ),
        (
            "{a: {filesystem: {type: zfs, datasets: [x, y, x]}}}",
            "the dataset `x` would be mounted at /mnt/a/x, as something else is",
        ),
        (
            "{a: {filesystem: {type: zfs, datasets: [x]}}, b: {filesystem: ext4, mountpoint: /mnt/a/x}}",
            "the dataset `x` would be mounted at /mnt/a/x, as something else is",
        ),
        ("{a: {boot-partition: true, readonly: true}}", "the system disk cannot be read-only: a reimage rewrites it"),
        ("{a: {boot-partition: true}, b: {boot-partition: true}}", "`b` is a second system disk beside `a`"),
        ("{a: {boot-partition: true, wipe-on-boot: true}}", "the system disk cannot be wiped on boot"),
        ("{a: {boot-partition: true, filesystem: ext4}}", "the filesystem of the system disk is the image's"),
        (
            "{a: {boot-partition: true, filesystem: {type: zfs, datasets: [x]}}}",
            "the datasets beside the root have nowhere to be mounted",
        ),
        ("{a: {boot-partition: true, mountpoint: /data}}", "the system disk is mounted as the root"),
        (
            "{a: {boot-partition: true, filesystem: {type: zfs, label: t}}, b: {filesystem: {type: zfs, label: t}}}",
            "disks `a` and `b` have pools of one name, `t`",
        ),
        (
            "{a: {boot-partition: true, on-reimage: keep}}",
            "the system disk cannot be kept: a reimage always rewrites it",
        ),
        (
            "{a: {boot-partition: true}, b: {devicepath: 'serial:a'}}",
            "disks `a` and `b` are the same device `serial:a`",
        ),
    ] {
        let error = only(&format!("cloud-machine: {{resources: {{disks: {disks}}}}}"));
        assert_eq!(error.message, message);
        assert!(error.path.starts_with("cloud-machine.resources.disks"), "{error}");
    }
    let error = only("cloud-machine: {resources: {disks: {a: {boot-partition: true, wipe-on-boot: true}}}}");
    assert_eq!(error.suggestion.as_deref(), Some("reimage it instead"));
}

#[test]
fn authorized_keys_are_single_lines_with_a_public_key() {
    const ALLOWED: &str =
        "a list of public keys, one line of text each, such as [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… you@example]";
    for (keys, path) in [
        ("text", "ssh_authorized_keys"),
        ("[foo]", "ssh_authorized_keys[0]"),
        ("[ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2 other]", "ssh_authorized_keys[0]"),
        ("[1]", "ssh_authorized_keys[0]"),
        ("[\"a\\nb\"]", "ssh_authorized_keys[0]"),
        ("[\"\\e[31m\"]", "ssh_authorized_keys[0]"),
        ("['']", "ssh_authorized_keys[0]"),
        ("[~]", "ssh_authorized_keys[0]"),
    ] {
        let error = only(&format!("ssh_authorized_keys: {keys}"));
        assert_eq!(error.path, path, "{keys}");
        assert_eq!(error.allowed.as_deref(), Some(ALLOWED));
    }
}

#[test]
fn several_errors_are_reported_together_and_across_documents() {
    let project = parse(
        LayerKind::Project,
        "f.yaml",
        b"cloud-machine: {drivr: x, resources: {cpus: 0, ram: no}}\nrancher: {k3s: 1}",
    )
    .unwrap();
    let argument = set(0, "resources.nic.mac=x").unwrap();
    let errors = validate(&merge(&[defaults(), project, argument]).unwrap()).unwrap_err();
    let mut places: Vec<String> = errors.errors().iter().map(ToString::to_string).collect();
    places.sort();
    assert_eq!(
        places,
        [
            "--set resources.nic.mac=x:1:19: cloud-machine.resources.nic.mac: invalid value `x`, a text",
            "f.yaml:1:17: cloud-machine.drivr: unknown key `drivr`",
            "f.yaml:1:45: cloud-machine.resources.cpus: invalid value `0`, a number",
            "f.yaml:1:53: cloud-machine.resources.ram: invalid value `\"no\"`, a text",
            "f.yaml:2:16: rancher.k3s: invalid value `1`, a number",
        ]
    );
}

#[test]
fn the_whole_language_is_known() {
    let config = config(
        "#cloud-init
cloud-machine:
  driver: qemu
  image: debian-12                 # name of a packed image
  require: [resources.ram]
  resources:
    ram: 4
    cpus: 2
    disks:
      volume1:
        devicepath: /dev/sda
        allocation: 20GB
        filesystem: {type: zfs, kernel-module: zfs}
        overwrite: false
        wipe-on-boot: false
        on-reimage: wipe
        boot-partition: true
        mountpoint: /data
      volume2: {devicepath: /dev/sr1, readonly: true, filesystem: iso9660, mountpoint: /media/volume2}
    nic: {mac: auto, network: user, address: dhcp}
    cloud-init-url: https://config.example/machine.yaml
docker: {engine: {labels: [role=ci]}, swarm: {role: manager, advertise: eth0}}
rancher: {}
",
    );
    assert!(config.swarm.is_some());
}

#[test]
fn filesystems_are_checked_together_with_where_they_are_mounted() {
    let disks = |text: &str| format!("cloud-machine:\n  resources: {{disks: {{s: {{boot-partition: true}}, {text}}}}}");
    for (text, path, message) in [
        ("d: {mountpoint: /data}", "d.mountpoint", "a disk without `filesystem` has nothing to mount"),
        ("d: {required: true}", "d.required", "without `filesystem` there is nothing that could be required"),
        ("d: {filesystem: swap, mountpoint: /data}", "d.mountpoint", "swap is switched on and not mounted"),
        ("d: {filesystem: ext4, mountpoint: /etc}", "d.mountpoint", "`/etc` belongs to the system itself"),
        ("d: {filesystem: ext4, mountpoint: /run/x}", "d.mountpoint", "`/run/x` belongs to the system itself"),
        (
            "d: {filesystem: ext4, mountpoint: /var/lib/cloud/seed}",
            "d.mountpoint",
            "`/var/lib/cloud/seed` belongs to the system itself",
        ),
        ("d: {filesystem: ext4, mountpoint: /etc/cloud}", "d.mountpoint", "`/etc/cloud` belongs to the system itself"),
        ("d: {filesystem: ext4, mountpoint: /etc/ssh}", "d.mountpoint", "`/etc/ssh` belongs to the system itself"),
        ("d: {filesystem: ext4, mountpoint: /root/.ssh}", "d.mountpoint", "`/root/.ssh` belongs to the system itself"),
        // Mounted there, a disk would hide what is handed to cloud-init below.
        ("d: {filesystem: ext4, mountpoint: /var/lib}", "d.mountpoint", "`/var/lib` belongs to the system itself"),
        ("d: {filesystem: ext4, mountpoint: /var}", "d.mountpoint", "`/var` belongs to the system itself"),
        (
            "d: {filesystem: ext4, mountpoint: /mnt/e}, e: {filesystem: xfs}",
            "e",
            "disks `d` and `e` have one mountpoint, `/mnt/e`",
        ),
        (
            "d: {filesystem: {type: vfat, label: twelve-bytes}}",
            "d.filesystem",
            "the label `twelve-bytes` has 12 bytes, vfat has room for 11",
        ),
        ("d: {filesystem: {type: vfat, label: cidata}}", "d.filesystem", "the label `cidata` is one by which"),
        ("d: {filesystem: {type: ext4, label: Cloud-Init}}", "d.filesystem", "the label `Cloud-Init` is one by which"),
        ("d: {filesystem: {type: ext4, label: -O}}", "d.filesystem.label", "invalid value `\"-O\"`"),
        ("d: {filesystem: {type: ext4, label: a b}}", "d.filesystem.label", "invalid value `\"a b\"`"),
        ("d: {filesystem: {label: a}}", "d.filesystem", "found a map"),
        ("d: {filesystem: ntfs}", "d.filesystem", "invalid value `ntfs`"),
    ] {
        let error = only(&disks(text));
        assert_eq!(error.path, format!("cloud-machine.resources.disks.{path}"), "{text}");
        assert!(error.message.starts_with(message), "{text}: {}", error.message);
    }
    let config = config(&disks(
        "d: {filesystem: {type: ext4, label: data}}, e: {filesystem: swap}, f: {filesystem: xfs, mountpoint: /srv/f}, g: {}",
    ));
    let mounted: Vec<_> = config
        .resources
        .disks
        .values()
        .map(|disk| (disk.filesystem.as_ref().map(|filesystem| filesystem.kind.word()), disk.mountpoint.as_deref()))
        .collect();
    assert_eq!(
        mounted,
        [
            (Some("ext4"), Some("/mnt/d")),
            (Some("swap"), None),
            (Some("xfs"), Some("/srv/f")),
            (None, None),
            (None, None)
        ]
    );
}

#[test]
fn a_name_that_an_option_takes_is_a_text_whatever_it_looks_like() {
    for name in ["22.04", "1.10", "0x10", "null", "true"] {
        let document = cloud_machine_config::named(3, "--image", "image", name).unwrap();
        let merged = merge(&[document]).unwrap();
        assert_eq!(merged.leaves()[0].value.as_str(), Some(name));
        assert_eq!(merged.leaves()[0].origin.to_string(), format!("argument --image {name}"));
        assert_eq!(validate(&merged).unwrap().image.unwrap().as_str(), name);
    }
}

#[test]
fn a_name_that_is_no_text_is_shown_as_it_was_written_with_the_quotes_that_it_needs() {
    for (text, written) in [
        ("image: 22.04", "22.04"),
        ("image: 1.10", "1.10"),
        ("image: 0x10", "0x10"),
        ("image: True", "True"),
        ("driver: 1e3", "1e3"),
        ("resources: {disks: {d: {filesystem: {type: ext4, label: 1.50}}}}", "1.50"),
        ("resources: {disks: {0x10: {allocation: 1GiB}}}", "0x10"),
        ("resources: {disks: {d: {filesystem: {type: zfs, datasets: [1.10]}}}}", "1.10"),
    ] {
        let text = format!("cloud-machine: {{{text}}}");
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let errors = validate(&merge(&[document]).unwrap()).unwrap_err().to_string();
        assert!(errors.contains(&format!("`{written}`")), "{text}: {errors}");
        assert!(errors.contains(&format!("write `\"{written}\"`, in quotes")), "{text}: {errors}");
    }
}
