//! The terminal of this program as a raw line: every key as it comes, none obeyed here. Must not stay so when this is dropped.

use std::{io, os::fd::BorrowedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that is raw as long as this lives.
pub(crate) struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// Makes a terminal raw (termios(3), `cfmakeraw`).
    ///
    /// # Errors
    /// That of the system, such as for what is no terminal.
    pub(crate) fn begin(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // What was typed and not read belongs to the machine, not to the shell that comes next.
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Flush, &self.before) {
            tracing::warn!(%error, "the terminal stays raw; `reset` puts it back");
        }
    }
}

/// Rows and columns of a terminal; `None` when it does not know them.
pub(crate) fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
