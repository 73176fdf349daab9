//! `console --attach`: this terminal as the far end of a machine's serial line, until a key, the machine or a signal ends it.
//! Whoever types may leave something behind, so the machine counts as used from then on.

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind, IsTerminal, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_child::{Suspension, interrupt::Held};
use cloud_machine_driver::{console, drivers};
use cloud_machine_operation::Operations;
use cloud_machine_protocol::MachineName;
use cloud_machine_store::{AttemptFolder, Store, open};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::{
    arguments::DetachKey,
    failure::{Failure, Kind},
    interrupted::exit_code_of,
    terminal::{self, Raw},
    ui::Ui,
};

/// How long the machine's process may take to take the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const PIECE: usize = 4 << 10;
/// Bytes that were typed and that the machine has not taken. What comes beyond is dropped, so that the key that ends this is
/// seen also where the machine reads nothing.
const MAX_TYPED: usize = 64 << 10;

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Detached,
    MachineEnded,
    Signal(i32),
    /// It goes on when this program is continued.
    Stopped,
}

pub(crate) fn run(ui: &Ui, store: &Store, name: &MachineName, key: DetachKey) -> Result<ExitCode, Failure> {
    ui.only_for_people("a serial line")?;
    let (input, output) = (io::stdin(), io::stdout());
    if !input.is_terminal() || !output.is_terminal() {
        let text = "a serial line is attached to a terminal, and standard input and output are not both one";
        return Err(
            Failure::new(Kind::Usage, text).hint(format!("`cloud-machine console {name} --follow` only shows it"))
        );
    }
    store.read(name)?;
    let folder = store.machine(name).last_attempt()?;
    // Before the machine counts as used: who is refused has typed nothing.
    let alone = folder.as_ref().map(|folder| alone(folder, name)).transpose()?;
    Operations { store, drivers: &drivers(), observer: &() }.mark_used(name)?;
    let (Some(folder), Some(_alone)) = (folder, alone) else {
        return Err(Failure::new(Kind::NotFound, format!("machine {name} was never started")));
    };
    let stream = console::connect(&folder, Instant::now() + CONNECT)
        .map_err(Failure::during(Kind::Failed, format!("attach to the serial line of machine {name}")))?;
    ui.note(&format!("attached to {name}; {key} ends it. What the machine says reaches this terminal as it is."));
    if let Some((rows, columns)) = terminal::size(output.as_fd()) {
        ui.note(&format!(
            "a serial line has no size: `stty rows {rows} cols {columns}` in the machine gives it this one"
        ));
    }
    let mut line = Line { stream, key: key.byte(), typed: Vec::new(), dropped: 0 };
    let ended = talk(&mut line);
    ui.note("");
    if line.dropped > 0 {
        ui.note(&format!("{} bytes that were typed did not reach the machine, which did not read", line.dropped));
    }
    match ended.map_err(Failure::during(Kind::Failed, "pass on the serial line"))? {
        End::MachineEnded => ui.note(&format!("the process of machine {name} has ended")),
        End::Signal(signal) => return Ok(ExitCode::from(exit_code_of(signal))),
        End::Detached | End::Stopped => ui.note(&format!("detached; machine {name} runs on")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The driver's end of the line serves one at a time: a second one would wait without a word.
fn alone(folder: &AttemptFolder, name: &MachineName) -> Result<File, Failure> {
    let path = folder.console_log();
    let log = open(&path)?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("machine {name} has no console log {}", path.display())))?;
    match log.try_lock() {
        Ok(()) => Ok(log),
        Err(TryLockError::WouldBlock) => {
            let text = format!("somebody is attached to the serial line of machine {name}");
            let hint = format!("`cloud-machine console {name} --follow` shows it meanwhile");
            Err(Failure::new(Kind::Locked, text).hint(hint))
        }
        Err(TryLockError::Error(error)) => {
            Err(Failure::during(Kind::Failed, format!("lock {}", path.display()))(error))
        }
    }
}

/// Passes on what comes and what is typed, with the terminal raw only while this program runs.
fn talk(line: &mut Line) -> io::Result<End> {
    let input = io::stdin();
    let (held, suspension) = (Held::begin()?, Suspension::begin()?);
    loop {
        let raw = Raw::begin(input.as_fd())?;
        let ended = line.pass(&held, &suspension);
        drop(raw);
        match ended? {
            End::Stopped => suspension.stop()?,
            ended => return Ok(ended),
        }
    }
}

struct Line {
    stream: UnixStream,
    key: u8,
    typed: Vec<u8>,
    dropped: usize,
}

impl Line {
    fn pass(&mut self, held: &Held, suspension: &Suspension) -> io::Result<End> {
        self.stream.set_nonblocking(true)?;
        // Not the buffered one of the library: what lies in a buffer is announced by nothing.
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (bell, stop) = (held.bell()?, suspension.bell()?);
        loop {
            if let Some(signal) = held.take() {
                return Ok(End::Signal(signal));
            }
            if suspension.take() {
                return Ok(End::Stopped);
            }
            let (keys, line) = {
                let more = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                let mut ends = [
                    PollFd::new(&input, PollFlags::IN),
                    PollFd::new(&self.stream, PollFlags::IN | more),
                    PollFd::from_borrowed_fd(bell, PollFlags::IN),
                    PollFd::from_borrowed_fd(stop, PollFlags::IN),
                ];
                match poll(&mut ends, None) {
                    Ok(_) => (!ends[0].revents().is_empty(), !ends[1].revents().is_empty()),
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            if line && !self.show()? {
                return Ok(End::MachineEnded);
            }
            if keys && !self.read_keys(&mut input)? {
                // What was typed before the key is the machine's, as far as it takes it now.
                self.send()?;
                return Ok(End::Detached);
            }
            if !self.send()? {
                return Ok(End::MachineEnded);
            }
        }
    }

    /// Shows what came; whether the line is still there.
    fn show(&mut self) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let mut output = io::stdout().lock();
                output.write_all(piece.get(..count).unwrap_or_default())?;
                output.flush()?;
                Ok(true)
            }
            Err(error) => is_for_later(error),
        }
    }

    /// Takes what was typed; whether the key was not among it.
    fn read_keys(&mut self, input: &mut impl Read) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let count = match input.read(&mut piece) {
            // The terminal is gone.
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) => return is_for_later(error),
        };
        let typed = piece.get(..count).unwrap_or_default();
        let before = typed.split(|byte| *byte == self.key).next().unwrap_or_default();
        let room = MAX_TYPED.saturating_sub(self.typed.len()).min(before.len());
        self.typed.extend(before.iter().take(room));
        self.dropped += before.len() - room;
        Ok(before.len() == typed.len())
    }

    /// Sends what the machine takes now; whether the line is still there.
    fn send(&mut self) -> io::Result<bool> {
        if self.typed.is_empty() {
            return Ok(true);
        }
        match self.stream.write(&self.typed) {
            Ok(count) => {
                self.typed.drain(..count);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(false),
            Err(error) => is_for_later(error),
        }
    }
}

/// Whether an error only says that there is nothing to do yet.
fn is_for_later(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(true),
        ErrorKind::ConnectionReset => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> (Line, UnixStream) {
        let (stream, far) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        (Line { stream, key: 0x1d, typed: Vec::new(), dropped: 0 }, far)
    }

    #[test]
    fn keys_reach_the_machine_up_to_the_one_that_ends_it() {
        let (mut line, mut far) = line();
        assert!(line.read_keys(&mut &b"ls\r\x03"[..]).unwrap());
        assert!(!line.read_keys(&mut &b"x\x1drm"[..]).unwrap());
        assert!(line.send().unwrap());
        let mut came = [0; 5];
        far.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"ls\r\x03x");
        assert!(line.typed.is_empty() && line.dropped == 0);
    }

    #[test]
    fn a_machine_that_reads_nothing_does_not_hide_the_key() {
        let (mut line, _far) = line();
        let paste = vec![b'a'; PIECE];
        while line.dropped == 0 {
            assert!(line.read_keys(&mut paste.as_slice()).unwrap());
            assert!(line.send().unwrap());
        }
        assert!(line.typed.len() <= MAX_TYPED);
        assert!(!line.read_keys(&mut &b"\x1d"[..]).unwrap());
    }

    #[test]
    fn a_line_whose_far_end_is_gone_is_over() {
        let (mut line, far) = line();
        drop(far);
        assert!(!line.show().unwrap());
        line.typed = b"x".to_vec();
        assert!(!line.send().unwrap());
    }
}
