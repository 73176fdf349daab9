//! Signatures of EFI programs, which firmware checks under secure boot: made by `sbsign`, checked by `sbverify`, both of Debian's
//! package sbsigntool. Must not read a key itself beyond what tells that it is one for these programs.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cloud_machine_child::{self as child, Bounds, ChildError, Output};
use cloud_machine_protocol::escape;

/// What each of the programs may take: they hash a file of at most some hundred MiB.
const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(120), output: 64 << 10 };
/// Most bytes of a key or certificate.
const MAX_PEM: u64 = 64 << 10;
/// Letters of what a program said that an error carries.
const MAX_SAID: usize = 400;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum EfiSignatureError {
    /// Key or certificate cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is a pipe, a device or a folder.
    #[error("{} is no plain file, and it is read twice: here and by sbsign", path.display())]
    NoFile {
        /// Where it is.
        path: PathBuf,
    },
    /// It is not what the option wants.
    #[error("{} has no {wanted} in PEM", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// `sbsign` would ask on the terminal.
    #[error("the private key in {} has a password, for which sbsign would have to ask", path.display())]
    Password {
        /// The file.
        path: PathBuf,
    },
    /// A program could not be run.
    #[error("cannot {what}")]
    Run {
        /// What it is for.
        what: &'static str,
        /// Why.
        #[source]
        source: ChildError,
    },
    /// The private key is not that of the certificate.
    #[error("the private key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// File with the key.
        key: PathBuf,
        /// File with the certificate.
        certificate: PathBuf,
    },
    /// A program ended with an error.
    #[error("cannot {what}: {said}")]
    Failed {
        /// What it is for.
        what: &'static str,
        /// What it said, safe to show.
        said: String,
    },
}

impl EfiSignatureError {
    /// Whether `sbsign` or `sbverify` is not installed.
    #[must_use]
    pub fn is_absent_program(&self) -> bool {
        matches!(self, Self::Run { source: ChildError::Run { source, .. }, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Signs `program` to the file `signed`, and checks what was made against the certificate. Key and certificate are files in PEM.
///
/// # Errors
/// Any [`EfiSignatureError`]; `signed` may be there then.
pub fn sign(program: &Path, key: &Path, certificate: &Path, signed: &Path) -> Result<(), EfiSignatureError> {
    check_key(key)?;
    let text = pem(certificate)?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(EfiSignatureError::NoPem { path: certificate.to_owned(), wanted: "certificate" });
    }
    let what = "sign with sbsign";
    let mut command = Command::new("sbsign");
    command.arg("--key").arg(key).arg("--cert").arg(certificate).arg("--output").arg(signed).arg(program);
    let output = run(&mut command, what)?;
    if !output.status.success() {
        let said = said(&output);
        // X509_check_private_key of OpenSSL.
        if said.contains("key values mismatch") || said.contains("key type mismatch") {
            return Err(EfiSignatureError::Mismatch { key: key.to_owned(), certificate: certificate.to_owned() });
        }
        return Err(EfiSignatureError::Failed { what, said: shortened(&said) });
    }
    verify(signed, certificate)
}

/// Checks that the certificate's key signed `program`, all of it.
///
/// # Errors
/// [`EfiSignatureError::Run`] or [`EfiSignatureError::Failed`].
fn verify(program: &Path, certificate: &Path) -> Result<(), EfiSignatureError> {
    let what = "verify the signature with sbverify";
    let mut command = Command::new("sbverify");
    command.arg("--cert").arg(certificate).arg(program);
    let output = run(&mut command, what)?;
    if output.status.success() {
        return Ok(());
    }
    Err(EfiSignatureError::Failed { what, said: shortened(&said(&output)) })
}

fn check_key(path: &Path) -> Result<(), EfiSignatureError> {
    let text = pem(path)?;
    // PKCS #8 (RFC 7468), and the older form with a header of RFC 1421.
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(EfiSignatureError::Password { path: path.to_owned() });
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(EfiSignatureError::NoPem { path: path.to_owned(), wanted: "private key" });
    }
    Ok(())
}

/// The text of a small file; what is no UTF-8 is no PEM.
fn pem(path: &Path) -> Result<String, EfiSignatureError> {
    let failed = |source| EfiSignatureError::Read { path: path.to_owned(), source };
    // Before it is opened: that would wait for the writer of a pipe, and take from it what sbsign wants.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(EfiSignatureError::NoFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn run(command: &mut Command, what: &'static str) -> Result<Output, EfiSignatureError> {
    // Their words are looked at.
    command.env("LC_ALL", OsStr::new("C"));
    child::run(command, BOUNDS).map_err(|source| EfiSignatureError::Run { what, source })
}

/// What a program said, without remarks on the layout of files.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| !line.starts_with("warning: ")).collect::<Vec<_>>().join("; ")
}

fn shortened(said: &str) -> String {
    if said.is_empty() { "it said nothing".to_owned() } else { escape::line(said.as_bytes(), MAX_SAID) }
}
