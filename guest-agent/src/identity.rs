//! Handing the identity to the new system: typed values become files of the root. Nothing is read from what a job
//! left, and a private key never leaves the machine.

use cloud_machine_config::Config;
use cloud_machine_plan::HOST_KEY;
use cloud_machine_protocol::{Identity, IdentityItem, SecretPolicy};
use cloud_machine_system::root::{self, RootFile};
use ssh_key::{Algorithm, LineEnding, PrivateKey, rand_core::OsRng};

use crate::{error::AgentError, layers::Layers};

/// The network of the new system (systemd.network(5)); `@MAC@` is replaced.
const NETWORK: &str = include_str!("../../systemd/10-cloud-machine.network");
/// cloud-init takes its datasource from here and looks nowhere else.
const DATASOURCE: &str = include_str!("../../systemd/99-cloud-machine.cfg");
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Writes all files of `identity` into the mounted root and says what the machine was given.
pub(crate) fn write(identity: &Identity, layers: &Layers) -> Result<Vec<IdentityItem>, AgentError> {
    let authorized_keys = layers.authorized_keys(identity).join("\n");
    let host_key = host_key(identity)?;
    let public = host_key.public_key().to_openssh().map_err(AgentError::HostKey)?;
    for file in
        files(identity, &authorized_keys, &host_key, &public)?.iter().chain(&cloud_init(identity, layers.config())?)
    {
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
        item(HOST_KEY, SecretPolicy::Rotate, public),
    ])
}

fn host_key(identity: &Identity) -> Result<PrivateKey, AgentError> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(AgentError::HostKey)?;
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
        text("/etc/hostname", 0o644, format!("{name}\n")),
        text("/etc/hosts", 0o644, format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")),
        text("/etc/machine-id", 0o444, format!("{}\n", identity.machine_id)),
        hostid(identity),
        text("/etc/ssh/ssh_host_ed25519_key", 0o600, private.to_string()),
        text("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{public}\n")),
        text(
            "/etc/systemd/network/10-cloud-machine.network",
            0o644,
            NETWORK.replace("@MAC@", &identity.mac.to_string()),
        ),
    ];
    if !authorized_keys.is_empty() {
        files.push(text("/root/.ssh/authorized_keys", 0o600, format!("{authorized_keys}\n")));
    }
    Ok(files)
}

/// The seed for cloud-init, when the image has it. Keys that nobody in the image would read are an error: a machine
/// without them is not the machine that was described.
fn cloud_init(identity: &Identity, config: &Config) -> Result<Vec<RootFile>, AgentError> {
    let keys = &config.cloud_init;
    if !root::exists("/etc/cloud")? {
        // The agent itself hands these over.
        let rest = keys.without(&["ssh_authorized_keys"]);
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        return Err(AgentError::CloudInitAbsent { keys: rest.keys().collect::<Vec<_>>().join(", ") });
    }
    let document = keys.to_yaml();
    let meta_data = format!("instance-id: {}\nlocal-hostname: {}\n", identity.machine_uuid, identity.name);
    Ok(vec![
        text(&format!("{SEED}/user-data"), 0o600, format!("#cloud-config\n{document}")),
        text(&format!("{SEED}/meta-data"), 0o600, meta_data),
        text("/etc/cloud/cloud.cfg.d/99-cloud-machine.cfg", 0o644, DATASOURCE.to_owned()),
    ])
}

/// As gethostid(3) reads it: four bytes in the order of the machine.
fn hostid(identity: &Identity) -> RootFile {
    let content = identity.machine_id.hostid().to_ne_bytes().to_vec();
    RootFile { path: "/etc/hostid".to_owned(), content, mode: 0o644 }
}

fn text(path: &str, mode: u32, content: String) -> RootFile {
    RootFile { path: path.to_owned(), content: content.into_bytes(), mode }
}
