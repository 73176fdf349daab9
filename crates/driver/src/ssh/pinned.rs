//! The host key of a system that no report has named: fetched, and held against what is known of it. Must not accept one that
//! nobody knows; that is for whoever asks.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_child::{self as child, Bounds};
use cloud_machine_protocol::escape;
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use super::{SshError, host::Host};

/// Bytes that a server may say before and with its key.
const ANSWER: usize = 64 << 10;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(20);

/// The line `ssh-ed25519 AAAA…` of the key that answers on `port` of `host` now. Whose it is, is not known by it.
///
/// # Errors
/// [`SshError::Child`], or [`SshError::NoKey`] when it has no such key or nobody answers.
pub fn host_key(host: &Host, port: u16, until: Instant) -> Result<String, SshError> {
    let limit = TRY.min(until.saturating_duration_since(Instant::now())).max(Duration::from_secs(1));
    let mut scan = Command::new("ssh-keyscan");
    scan.args([
        "-t",
        "ed25519",
        "-p",
        &port.to_string(),
        "-T",
        &limit.as_secs().max(1).to_string(),
        "--",
        &host.name(),
    ]);
    let bounds = Bounds { limit: limit + Duration::from_secs(2), output: ANSWER };
    let output = child::run(&mut scan, bounds).map_err(SshError::Child)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line =
        text.lines().filter(|line| !line.starts_with('#')).find_map(|line| line.split_once(' ')).map(|(_, key)| key);
    let key = line.and_then(|line| PublicKey::from_openssh(line).ok()).filter(|key| key.key_data().ed25519().is_some());
    let key =
        key.ok_or_else(|| SshError::NoKey { place: host.place(port), stderr: escape::tail(&output.stderr, 2) })?;
    key.to_openssh().map_err(SshError::Key)
}

/// The fingerprint `SHA256:…` of a line of a public key; what is no such line is given as it is, safe to show.
#[must_use]
pub fn fingerprint(key: &str) -> String {
    match PublicKey::from_openssh(key) {
        Ok(key) => key.fingerprint(HashAlg::Sha256).to_string(),
        Err(_) => escape::line(key.as_bytes(), 100),
    }
}

/// Whether a key can be known by `text`: a fingerprint by SHA-256, or a line of a key of type ed25519.
#[must_use]
pub fn is_known_form(text: &str) -> bool {
    let fingerprint = text.trim().parse::<Fingerprint>().is_ok_and(|found| found.algorithm() == HashAlg::Sha256);
    fingerprint || PublicKey::from_openssh(text.trim()).is_ok_and(|key| key.key_data().ed25519().is_some())
}

/// Whether the line `found` is of the key `known`: a line of one, or a fingerprint.
#[must_use]
pub fn is_same_key(known: &str, found: &str) -> bool {
    let Ok(found) = PublicKey::from_openssh(found) else { return false };
    match (known.trim().parse::<Fingerprint>(), PublicKey::from_openssh(known.trim())) {
        (Ok(known), _) => found.fingerprint(known.algorithm()) == known,
        (_, Ok(known)) => known.key_data() == found.key_data(),
        _ => false,
    }
}

/// Whether a person's `known_hosts` at `path` names `found` for `host`, hashed or not; `None` when it names none at all.
///
/// # Errors
/// [`SshError::Child`].
pub fn is_known(path: &Path, host: &Host, port: u16, found: &str) -> Result<Option<bool>, SshError> {
    if !path.exists() {
        return Ok(None);
    }
    // As ssh(1) looks for it: without the port when that is its own.
    let name = if port == 22 { host.name() } else { format!("[{}]:{port}", host.name()) };
    let mut look = Command::new("ssh-keygen");
    look.args(["-F", &name, "-f"]).arg(path);
    let output = child::run(&mut look, Bounds { limit: TRY, output: ANSWER }).map_err(SshError::Child)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut keys =
        text.lines().filter(|line| !line.starts_with(['#', '@'])).filter_map(|line| line.split_once(' ')).peekable();
    if keys.peek().is_none() {
        return Ok(None);
    }
    Ok(Some(keys.any(|(_, key)| is_same_key(key, found))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::generate_key;

    #[test]
    fn a_key_is_known_by_its_line_and_by_its_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let line = generate_key(&folder.path().join("a"), "comment").unwrap();
        let other = generate_key(&folder.path().join("b"), "comment").unwrap();
        let print = fingerprint(&line);
        assert!(print.starts_with("SHA256:"), "{print}");
        for (known, same) in [(&line, true), (&print, true), (&other, false), (&fingerprint(&other), false)] {
            assert_eq!(is_same_key(known, &line), same, "{known}");
        }
        assert!(!is_same_key("", &line) && !is_same_key(&line, "") && !is_same_key("SHA256:", &line));
    }

    #[test]
    fn a_persons_known_hosts_names_a_key_hashed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        let host = Host::named("192.0.2.7").unwrap();
        let (line, other) =
            (generate_key(&folder.path().join("a"), "").unwrap(), generate_key(&folder.path().join("b"), "").unwrap());
        assert_eq!(is_known(&path, &host, 22, &line).unwrap(), None);
        std::fs::write(&path, format!("192.0.2.7 {line}\n[192.0.2.7]:2222 {other}\n")).unwrap();
        for hashed in [false, true] {
            if hashed {
                let done = Command::new("ssh-keygen").args(["-H", "-f"]).arg(&path).output().unwrap();
                assert!(done.status.success());
            }
            assert_eq!(is_known(&path, &host, 22, &line).unwrap(), Some(true));
            assert_eq!(is_known(&path, &host, 22, &other).unwrap(), Some(false));
            assert_eq!(is_known(&path, &host, 2222, &other).unwrap(), Some(true));
            assert_eq!(is_known(&path, &host, 2223, &other).unwrap(), None);
        }
    }

    #[test]
    fn nobody_who_answers_has_no_key() {
        let port = crate::ssh::free_port().unwrap();
        let error = host_key(&Host::Forwarded, port, Instant::now() + Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, SshError::NoKey { .. }), "{error:?}");
    }
}
