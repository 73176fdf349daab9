//! Boot files for a PC's BIOS: GRUB of Debian's packages, found by absolute sectors from LBA 0 on, and told kernel and initramfs as
//! sectors too, so that neither partition table nor filesystem is looked at. Must not change code of GRUB: only the numbers
//! that `grub-install` writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cloud_machine_child::{self as child, Bounds, ChildError};
use cloud_machine_protocol::escape;

use super::{Area, BootArea, Parts, RecoveryError, SECTOR, counted, read};

/// What `grub-mkimage` may take.
const BOUNDS: Bounds = Bounds { limit: Duration::from_secs(60), output: 64 << 10 };
/// Letters of what it said that an error carries.
const MAX_SAID: usize = 400;
/// The program and GRUB's code for a BIOS, with their packages.
const PROGRAM: (&str, &str) = ("grub-mkimage", "grub-common");
const FOLDER: (&str, &str) = ("/usr/lib/grub/i386-pc", "grub-pc-bin");
/// What starts a kernel from a BIOS's disk, and what says why it does not.
const MODULES: [&str; 7] = ["biosdisk", "linux", "eval", "echo", "serial", "sleep", "reboot"];
/// Seconds before a machine that could not read its disk tries again.
const PAUSE: u32 = 10;

// Places in boot.img (GRUB 2.06, include/grub/i386/pc/boot.h), each with what it has before it is written to.
/// LBA of core.img's first sector, 8 bytes.
const KERNEL_SECTOR: (usize, [u8; 8]) = (0x5c, [1, 0, 0, 0, 0, 0, 0, 0]);
/// Drive that core.img is on; 0xff is the one that the BIOS booted.
const BOOT_DRIVE: (usize, [u8; 1]) = (0x64, [0xff]);
/// A jump over the check of the drive's number, which some BIOSes give as that of a floppy. Two instructions without effect put
/// the check in force, as `grub-install` does for disks.
const DRIVE_CHECK: (usize, [u8; 2]) = (0x66, [0xeb, 0x05]);
const NOTHING: [u8; 2] = [0x90, 0x90];

// The block list at the end of core.img's first sector, which grows downwards (struct grub_pc_bios_boot_blocklist).
/// LBA of the second sector, 8 bytes; 2 is where grub-mkimage assumes it.
const SECOND_SECTOR: (usize, [u8; 8]) = (0x1f4, [2, 0, 0, 0, 0, 0, 0, 0]);
/// How many sectors follow the first, 2 bytes.
const SECTORS: usize = 0x1fc;
/// Where in memory they go.
const SEGMENT: (usize, [u8; 2]) = (0x1fe, [0x20, 0x08]);
/// The end of the list: an item of no sectors.
const END: (usize, [u8; 2]) = (0x1f0, [0, 0]);

/// What GRUB puts in front of the command line, with the longest name of a drive and the largest numbers.
const LONGEST_PREFIX: usize = "BOOT_IMAGE=(hd127)+ ".len() + 2 * 20;

/// The boot files for a PC's BIOS, of which the boot code in LBA 0 counts the start and finds the rest in `area` on the disk that the
/// BIOS booted, whichever that is. A machine that cannot read them says so, on its screen and its first serial port, and starts again; where
/// its boot code cannot read GRUB, it runs the system before as long as that is whole.
///
/// # Errors
/// Any [`RecoveryError`] but those of filesystems and signatures.
pub fn bios(parts: &Parts<'_>, area: Area) -> Result<BootArea, RecoveryError> {
    Grub { program: PROGRAM.0.into(), folder: FOLDER.0.into() }.boot_area(parts, area)
}

/// Sectors of a disk.
#[derive(Clone, Copy)]
pub(super) struct Run {
    start: u64,
    count: u64,
}

impl std::fmt::Display for Run {
    /// GRUB's notation for a file that is no file.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}+{}", self.start, self.count)
    }
}

/// GRUB, as packages have it.
pub(super) struct Grub {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
}

impl Grub {
    /// Initramfs, kernel, GRUB and its boot sector, in this order: where the first two are does not depend on the size of the third, which
    /// is told it; and a kernel in front would look like a partition table.
    pub(super) fn boot_area(&self, parts: &Parts<'_>, area: Area) -> Result<BootArea, RecoveryError> {
        area.check()?;
        parts.check(LONGEST_PREFIX)?;
        let mut bytes = Vec::with_capacity(parts.initramfs.len() + parts.kernel.len() + (1 << 20));
        let initramfs = append(&mut bytes, area, parts.initramfs);
        let kernel = append(&mut bytes, area, parts.kernel);
        let mut core = self.core(&configuration(kernel, initramfs, parts.command_line))?;
        let start = area.offset / SECTOR + bytes.len() as u64 / SECTOR;
        patch_core(&mut core, start)?;
        append(&mut bytes, area, &core);
        let grub = append(&mut bytes, area, &self.boot_sector(start)?).start * SECTOR;
        area.take(bytes, Some(counted::boot_code(area.counted, grub, area.before)))
    }

    /// The boot sector that reads core.img's first one, whichever sector it is itself.
    fn boot_sector(&self, core: u64) -> Result<Vec<u8>, RecoveryError> {
        let path = self.folder.join("boot.img");
        let mut bytes = read(&path, FOLDER.1)?;
        let unknown = |why| RecoveryError::UnknownGrub { what: path.display().to_string(), why };
        if bytes.len() as u64 != SECTOR {
            return Err(unknown("it has not 512 bytes"));
        }
        let same = has(&bytes, KERNEL_SECTOR) && has(&bytes, BOOT_DRIVE) && has(&bytes, DRIVE_CHECK);
        if !same {
            return Err(unknown("the numbers of sector and drive are elsewhere"));
        }
        put(&mut bytes, KERNEL_SECTOR.0, &core.to_le_bytes());
        put(&mut bytes, DRIVE_CHECK.0, &NOTHING);
        Ok(bytes)
    }

    /// core.img with a configuration in it.
    fn core(&self, configuration: &str) -> Result<Vec<u8>, RecoveryError> {
        if !self.folder.is_dir() {
            return Err(RecoveryError::Absent { what: self.folder.display().to_string(), package: FOLDER.1 });
        }
        let temporary = tempfile::tempdir().map_err(RecoveryError::Temporary)?;
        let (text, image) = (temporary.path().join("configuration"), temporary.path().join("core.img"));
        fs::write(&text, configuration).map_err(RecoveryError::Temporary)?;
        self.make_image(&text, &image)?;
        fs::read(&image).map_err(RecoveryError::Temporary)
    }

    fn make_image(&self, configuration: &Path, image: &Path) -> Result<(), RecoveryError> {
        let mut command = Command::new(&self.program);
        command.env("LC_ALL", "C").args(["--format", "i386-pc", "--directory"]).arg(&self.folder);
        // The folder of files that GRUB reads; there are none.
        command.args(["--prefix", "/", "--config"]).arg(configuration).arg("--output").arg(image).args(MODULES);
        let output = child::run(&mut command, BOUNDS).map_err(|error| match error {
            ChildError::Run { source, program } if source.kind() == io::ErrorKind::NotFound => {
                RecoveryError::Absent { what: program, package: PROGRAM.1 }
            }
            error => RecoveryError::Run(error),
        })?;
        if !output.status.success() {
            return Err(RecoveryError::Failed { said: escape::line(output.stderr.trim_ascii(), MAX_SAID) });
        }
        Ok(())
    }
}

/// What GRUB does. `$root` is the disk that the BIOS booted. The first line is for the parser that is there from the start, which
/// hands it on to the one that has conditions: a kernel without its initramfs is not to be started.
pub(super) fn configuration(kernel: Run, initramfs: Run, line: &str) -> String {
    let words: String = line.split_whitespace().map(|word| format!(" '{word}'")).collect();
    format!(
        "eval \"if linux ($root){kernel}{words}; then if initrd ($root){initramfs}; then boot; fi; fi\"\n\
         serial --unit=0 --speed=115200\n\
         terminal_output --append serial\n\
         echo 'cloud-machine: cannot read the recovery partition, next try in {PAUSE} seconds'\n\
         sleep {PAUSE}\n\
         reboot\n"
    )
}

/// Puts bytes at the end of the area, and tells where on the disk they are.
pub(super) fn append(area: &mut Vec<u8>, place: Area, bytes: &[u8]) -> Run {
    let start = place.offset / SECTOR + area.len() as u64 / SECTOR;
    area.extend_from_slice(bytes);
    area.resize(area.len().next_multiple_of(SECTOR as usize), 0);
    Run { start, count: (bytes.len() as u64).div_ceil(SECTOR) }
}

/// Writes into core.img, whose first sector is at `start`, where the rest of it is.
fn patch_core(core: &mut [u8], start: u64) -> Result<(), RecoveryError> {
    let unknown = |why| RecoveryError::UnknownGrub { what: "core.img".to_owned(), why };
    let rest = (core.len() as u64).div_ceil(SECTOR).saturating_sub(1);
    let rest = u16::try_from(rest).map_err(|_| unknown("it is too large"))?;
    let same = has(core, SECOND_SECTOR) && has(core, SEGMENT) && has(core, END);
    if rest == 0 || !same || !has(core, (SECTORS, rest.to_le_bytes())) {
        return Err(unknown("its first sector does not say where the others are"));
    }
    put(core, SECOND_SECTOR.0, &(start + 1).to_le_bytes());
    Ok(())
}

fn has<const N: usize>(bytes: &[u8], (at, wanted): (usize, [u8; N])) -> bool {
    bytes.get(at..at + N) == Some(&wanted)
}

fn put(bytes: &mut [u8], at: usize, number: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + number.len()) {
        place.copy_from_slice(number);
    }
}
