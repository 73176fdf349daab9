//! Signatures of packed images in minisign's format: Ed25519 over the BLAKE2b of the file, detached, in `FILE.minisig`.
//! Owns reading, checking and making them; which keys count is for the caller.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use cloud_machine_image::{Manifest, Progress};
use ct_codecs::{Base64, Decoder as _};

use cloud_machine_store::{StoreError, file::flush_folder, open_elsewhere};

/// Longest signature or key that is read.
const MAX_TEXT: u64 = 16 << 10;
/// What the second line of an encrypted secret key begins with: base64 of `Ed`, `Sc` and `B2`.
const ENCRYPTED: &str = "RWRTY0Iy";
/// Bytes of a secret key: three algorithms, salt and limits of the password, id, key, checksum.
const SECRET_KEY: usize = 3 * 2 + 32 + 2 * 8 + 8 + 64 + CHECKSUM;
const CHECKSUM: usize = 32;

/// Why there is no good signature, or none could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The system refused an operation on a path.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// Verb and object.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A text that is no public key.
    #[error("{text:?} is not a minisign public key: 56 characters that begin with RW")]
    PublicKey {
        /// The text, shortened.
        text: String,
    },
    /// A file that is no secret key, or a wrong password.
    #[error("cannot use the secret key {}", path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: minisign::PError,
    },
    /// A file that is no signature.
    #[error("{} is not a minisign signature", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A signature over the file itself, which must be held in memory to be checked.
    #[error("{} is a legacy signature, not one over a hash; sign again without `minisign -l`", path.display())]
    Legacy {
        /// The file.
        path: PathBuf,
    },
    /// A signature of a key that does not count.
    #[error("it is signed by key {found}, not by {}", accepted(accepted_keys))]
    Foreign {
        /// Who signed.
        found: KeyId,
        /// Who should have.
        accepted_keys: Vec<KeyId>,
    },
    /// The file or the trusted comment is not what was signed.
    #[error("the signature by key {key} is wrong: the file or the comment was changed")]
    Wrong {
        /// Who would have signed.
        key: KeyId,
    },
    /// The trusted comment is about another image.
    #[error("the signature is about {field} {stated:?}, the image has {found:?}")]
    OtherImage {
        /// `image`, `generation` or `digest`.
        field: &'static str,
        /// What was signed.
        stated: String,
        /// What the manifest says.
        found: String,
    },
    /// No signature could be made.
    #[error("cannot sign {}", path.display())]
    Sign {
        /// The packed image.
        path: PathBuf,
        /// What the signer said.
        #[source]
        source: minisign::PError,
    },
}

fn accepted(keys: &[KeyId]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SignatureError {
    let path = path.to_owned();
    move |source| SignatureError::Io { operation, path, source }
}

/// The id of a key, in text as minisign prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(u64);

impl KeyId {
    fn of(number: &[u8]) -> Self {
        Self(number.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    key: minisign_verify::PublicKey,
    id: KeyId,
}

impl PublicKey {
    /// From its line of base64, or from the two lines of a `.pub` file.
    ///
    /// # Errors
    /// [`SignatureError::PublicKey`].
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let invalid = || SignatureError::PublicKey { text: text.chars().take(80).collect() };
        let mut lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
        let (line, None) = (lines.next().ok_or_else(invalid)?, lines.next()) else { return Err(invalid()) };
        let id = KeyId::of(minisign::PublicKey::from_base64(line).map_err(|_| invalid())?.keynum());
        let key = minisign_verify::PublicKey::from_base64(line).map_err(|_| invalid())?;
        Ok(Self { key, id })
    }

    /// From a text as of [`PublicKey::parse`], or from the file that it names.
    ///
    /// # Errors
    /// [`SignatureError::PublicKey`], [`SignatureError::Io`].
    pub fn of_text_or_file(text: &str) -> Result<Self, SignatureError> {
        match Self::parse(text) {
            Err(_) if text.contains('/') || Path::new(text).exists() => Self::parse(&read_named(Path::new(text))?),
            parsed => parsed,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// A signature beside a packed image.
pub struct Signature {
    packed: PathBuf,
    signature: minisign_verify::Signature,
    key: KeyId,
    legacy: bool,
}

impl Signature {
    /// Where the signature of a packed image is.
    #[must_use]
    pub fn path(packed: &Path) -> PathBuf {
        let mut name = packed.as_os_str().to_owned();
        name.push(".minisig");
        PathBuf::from(name)
    }

    /// Reads the signature beside `packed`; `None` when there is none.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`], [`SignatureError::Io`].
    pub fn read(packed: &Path) -> Result<Option<Self>, SignatureError> {
        let path = Self::path(packed);
        // Nobody named this file: a pipe in its place is not waited for.
        let opened = open_elsewhere(&path).map_err(StoreError::into_io).map_err(failed("open", &path));
        let text = match opened.and_then(|file| read(file, &path)) {
            Err(SignatureError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let malformed = || SignatureError::Malformed { path: path.clone() };
        let whole = minisign::SignatureBox::from_string(&text).map_err(|_| malformed())?;
        let signature = minisign_verify::Signature::decode(&text).map_err(|_| malformed())?;
        let (key, legacy) = (KeyId::of(whole.keynum()), !whole.is_prehashed());
        Ok(Some(Self { packed: packed.to_owned(), signature, key, legacy }))
    }

    /// Who signed; nothing is proved by that.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Reads the whole packed image and checks that one of `keys` signed it, and that it is the image of which the
    /// trusted comment speaks.
    ///
    /// # Errors
    /// A [`SignatureError`] for each way in which that is not so.
    pub fn check(
        &self,
        manifest: &Manifest,
        keys: &[PublicKey],
        progress: Progress<'_>,
    ) -> Result<KeyId, SignatureError> {
        let Self { packed, key, .. } = self;
        let Some(known) = keys.iter().find(|known| known.id == *key) else {
            let accepted_keys = keys.iter().map(PublicKey::id).collect();
            return Err(SignatureError::Foreign { found: *key, accepted_keys });
        };
        if self.legacy {
            return Err(SignatureError::Legacy { path: Self::path(packed) });
        }
        let wrong = |_| SignatureError::Wrong { key: *key };
        let mut verifier = known.key.verify_stream(&self.signature).map_err(wrong)?;
        let mut file = open_elsewhere(packed).map_err(StoreError::into_io).map_err(failed("open", packed))?;
        let total = file.metadata().map_err(failed("read the size of", packed))?.len();
        let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
        loop {
            let count = file.read(&mut buffer).map_err(failed("read", packed))?;
            let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
            verifier.update(piece);
            done += count as u64;
            progress(done, total);
        }
        verifier.finalize().map_err(wrong)?;
        same_image(self.signature.trusted_comment(), manifest)?;
        Ok(*key)
    }
}

/// The trusted comment of a signature: what a person wants to know of the image, and what must be so.
fn trusted_comment(manifest: &Manifest) -> String {
    let fields = fields(manifest);
    fields.map(|(name, value)| format!("{name}:{value}")).join("\t")
}

fn fields(manifest: &Manifest) -> [(&'static str, String); 3] {
    [
        ("image", manifest.name().to_owned()),
        ("generation", manifest.generation().to_string()),
        ("digest", manifest.digest().to_string()),
    ]
}

/// Whatever a comment says of an image must be said of this one; comments of minisign's own say nothing of it.
fn same_image(comment: &str, manifest: &Manifest) -> Result<(), SignatureError> {
    for (field, found) in fields(manifest) {
        for word in comment.split_whitespace() {
            match word.strip_prefix(field).and_then(|rest| rest.strip_prefix(':')) {
                Some(stated) if stated != found => {
                    return Err(SignatureError::OtherImage { field, stated: stated.to_owned(), found });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A secret key as its file holds it.
pub struct SecretKeyFile {
    path: PathBuf,
    text: String,
}

/// A secret key that signs.
pub struct SecretKey(minisign::SecretKey);

impl SecretKeyFile {
    /// Reads the file that `minisign -G` makes.
    ///
    /// # Errors
    /// [`SignatureError::Io`].
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        Ok(Self { path: path.to_owned(), text: read_named(path)? })
    }

    /// Whether it takes a password.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.text.lines().nth(1).is_some_and(|line| line.starts_with(ENCRYPTED))
    }

    /// `minisign -G -W` of version 0.11 writes zeros for the checksum, which the crate takes for damage. A damaged key is
    /// noticed all the same: what it signs is checked with its own public half.
    fn without_checksum(&self) -> Option<minisign::Result<minisign::SecretKey>> {
        const UNENCRYPTED: [u8; 2] = [0; 2];
        let bytes = Base64::decode_to_vec(self.text.lines().nth(1)?.trim(), None).ok()?;
        let (algorithm, checksum) = (bytes.get(2..4)?, bytes.get(SECRET_KEY - CHECKSUM..)?);
        let zeros = checksum.len() == CHECKSUM && checksum.iter().all(|byte| *byte == 0);
        (algorithm == UNENCRYPTED && zeros).then(|| minisign::SecretKey::from_bytes(&bytes))
    }

    /// The key. The password is used only when the key is encrypted; decrypting takes up to 1 GiB of memory then.
    ///
    /// # Errors
    /// [`SignatureError::SecretKey`].
    pub fn open(&self, password: &str) -> Result<SecretKey, SignatureError> {
        let text = minisign::SecretKeyBox::from(self.text.clone());
        let key = if self.is_encrypted() {
            text.into_secret_key(Some(password.to_owned()))
        } else {
            self.without_checksum().unwrap_or_else(|| text.into_unencrypted_secret_key())
        };
        key.map(SecretKey).map_err(|source| SignatureError::SecretKey { path: self.path.clone(), source })
    }
}

impl SecretKey {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(self.0.keynum())
    }

    /// Signs all bytes of `packed`, which is called `name` in errors; the text is for the file beside it.
    ///
    /// # Errors
    /// [`SignatureError::Sign`].
    pub fn sign(
        &self,
        packed: impl Read,
        name: &Path,
        manifest: &Manifest,
        progress: Progress<'_>,
    ) -> Result<String, SignatureError> {
        let counted = Counted { input: packed, done: 0, progress };
        let comment = trusted_comment(manifest);
        let untrusted = Some("signature from cloud-machine");
        minisign::PublicKey::from_secret_key(&self.0)
            .and_then(|public| minisign::sign(Some(&public), &self.0, counted, Some(&comment), untrusted))
            .map(|signed| signed.into_string())
            .map_err(|source| SignatureError::Sign { path: name.to_owned(), source })
    }
}

/// A reader that tells how far it is; of how much nobody knows.
struct Counted<'a, R> {
    input: R,
    done: u64,
    progress: Progress<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.done += count as u64;
        (self.progress)(self.done, 0);
        Ok(count)
    }
}

/// Puts a signature beside a packed image, in one step and as readable as that is.
///
/// # Errors
/// [`SignatureError::Io`].
pub fn write(packed: &Path, signature: &str) -> Result<(), SignatureError> {
    let path = Signature::path(packed);
    let mode = fs::metadata(packed).map_err(failed("read the permissions of", packed))?.permissions().mode() & 0o666;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".write.").tempfile_in(folder).map_err(failed("make a file beside", packed))?;
    file.write_all(signature.as_bytes()).map_err(failed("write", &path))?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed("set the permissions of", &path))?;
    file.as_file().sync_all().map_err(failed("flush", &path))?;
    file.persist(&path).map_err(|error| failed("replace", &path)(error.error))?;
    match flush_folder(folder) {
        Err(StoreError::Io { source, .. }) => Err(failed("flush the folder of", &path)(source)),
        _ => Ok(()),
    }
}

/// A small file of text that an operator named.
fn read_named(path: &Path) -> Result<String, SignatureError> {
    read(File::open(path).map_err(failed("open", path))?, path)
}

fn read(file: File, path: &Path) -> Result<String, SignatureError> {
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(failed("read", path))?;
    Ok(text)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
