//! What is read of a Linux kernel (Documentation/arch/x86/boot.rst): that firmware starts it, its release, and how long its command
//! line may be. Must not look behind its headers.

use crate::{
    error::{Part, UkiError},
    pe::Pe,
};

/// Where the mark of the header is, `HdrS`.
const MARK: usize = 0x202;
/// Version of the header from which it says how long the command line may be.
const HAS_LENGTH: u16 = 0x0206;
/// What older kernels take.
const OLD_LENGTH: usize = 255;

/// Checks that a stub can start the kernel. Gives the most bytes of its command line, without the NUL behind it.
pub(crate) fn check(kernel: &[u8]) -> Result<usize, UkiError> {
    let most = most_command_line(kernel)?;
    // One that was built without CONFIG_EFI_STUB has the header and is no program.
    Pe::read(kernel, Part::Kernel)?;
    Ok(most)
}

/// The most bytes of the kernel's command line, without the NUL behind it, by any boot loader.
///
/// # Errors
/// [`UkiError::NoKernel`] when it is no bzImage.
pub fn most_command_line(kernel: &[u8]) -> Result<usize, UkiError> {
    if kernel.get(MARK..MARK + 4) != Some(b"HdrS") {
        return Err(UkiError::NoKernel);
    }
    let version = u16_at(kernel, 0x206).ok_or(UkiError::NoKernel)?;
    if version < HAS_LENGTH {
        return Ok(OLD_LENGTH);
    }
    let length = kernel.get(0x238..0x23c).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    Ok(length.ok_or(UkiError::NoKernel)? as usize)
}

/// The release that the kernel states, as `uname -r` prints it: at most 128 letters, digits and `._+~-`.
#[must_use]
pub fn release(kernel: &[u8]) -> Option<String> {
    let at = usize::from(u16_at(kernel, 0x20e).filter(|at| *at != 0)?) + 0x200;
    let text = kernel.get(at..)?.split(|byte| matches!(byte, b' ' | 0)).next()?;
    let text = std::str::from_utf8(text).ok()?;
    (kernel.get(MARK..MARK + 4)? == b"HdrS" && is_release(text)).then(|| text.to_owned())
}

/// Whether a text can be a release.
pub(crate) fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
