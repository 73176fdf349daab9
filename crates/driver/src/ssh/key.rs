//! The host's key for one machine and the machine's own, as OpenSSH keeps them. Must not read a key from a machine's
//! disk.

use std::path::Path;

use cloud_machine_protocol::{HostKeySeed, escape};
use cloud_machine_store::file;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey, rand_core::OsRng};

use super::SshError;

/// Makes an Ed25519 key pair: `path`, mode 0600, and `path` with `.pub`. Gives the public line for `authorized_keys`.
/// A pair that is there already is kept and its public line given, so an interrupted creation can go on.
///
/// # Errors
/// [`SshError::Key`] or [`SshError::Store`].
pub fn generate_key(path: &Path, comment: &str) -> Result<String, SshError> {
    let private = match file::read(path, file::MAX_WORD).map_err(SshError::Store)? {
        Some(text) => PrivateKey::from_openssh(text).map_err(SshError::Key)?,
        None => {
            let mut private = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(SshError::Key)?;
            private.set_comment(comment);
            let text = private.to_openssh(LineEnding::LF).map_err(SshError::Key)?;
            file::replace(path, text.as_bytes()).map_err(SshError::Store)?;
            private
        }
    };
    let line = private.public_key().to_openssh().map_err(SshError::Key)?;
    file::replace(&path.with_extension("pub"), format!("{line}\n").as_bytes()).map_err(SshError::Store)?;
    Ok(line)
}

/// The public line of the key pair that [`generate_key`] has made at `path`.
///
/// # Errors
/// [`SshError::Missing`], [`SshError::Key`] or [`SshError::Store`].
pub fn public_key(path: &Path) -> Result<String, SshError> {
    let missing = || SshError::Missing { path: path.to_owned() };
    let text = file::read(path, file::MAX_WORD).map_err(SshError::Store)?.ok_or_else(missing)?;
    PrivateKey::from_openssh(text).and_then(|private| private.public_key().to_openssh()).map_err(SshError::Key)
}

/// A key pair that [`generate_key`] has made: its public line, and what its private half is made from. `None` when there is none.
///
/// # Errors
/// [`SshError::Key`], [`SshError::HostKeyKind`] or [`SshError::Store`].
pub fn read_key(path: &Path) -> Result<Option<(String, HostKeySeed)>, SshError> {
    let Some(text) = file::read(path, file::MAX_WORD).map_err(SshError::Store)? else { return Ok(None) };
    let private = PrivateKey::from_openssh(text).map_err(SshError::Key)?;
    let kind = || SshError::HostKeyKind { found: private.algorithm().as_str().to_owned() };
    let pair = private.key_data().ed25519().ok_or_else(kind)?;
    let line = private.public_key().to_openssh().map_err(SshError::Key)?;
    Ok(Some((line, HostKeySeed::new(pair.private.to_bytes()))))
}

/// Writes a `known_hosts` that accepts exactly `host_key` for the machine that [`super::Host::known_as`] names.
///
/// # Errors
/// [`SshError::InvalidHostKey`], [`SshError::HostKeyKind`], [`SshError::Key`] or [`SshError::Store`].
pub fn write_known_hosts(path: &Path, name: &str, host_key: &str) -> Result<(), SshError> {
    let invalid = |_| SshError::InvalidHostKey { found: escape::line(host_key.as_bytes(), 80) };
    let mut key = PublicKey::from_openssh(host_key).map_err(invalid)?;
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(SshError::HostKeyKind { found: escape::line(key.algorithm().as_str().as_bytes(), 40) });
    }
    // Only the key itself is written again: a comment is the machine's text.
    key.set_comment("");
    let line = key.to_openssh().map_err(SshError::Key)?;
    file::replace(path, format!("{name} {}\n", line.trim_end()).as_bytes()).map_err(SshError::Store)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    #[test]
    fn openssh_reads_the_key_and_a_second_call_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        let line = generate_key(&path, "cloud-machine demo").unwrap();
        assert!(line.starts_with("ssh-ed25519 ") && line.ends_with(" cloud-machine demo"), "{line}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(generate_key(&path, "other").unwrap(), line);
        let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&path).output();
        let output = output.expect("install the package openssh-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), line);
        assert_eq!(fs::read_to_string(path.with_extension("pub")).unwrap().trim(), line);
    }

    #[test]
    fn a_broken_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        fs::write(&path, "garbage").unwrap();
        assert_eq!(generate_key(&path, "x").unwrap_err().to_string(), "cannot make an SSH key");
        assert_eq!(fs::read(&path).unwrap(), b"garbage");
    }

    #[test]
    fn known_hosts_holds_the_key_and_nothing_else_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        let line = generate_key(&folder.path().join("host"), "evil comment").unwrap();
        write_known_hosts(&path, "[127.0.0.1]:2222", &line).unwrap();
        let key = line.strip_suffix(" evil comment").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("[127.0.0.1]:2222 {key}\n"));
        let output = Command::new("ssh-keygen").args(["-F", "[127.0.0.1]:2222", "-f"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "ssh-keygen finds the entry");
    }

    #[test]
    fn whatever_is_no_ed25519_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        let line = generate_key(&folder.path().join("host"), "").unwrap();
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "\x1b[2J",
            &format!("* {line}"),
            &format!("{}\n* {}", line.trim_end(), line.trim_end()),
            &format!("@cert-authority * {line}"),
        ] {
            let error = write_known_hosts(&path, "machine", text).unwrap_err().to_string();
            assert!(error.starts_with("the machine's host key is no public key: "), "{text:?}: {error}");
            assert!(!error.chars().any(char::is_control));
        }
        let rsa = folder.path().join("rsa");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-N", "", "-f"]).arg(&rsa).status();
        assert!(made.expect("install the package openssh-client").success());
        let line = fs::read_to_string(rsa.with_extension("pub")).unwrap();
        let error = write_known_hosts(&path, "machine", &line).unwrap_err().to_string();
        assert_eq!(error, "the machine's host key is ssh-rsa, only ssh-ed25519 is accepted");
        assert!(!path.exists());
    }
}
