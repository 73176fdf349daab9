//! What a person who started the agent by hand reads on standard output. Must not choose the words.

use std::{io::Write, process::ExitCode};

/// Prints `text`; the exit code is `code`, unless nobody takes the text.
pub(crate) fn print(text: &str, code: u8) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}
