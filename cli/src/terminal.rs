//! The terminal of this program: as a raw line, every key as it comes and none obeyed here, and whether somebody reads what it
//! shows. Must not stay raw when this is dropped.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

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

/// Waits until `source` can be read, or nobody reads standard output any more; whether somebody does.
pub(crate) fn wait_readable(source: BorrowedFd<'_>) -> io::Result<bool> {
    watch(Some(source), None)
}

/// Whether somebody reads standard output still. Of a file and of a terminal that is there nobody ceases to.
pub(crate) fn is_read() -> io::Result<bool> {
    watch(None, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
}

fn watch(source: Option<BorrowedFd<'_>>, limit: Option<&Timespec>) -> io::Result<bool> {
    let output = io::stdout();
    loop {
        // That the other end of it is gone is told whether or not it is asked for.
        let mut watched = vec![PollFd::new(&output, PollFlags::empty())];
        watched.extend(source.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)));
        match poll(&mut watched, limit) {
            Ok(_) => return Ok(watched.first().is_none_or(|output| output.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Rows and columns of a terminal; `None` when it does not know them.
pub(crate) fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
