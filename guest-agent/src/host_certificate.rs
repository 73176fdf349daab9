//! The certificate of the machine's host key, which the host makes once it has accepted the report. Must not judge it: it is the
//! host's word about the key that the host was told.

use cloud_machine_system::root::{self, RootFile};

use crate::error::AgentError;

pub(crate) const CERTIFICATE: &str = "/etc/ssh/ssh_host_ed25519_key-cert.pub";
/// Read by the SSH server of a distribution whose own settings include that folder.
pub(crate) const SETTINGS: &str = "/etc/ssh/sshd_config.d/20-cloud-machine-host-certificate.conf";

/// Puts it where the SSH server of the mounted root finds it.
pub(crate) fn write(certificate: &str) -> Result<(), AgentError> {
    for (path, content) in [(CERTIFICATE, certificate), (SETTINGS, &format!("HostCertificate {CERTIFICATE}"))] {
        root::write(root::new_root(), &RootFile::text(path, 0o644, format!("{content}\n")))?;
    }
    Ok(root::flush()?)
}
