//! Each safety key from both sides: what a layer of the guest may do to it, and what it may not.
#![allow(clippy::unwrap_used, clippy::panic)]

use cloud_machine_config::{ConfigErrors, Document, LayerKind, Merged, defaults, merge, parse};

const PINNED_HELP: &str = "set it in a layer of the host, or pin the volume";

fn document(layer: LayerKind, text: &str) -> Document {
    parse(layer, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn tried(host: &str, guest: Document) -> Result<Merged, ConfigErrors> {
    merge(&[defaults(), document(LayerKind::Project, host), guest])
}

/// `text` below `cloud-machine`.
fn ours(text: &str) -> String {
    format!("cloud-machine: {{{text}}}")
}

/// `text` below the disk `d`.
fn disk(text: &str) -> String {
    ours(&format!("resources: {{disks: {{d: {{{text}}}}}}}"))
}

/// Host, guest, path of the key below `cloud-machine`: refused in both layers of the guest, and loaded when pinned.
fn refused(host: &str, guest: &str, key: &str) {
    for layer in [LayerKind::CloudInitUrl, LayerKind::Volume] {
        let errors = tried(host, document(layer, guest)).unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{host} | {guest}: {errors}");
        let error = &errors.errors()[0];
        assert_eq!((error.layer, error.path.as_str()), (layer, format!("cloud-machine.{key}").as_str()), "{errors}");
        assert_eq!(error.suggestion.as_deref(), Some(PINNED_HELP));
        assert!(error.message.contains("(project f:1:") || error.message.contains("(built-in default)"), "{errors}");
    }
    tried(host, document(LayerKind::Volume, guest).pinned()).unwrap();
    tried(host, document(LayerKind::CommandLine, guest)).unwrap();
}

fn allowed(host: &str, guest: &str) {
    for layer in [LayerKind::CloudInitUrl, LayerKind::Volume] {
        tried(host, document(layer, guest)).unwrap_or_else(|errors| panic!("{host} | {guest}: {errors}"));
    }
}

#[test]
fn the_image_stays() {
    refused(&ours("image: a"), &ours("image: b"), "image");
    refused(&ours("image: a"), "exclude: [image]", "image");
    refused("", &ours("image: b"), "image");
    allowed(&ours("image: a"), &ours("image: a"));
    allowed(&ours("image: a"), &ours("image: "));
}

#[test]
fn the_keys_of_images_stay() {
    let key = |letter: &str| format!("RWQ{}", letter.repeat(53));
    let (one, two) = (key("A"), key("B"));
    let host = ours(&format!("image-keys: [{one}]"));
    for guest in [format!("[{two}]"), format!("[{one}, {two}]"), format!("!append [{two}]"), "[]".to_owned()] {
        refused(&host, &ours(&format!("image-keys: {guest}")), "image-keys");
        refused("", &ours(&format!("image-keys: [{two}]")), "image-keys");
    }
    refused(&host, "exclude: [image-keys]", "image-keys");
    allowed(&host, &ours(&format!("image-keys: [{one}]")));
    allowed(&host, &ours("image-keys: "));
}

#[test]
fn what_the_host_waits_for_is_no_business_of_the_machine() {
    refused("", &ours("wait-for: [ssh]"), "wait-for");
    refused(&ours("wait-for: [ssh, cloud-init]"), &ours("wait-for: [ssh]"), "wait-for");
    refused(&ours("wait-for: [ssh]"), "exclude: [wait-for]", "wait-for");
    allowed(&ours("wait-for: [ssh]"), &ours("wait-for: [ssh]"));
}

#[test]
fn requirements_only_grow() {
    let host = ours("require: [resources.ram]");
    refused(&host, &ours("require: [resources.cpus]"), "require");
    refused(&host, &ours("require: !reset"), "require");
    refused(&host, &ours("require: x"), "require");
    allowed(&host, &ours("require: !append [resources.cpus]"));
    allowed(&host, &ours("require: [resources.cpus, resources.ram]"));
    allowed("", &ours("require: [resources.cpus]"));
}

#[test]
fn undeclared_disks_may_be_refused_but_not_ignored() {
    refused("", &ours("disks-undeclared: ignore"), "disks-undeclared");
    refused(&ours("disks-undeclared: refuse"), &ours("disks-undeclared: ignore"), "disks-undeclared");
    refused(&ours("disks-undeclared: ignore"), &ours("disks-undeclared: burn"), "disks-undeclared");
    allowed(&ours("disks-undeclared: ignore"), &ours("disks-undeclared: refuse"));
    allowed(&ours("disks-undeclared: ignore"), "exclude: [disks-undeclared]");
}

#[test]
fn host_keys_may_be_rotated_but_not_kept() {
    let key = |policy: &str| ours(&format!("identity: {{ssh-host-keys: {policy}}}"));
    refused("", &key("keep"), "identity.ssh-host-keys");
    refused(&key("rotate"), &key("keep"), "identity.ssh-host-keys");
    allowed(&key("keep"), &key("rotate"));
}

#[test]
fn addresses_of_configuration_stay() {
    refused(&ours("cloud-init-url: https://a"), &ours("cloud-init-url: https://b"), "cloud-init-url");
    refused("", &ours("cloud-init-url: https://b"), "cloud-init-url");
    refused("", &ours("resources: {cloud-init-url: {url: b}}"), "resources.cloud-init-url");
    refused(&ours("cloud-init-url: {url: a, sha256: b}"), &ours("cloud-init-url: {sha256: c}"), "cloud-init-url");
    allowed(&ours("cloud-init-url: https://a"), &ours("cloud-init-url: https://a"));
}

#[test]
fn the_hardware_address_stays() {
    let mac = |address: &str| ours(&format!("resources: {{nic: {{mac: '{address}'}}}}"));
    refused("", &mac("52:54:00:12:34:56"), "resources.nic.mac");
    refused(&mac("52:54:00:12:34:56"), &mac("52:54:00:12:34:57"), "resources.nic.mac");
    let nic = |text: &str| ours(&format!("resources: {{nic: {text}}}"));
    refused(&nic("{network: {bridge: br0}}"), &nic("{network: {bridge: br1}}"), "resources.nic.network");
    refused("", &nic("{network: none}"), "resources.nic.network");
    allowed("", &nic("{network: user, address: dhcp}"));
    allowed("", &mac("auto"));
}

#[test]
fn disks_are_neither_added_nor_taken_away() {
    refused(&disk("boot-partition: true"), &ours("resources: {disks: {e: {}}}"), "resources.disks");
    refused("", &disk("boot-partition: true"), "resources.disks");
    refused(&disk("boot-partition: true"), "exclude: [resources.disks.d]", "resources.disks");
    refused(&disk(""), &ours("resources: {disks: !override {e: {}}}"), "resources.disks");
    allowed(&disk("boot-partition: true"), &disk("allocation: 2GiB"));
    refused(&disk("boot-partition: true"), &disk("mountpoint: /data"), "resources.disks.d.mountpoint");
    let host = "cloud-machine: {resources: {disks: {d: {filesystem: {type: ext4, label: a}}}}}";
    refused(host, &disk("filesystem: {label: b}"), "resources.disks.d.filesystem");
}

#[test]
fn which_device_a_disk_is_stays() {
    refused(&disk("devicepath: 'serial:a'"), &disk("devicepath: 'serial:b'"), "resources.disks.d.devicepath");
    refused(&disk(""), &disk("devicepath: 'serial:b'"), "resources.disks.d.devicepath");
    allowed(&disk("devicepath: 'serial:a'"), &disk("devicepath: 'serial:a'"));
    refused(&disk("boot-partition: true"), &disk("boot-partition: false"), "resources.disks.d.boot-partition");
    refused(&disk(""), &disk("boot-partition: true"), "resources.disks.d.boot-partition");
    allowed(&disk(""), &disk("boot-partition: false"));
}

#[test]
fn what_happens_to_a_disk_may_only_become_stricter() {
    for (key, from, to) in [
        ("overwrite", "false", "true"),
        ("wipe-on-boot", "true", "false"),
        ("wipe-on-boot", "zero", "discard"),
        ("wipe-on-boot", "discard", "recreate"),
        ("wipe-on-boot", "crypto", "zero"),
        ("wipe-on-boot", "false", "crypto"),
        ("on-reimage", "wipe", "keep"),
        ("on-reimage", "wipe", "recreate"),
        ("on-reimage", "recreate", "keep"),
        ("readonly", "true", "false"),
        ("required", "true", "false"),
        ("required", "false", "true"),
    ] {
        let path = format!("resources.disks.d.{key}");
        refused(&disk(&format!("{key}: {from}")), &disk(&format!("{key}: {to}")), &path);
    }
    for (key, from, to) in [
        ("overwrite", "true", "false"),
        ("wipe-on-boot", "false", "true"),
        ("wipe-on-boot", "false", "zero"),
        ("wipe-on-boot", "recreate", "discard"),
        ("wipe-on-boot", "discard", "true"),
        ("wipe-on-boot", "true", "zero"),
        ("on-reimage", "keep", "wipe"),
        ("on-reimage", "keep", "recreate"),
        ("on-reimage", "recreate", "wipe"),
    ] {
        allowed(&disk(&format!("{key}: {from}")), &disk(&format!("{key}: {to}")));
    }
    // What is not stated counts as its default.
    refused(&disk(""), &disk("on-reimage: keep"), "resources.disks.d.on-reimage");
    refused(&disk(""), &disk("overwrite: true"), "resources.disks.d.overwrite");
    allowed(&disk(""), &disk("wipe-on-boot: true"));
    // An empty value states nothing, so it loosens nothing.
    allowed(&disk("wipe-on-boot: true"), &disk("wipe-on-boot:"));
    // A disk that is never written is not wiped either.
    refused(&disk(""), &disk("readonly: true"), "resources.disks.d.readonly");
    // A quoted word is no boolean, and cannot be told to be stricter.
    refused(&disk("readonly: false"), &disk("readonly: 'true'"), "resources.disks.d.readonly");
}

#[test]
fn the_hosts_value_is_not_shown_where_it_is_secret() {
    for (host, guest) in [
        (r#"cloud-init-url: "https://x.example/a?token=hidden""#, r#"cloud-init-url: "https://y.example/""#),
        ("require: !secret [hidden]", "require: []"),
        ("resources: !secret {nic: {network: {bridge: hidden}}}", "resources: {nic: {network: none}}"),
        ("resources: {nic: {mac: !secret hidden}}", "resources: {nic: {mac: auto}}"),
    ] {
        let errors = tried(&ours(host), document(LayerKind::Volume, &ours(guest))).unwrap_err().to_string();
        assert!(errors.contains("a safety key may only be tightened") && !errors.contains("hidden"), "{errors}");
    }
    let host = "network: {version: 2, wifis: {w: {password: hidden}}}";
    let errors =
        tried(host, document(LayerKind::Volume, "network: {version: 2, tunnels: {}}")).unwrap_err().to_string();
    assert!(errors.contains("the host's alone") && !errors.contains("hidden"), "{errors}");
}

#[test]
fn a_volume_may_not_take_away_what_lies_above_a_safety_key() {
    let host = disk("wipe-on-boot: true, boot-partition: false");
    for guest in ["exclude: [cloud-machine]", "exclude: [resources]", "cloud-machine: 1", &ours("resources: 4")] {
        refused(&host, guest, "resources.disks");
    }
    let errors = tried(&host, document(LayerKind::Volume, &disk("wipe-on-boot: false"))).unwrap_err();
    let expected = "f:1:55: cloud-machine.resources.disks.d.wipe-on-boot: a safety key may only be tightened: `true` \
                    (project f:1:55) cannot become `false`";
    assert_eq!(errors.errors()[0].to_string(), expected);
}

#[test]
fn each_layer_is_held_against_the_one_before_it() {
    let url = document(LayerKind::CloudInitUrl, &disk("wipe-on-boot: true"));
    let volume = document(LayerKind::Volume, &disk("wipe-on-boot: false"));
    let host = document(LayerKind::Project, &disk(""));
    let errors = merge(&[host.clone(), url.clone(), volume.clone()]).unwrap_err();
    assert!(errors.to_string().contains("(cloud-init URL f:1:55)"), "{errors}");
    merge(&[host.clone(), url, volume.pinned()]).unwrap();
    // What the host handed over as layers is the host's.
    let layers = merge(&[host]).unwrap().to_layers();
    let guest = document(LayerKind::Volume, &disk("on-reimage: keep"));
    assert!(merge(&[Document::from_layers(&layers).unwrap(), guest]).is_err());
}

#[test]
fn what_the_machine_is_made_of_comes_too_late_in_a_layer_of_the_guest() {
    let late = |host: &str, layer, guest: &str| {
        let merged = tried(host, document(layer, guest)).unwrap();
        let late = merged.leaves().into_iter().filter(cloud_machine_config::Leaf::is_late);
        late.map(|leaf| leaf.path).collect::<Vec<_>>()
    };
    let guest = "resources: {ram: 8, cpus: 2, disks: {d: {allocation: 2GiB}}}";
    for layer in [LayerKind::CloudInitUrl, LayerKind::Volume] {
        let found = late(&disk("allocation: 1GiB"), layer, &ours(guest));
        // What says the same as the host did changes nothing.
        let expected = ["resources.disks.d.allocation", "resources.ram"];
        let mut found: Vec<_> = found.iter().map(|path| path.trim_start_matches("cloud-machine.")).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    assert!(late(&disk(""), LayerKind::CommandLine, &ours(guest)).is_empty());
}

#[test]
fn drives_of_others_may_be_refused_but_not_trusted() {
    refused("", &ours("drives: trusted"), "drives");
    allowed(&ours("drives: trusted"), &ours("drives: read-only"));
}

#[test]
fn other_keys_are_free() {
    allowed("", &ours("resources: {ram: 8}"));
    allowed("hostname: a", "hostname: b\nruncmd: [x]\nusers: [default]");
}
