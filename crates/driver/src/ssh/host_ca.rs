//! The certificate authority of the state folder for the host keys of its machines: its key, and what it signs. Must not let its
//! private half out, nor sign for a name that is not the machine's.

use std::path::Path;

use cloud_machine_protocol::escape;
use cloud_machine_store::{Certified, file};
use ssh_key::{
    Algorithm, Certificate, LineEnding, PrivateKey, PublicKey,
    certificate::{Builder, CertType},
    rand_core::OsRng,
};

use super::SshError;

/// Comment of its public line.
const COMMENT: &str = "cloud-machine";
/// How long before it was made a certificate counts: the clock of a client may be behind the host's.
const EARLIER: u64 = 3600;

/// The authority.
#[derive(Debug)]
pub struct HostCa(PrivateKey);

impl HostCa {
    /// The authority whose key is at `path`; `None` when nothing was ever signed there.
    ///
    /// # Errors
    /// [`SshError::HostCa`] or [`SshError::Store`].
    pub fn read(path: &Path) -> Result<Option<Self>, SshError> {
        let Some(text) = file::read(path, file::MAX_WORD).map_err(SshError::Store)? else { return Ok(None) };
        let failed = |why: String| SshError::HostCa { path: path.display().to_string(), why };
        let key = PrivateKey::from_openssh(text).map_err(|error| failed(error.to_string()))?;
        if key.is_encrypted() {
            return Err(failed("it has a passphrase, and nobody can be asked for it".to_owned()));
        }
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Some(Self(key))),
            other => Err(failed(format!("it is {}, and only ssh-ed25519 is taken", other.as_str()))),
        }
    }

    /// The authority whose key is at `path`, which is made when it is missing.
    ///
    /// # Errors
    /// As [`Self::read`], and [`SshError::Key`].
    pub fn read_or_make(path: &Path) -> Result<Self, SshError> {
        if let Some(ca) = Self::read(path)? {
            return Ok(ca);
        }
        let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(SshError::Key)?;
        key.set_comment(COMMENT);
        let text = key.to_openssh(LineEnding::LF).map_err(SshError::Key)?;
        file::create(path, text.as_bytes()).map_err(SshError::Store)?;
        // Another program may have been first; the key that is there counts.
        Ok(Self::read(path)?.unwrap_or(Self(key)))
    }

    /// Its public key, for a line of `known_hosts`.
    ///
    /// # Errors
    /// [`SshError::Key`].
    pub fn public(&self) -> Result<String, SshError> {
        self.0.public_key().to_openssh().map_err(SshError::Key)
    }

    /// Certifies what `certified` says: one host key for one name and until one moment. `id` says for whom, in a server's logs.
    ///
    /// # Errors
    /// [`SshError::InvalidHostKey`] or [`SshError::Key`].
    pub fn certify(&self, certified: &Certified, id: &str) -> Result<String, SshError> {
        let invalid = |_| SshError::InvalidHostKey { found: escape::line(certified.key.as_bytes(), 80) };
        let key = PublicKey::from_openssh(&certified.key).map_err(invalid)?;
        let signed = || -> ssh_key::Result<Certificate> {
            let after = certified.issued.saturating_sub(EARLIER);
            let mut builder =
                Builder::new_with_random_nonce(&mut OsRng, key.key_data().clone(), after, certified.until)?;
            builder.serial(certified.serial)?.cert_type(CertType::Host)?.key_id(id)?;
            builder.valid_principal(certified.machine.as_str())?.comment(certified.machine.as_str())?;
            builder.sign(&self.0)
        };
        signed().and_then(|certificate| certificate.to_openssh()).map_err(SshError::Key)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use super::*;
    use crate::ssh::generate_key;

    #[test]
    fn what_is_no_key_to_sign_with_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        let made = |kind: &str, passphrase: &str| {
            let _none = fs::remove_file(&path);
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", kind, "-N", passphrase, "-f"]).arg(&path);
            assert!(command.status().expect("install the package openssh-client").success());
        };
        let told = |why: &str| {
            let text = HostCa::read_or_make(&path).unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("cannot take {} as the key", path.display())) && text.contains(why),
                "{text}"
            );
        };
        made("ed25519", "words");
        told("passphrase");
        made("ecdsa", "");
        told("unknown algorithm");
        fs::write(&path, "").unwrap();
        told("cannot take");
    }

    #[test]
    fn openssh_reads_a_certificate_of_one_key_for_one_name_and_one_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        assert!(HostCa::read(&path).unwrap().is_none());
        let ca = HostCa::read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(HostCa::read_or_make(&path).unwrap().public().unwrap(), ca.public().unwrap(), "the key stays");
        let key = generate_key(&folder.path().join("host"), "demo").unwrap();
        let issued = 1_800_000_000;
        let certified =
            Certified { machine: "demo".parse().unwrap(), key, serial: 7, issued, until: issued + 30 * 86_400 };
        let line = ca.certify(&certified, "demo request R").unwrap();
        let file = folder.path().join("host-cert.pub");
        fs::write(&file, format!("{line}\n")).unwrap();
        let shown = Command::new("ssh-keygen").arg("-L").arg("-f").arg(&file).env("TZ", "UTC").output();
        let shown = String::from_utf8(shown.expect("install the package openssh-client").stdout).unwrap();
        for text in [
            "ssh-ed25519-cert-v01@openssh.com host certificate",
            "Key ID: \"demo request R\"",
            "Serial: 7",
            "Valid: from 2027-01-15T07:00:00 to 2027-02-14T08:00:00",
            "Principals: \n                demo\n        Critical Options: (none)",
        ] {
            assert!(shown.contains(text), "{text} in {shown}");
        }
        fs::write(&path, "no key").unwrap();
        assert!(matches!(HostCa::read_or_make(&path), Err(SshError::HostCa { .. })), "no other one in its place");
    }
}
