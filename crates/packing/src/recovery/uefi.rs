//! Boot files for UEFI: a unified kernel image in an EFI system partition, under the name that firmware starts where no variable of
//! its names another. Must not know the layout of either.

use std::{fs, path::Path};

use cloud_machine_uki as uki;
use cloud_machine_volume::write;

use super::{Area, BootArea, Parts, RecoveryError, read};
use crate::efi_signature;

/// systemd's program in front of the kernel, with its package.
const STUB: (&str, &str) = ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi");
/// What firmware starts of a disk that it knows nothing of (UEFI Specification 2.10, section 3.5.1.1).
const PROGRAM: &str = "EFI/BOOT/BOOTX64.EFI";

/// Whose signature the firmware takes under secure boot: files in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The private key, without a password.
    pub key: &'a Path,
    /// Its certificate.
    pub certificate: &'a Path,
}

/// The boot files for UEFI: the bytes of an EFI system partition that begins at `area.offset`. Without `signer` they are not
/// signed, and firmware does not start them under secure boot.
///
/// # Errors
/// Any [`RecoveryError`] but those of GRUB.
pub fn uefi(parts: &Parts<'_>, signer: Option<Signer<'_>>, area: Area) -> Result<BootArea, RecoveryError> {
    area.check()?;
    parts.check(0)?;
    let stub = read(Path::new(STUB.0), STUB.1)?;
    let release = uki::release(parts.kernel).unwrap_or_default();
    let image = uki::build(&uki::Parts {
        stub: &stub,
        kernel: parts.kernel,
        initramfs: parts.initramfs,
        command_line: parts.command_line,
        os_release: &format!("ID=linux\nPRETTY_NAME=\"cloud-machine recovery, Linux {release}\"\n"),
        uname: &release,
    })?;
    let image = match signer {
        Some(signer) => signed(&image, signer)?,
        None => image,
    };
    area.take(write::system_partition(&[(PROGRAM, &image)])?, None)
}

fn signed(image: &[u8], signer: Signer<'_>) -> Result<Vec<u8>, RecoveryError> {
    let folder = tempfile::tempdir().map_err(RecoveryError::Temporary)?;
    let (plain, signed) = (folder.path().join("plain.efi"), folder.path().join("signed.efi"));
    fs::write(&plain, image).map_err(RecoveryError::Temporary)?;
    efi_signature::sign(&plain, signer.key, signer.certificate, &signed)?;
    fs::read(&signed).map_err(RecoveryError::Temporary)
}
