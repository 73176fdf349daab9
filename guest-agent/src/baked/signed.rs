//! Whether somebody whom the policy names has signed a volume. Must not look at anything else in it: nothing of a volume is parsed
//! before it counts.

use ssh_key::{HashAlg, PublicKey, SshSig};

/// Bytes at the end of a signed volume: the signature of all bytes before them, as `ssh-keygen -Y sign` writes it
/// (openssh-portable's PROTOCOL.sshsig), then zeros. A whole block of any disk, and nothing that a filesystem looks at.
const BLOCK: usize = 4096;

/// What a signature has to be made for: one that was made for anything else is none of a volume.
const NAMESPACE: &str = "cloud-machine-volume";

/// Checks that one of `keys`, lines of public keys, has signed the volume `bytes`.
///
/// # Errors
/// Why the volume does not count, in words.
pub(super) fn check(bytes: &[u8], keys: &[String]) -> Result<(), String> {
    let block = bytes.len().checked_sub(BLOCK).and_then(|at| bytes.split_at_checked(at));
    let (content, block) = block.ok_or_else(|| format!("it is smaller than a signature's {BLOCK} bytes"))?;
    let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = block.get(..end).unwrap_or_default();
    if !text.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Err(format!("it is not signed: its last {BLOCK} bytes do not begin with a signature"));
    }
    let signature = SshSig::from_pem(text).map_err(|error| format!("its signature cannot be read: {error}"))?;
    if signature.namespace() != NAMESPACE {
        // Of any length, and made by anybody.
        return Err(format!("its signature was not made for {NAMESPACE}: sign with ssh-keygen -Y sign -n {NAMESPACE}"));
    }
    let named = keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok());
    let signer = named.into_iter().find(|key| key.key_data() == signature.public_key()).ok_or_else(|| {
        let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256);
        format!("it is signed by {fingerprint}, which the policy of the image does not name")
    })?;
    let changed = |_| "its bytes are not those that were signed".to_owned();
    signer.verify(NAMESPACE, content, &signature).map_err(changed)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use super::*;

    /// Two keys and a volume in a folder of their own; signatures are OpenSSH's.
    struct Signed(tempfile::TempDir);

    impl Signed {
        fn new() -> Self {
            let signed = Self(tempfile::tempdir().unwrap());
            for name in ["one", "two"] {
                signed.run(&format!("ssh-keygen -q -t ed25519 -N '' -C '{name} of many' -f {name}"));
            }
            fs::write(signed.path("volume"), b"a filesystem".repeat(1000)).unwrap();
            signed
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn run(&self, script: &str) {
            let output = Command::new("sh").args(["-ec", script]).current_dir(self.0.path()).output().unwrap();
            assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        }

        /// The volume with a signature, as the guide makes one.
        fn by(&self, key: &str, namespace: &str) -> Vec<u8> {
            self.run(&format!(
                "rm -f volume.sig; ssh-keygen -q -Y sign -f {key} -n {namespace} volume
                 truncate -s 4096 volume.sig; cat volume volume.sig >whole"
            ));
            fs::read(self.path("whole")).unwrap()
        }

        fn keys(&self, names: &[&str]) -> Vec<String> {
            let line = |path: &Path| fs::read_to_string(path).unwrap().trim_end().to_owned();
            names.iter().map(|name| line(&self.path(&format!("{name}.pub")))).collect()
        }
    }

    #[test]
    fn what_openssh_signs_counts_by_each_key_that_is_named() {
        let signed = Signed::new();
        for key in ["one", "two"] {
            let whole = signed.by(key, NAMESPACE);
            assert_eq!(check(&whole, &signed.keys(&["one", "two"])), Ok(()), "{key}");
            let other = signed.keys(&[if key == "one" { "two" } else { "one" }]);
            let refused = check(&whole, &other).unwrap_err();
            assert!(refused.starts_with("it is signed by SHA256:") && refused.contains("does not name"), "{refused}");
            assert!(check(&whole, &[]).is_err());
        }
    }

    #[test]
    fn each_byte_of_a_signed_volume_counts() {
        let signed = Signed::new();
        let (whole, keys) = (signed.by("one", NAMESPACE), signed.keys(&["one"]));
        let content = whole.len() - BLOCK;
        for at in [0, content / 2, content - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(check(&changed, &keys).unwrap_err(), "its bytes are not those that were signed", "{at}");
        }
        // Whatever is changed in the block: the marks, the base64, and what lies behind the signature. Two lengths say what is known without
        // them, so that another spelling of the same signature is read as that.
        let read = |bytes: &[u8]| SshSig::from_pem(bytes[content..].split(|byte| *byte == 0).next().unwrap()).ok();
        for at in content..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let refused = check(&changed, &keys).is_err();
            assert!(refused || read(&changed) == read(&whole), "byte {} of the block", at - content);
        }
    }

    #[test]
    fn what_is_no_signature_of_a_volume_says_so() {
        let signed = Signed::new();
        let keys = signed.keys(&["one"]);
        let refused = |bytes: &[u8]| check(bytes, &keys).unwrap_err();
        assert_eq!(refused(&[0; BLOCK - 1]), "it is smaller than a signature's 4096 bytes");
        assert!(refused(&[0; BLOCK]).starts_with("it is not signed: "));
        assert!(refused(&fs::read(signed.path("volume")).unwrap()).starts_with("it is not signed: "));
        assert!(refused(&signed.by("one", "file")).starts_with("its signature was not made for cloud-machine-volume"));
        let mut unreadable = signed.by("one", NAMESPACE);
        let at = unreadable.len() - BLOCK + 40;
        unreadable[at] = b'!';
        assert!(refused(&unreadable).starts_with("its signature cannot be read: "), "{}", refused(&unreadable));
        // A whole signature that is not at the start of the last block.
        let mut moved = signed.by("one", NAMESPACE);
        moved.extend([0; 512]);
        assert!(refused(&moved).starts_with("it is not signed: "), "{}", refused(&moved));
    }
}
