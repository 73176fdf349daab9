//! The console log of an attempt: text of the guest without end, of which the host shows lines and keeps a bounded part.
//! Must not hold more of it in memory than a few lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Instant,
};

use cloud_machine_store::{AttemptFolder, StoreError, file};
use rustix::fs::OFlags;

use cloud_machine_protocol::escape;

use crate::socket;

/// Bytes of a log above which it is cut.
pub const MAX_LOG: u64 = 64 << 20;
/// Bytes of its end that are kept then.
const KEPT: u64 = 1 << 20;
/// Bytes of a line that are kept until its end comes; a longer line is cut when it is shown.
const MAX_LINE: usize = 8 << 10;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Bytes of a log that are looked through for its last lines.
const TAIL: u64 = 256 << 10;

/// The last lines of an attempt's serial console, safe to show; empty when there is no log.
///
/// # Errors
/// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
pub fn tail(folder: &AttemptFolder, lines: usize) -> Result<String, StoreError> {
    Ok(escape::tail(&file::read_end(&folder.console_log(), TAIL)?.unwrap_or_default(), lines))
}

/// The serial line of a machine, both ways. The log goes on; whoever was connected before is served first.
///
/// # Errors
/// That of the system, such as when the machine's process is not there.
pub fn connect(folder: &AttemptFolder, deadline: Instant) -> io::Result<UnixStream> {
    socket::open(&folder.console_socket(), deadline)
}

/// Cuts a log that has grown beyond [`MAX_LOG`]: its end goes to a file beside it, and it begins anew. QEMU appends to
/// the log wherever its end is, so this may happen while the machine runs; it goes on growing until the next time.
///
/// # Errors
/// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
pub fn cut(folder: &AttemptFolder) -> Result<(), StoreError> {
    cut_beyond(&folder.console_log(), MAX_LOG)
}

fn cut_beyond(path: &Path, most: u64) -> Result<(), StoreError> {
    let Some(log) = file::open(path)? else { return Ok(()) };
    if log.metadata().map_err(StoreError::io("look at", path))?.len() <= most {
        return Ok(());
    }
    let end = file::read_end(path, KEPT)?.unwrap_or_default();
    // A full disk is the best reason to cut: what cannot be kept is lost then.
    if let Err(error) = file::replace(&before(path), &end) {
        tracing::warn!(%error, "the end of a console log is lost");
    }
    // Not a rename: QEMU holds the file open.
    let log = OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    log.and_then(|log| log.set_len(0)).map_err(StoreError::io("cut", path))
}

/// The end of what was cut off.
fn before(path: &Path) -> PathBuf {
    path.with_extension("old.log")
}

/// A log that is read from its beginning, or from near its end, and then on.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    log: File,
    at: u64,
    lines: Lines,
}

impl Reader {
    /// Opens the log of an attempt; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
    pub fn open(folder: &AttemptFolder) -> Result<Option<Self>, StoreError> {
        let path = folder.console_log();
        Ok(file::open(&path)?.map(|log| Self { path, log, at: 0, lines: Lines::default() }))
    }

    /// What was cut off before this log, the lines of its end.
    ///
    /// # Errors
    /// [`StoreError::NotOrdinary`] or [`StoreError::Io`].
    pub fn before(&self) -> Result<Option<Vec<String>>, StoreError> {
        let Some(bytes) = file::read_end(&before(&self.path), KEPT)? else { return Ok(None) };
        let (mut lines, mut shown) = (Lines::default(), Vec::new());
        lines.add(&bytes, &mut |line| shown.push(line));
        lines.finish(&mut |line| shown.push(line));
        Ok(Some(shown))
    }

    /// The last `count` lines, of at most the last 4 MiB; reading goes on behind them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn last(&mut self, count: usize) -> Result<Vec<String>, StoreError> {
        let size = self.log.metadata().map_err(StoreError::io("look at", &self.path))?.len();
        self.at = size.saturating_sub(4 << 20);
        let mut last = std::collections::VecDeque::new();
        let mut keep = |line| {
            last.push_back(line);
            if last.len() > count {
                last.pop_front();
            }
        };
        while self.step(size, &mut keep)? {}
        Ok(last.into())
    }

    /// Gives the lines that are complete and were not given yet, as far as they lie before what is there now. What was
    /// read of a line without an end is kept until it comes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn go_on(&mut self, show: &mut dyn FnMut(String)) -> Result<(), StoreError> {
        // Looked at first: nothing more is added to a log once another one lies in its place.
        let replaced = self.replacement()?;
        self.read_on(show)?;
        let Some(log) = replaced else { return Ok(()) };
        (self.log, self.at) = (log, 0);
        self.read_on(show)
    }

    /// The log that lies in the place of this one: libvirt's log daemon moves one that is large away.
    fn replacement(&self) -> Result<Option<File>, StoreError> {
        let Some(log) = file::open(&self.path)? else { return Ok(None) };
        let found = |log: &File| log.metadata().map_err(StoreError::io("look at", &self.path));
        let (one, other) = (found(&self.log)?, found(&log)?);
        Ok(((one.dev(), one.ino()) != (other.dev(), other.ino())).then_some(log))
    }

    fn read_on(&mut self, show: &mut dyn FnMut(String)) -> Result<(), StoreError> {
        let size = self.log.metadata().map_err(StoreError::io("look at", &self.path))?.len();
        if size < self.at {
            // It was cut.
            self.at = 0;
        }
        while self.step(size, show)? {}
        Ok(())
    }

    /// Gives what is left of a line that has no end.
    pub fn finish(&mut self, show: &mut dyn FnMut(String)) {
        self.lines.finish(show);
    }

    /// Reads a piece before `end`; whether there was one.
    fn step(&mut self, end: u64, show: &mut dyn FnMut(String)) -> Result<bool, StoreError> {
        let left = usize::try_from(end.saturating_sub(self.at)).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; left];
        let read = self.log.seek(SeekFrom::Start(self.at)).and_then(|_| read(&mut self.log, &mut piece));
        let count = read.map_err(StoreError::io("read", &self.path))?;
        self.at += count as u64;
        self.lines.add(piece.get(..count).unwrap_or_default(), show);
        Ok(count > 0)
    }
}

fn read(source: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Lines out of pieces, each safe to show and bounded.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    open: Vec<u8>,
    /// Whether there is such a line.
    is_open: bool,
}

impl Lines {
    /// Adds a piece and gives each line that it completes.
    pub fn add(&mut self, piece: &[u8], show: &mut dyn FnMut(String)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = MAX_LINE.saturating_sub(self.open.len());
            self.open.extend_from_slice(text.get(..room).unwrap_or(text));
            self.is_open = true;
            if part.ends_with(b"\n") {
                self.finish(show);
            }
        }
    }

    /// Gives what is left of a line that has no end.
    pub fn finish(&mut self, show: &mut dyn FnMut(String)) {
        if std::mem::take(&mut self.is_open) {
            show(escape::console_line(&self.open));
        }
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn attempt() -> (tempfile::TempDir, AttemptFolder) {
        let folder = tempfile::tempdir().unwrap();
        let attempt = AttemptFolder::at(folder.path().to_owned(), 1);
        (folder, attempt)
    }

    #[test]
    fn lines_that_come_in_pieces_are_given_whole_and_once() {
        let (_folder, attempt) = attempt();
        assert!(Reader::open(&attempt).unwrap().is_none());
        let mut log = File::create(attempt.console_log()).unwrap();
        let mut reader = Reader::open(&attempt).unwrap().unwrap();
        let mut shown = Vec::new();
        for piece in ["one\ntw", "o\r\n", "", "\nlog\x1b[2Jin: ", "root"] {
            log.write_all(piece.as_bytes()).unwrap();
            reader.go_on(&mut |line| shown.push(line)).unwrap();
        }
        assert_eq!(shown, ["one", "two", ""]);
        reader.finish(&mut |line| shown.push(line));
        reader.finish(&mut |line| shown.push(line));
        assert_eq!(shown.split_off(3), ["log\\u{1b}[2Jin: root"]);
    }

    #[test]
    fn the_last_lines_come_first_and_then_what_follows() {
        let (_folder, attempt) = attempt();
        fs::write(attempt.console_log(), "a\nb\nc\nd").unwrap();
        let mut reader = Reader::open(&attempt).unwrap().unwrap();
        assert_eq!(reader.last(2).unwrap(), ["b", "c"]);
        let mut shown = Vec::new();
        let mut log = OpenOptions::new().append(true).open(attempt.console_log()).unwrap();
        log.write_all(b"e\nf").unwrap();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        assert_eq!(shown, ["de"]);
    }

    #[test]
    fn a_log_that_was_moved_away_is_read_to_its_end_and_then_the_one_in_its_place() {
        let (folder, attempt) = attempt();
        fs::write(attempt.console_log(), "one\n").unwrap();
        let mut reader = Reader::open(&attempt).unwrap().unwrap();
        let mut shown = Vec::new();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        fs::write(attempt.console_log(), "one\ntwo\nth").unwrap();
        fs::rename(attempt.console_log(), folder.path().join("console.log.0")).unwrap();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        fs::write(attempt.console_log(), "ree\n").unwrap();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        assert_eq!(shown, ["one", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_takes_no_memory() {
        let mut lines = Lines::default();
        let mut shown = Vec::new();
        for _ in 0..1000 {
            lines.add(&[0; PIECE], &mut |line| shown.push(line));
            assert!(lines.open.capacity() <= 2 * MAX_LINE);
        }
        lines.add(b"\nnext\n", &mut |line| shown.push(line));
        assert!(shown[0].ends_with('…') && shown[0].len() < 16 << 10, "{}", shown[0].len());
        assert_eq!(shown[1], "next");
    }

    #[test]
    fn a_log_that_is_too_large_keeps_its_end_and_is_read_on() {
        let (_folder, attempt) = attempt();
        let path = attempt.console_log();
        fs::write(&path, "early\nlate\n").unwrap();
        let mut reader = Reader::open(&attempt).unwrap().unwrap();
        let mut shown = Vec::new();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        cut_beyond(&path, 100).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 11, "it is small");
        cut_beyond(&path, 10).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"new\n").unwrap();
        reader.go_on(&mut |line| shown.push(line)).unwrap();
        assert_eq!(shown, ["early", "late", "new"]);
        assert_eq!(reader.before().unwrap().unwrap(), ["early", "late"]);
    }
}
