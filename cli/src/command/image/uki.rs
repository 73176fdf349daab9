//! `image uki` and `image measure`: a unified kernel image as a file of the host, and what its boot measures. Must not lay out or
//! hash it.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cloud_machine_child::interrupt::Held;
use cloud_machine_packing::efi_signature::{self, EfiSignatureError};
use cloud_machine_protocol::escape;
use cloud_machine_store::{StoreError, read_named};
use cloud_machine_uki::{Measured, Parts, PhaseValue, Section, UkiError, Value};
use comfy_table::{Table as Columns, presets::NOTHING};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::{
    arguments::{Global, Uki},
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// Most bytes of a kernel, an initramfs or a stub.
const MAX_PART: u64 = 256 << 20;
/// Most bytes of a unified kernel image.
const MAX_FILE: u64 = 1 << 30;

/// A unified kernel image and what follows from its bytes.
#[derive(Serialize)]
struct Shown {
    file: String,
    bytes: u64,
    stub: String,
    kernel_release: Option<String>,
    command_line: Option<String>,
    /// `none`, `unchecked`, or `verified` against the certificate that was given.
    signature: &'static str,
    sections: Vec<ShownSection>,
    /// The digest by which firmware and signers know the file; `null` where they hash different bytes of it.
    authenticode: Option<ShownValue>,
    /// PCR 4 when firmware starts it first, and by itself; `null` as above.
    pcr4: Option<ShownValue>,
    /// PCR 11 at each phase of the boot.
    pcr11: Vec<ShownPhase>,
}

#[derive(Serialize)]
struct ShownSection {
    name: &'static str,
    bytes: u64,
    /// Whether this stub measures it into PCR 11.
    measured: bool,
}

#[derive(Serialize)]
struct ShownValue {
    sha256: String,
    sha384: String,
}

#[derive(Serialize)]
struct ShownPhase {
    phase: &'static str,
    #[serde(flatten)]
    value: ShownValue,
}

impl Show for Shown {
    const KIND: &'static str = "uki";

    fn table(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let file = format!("{} ({} bytes)", self.file, self.bytes);
        let digest = |value: &Option<ShownValue>| match value {
            Some(value) => value.sha256.clone(),
            None => "unknown: signers and firmware hash different bytes of such a file".to_owned(),
        };
        let head: String = [
            ("file", file),
            ("stub", self.stub.clone()),
            ("kernel", text(&self.kernel_release)),
            ("command line", text(&self.command_line)),
            ("signature", self.signature.to_owned()),
            ("authenticode", digest(&self.authenticode)),
            ("PCR 4", digest(&self.pcr4)),
        ]
        .iter()
        .map(|(name, value)| format!("{name:13} {}\n", escape::line(value.as_bytes(), 4096)))
        .collect();
        let mut sections = Columns::new();
        sections.load_style(NOTHING).set_header(["SECTION", "BYTES", "IN PCR 11"]);
        for section in &self.sections {
            let measured = if section.measured { "yes" } else { "no" };
            sections.add_row([section.name, &section.bytes.to_string(), measured]);
        }
        let mut phases = Columns::new();
        phases.load_style(NOTHING).set_header(["BOOT PHASE", "PCR 11 (SHA-256)"]);
        for phase in &self.pcr11 {
            phases.add_row([phase.phase, &phase.value.sha256]);
        }
        format!("{head}\n{sections}\n\n{phases}")
    }
}

/// Builds, signs where that is wanted, and says what was made.
pub(super) fn build(ui: &Ui, global: &Global, arguments: &Uki) -> Result<(), Failure> {
    check_place(&arguments.file, arguments.replace)?;
    check_is_no_part(arguments)?;
    let BootFiles { kernel, initramfs, image, are_public } = boot_files(global, arguments)?;
    let stub = read(&arguments.stub, MAX_PART).map_err(|failure| match failure.kind {
        Kind::NotFound => failure.hint("`apt-get install systemd-boot-efi` brings it; --stub FILE names another place"),
        _ => failure,
    })?;
    let uname = cloud_machine_uki::release(&kernel).unwrap_or_default();
    let os_release = match &arguments.os_release {
        Some(path) => text(path)?,
        None => os_release(image.as_deref(), &uname),
    };
    let parts = Parts {
        stub: &stub,
        kernel: &kernel,
        initramfs: &initramfs,
        command_line: &arguments.cmdline,
        os_release: &os_release,
        uname: &uname,
    };
    let bytes = cloud_machine_uki::build(&parts).map_err(refused)?;
    let inputs = [Some(&arguments.stub), arguments.os_release.as_ref()];
    let are_public = are_public && all_public(inputs.into_iter().flatten())?;
    // A signal would leave what lies beside. All input was read: what follows is not endless.
    let held = Held::begin().map_err(Failure::during(Kind::Failed, "hold signals back"))?;
    let made = write_beside(&arguments.file, &bytes)?;
    let (made, bytes) = match (&arguments.efi_key, &arguments.efi_cert) {
        (Some(key), Some(certificate)) => {
            let signed = write_beside(&arguments.file, b"")?;
            efi_signature::sign(made.path(), key, certificate, signed.path()).map_err(unsigned)?;
            let bytes = read(signed.path(), MAX_FILE)?;
            (signed, bytes)
        }
        _ => (made, bytes),
    };
    let measured = cloud_machine_uki::measure(&bytes).map_err(refused)?;
    if let Some(signal) = held.take() {
        drop(made);
        // Ends the program.
        held.obey(signal);
        return Err(Failure::failed("interrupted"));
    }
    put_in_place(made, &arguments.file, arguments.replace, are_public)?;
    let signature = if arguments.efi_key.is_some() { "verified" } else { "none" };
    ui.result(&shown(&arguments.file, bytes.len(), measured, signature))
}

/// Says what the boot of `file` measures.
pub(super) fn measure(ui: &Ui, file: &Path) -> Result<(), Failure> {
    let bytes = read(file, MAX_FILE)?;
    let measured = cloud_machine_uki::measure(&bytes)
        .map_err(|error| Failure::during(Kind::Refused, format!("measure {}", file.display()))(error))?;
    let signature = if measured.is_signed { "unchecked" } else { "none" };
    ui.result(&shown(file, bytes.len(), measured, signature))
}

fn shown(file: &Path, bytes: usize, measured: Measured, signature: &'static str) -> Shown {
    let section = |Section { name, bytes, is_measured }| ShownSection { name, bytes, measured: is_measured };
    let value = |Value { sha256, sha384 }| ShownValue { sha256, sha384 };
    let phase = |PhaseValue { phase, value: found }| ShownPhase { phase, value: value(found) };
    let (authenticode, pcr4) = measured.program.map(|program| (program.authenticode, program.pcr4)).unzip();
    Shown {
        file: file.display().to_string(),
        bytes: bytes as u64,
        stub: measured.stub,
        kernel_release: measured.uname,
        command_line: measured.command_line,
        signature,
        sections: measured.sections.into_iter().map(section).collect(),
        authenticode: authenticode.map(value),
        pcr4: pcr4.map(value),
        pcr11: measured.phases.into_iter().map(phase).collect(),
    }
}

/// What is started.
struct BootFiles {
    kernel: Vec<u8>,
    initramfs: Vec<u8>,
    /// Name of the image in the store that the kernel is of.
    image: Option<String>,
    /// Whether everybody may read the files.
    are_public: bool,
}

fn boot_files(global: &Global, arguments: &Uki) -> Result<BootFiles, Failure> {
    let (kernel, initramfs, image) = match (&arguments.image, &arguments.kernel, &arguments.initramfs) {
        (Some(name), _, initramfs) => {
            let image = crate::state::open_existing(global)?.image(name)?;
            image.verify_boot_files()?;
            let initramfs = initramfs.clone().unwrap_or_else(|| image.initramfs());
            (image.kernel(), initramfs, Some(name.to_string()))
        }
        (None, Some(kernel), Some(initramfs)) => (kernel.clone(), initramfs.clone(), None),
        _ => {
            return Err(Failure::new(Kind::Usage, "there is no kernel with an initramfs")
                .hint("--image NAME takes those of an image, --kernel and --initramfs name files"));
        }
    };
    Ok(BootFiles {
        kernel: read(&kernel, MAX_PART)?,
        initramfs: read(&initramfs, MAX_PART)?,
        image,
        are_public: all_public([&kernel, &initramfs])?,
    })
}

/// What boot menus show of an image that comes without an os-release file.
fn os_release(image: Option<&str>, release: &str) -> String {
    let image = image.map(|name| format!("{name}, ")).unwrap_or_default();
    format!("ID=linux\nPRETTY_NAME=\"{image}Linux {release}\"\n")
}

/// Refuses to write the file over one that it is made of.
fn check_is_no_part(arguments: &Uki) -> Result<(), Failure> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let Some(file) = identity(&arguments.file) else { return Ok(()) };
    let parts =
        [&arguments.kernel, &arguments.initramfs, &arguments.os_release, &arguments.efi_key, &arguments.efi_cert];
    let parts = parts.into_iter().flatten().chain([&arguments.stub]);
    match parts.into_iter().find(|part| identity(part) == Some(file)) {
        Some(part) => {
            let text =
                format!("{} is to be made of {}, which is the same file", arguments.file.display(), part.display());
            Err(Failure::new(Kind::Usage, text).hint("give the new file another name"))
        }
        None => Ok(()),
    }
}

/// Refuses a place that cannot take the file, before any work.
fn check_place(path: &Path, replace: bool) -> Result<(), Failure> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(Failure::new(Kind::NotFound, format!("there is no folder {}", folder.display())));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::during(Kind::Failed, format!("look for {}", path.display()))(error)),
        Ok(found) if !found.is_file() => {
            Err(Failure::failed(format!("{} is there already, and no plain file", path.display())))
        }
        Ok(_) if !replace => Err(exists(path)),
        Ok(_) => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(path: &Path) -> Failure {
    Failure::failed(format!("{} is there already", path.display())).hint("--replace puts the new one in its place")
}

/// A file in the folder of `path`, which goes when it is not put in place.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Failure> {
    let folder = folder(path);
    let during = |error| Failure::during(Kind::Failed, format!("write a file in {}", folder.display()))(error);
    let mut file = tempfile::Builder::new().prefix(".write.").tempfile_in(folder).map_err(during)?;
    file.write_all(bytes).map_err(during)?;
    Ok(file)
}

/// Whether everybody may read each of the files. What is no plain file, such as a pipe, is not public.
fn all_public<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<bool, Failure> {
    for path in paths {
        let during = |error| Failure::during(Kind::Failed, format!("look at {}", path.display()))(error);
        let found = fs::metadata(path).map_err(during)?;
        if !found.is_file() || found.permissions().mode() & 0o004 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn put_in_place(file: NamedTempFile, path: &Path, replace: bool, is_public: bool) -> Result<(), Failure> {
    let during = |error| Failure::during(Kind::Failed, format!("write {}", path.display()))(error);
    // An initramfs can have keys in it: nobody may read here what is closed to them in the parts, or was in the file before.
    let mode = if is_public { 0o644 } else { 0o600 };
    let mode = match fs::symlink_metadata(path) {
        Ok(old) => mode & old.permissions().mode(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => mode,
        Err(error) => return Err(during(error)),
    };
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(during)?;
    file.as_file().sync_all().map_err(during)?;
    let put = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    match put {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(during(error.error)),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let bytes = read(path, MAX_PART)?;
    String::from_utf8(bytes).map_err(Failure::during(Kind::Refused, format!("read {}", path.display())))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    read_named(path, most).map_err(|error| match error {
        StoreError::TooLarge { limit, .. } => {
            Failure::new(Kind::Refused, format!("{} has more than {limit} bytes", path.display()))
        }
        other => {
            let error = other.into_io();
            let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
            Failure::during(kind, format!("read {}", path.display()))(error)
        }
    })
}

/// An error of the parts, with what helps.
fn refused(error: UkiError) -> Failure {
    let hint = match &error {
        UkiError::NoKernel => Some("give the `vmlinuz` of a distribution, which has an EFI stub of its own"),
        UkiError::NoStub { .. } | UkiError::UnknownStub { .. } | UkiError::WholeImage { .. } | UkiError::SignedStub => {
            Some("give linuxx64.efi.stub of Debian's package systemd-boot-efi with --stub")
        }
        UkiError::NoRoom { .. } => Some("take a stub of another version with --stub"),
        UkiError::NoCommandLine => Some("`--cmdline quiet` is one that changes nothing but messages"),
        _ => None,
    };
    let failure = Failure::during(Kind::Refused, "build the unified kernel image")(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn unsigned(error: EfiSignatureError) -> Failure {
    let absent = error.is_absent_program();
    let (kind, hint) = match &error {
        _ if absent => (Kind::NotFound, Some("`apt-get install sbsigntool` brings sbsign and sbverify".to_owned())),
        EfiSignatureError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Kind::NotFound, None)
        }
        EfiSignatureError::Password { path } => {
            let hint = format!(
                "`openssl pkey -in {}` writes it without one; or leave --efi-key out and call sbsign on the file yourself: `image measure` \
                 gives the same values for it",
                path.display()
            );
            (Kind::Refused, Some(hint))
        }
        EfiSignatureError::NoPem { .. } => (
            Kind::Refused,
            Some("`openssl x509 -inform der` and `openssl pkey -inform der` make PEM of DER".to_owned()),
        ),
        EfiSignatureError::NoFile { .. } => (
            Kind::Refused,
            Some("put it into a file of mode 0600, in a folder such as /run/user/UID that is in memory".to_owned()),
        ),
        EfiSignatureError::Mismatch { .. } => (Kind::Refused, None),
        _ => (Kind::Failed, None),
    };
    let failure = Failure::during(kind, "sign the unified kernel image")(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
