//! Unified kernel images (UAPI.5, Unified Kernel Image): the bytes of one, from a stub, a kernel, an initramfs and a command
//! line, and what PCR 4 and 11 hold after its boot. Bytes in, bytes out; what is measured may be hostile. Must not sign.

mod authenticode;
mod build;
mod command_line;
mod error;
mod kernel;
mod measure;
mod pcr;
mod pe;
mod stub;

#[cfg(test)]
mod made;

pub use build::{Parts, build, is_initramfs};
pub use error::{Part, UkiError};
pub use kernel::{most_command_line, release};
pub use measure::{Measured, PHASES, PhaseValue, Program, Section, Value, measure};

/// Sections by which a unified kernel image is known, in the order in which the stub measures them, with the version of systemd
/// whose stub was the first to do so (systemd-stub(7); `unified_sections` in its source).
pub(crate) const MEASURED: [(&str, u32); 10] = [
    (".linux", 252),
    (".osrel", 252),
    (".cmdline", 252),
    (".initrd", 252),
    (".ucode", 256),
    (".splash", 252),
    (".dtb", 252),
    (".uname", 254),
    (".sbat", 254),
    (".pcrpkey", 252),
];

/// Versions of which is known what they measure: the list of sections in the stubs of Debian's packages 252.39, 254.26, 257.13 and
/// 262.1 was compared. Nothing is known of 253.
pub(crate) const KNOWN: std::ops::RangeInclusive<u32> = 254..=262;
/// As [`KNOWN`], and only as Debian has it: others added to it what later ones measure.
pub(crate) const OLD: u32 = 252;
