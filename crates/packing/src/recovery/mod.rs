//! The boot files of a recovery partition: a kernel with an initramfs in a form that a PC's BIOS or UEFI firmware starts from a disk
//! of which nothing else can be relied on. Owns their bytes; must not know what the initramfs does, nor write a disk.

mod bios;
mod counted;
mod error;
mod uefi;

use std::{fs, io, path::Path};

use cloud_machine_uki::UkiError;

pub use bios::bios;
pub use error::RecoveryError;
pub use uefi::{Signer, uefi};

/// Bytes of a sector: what a BIOS, GRUB's code for it and the FAT filesystem made here count in.
const SECTOR: u64 = 512;
/// Bytes of LBA 0 that a boot loader may have: the disk's signature and the partition table follow (UEFI Specification 2.10, table 5.1).
const BOOT_CODE: usize = 440;

/// What is started. Nothing is added to the command line of UEFI; GRUB puts `BOOT_IMAGE=` in front of that of a BIOS.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// A bzImage, for UEFI with an EFI stub of its own.
    pub kernel: &'a [u8],
    /// One archive, or several one behind the other.
    pub initramfs: &'a [u8],
    /// Words of printable ASCII with spaces between them, without quotation marks, backslashes and dollar signs.
    pub command_line: &'a str,
}

/// Where the boot files will lie. The numbers are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// From the first byte of the disk; a multiple of 512.
    pub offset: u64,
    /// How many there are for the boot files.
    pub room: u64,
    /// A logical sector of the disk; only 512 is possible.
    pub sector_size: u32,
    /// The sector in which a BIOS's starts are counted, from the first byte of the disk: the letters `CMRS`, the count, and a byte that
    /// is not 0 once nothing else can be started. Without those letters nothing is counted.
    pub counted: u64,
    /// The boot sector that a BIOS runs after five starts in which nobody made the count 0, and where it cannot count or start the boot
    /// files, likewise.
    pub before: u64,
}

/// What is to be written.
///
/// What else the disk must hold, tried with SeaBIOS 1.16 and OVMF 2022.11: for a BIOS nothing but the boot code and the mark 0x55 0xaa at
/// the end of LBA 0. For UEFI a protective MBR and one of the two tables of a GPT, of which the backup alone is enough; OVMF
/// looks at no table when LBA 0 is zeros.
#[derive(Debug, PartialEq, Eq)]
pub struct BootArea {
    /// From the first byte of the area on; at most as many as it has room for, and a multiple of 512.
    pub bytes: Vec<u8>,
    /// The first bytes of LBA 0 for a BIOS; without meaning for UEFI. A BIOS may want an entry of LBA 0's partition table marked as
    /// active: SeaBIOS does not.
    pub boot_code: Option<[u8; BOOT_CODE]>,
}

impl Area {
    fn check(self) -> Result<(), RecoveryError> {
        if u64::from(self.sector_size) != SECTOR {
            return Err(RecoveryError::SectorSize { found: self.sector_size });
        }
        let inside = [self.offset, self.counted, self.before].into_iter().find(|offset| !offset.is_multiple_of(SECTOR));
        inside.map_or(Ok(()), |offset| Err(RecoveryError::Offset { offset }))
    }

    fn take(self, bytes: Vec<u8>, boot_code: Option<[u8; BOOT_CODE]>) -> Result<BootArea, RecoveryError> {
        let needed = bytes.len() as u64;
        if needed > self.room {
            return Err(RecoveryError::TooLarge { needed, room: self.room });
        }
        Ok(BootArea { bytes, boot_code })
    }
}

impl Parts<'_> {
    /// Checks what both kinds of firmware want, when the kernel is given `added` bytes in front of the command line.
    fn check(&self, added: usize) -> Result<(), RecoveryError> {
        let most = cloud_machine_uki::most_command_line(self.kernel)?;
        if !cloud_machine_uki::is_initramfs(self.initramfs) {
            return Err(UkiError::NoInitramfs.into());
        }
        if self.command_line.trim().is_empty() {
            return Err(UkiError::NoCommandLine.into());
        }
        // Also for UEFI, so that no machine takes a line that another one refuses.
        let is_bad = |letter: char| !(' '..='~').contains(&letter) || "'\"\\$".contains(letter);
        if let Some((at, letter)) = self.command_line.char_indices().find(|(_, letter)| is_bad(*letter)) {
            return Err(RecoveryError::CommandLine { letter: letter.escape_default().to_string(), at });
        }
        let bytes = self.command_line.len() + added;
        if bytes > most {
            return Err(UkiError::LongCommandLine { bytes, most }.into());
        }
        Ok(())
    }
}

/// A file of a package of this host.
fn read(path: &Path, package: &'static str) -> Result<Vec<u8>, RecoveryError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RecoveryError::Absent { what: path.display().to_string(), package },
        _ => RecoveryError::Read { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests;
