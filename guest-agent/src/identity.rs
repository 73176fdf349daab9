//! Handing the identity to the new system: typed values become files of the root. Nothing is read from what a job
//! left; a private key that is made here never leaves the machine.

use std::path::Path;

use cloud_machine_plan::{HOST_KEY, nic_item};
use cloud_machine_protocol::{HostKeySeed, Identity, IdentityItem, Request, SecretPolicy};
use cloud_machine_system::root::{self, RootFile};
use ssh_key::{Algorithm, LineEnding, PrivateKey, private::Ed25519Keypair, rand_core::OsRng};

use crate::{
    cloud_init::{self, Has},
    docker,
    error::AgentError,
    image_settings,
    layers::Layers,
    network::{self, Interface},
    network_files, network_manager, rancher, selinux, shared, swarm,
};

/// Writes all files of `identity` into the system at `root` and says what the machine was given.
/// `kept` is the host key that the host keeps for the machine.
pub(crate) fn write(
    root: &Path,
    identity: &Identity,
    request: &Request,
    layers: &Layers,
    kept: Option<&HostKeySeed>,
) -> Result<Vec<IdentityItem>, AgentError> {
    let authorized_keys = layers.authorized_keys(identity).join("\n");
    let policy = layers.config().identity.ssh_host_keys;
    let host_key = host_key(identity, policy, kept)?;
    let public = host_key.public_key().to_openssh().map_err(AgentError::HostKey)?;
    let mut files = files(identity, &authorized_keys, &host_key, &public)?;
    // systemd-networkd counts before NetworkManager.
    let networkd = any(root, &cloud_init::NETWORKD)?;
    let manager = !networkd && any(root, &network_manager::ENABLED)?;
    let interfaces = network::interfaces(identity, &layers.config().resources)?;
    let by = match layers.config().cloud_init.network_config() {
        Some(_) => SetUpBy::CloudInit,
        None if manager => SetUpBy::Manager,
        None if networkd || !interfaces.iter().any(Interface::is_described) => SetUpBy::Networkd,
        None => return Err(AgentError::NetworkUnset),
    };
    files.extend(network(root, &interfaces, by)?);
    files.extend(for_cloud_init(root, identity, request, layers, networkd || manager)?);
    files.extend(engines(root, layers)?);
    shared::remove(root)?;
    root::remove(root, selinux::LABELS)?;
    let exists = |path: &str| Ok(root::exists(root, path)?);
    if let Some(config) = root::read(root, selinux::CONFIG)?
        && selinux::is_on(&config, exists)?
    {
        files.push(selinux::labels(&files, layers.config(), exists)?);
    }
    for file in &files {
        root::write(root, file)?;
    }
    let item = |name: &str, policy, public: String| IdentityItem { name: name.to_owned(), policy, public };
    let kept = |name: &str, public: String| item(name, SecretPolicy::Keep, public);
    let mut items = vec![
        kept("hostname", identity.name.to_string()),
        kept("machine-id", identity.machine_id.to_string()),
        kept("hostid", format!("{:08x}", identity.machine_id.hostid())),
        kept("machine-uuid", identity.machine_uuid.clone()),
        kept("mac", identity.mac.to_string()),
        kept("authorized-keys", authorized_keys),
        item(HOST_KEY, policy, public),
    ];
    items.extend(identity.nics.iter().map(|(name, mac)| kept(&nic_item(name), mac.to_string())));
    Ok(items)
}

/// Who sets up the network of the new system.
#[derive(Clone, Copy)]
enum SetUpBy {
    Networkd,
    Manager,
    /// As the document describes it for cloud-init.
    CloudInit,
}

/// What sets up the network; what another machine had for that goes.
fn network(root: &Path, interfaces: &[Interface<'_>], by: SetUpBy) -> Result<Vec<RootFile>, AgentError> {
    root::remove_named(root, network_files::FOLDER, &network_files::OURS)?;
    root::remove_named(root, network_manager::FOLDER, &[network_manager::OURS])?;
    root::remove(root, network_manager::DNS)?;
    let mut files: Vec<RootFile> = interfaces.iter().filter_map(network_files::link_of).collect();
    for interface in interfaces {
        match by {
            SetUpBy::Networkd => files.extend(network_files::files(interface)),
            SetUpBy::Manager => {
                files.extend(network_manager::files(interface.mac, interface.name, interface.address));
                if let Some(names) = network_files::names(interface.address) {
                    files.extend([names, network_manager::own_names()]);
                }
            }
            SetUpBy::CloudInit => {}
        }
    }
    Ok(files)
}

fn for_cloud_init(
    root: &Path,
    identity: &Identity,
    request: &Request,
    layers: &Layers,
    network: bool,
) -> Result<Vec<RootFile>, AgentError> {
    let keys = &layers.config().cloud_init;
    let cloud_init = root::exists(root, cloud_init::PROGRAM)? && root::exists(root, cloud_init::SETTINGS)?;
    let has = Has { cloud_init, network };
    let files = cloud_init::files(identity, request, keys, has)?;
    if has.cloud_init {
        image_settings::check(root, !keys.is_empty(), keys.network_config().is_some())?;
        for path in image_settings::REMEMBERED {
            root::remove(root, path)?;
        }
    }
    Ok(files)
}

/// What docker and Rancher's distributions of Kubernetes read; what another machine left for them goes.
pub(crate) fn engines(root: &Path, layers: &Layers) -> Result<Vec<RootFile>, AgentError> {
    let mut files = for_docker(root, layers)?;
    if let Some(rancher) = &layers.config().rancher {
        let theirs = rancher::files(rancher, |path| Ok(root::exists(root, path)?))?;
        for path in &theirs.remove {
            root::remove(root, path)?;
        }
        files.extend(theirs.write);
    }
    Ok(files)
}

fn for_docker(root: &Path, layers: &Layers) -> Result<Vec<RootFile>, AgentError> {
    let engine = &layers.config().docker;
    let has = docker::Has { docker: any(root, &docker::PROGRAMS)?, unit: any(root, &docker::UNITS)? };
    let mut files = docker::files(engine, has)?;
    for path in swarm::OURS {
        root::remove(root, path)?;
    }
    if let Some(swarm) = &layers.config().swarm {
        let uses = swarm::Uses { program: any(root, &swarm::PROGRAMS)?, sender: any(root, &swarm::SENDERS)? };
        files.extend(swarm::files(swarm, has, uses)?);
        // Of a machine that the image was made from: a node of this name and key is another machine.
        root::remove(root, &format!("{}/swarm", engine.data_root().unwrap_or(docker::DATA_ROOT)))?;
    }
    if !engine.is_empty() {
        for path in docker::OURS {
            root::remove(root, path)?;
        }
    }
    Ok(files)
}

/// Whether one of these files is below `root`.
fn any(root: &Path, paths: &[&str]) -> Result<bool, AgentError> {
    for path in paths {
        if root::exists(root, path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A document that the machine read may have turned `keep` into `rotate`: then the kept key is not written.
fn host_key(identity: &Identity, policy: SecretPolicy, kept: Option<&HostKeySeed>) -> Result<PrivateKey, AgentError> {
    let mut key = match policy {
        SecretPolicy::Rotate => PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(AgentError::HostKey)?,
        SecretPolicy::Keep => Ed25519Keypair::from_seed(kept.ok_or(AgentError::HostKeyAbsent)?.reveal()).into(),
    };
    key.set_comment(identity.name.as_str());
    Ok(key)
}

fn files(
    identity: &Identity,
    authorized_keys: &str,
    host_key: &PrivateKey,
    public: &str,
) -> Result<Vec<RootFile>, AgentError> {
    let private = host_key.to_openssh(LineEnding::LF).map_err(AgentError::HostKey)?;
    let name = &identity.name;
    let mut files = vec![
        RootFile::text("/etc/hostname", 0o644, format!("{name}\n")),
        RootFile::text("/etc/hosts", 0o644, format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")),
        RootFile::text("/etc/machine-id", 0o444, format!("{}\n", identity.machine_id)),
        hostid(identity),
        RootFile::text("/etc/ssh/ssh_host_ed25519_key", 0o600, private.to_string()),
        RootFile::text("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{public}\n")),
    ];
    if !authorized_keys.is_empty() {
        files.push(RootFile::text("/root/.ssh/authorized_keys", 0o600, format!("{authorized_keys}\n")));
    }
    Ok(files)
}

/// As gethostid(3) reads it: four bytes in the order of the machine.
fn hostid(identity: &Identity) -> RootFile {
    let content = identity.machine_id.hostid().to_ne_bytes().to_vec();
    RootFile { path: "/etc/hostid".to_owned(), content, mode: 0o644 }
}

#[cfg(test)]
mod fixture_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_the_host_keeps_is_written_again_and_another_one_is_made_otherwise() {
        let identity: Identity = serde_json::from_value(serde_json::json!({
            "name": "demo", "machine_uuid": "u", "machine_id": "0123456789abcdef0123456789abcdef",
            "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "keep",
        }))
        .unwrap();
        // RFC 8032, section 7.1, test 1.
        let seed = serde_json::json!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let seed: HostKeySeed = serde_json::from_value(seed).unwrap();
        let public = |policy, kept| {
            host_key(&identity, policy, kept)
                .map(|key| key.public_key().to_openssh().unwrap())
                .map_err(|e| e.to_string())
        };
        let kept = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea demo";
        assert_eq!(public(SecretPolicy::Keep, Some(&seed)).unwrap(), kept);
        let made = [(); 2].map(|()| public(SecretPolicy::Rotate, Some(&seed)).unwrap());
        assert!(made[0] != made[1] && !made.contains(&kept.to_owned()), "{made:?}");
        assert_eq!(public(SecretPolicy::Keep, None).unwrap_err(), "cannot keep the SSH host key: the host sent none");
    }
}
