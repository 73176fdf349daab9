//! Handing over to the cloud-init of the new system: the seed that it reads, and the settings by which it reads nothing
//! else. Must not touch a file, nor give a key of cloud-init a meaning.

use cloud_machine_config::{CloudInit, OVERRULED};
use cloud_machine_protocol::{Identity, Request};
use cloud_machine_system::root::RootFile;

use crate::error::AgentError;

/// What an image with cloud-init has: the program, and the folder of its settings.
pub(crate) const PROGRAM: &str = "/usr/bin/cloud-init";
pub(crate) const SETTINGS: &str = "/etc/cloud";
/// Where systemd-networkd is started from when somebody has enabled it, or the distribution itself has: then the settings that the
/// agent writes for it are the machine's network.
pub(crate) const NETWORKD: [&str; 2] = [
    "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
    "/usr/lib/systemd/system/multi-user.target.wants/systemd-networkd.service",
];

/// cloud-init takes its datasource from here and looks nowhere else.
const DATASOURCE: &str = include_str!("../../systemd/zz-cloud-machine.cfg");
/// What cloud-init would otherwise make up for the first interface, in a place that counts before ours.
const NO_NETWORK: &str = "# The network's settings are the agent's.\nnetwork: {config: disabled}\n";
const PRESERVED: &str = "preserve_hostname: true\n";
/// For a name from the document, which the file that the agent writes does not have.
const OWN_HOSTNAME: &str = "# The host shall find itself by its name.\nmanage_etc_hosts: localhost\n";
/// ds-identify runs before cloud-init and could turn it off, or hand it another list.
const IDENTIFY: &str = "# Written by cloud-machine-agent at each reimage.\npolicy: enabled\ndatasource: NoCloud\n";
const SEED: &str = "/var/lib/cloud/seed/nocloud";
/// Other files of a seed, which add to it: empty, so that those of the image do not count.
const UNUSED: [&str; 2] = ["network-config", "vendor-data"];
/// The settings above; their name sorts behind those of installers and of clouds.
pub(crate) const OWN_SETTINGS: &str = "/etc/cloud/cloud.cfg.d/zz-cloud-machine.cfg";
/// Keys that name the host: whoever writes one wants another name than the machine's.
const NAMES: [&str; 2] = ["hostname", "fqdn"];

/// What the new root has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Has {
    /// cloud-init.
    pub(crate) cloud_init: bool,
    /// A program that sets up the network by files of the agent, enabled.
    pub(crate) network: bool,
}

/// The files for cloud-init, when the image has it. Keys that nobody in the image would read are an error: a machine
/// without them is not the machine that was described.
pub(crate) fn files(
    identity: &Identity,
    request: &Request,
    keys: &CloudInit,
    has: Has,
) -> Result<Vec<RootFile>, AgentError> {
    if !has.cloud_init {
        // The agent itself hands these over.
        let rest = keys.without(&["ssh_authorized_keys"]);
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        return Err(AgentError::CloudInitAbsent { keys: rest.keys().collect::<Vec<_>>().join(", ") });
    }
    let overruled: Vec<&str> = OVERRULED.iter().map(|(key, _)| *key).collect();
    let network = keys.network_config();
    let document = keys.without(&overruled).without(&["network"]).to_yaml();
    // A network may have passwords.
    let mode = if network.is_some() { 0o600 } else { 0o644 };
    let mut files = vec![
        // The first, which is no secret, makes the folders: others than root look below `/var/lib/cloud`, too.
        RootFile::text(&format!("{SEED}/meta-data"), 0o644, meta_data(identity, request)),
        RootFile::text(&format!("{SEED}/user-data"), 0o600, user_data(&document)),
        RootFile::text(OWN_SETTINGS, mode, settings(keys, has.network, network)),
        RootFile::text(&format!("{SETTINGS}/ds-identify.cfg"), 0o644, IDENTIFY.to_owned()),
    ];
    files.extend(UNUSED.map(|name| RootFile::text(&format!("{SEED}/{name}"), 0o600, String::new())));
    Ok(files)
}

/// cloud-init complains of a document without a key: then it is told again what the settings say.
fn user_data(keys: &str) -> String {
    format!("#cloud-config\n{}", if keys.is_empty() { PRESERVED } else { keys })
}

/// To cloud-init a machine is new after each reimage, and the same at each boot: this is only written by the former.
fn meta_data(identity: &Identity, request: &Request) -> String {
    format!("instance-id: {}.{}\nlocal-hostname: {}\n", identity.machine_uuid, request.id, identity.name)
}

/// `is_networked`: whether the network is set up by what the agent writes for another program. What a document says of it,
/// `network`, is here: among the settings it counts before what a seed has, and instead of what those of the image say.
fn settings(keys: &CloudInit, is_networked: bool, network: Option<String>) -> String {
    let named = keys.keys().any(|key| NAMES.contains(&key.as_ref()));
    let (remark, hostname) =
        if named { ("", OWN_HOSTNAME) } else { ("# The agent writes the host name.\n", PRESERVED) };
    let network = network.unwrap_or_else(|| if is_networked { NO_NETWORK } else { "" }.to_owned());
    format!("{DATASOURCE}{remark}{hostname}{network}")
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, defaults, merge, parse, validate};

    use super::*;

    const BOTH: Has = Has { cloud_init: true, network: true };

    fn request(id: &str) -> Request {
        let digest = "0".repeat(64);
        serde_json::from_value(serde_json::json!({
            "version": 1, "id": id, "attempt": 1, "nonce": digest, "machine_uuid": "u", "action": "reimage",
            "image": {"name": "i", "digest": format!("blake3:{digest}"), "size": 1, "source": {"device": "serial:i"},
                "minimum_generation": 0, "exceptions": []},
            "tier": null, "drives": [], "unsupported": [], "deadline_seconds": 1
        }))
        .unwrap()
    }

    fn handed(text: &str, id: &str, has: Has) -> Result<Vec<(String, String)>, AgentError> {
        let identity = serde_json::from_value(serde_json::json!({
            "name": "demo", "machine_uuid": "7d8f0c9e-4a9c-4b5e-9d63-5d6c1f0b2a11", "machine_id": "1".repeat(32),
            "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate"
        }));
        let document = parse(LayerKind::Project, "f", text.as_bytes()).unwrap();
        let config = validate(&merge(&[defaults(), document]).unwrap()).unwrap();
        let files = files(&identity.unwrap(), &request(id), &config.cloud_init, has)?;
        Ok(files.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect())
    }

    fn of<'a>(files: &'a [(String, String)], end: &str) -> &'a str {
        &files.iter().find(|(path, _)| path.ends_with(end)).unwrap().1
    }

    #[test]
    fn the_seed_has_the_keys_that_are_not_ours_as_they_were_written() {
        let text = "cloud-machine: {image: x}\nruncmd: [[id]]\nwrite_files: [{path: /a, permissions: 0644}]\n";
        let files = handed(text, "A", BOTH).unwrap();
        let expected = "#cloud-config\nruncmd:\n  - - id\nwrite_files:\n  - path: /a\n    permissions: 0644\n";
        assert_eq!(of(&files, "nocloud/user-data"), expected);
    }

    #[test]
    fn without_a_key_there_is_no_document_and_a_network_is_none_of_its_keys() {
        let none = "#cloud-config\npreserve_hostname: true\n";
        assert_eq!(of(&handed("cloud-machine: {image: x}", "A", BOTH).unwrap(), "nocloud/user-data"), none);
        let files = handed("network: {version: 2, ethernets: {a: {dhcp4: yes}}}", "A", BOTH).unwrap();
        assert_eq!(of(&files, "nocloud/user-data"), none);
        let expected = "\nnetwork:\n  version: 2\n  ethernets:\n    a:\n      dhcp4: yes\n";
        let settings = of(&files, "cloud.cfg.d/zz-cloud-machine.cfg");
        assert!(settings.ends_with(expected) && settings.matches("network:").count() == 1, "{settings}");
    }

    #[test]
    fn each_reimage_is_another_instance() {
        let [first, second] = ["A", "B"].map(|id| handed("timezone: UTC", id, BOTH).unwrap());
        let expected = "instance-id: 7d8f0c9e-4a9c-4b5e-9d63-5d6c1f0b2a11.A\nlocal-hostname: demo\n";
        assert_eq!(of(&first, "nocloud/meta-data"), expected);
        assert_ne!(of(&first, "nocloud/meta-data"), of(&second, "nocloud/meta-data"));
    }

    #[test]
    fn only_the_seed_is_a_datasource_and_the_settings_that_say_so_come_last() {
        let files = handed("timezone: UTC", "A", BOTH).unwrap();
        let expected = format!(
            "\ndatasource_list: [NoCloud]\ndatasource:\n  NoCloud:\n    fs_label: null\n    seedfrom: file://{SEED}/\n"
        );
        assert!(of(&files, "cloud.cfg.d/zz-cloud-machine.cfg").contains(&expected));
        assert_eq!(of(&files, "ds-identify.cfg").lines().last(), Some("datasource: NoCloud"));
    }

    #[test]
    fn nothing_that_an_image_has_beside_the_seed_or_remembers_of_another_machine_counts() {
        let files = handed("timezone: UTC", "A", BOTH).unwrap();
        for name in ["nocloud/vendor-data", "nocloud/network-config"] {
            assert_eq!(of(&files, name), "");
        }
        assert!(of(&files, "zz-cloud-machine.cfg").contains("\nmanual_cache_clean: false\n"));
    }

    #[test]
    fn who_names_the_host_gets_that_name_and_the_machine_keeps_its_own_otherwise() {
        let settings = |text: &str| handed(text, "A", BOTH).unwrap();
        assert!(of(&settings("timezone: UTC"), "zz-cloud-machine.cfg").contains("\npreserve_hostname: true\n"));
        for text in ["hostname: web", "fqdn: web.example"] {
            let settings = settings(text);
            let settings = of(&settings, "zz-cloud-machine.cfg");
            assert!(!settings.contains("preserve_hostname") && settings.contains("\nmanage_etc_hosts: localhost\n"));
        }
    }

    #[test]
    fn the_network_is_left_to_cloud_init_where_nobody_else_sets_it_up() {
        let settings = |network| handed("timezone: UTC", "A", Has { network, ..BOTH }).unwrap();
        assert!(of(&settings(true), "zz-cloud-machine.cfg").contains("network: {config: disabled}"));
        assert!(!of(&settings(false), "zz-cloud-machine.cfg").contains("network:"));
    }

    #[test]
    fn no_document_takes_the_host_key_away_that_the_host_was_told() {
        let text = "ssh_deletekeys: true\nssh_genkeytypes: [rsa]\nssh_keys: {rsa_private: x}\ntimezone: UTC\n";
        let files = handed(text, "A", BOTH).unwrap();
        assert_eq!(of(&files, "nocloud/user-data"), "#cloud-config\ntimezone: UTC\n");
        assert!(of(&files, "zz-cloud-machine.cfg").contains("\nssh_deletekeys: false\nssh_genkeytypes: [ed25519]\n"));
    }

    #[test]
    fn no_document_makes_the_partition_of_the_root_another_one_than_the_images() {
        let files = handed("growpart: {mode: auto}\ntimezone: UTC\n", "A", BOTH).unwrap();
        assert_eq!(of(&files, "nocloud/user-data"), "#cloud-config\ntimezone: UTC\n");
        assert!(of(&files, "zz-cloud-machine.cfg").contains("\ngrowpart:\n  mode: \"off\"\n"));
    }

    #[test]
    fn no_document_writes_a_disk_that_the_agent_made() {
        let text = "disk_setup: {/dev/vda: {overwrite: true}}\nfs_setup: [{device: /dev/vdb}]\ntimezone: UTC\n";
        let files = handed(text, "A", BOTH).unwrap();
        assert_eq!(of(&files, "nocloud/user-data"), "#cloud-config\ntimezone: UTC\n");
    }

    #[test]
    fn keys_that_nobody_in_the_image_reads_are_refused_by_name() {
        let none = Has { cloud_init: false, network: true };
        const KEYS: &str =
            "ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw]\n";
        let refused = handed(&format!("{KEYS}runcmd: [id]\n"), "A", none).unwrap_err().to_string();
        assert!(refused.contains("(runcmd)"), "{refused}");
        assert_eq!(handed(KEYS, "A", none).unwrap(), []);
    }
}
