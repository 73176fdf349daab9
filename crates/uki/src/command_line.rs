//! Whether a command line arrives at the kernel as it is. Must not know what an argument means.

use crate::error::UkiError;

/// Checks a command line for a kernel that takes `most` bytes of it.
pub(crate) fn check(line: &str, most: usize) -> Result<(), UkiError> {
    if line.trim().is_empty() {
        return Err(UkiError::NoCommandLine);
    }
    // The stub makes UTF-16 of it byte by byte.
    if let Some(at) = line.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
        let what = match line.as_bytes().get(at) {
            Some(0) => "NUL".to_owned(),
            Some(b'\n') => "an end of line".to_owned(),
            byte => format!("byte 0x{:02x}", byte.copied().unwrap_or_default()),
        };
        return Err(UkiError::BadCommandLine { what, at });
    }
    if line.len() > most {
        return Err(UkiError::LongCommandLine { bytes: line.len(), most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_would_not_see_as_it_is_is_refused() {
        let line = "console=ttyS0 root=/dev/vda1 a=\"b c\"";
        assert_eq!(check(line, line.len()), Ok(()));
        assert_eq!(check(line, 10), Err(UkiError::LongCommandLine { bytes: line.len(), most: 10 }));
        for (line, what, at) in [
            ("quiet\0", "NUL", 5),
            ("a\nb", "an end of line", 1),
            ("quiet\t", "byte 0x09", 5),
            ("a=é", "byte 0xc3", 2),
            ("\x7f", "byte 0x7f", 0),
        ] {
            assert_eq!(check(line, 2047), Err(UkiError::BadCommandLine { what: what.to_owned(), at }), "{line:?}");
        }
        assert_eq!(check("  ", 2047), Err(UkiError::NoCommandLine));
    }
}
