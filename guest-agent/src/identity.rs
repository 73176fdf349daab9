//! Handing the identity to the new system: typed values become files of the root. Nothing is read from what a job
//! left; a private key that is made here never leaves the machine.

use std::path::Path;

use cloud_machine_config::Address;
use cloud_machine_plan::HOST_KEY;
use cloud_machine_protocol::{HostKeySeed, Identity, IdentityItem, Request, SecretPolicy};
use cloud_machine_system::{
    mounts::NEW_ROOT,
    root::{self, RootFile},
};
use ssh_key::{Algorithm, LineEnding, PrivateKey, private::Ed25519Keypair, rand_core::OsRng};

use crate::{
    cloud_init::{self, Has},
    docker,
    error::AgentError,
    image_settings,
    layers::Layers,
    network_files, rancher, shared, swarm,
};

/// Writes all files of `identity` into the mounted root and says what the machine was given.
/// `kept` is the host key that the host keeps for the machine.
pub(crate) fn write(
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
    let (has, keys) = (new_root_has()?, &layers.config().cloud_init);
    let address = &layers.config().resources.nic.address;
    if *address != Address::default() && !has.networkd {
        return Err(AgentError::NetworkdAbsent);
    }
    files.extend(network_files::files(identity.mac, address));
    for path in network_files::stale(address) {
        root::remove(path)?;
    }
    files.extend(cloud_init::files(identity, request, keys, has)?);
    let (engine, has_docker) = (&layers.config().docker, docker_of_new_root()?);
    files.extend(docker::files(engine, has_docker)?);
    for path in swarm::OURS {
        root::remove(path)?;
    }
    if let Some(swarm) = &layers.config().swarm {
        let uses = swarm::Uses { program: any(&swarm::PROGRAMS)?, sender: any(&swarm::SENDERS)? };
        files.extend(swarm::files(swarm, has_docker, uses)?);
        // Of a machine that the image was made from: a node of this name and key is another machine.
        root::remove(&format!("{}/swarm", engine.data_root().unwrap_or(docker::DATA_ROOT)))?;
    }
    if has.cloud_init {
        image_settings::check(Path::new(NEW_ROOT), !keys.is_empty())?;
        for path in image_settings::REMEMBERED {
            root::remove(path)?;
        }
    }
    if !engine.is_empty() {
        for path in docker::OURS {
            root::remove(path)?;
        }
    }
    if let Some(rancher) = &layers.config().rancher {
        let theirs = rancher::files(rancher, |path| Ok(root::exists(path)?))?;
        for path in &theirs.remove {
            root::remove(path)?;
        }
        files.extend(theirs.write);
    }
    shared::remove()?;
    for file in &files {
        root::write(file)?;
    }
    let item = |name: &str, policy, public: String| IdentityItem { name: name.to_owned(), policy, public };
    let kept = |name: &str, public: String| item(name, SecretPolicy::Keep, public);
    Ok(vec![
        kept("hostname", identity.name.to_string()),
        kept("machine-id", identity.machine_id.to_string()),
        kept("hostid", format!("{:08x}", identity.machine_id.hostid())),
        kept("machine-uuid", identity.machine_uuid.clone()),
        kept("mac", identity.mac.to_string()),
        kept("authorized-keys", authorized_keys),
        item(HOST_KEY, policy, public),
    ])
}

fn new_root_has() -> Result<Has, AgentError> {
    let networkd = any(&cloud_init::NETWORKD)?;
    let cloud_init = root::exists(cloud_init::PROGRAM)? && root::exists(cloud_init::SETTINGS)?;
    Ok(Has { cloud_init, networkd })
}

fn docker_of_new_root() -> Result<docker::Has, AgentError> {
    Ok(docker::Has { docker: any(&docker::PROGRAMS)?, unit: any(&docker::UNITS)? })
}

/// Whether one of these files is in the new root.
fn any(paths: &[&str]) -> Result<bool, AgentError> {
    for path in paths {
        if root::exists(path)? {
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
