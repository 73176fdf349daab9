//! Whether somebody whom the policy names has signed a volume. Must not look at anything else in it: nothing of a volume is parsed
//! before it counts.
//!
//! The signature is that of `ssh-keygen -Y sign` (openssh-portable's PROTOCOL.sshsig), with an Ed25519 key (RFC 8709). What TLS brings checks
//! it, since the crate that reads SSH keys would make the agent larger than it may be by doing so.

use ct_codecs::{Base64, Base64NoPadding, Decoder, Encoder};
use ring::{
    digest::{self, SHA256, SHA512},
    signature::{ED25519, UnparsedPublicKey},
};

/// Bytes at the end of a signed volume: the signature of all bytes before them, then zeros. A whole block of any disk, and nothing that a
/// filesystem looks at.
const BLOCK: usize = 4096;

/// What a signature has to be made for: one that was made for anything else is none of a volume.
const NAMESPACE: &str = "cloud-machine-volume";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "\n-----END SSH SIGNATURE-----\n";
const MAGIC: &[u8] = b"SSHSIG";
/// Name of the kind of key, in blobs of keys and of signatures, and in lines.
const KIND: &str = "ssh-ed25519";

/// Checks that one of `keys`, lines of public keys, has signed the volume `bytes`.
///
/// # Errors
/// Why the volume does not count, in words.
pub(super) fn check(bytes: &[u8], keys: &[String]) -> Result<(), String> {
    let block = bytes.len().checked_sub(BLOCK).and_then(|at| bytes.split_at_checked(at));
    let (content, block) = block.ok_or_else(|| format!("it is smaller than a signature's {BLOCK} bytes"))?;
    let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = block.get(..end).unwrap_or_default();
    if !text.starts_with(BEGIN.as_bytes()) {
        return Err(format!("it is not signed: its last {BLOCK} bytes do not begin with a signature"));
    }
    let armored = armored(text).ok_or("its signature cannot be read")?;
    let signature = Signature::read(&armored).ok_or("its signature is no whole one of an Ed25519 key")?;
    if signature.namespace != NAMESPACE.as_bytes() {
        // Of any length, and made by anybody.
        return Err(format!("its signature was not made for {NAMESPACE}: sign with ssh-keygen -Y sign -n {NAMESPACE}"));
    }
    if !keys.iter().any(|line| blob(line).is_some_and(|blob| blob == signature.signer)) {
        let fingerprint = Base64NoPadding::encode_to_string(digest::digest(&SHA256, signature.signer));
        let fingerprint = fingerprint.unwrap_or_default();
        return Err(format!("it is signed by SHA256:{fingerprint}, which the policy of the image does not name"));
    }
    let is_good = signature.is_of(content).ok_or("its signature is over a digest that is not known")?;
    if is_good { Ok(()) } else { Err("its bytes are not those that were signed".to_owned()) }
}

/// The key in a line `ssh-ed25519 BASE64`, with or without a comment.
fn blob(line: &str) -> Option<Vec<u8>> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let key = words.next().filter(|word| *word == KIND).and_then(|_| words.next())?;
    Base64::decode_to_vec(key, None).ok()
}

/// What is between the marks.
fn armored(text: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(text).ok()?.strip_prefix(BEGIN)?.strip_suffix(END)?;
    Base64::decode_to_vec(text.replace('\n', ""), None).ok()
}

/// Fields of a signature, which are all of it.
struct Signature<'a> {
    /// Blob of the public key.
    signer: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    /// 64 bytes.
    bytes: &'a [u8],
}

impl<'a> Signature<'a> {
    /// Version 1 of the format, with a key and a signature of Ed25519 and nothing else.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&[0, 0, 0, 1])?;
        let (signer, rest) = field(rest)?;
        let (namespace, rest) = field(rest)?;
        let (reserved, rest) = field(rest)?;
        let (hash, rest) = field(rest)?;
        let (signature, end) = field(rest)?;
        let whole = end.is_empty() && of_kind(signer).is_some();
        let bytes = of_kind(signature).filter(|_| whole)?;
        Some(Self { signer, namespace, reserved, hash, bytes })
    }

    /// Whether it is one of `content`; `None` where the digest is not known.
    fn is_of(&self, content: &[u8]) -> Option<bool> {
        let hash = match self.hash {
            b"sha512" => &SHA512,
            b"sha256" => &SHA256,
            _ => return None,
        };
        let digest = digest::digest(hash, content);
        let mut signed = MAGIC.to_vec();
        for text in [self.namespace, self.reserved, self.hash, digest.as_ref()] {
            signed.extend(u32::try_from(text.len()).ok()?.to_be_bytes());
            signed.extend(text);
        }
        let key = UnparsedPublicKey::new(&ED25519, of_kind(self.signer)?);
        Some(key.verify(&signed, self.bytes).is_ok())
    }
}

/// What is in a blob beside the name of its kind.
fn of_kind(blob: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = field(blob)?;
    let (bytes, end) = field(rest)?;
    (kind == KIND.as_bytes() && end.is_empty()).then_some(bytes)
}

/// The first field (RFC 4251, `string`: its length in four bytes, then its bytes) and what lies behind it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
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
            self.sign(key, namespace, "")
        }

        fn sign(&self, key: &str, namespace: &str, options: &str) -> Vec<u8> {
            self.run(&format!(
                "rm -f volume.sig; ssh-keygen -q -Y sign {options} -f {key} -n {namespace} volume
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
            assert_eq!(check(&signed.sign(key, NAMESPACE, "-O hashalg=sha256"), &signed.keys(&[key])), Ok(()), "{key}");
            let other = signed.keys(&[if key == "one" { "two" } else { "one" }]);
            let refused = check(&whole, &other).unwrap_err();
            assert!(refused.starts_with("it is signed by SHA256:") && refused.contains("does not name"), "{refused}");
            assert!(check(&whole, &[]).is_err());
        }
    }

    #[test]
    fn a_key_that_is_none_of_ed25519_signs_nothing() {
        let signed = Signed::new();
        signed.run("ssh-keygen -q -t ecdsa -N '' -f other");
        let refused = check(&signed.by("other", NAMESPACE), &signed.keys(&["other"])).unwrap_err();
        assert_eq!(refused, "its signature is no whole one of an Ed25519 key");
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
        // Whatever is changed in the block: the marks, the base64, and what lies behind the signature.
        for at in content..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(check(&changed, &keys).is_err(), "byte {} of the block", at - content);
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
        assert!(refused(&unreadable).starts_with("its signature cannot be read"), "{}", refused(&unreadable));
        // A whole signature that is not at the start of the last block.
        let mut moved = signed.by("one", NAMESPACE);
        moved.extend([0; 512]);
        assert!(refused(&moved).starts_with("it is not signed: "), "{}", refused(&moved));
    }
}
