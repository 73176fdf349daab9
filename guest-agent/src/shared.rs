//! What an image may hold that was made for one machine and would be the same in all of them: removed from each new system, which
//! makes its own. Must not touch what the configuration describes.

use std::path::Path;

use cloud_machine_system::root;

use crate::error::AgentError;

/// Kinds of host keys besides the one that the agent writes: whoever has the image has these, too.
const KINDS: [&str; 3] = ["dsa", "ecdsa", "rsa"];
/// A seed of the random numbers that systemd may count as good, its key for credentials, the machine-id as D-Bus had it, the key from which
/// NetworkManager makes identifiers, and a certificate of another machine's host key.
const FILES: [&str; 5] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dbus/machine-id",
    "/var/lib/NetworkManager/secret_key",
    "/etc/ssh/ssh_host_ed25519_key-cert.pub",
];

/// Removes it all below `root`.
pub(crate) fn remove(root: &Path) -> Result<(), AgentError> {
    for path in paths() {
        root::remove(root, &path)?;
    }
    Ok(())
}

fn paths() -> impl Iterator<Item = String> {
    let keys =
        KINDS.iter().flat_map(|kind| ["", ".pub", "-cert.pub"].map(|end| format!("/etc/ssh/ssh_host_{kind}_key{end}")));
    keys.chain(FILES.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_the_agent_writes_is_not_among_them() {
        let paths: Vec<String> = paths().collect();
        assert!(paths.contains(&"/etc/ssh/ssh_host_rsa_key".to_owned()));
        assert!(
            !paths.iter().any(|path| path.ends_with("ed25519_key") || path.ends_with("ed25519_key.pub")),
            "{paths:?}"
        );
    }
}
