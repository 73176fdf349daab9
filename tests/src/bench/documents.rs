//! The documents of the benchmark: one of two thousand keys that cloud-init and we both read, what the other layers
//! say, and small ones. Makes text only.

use std::fmt::Write as _;

/// Keys of [`whole`], at all levels.
pub const KEYS: usize = 2000;
/// Repositories in it: each is one key with six below it.
const REPOSITORIES: usize = 285;

/// A cloud-config of [`KEYS`] keys, whose values speak of `layer`.
#[must_use]
pub fn whole(layer: &str) -> String {
    let mut text = format!(
        "#cloud-config\nhostname: {layer}\nfqdn: {layer}.example.org\ntimezone: Europe/Zurich\nlocale: C.UTF-8\nyum_repos:\n"
    );
    for index in 0..REPOSITORIES {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "  repository-{index:03}:
    name: Repository {index} of the {layer}
    baseurl: https://mirror.example.org/{layer}/{index:03}/$basearch
    enabled: {}
    gpgcheck: true
    gpgkey: file:///etc/pki/rpm-gpg/{index:03}
    priority: {index}
",
            index % 2 == 0
        );
    }
    text
}

/// What a layer besides the project says: another priority for every third repository, 192 keys in all.
#[must_use]
pub fn part(layer: &str, priority: usize) -> String {
    let mut text = format!("#cloud-config\nhostname: {layer}\nyum_repos:\n");
    for index in (0..REPOSITORIES).step_by(3) {
        let _ = write!(text, "  repository-{index:03}:\n    priority: {}\n", priority + index);
    }
    text
}

/// A small document of ours.
pub const SMALL: &str = "\
#cloud-config
cloud-machine:
  image: debian-12
  resources:
    ram: 2
    disks:
      system: {boot-partition: true, allocation: 20GiB}
hostname: small
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw you@example
";

/// A small document of Ignition's that says as much.
pub const SMALL_IGNITION: &str = r#"{
  "ignition": {"version": "3.3.0"},
  "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw you@example"]}]},
  "storage": {
    "disks": [{"device": "/dev/vda", "partitions": [{"label": "root", "sizeMiB": 20480}]}],
    "files": [{"path": "/etc/hostname", "mode": 420, "contents": {"source": "data:,small"}}]
  }
}
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cloud_machine_config::{LayerKind, merge, parse};

    use super::*;

    #[test]
    fn the_document_has_as_many_keys_as_is_said() {
        let document = |text: &str| parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let keys = |text: &str| {
            let leaves = merge(&[document(text)]).unwrap().leaves();
            let paths = leaves.iter().flat_map(|leaf| {
                leaf.path.match_indices('.').map(|(end, _)| leaf.path[..end].to_owned()).chain([leaf.path.clone()])
            });
            paths.collect::<BTreeSet<String>>()
        };
        let whole = keys(&whole("project"));
        assert_eq!(whole.len(), KEYS);
        assert!(keys(&part("user", 7)).is_subset(&whole), "a part adds no key");
        assert_eq!(keys(&part("user", 7)).len(), 192);
    }
}
