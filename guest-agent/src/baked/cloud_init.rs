//! Handing over to the cloud-init of a system that a host did not make: a seed and settings in memory, for this boot alone, so that
//! nothing of it stays on the disk. Must not touch a file, nor give a key of cloud-init a meaning.

use cloud_machine_config::CloudInit;
use cloud_machine_system::root::RootFile;

use super::handed::Handed;

/// The seed, from which alone cloud-init takes what it does.
pub(super) const SEED: &str = "/run/cloud-machine/seed";
/// What ds-identify writes after its own search, which it does not begin when both are there (`main` in tools/ds-identify): which
/// datasource, and that cloud-init is on. cloud-init lays it over the settings of the system.
const SETTINGS: &str = "/run/cloud-init/cloud.cfg";
const IDENTIFIED: &str = "/run/cloud-init/.ds-identify.result";

/// One datasource, whose place is named and which looks for no volume: one labelled `cidata` that a job left is never asked.
const DATASOURCE: &str = "\
# Written by cloud-machine-agent at this boot.
datasource_list: [NoCloud]
datasource:
  NoCloud:
    fs_label: null
    seedfrom: file:///run/cloud-machine/seed/
";

/// The files. `instance` names the machine where the volume has no meta-data.
pub(super) fn files(keys: &CloudInit, handed: &Handed, instance: &str) -> Vec<RootFile> {
    let network = keys.network_config();
    let meta_data = handed.meta_data.clone().unwrap_or_else(|| format!("instance-id: {instance}\n").into_bytes());
    let user_data = format!("#cloud-config\n{}", keys.without(&["network"]).to_yaml());
    let seed = |name: &str, content: Vec<u8>| RootFile { path: format!("{SEED}/{name}"), content, mode: 0o600 };
    let settings = format!("{DATASOURCE}{}", network.unwrap_or_default());
    vec![
        seed("meta-data", meta_data),
        seed("user-data", user_data.into_bytes()),
        seed("vendor-data", handed.vendor_data.clone().unwrap_or_default()),
        seed("network-config", handed.network_config.clone().unwrap_or_default()),
        // The first makes the folder, in which others than root look, too.
        RootFile::text(IDENTIFIED, 0o644, "0\n"),
        // A network may have passwords.
        RootFile { path: SETTINGS.to_owned(), content: settings.into_bytes(), mode: 0o600 },
    ]
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, parse};

    use super::*;
    use crate::layers::Layers;

    fn files_of(text: &str, handed: &Handed) -> Vec<(String, String)> {
        let document = parse(LayerKind::Volume, "user-data", text.as_bytes()).unwrap().pinned();
        let layers = Layers::of_machine([document]).unwrap_or_else(|error| panic!("{error}"));
        let files = files(&layers.config().cloud_init, handed, "instance");
        files.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect()
    }

    fn of<'a>(files: &'a [(String, String)], end: &str) -> &'a str {
        &files.iter().find(|(path, _)| path.ends_with(end)).unwrap().1
    }

    #[test]
    fn the_seed_has_what_is_not_ours_as_it_was_written_and_the_other_files_as_they_are() {
        let handed = Handed {
            meta_data: Some(b"instance-id: a\n".to_vec()),
            network_config: Some(b"version: 2\n".to_vec()),
            vendor_data: None,
        };
        let text = "cloud-machine: {disks-undeclared: ignore}\nruncmd: [[id]]\nfs_setup: []\n";
        let files = files_of(text, &handed);
        assert_eq!(of(&files, "/seed/user-data"), "#cloud-config\nruncmd:\n  - - id\nfs_setup: []\n");
        assert_eq!(of(&files, "/seed/meta-data"), "instance-id: a\n");
        assert_eq!(of(&files, "/seed/network-config"), "version: 2\n");
        assert_eq!(of(&files, "/seed/vendor-data"), "");
        assert!(files.iter().all(|(path, _)| path.starts_with("/run/")), "nothing stays on the disk");
    }

    #[test]
    fn a_machine_without_meta_data_is_named_and_a_network_is_a_setting() {
        let files = files_of("network: {version: 2, ethernets: {a: {dhcp4: yes}}}\n", &Handed::default());
        assert_eq!(of(&files, "/seed/meta-data"), "instance-id: instance\n");
        assert_eq!(of(&files, "/seed/user-data"), "#cloud-config\n");
        assert!(
            of(&files, "cloud.cfg")
                .ends_with("/seed/\nnetwork:\n  version: 2\n  ethernets:\n    a:\n      dhcp4: yes\n")
        );
        assert_eq!(of(&files, ".ds-identify.result"), "0\n");
    }
}
