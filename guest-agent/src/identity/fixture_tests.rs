//! Small trees of files, as distributions have them: what the agent makes of each, file by file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
};

use cloud_machine_config::{LayerKind, defaults, merge, parse};
use tempfile::TempDir;

use super::*;

/// Path, permission bits and content of each file.
type Files = BTreeMap<String, (u32, String)>;

const SSH_KEYS: u32 = 998;
/// As gethostid(3) reads it on a machine whose lowest byte comes first.
const HOSTID: &str = "gE#\u{1}";
const HOSTS: &str = "127.0.0.1 localhost\n127.0.1.1 demo\n::1 localhost\n";
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea demo\n";
const LOGIN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw login";
const LABELS: &str = "/etc/tmpfiles.d/cloud-machine-labels.conf";
const VLAN_PROFILE: &str = "/etc/NetworkManager/system-connections/cloud-machine.vlan.nmconnection";

fn tree(files: &[(&str, u32, &str)], links: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, mode, content) in files {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    for link in links {
        let path = root.path().join(link.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/usr/lib/systemd/system/x.service", path).unwrap();
    }
    fs::create_dir_all(root.path().join("root")).unwrap();
    root
}

fn found(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), format!("{prefix}/{}", entry.file_name().to_str().unwrap()));
        if kind.is_dir() {
            found(&entry.path(), &name, files);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).unwrap();
            let text = String::from_utf8(content).unwrap();
            let text = if text.contains("PRIVATE KEY") { "(private key)".to_owned() } else { text };
            files.insert(name, (entry.metadata().unwrap().mode() & 0o7777, text));
        }
    }
}

fn all(root: &TempDir) -> Files {
    let mut files = Files::new();
    found(root.path(), "", &mut files);
    files
}

fn handed(root: &TempDir, document: &str) -> Result<(), AgentError> {
    let identity: Identity = serde_json::from_value(serde_json::json!({
        "name": "demo", "machine_uuid": "u", "machine_id": "0123456789abcdef0123456789abcdef",
        "mac": "52:54:00:12:34:56", "nics": {"storage": "52:54:00:12:34:57"}, "authorized_keys": [LOGIN], "ssh_host_keys": "keep",
    }))
    .unwrap();
    let digest = "0".repeat(64);
    let request: Request = serde_json::from_value(serde_json::json!({
        "version": 1, "id": "A", "attempt": 1, "nonce": digest, "machine_uuid": "u", "action": "reimage",
        "image": {"name": "i", "digest": format!("blake3:{digest}"), "size": 1, "source": {"device": "serial:i"},
            "minimum_generation": 0, "exceptions": []},
        "tier": null, "drives": [], "unsupported": [], "deadline_seconds": 1
    }))
    .unwrap();
    let keep = parse(LayerKind::CommandLine, "f", b"cloud-machine: {identity: {ssh-host-keys: keep}}").unwrap();
    let document = parse(LayerKind::Project, "f", document.as_bytes()).unwrap();
    let merged = merge(&[defaults(), document, keep]).unwrap();
    let user_data = format!("#cloud-init\n{}", merged.to_yaml());
    let layers = Layers::of_host(&merged.to_layers(), user_data.as_bytes())?;
    // RFC 8032, section 7.1, test 1.
    let seed = serde_json::json!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let seed: HostKeySeed = serde_json::from_value(seed).unwrap();
    write(root.path(), &identity, &request, &layers, Some(&seed)).map(|_| ())
}

/// Files of the tree that are new or were changed, and the paths of those that went.
fn differences(before: &Files, after: &Files) -> (Files, Vec<String>) {
    let made = after.iter().filter(|(path, file)| before.get(*path) != Some(file));
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    (made.map(|(path, file)| (path.clone(), file.clone())).collect(), gone.cloned().collect())
}

fn table(rows: &[(&str, u32, &str)]) -> Files {
    rows.iter().map(|(path, mode, content)| ((*path).to_owned(), (*mode, (*content).to_owned()))).collect()
}

/// As an installation of RHEL 9 leaves them, of a machine that the image was made from.
const RHEL: &[(&str, u32, &str)] = &[
    ("/etc/NetworkManager/system-connections/ens3.nmconnection", 0o600, "[connection]\nid=ens3\n"),
    (VLAN_PROFILE, 0o600, "of another machine"),
    ("/etc/hostname", 0o644, "template\n"),
    ("/etc/hosts", 0o644, "127.0.0.1 localhost localhost.localdomain\n"),
    ("/etc/machine-id", 0o444, "ffffffffffffffffffffffffffffffff\n"),
    ("/etc/selinux/config", 0o644, "# This file\nSELINUX=enforcing\nSELINUXTYPE=targeted\n"),
    ("/etc/selinux/targeted/contexts/files/file_contexts", 0o644, ""),
    ("/etc/ssh/ssh_host_ecdsa_key", 0o640, "k"),
    ("/etc/ssh/ssh_host_ecdsa_key.pub", 0o644, "k"),
    ("/etc/ssh/ssh_host_ed25519_key", 0o640, "k"),
    ("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, "k"),
    ("/etc/ssh/ssh_host_rsa_key", 0o640, "k"),
    ("/etc/ssh/ssh_host_rsa_key.pub", 0o644, "k"),
    ("/etc/ssh/sshd_config.d/50-redhat.conf", 0o600, "X11Forwarding yes\n"),
    ("/etc/sysconfig/network-scripts/ifcfg-eth0", 0o644, "HWADDR=52:54:00:00:00:01\n"),
    ("/usr/lib/systemd/system/sshd-keygen@.service", 0o644, "[Unit]\n"),
    ("/usr/lib/tmpfiles.d/tmp.conf", 0o644, ""),
    ("/var/lib/NetworkManager/internal-x-ens3.lease", 0o600, "ADDRESS=192.0.2.9\n"),
    ("/var/lib/NetworkManager/secret_key", 0o600, "s"),
    ("/var/lib/chrony/drift", 0o644, "1.0 0.1\n"),
    ("/var/lib/systemd/random-seed", 0o600, "s"),
];
const MANAGER: &str = "/etc/systemd/system/multi-user.target.wants/NetworkManager.service";

#[test]
fn rhel_gets_its_identity_with_labels_and_its_network_through_networkmanager() {
    let root = tree(RHEL, &[MANAGER]);
    let key = root.path().join("etc/ssh/ssh_host_ed25519_key");
    chown(&key, None, Some(SSH_KEYS)).unwrap();
    let before = all(&root);
    let document = "cloud-machine:\n  resources:\n    disks: {data: {allocation: 1 GB, filesystem: ext4, mountpoint: '/srv/a b'}}\n    \
        nic: {network: {bridge: br0}, address: {addresses: [192.0.2.7/24], gateways: [192.0.2.1], dns: [192.0.2.53]}}\n";
    handed(&root, document).unwrap();
    let (made, gone) = differences(&before, &all(&root));
    let profile = "# Written by cloud-machine-agent at each reimage (nm-settings-keyfile(5)).\n[connection]\ntype=ethernet\n\
        autoconnect-priority=999\n\n[ethernet]\nmac-address=52:54:00:12:34:56\n\n[ipv4]\nmethod=manual\n\
        address1=192.0.2.7/24\ngateway=192.0.2.1\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n";
    let names = "# Written by cloud-machine-agent at each reimage (NetworkManager.conf(5)).\n[main]\ndns=none\n";
    let resolv = "# Written by cloud-machine-agent at each reimage (resolv.conf(5)).\nnameserver 192.0.2.53\n";
    let labels = "# Written by cloud-machine-agent at each reimage (tmpfiles.d(5)).\nz \"/etc/hostname\"\nz \"/etc/hosts\"\n\
        z \"/etc/machine-id\"\nz \"/etc/hostid\"\nz \"/etc/ssh/ssh_host_ed25519_key\"\nz \"/etc/ssh/ssh_host_ed25519_key.pub\"\n\
        z \"/root/.ssh\"\nz \"/root/.ssh/authorized_keys\"\n\
        z \"/etc/NetworkManager/system-connections/cloud-machine.nmconnection\"\nz \"/etc/resolv.conf\"\n\
        z \"/etc/NetworkManager/conf.d\"\nz \"/etc/NetworkManager/conf.d/zz-cloud-machine.conf\"\n\
        z \"/etc/ssh/ssh_host_ed25519_key-cert.pub\"\n\
        z \"/etc/ssh/sshd_config.d/20-cloud-machine-host-certificate.conf\"\nz \"/etc/tmpfiles.d\"\n\
        z \"/etc/tmpfiles.d/cloud-machine-labels.conf\"\nz \"/srv/a b\"\n";
    let expected = table(&[
        ("/etc/NetworkManager/conf.d/zz-cloud-machine.conf", 0o644, names),
        ("/etc/NetworkManager/system-connections/cloud-machine.nmconnection", 0o600, profile),
        ("/etc/hostid", 0o644, HOSTID),
        ("/etc/hostname", 0o644, "demo\n"),
        ("/etc/hosts", 0o644, HOSTS),
        ("/etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n"),
        ("/etc/resolv.conf", 0o644, resolv),
        ("/etc/ssh/ssh_host_ed25519_key", 0o600, "(private key)"),
        ("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, PUBLIC),
        (LABELS, 0o644, labels),
        ("/root/.ssh/authorized_keys", 0o600, &format!("{LOGIN}\n")),
    ]);
    assert_eq!(made, expected);
    // The system makes host keys of other kinds for itself, once they are not there (sshd-keygen@.service).
    let kinds = ["ecdsa_key", "ecdsa_key.pub", "rsa_key", "rsa_key.pub"].map(|end| format!("/etc/ssh/ssh_host_{end}"));
    let others = [VLAN_PROFILE, "/var/lib/NetworkManager/secret_key", "/var/lib/systemd/random-seed"];
    let mut all_gone = [kinds.to_vec(), others.map(str::to_owned).to_vec()].concat();
    all_gone.sort();
    assert_eq!(gone, all_gone);
    let owner = fs::metadata(root.path()).unwrap();
    let key = fs::metadata(key).unwrap();
    assert_eq!((key.uid(), key.gid()), (owner.uid(), owner.gid()), "not the group ssh_keys, which older ones have");
}

/// As the recipe of this project leaves them.
const DEBIAN: &[(&str, u32, &str)] = &[
    ("/etc/hostname", 0o644, "template\n"),
    ("/etc/machine-id", 0o444, ""),
    ("/etc/ssh/ssh_host_rsa_key", 0o600, "k"),
    ("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config.d/*.conf\n"),
    // Of a package that brings no policy.
    ("/etc/selinux/config", 0o644, "SELINUX=permissive\nSELINUXTYPE=default\n"),
    (LABELS, 0o644, "of another image"),
    (VLAN_PROFILE, 0o600, "of another machine"),
];

#[test]
fn debian_gets_its_identity_without_labels_and_its_network_through_systemd_networkd() {
    let root = tree(DEBIAN, &[cloud_init::NETWORKD[0], MANAGER]);
    let before = all(&root);
    handed(&root, "cloud-machine: {resources: {nic: {network: {bridge: br0}, address: {mtu: 1400}}}}\n").unwrap();
    let (made, gone) = differences(&before, &all(&root));
    let network = "# Written by cloud-machine-agent at each reimage (systemd.network(5)).\n[Match]\n\
        MACAddress=52:54:00:12:34:56\nType=ether\n\n[Link]\nMTUBytes=1400\n\n[Network]\nDHCP=ipv4\n\n\
        [DHCPv4]\nClientIdentifier=mac\n";
    let expected = table(&[
        ("/etc/hostid", 0o644, HOSTID),
        ("/etc/hostname", 0o644, "demo\n"),
        ("/etc/hosts", 0o644, HOSTS),
        ("/etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n"),
        ("/etc/ssh/ssh_host_ed25519_key", 0o600, "(private key)"),
        ("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, PUBLIC),
        ("/etc/systemd/network/10-cloud-machine.network", 0o644, network),
        ("/root/.ssh/authorized_keys", 0o600, &format!("{LOGIN}\n")),
    ]);
    assert_eq!(made, expected);
    assert_eq!(gone, [VLAN_PROFILE, "/etc/ssh/ssh_host_rsa_key", LABELS]);
}

#[test]
fn what_nobody_in_the_image_would_do_and_what_ends_the_machine_is_refused() {
    let fixed = "cloud-machine: {resources: {nic: {network: {bridge: br0}, address: {addresses: [192.0.2.7/24]}}}}\n";
    assert!(matches!(handed(&tree(RHEL, &[]), fixed), Err(AgentError::NetworkUnset)));
    handed(&tree(RHEL, &[MANAGER]), fixed).unwrap();
    let relabels = [RHEL, &[("/.autorelabel", 0o644, "")]].concat();
    assert!(matches!(handed(&tree(&relabels, &[MANAGER]), "{}"), Err(AgentError::Relabels)));
}

#[test]
fn a_further_interface_has_its_name_from_systemd_and_its_addresses_from_networkmanager() {
    let root = tree(RHEL, &[MANAGER]);
    let before = all(&root);
    let document =
        "cloud-machine: {resources: {nic: {network: {bridge: br0}}, nics: {storage: {network: {bridge: br1}}}}}\n";
    handed(&root, document).unwrap();
    let (made, _) = differences(&before, &all(&root));
    let of = |path: &str| made.get(path).map(|(mode, text)| (*mode, text.as_str()));
    let link = "# Written by cloud-machine-agent at each reimage (systemd.network(5)).\n[Match]\n\
        PermanentMACAddress=52:54:00:12:34:57\n\n[Link]\nName=storage\n";
    assert_eq!(of("/etc/systemd/network/11-cloud-machine-storage.link"), Some((0o644, link)));
    let profile = "# Written by cloud-machine-agent at each reimage (nm-settings-keyfile(5)).\n[connection]\ntype=ethernet\n\
        autoconnect-priority=999\n\n[ethernet]\nmac-address=52:54:00:12:34:57\n\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\n\
        dhcp-timeout=2147483647\nignore-auto-dns=true\nignore-auto-routes=true\nnever-default=true\n\n\
        [ipv6]\naddr-gen-mode=eui64\nmethod=link-local\n";
    let path = "/etc/NetworkManager/system-connections/cloud-machine-storage.nmconnection";
    assert_eq!(of(path), Some((0o600, profile)));
    assert!(of(LABELS).unwrap().1.contains(path), "labelled, too");
}
