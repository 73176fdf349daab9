//! Signals that ask this program to end, held back while a child runs that must not outlive it. Must not change what a
//! signal does at any other time.

use std::{
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};

/// What is set up once in the life of the program.
struct Hooks {
    /// Whether a signal ends the program, as without any of this.
    ends: Arc<AtomicBool>,
    /// The last signal that was held back; 0 for none.
    last: Arc<AtomicUsize>,
    /// Becomes readable with each signal.
    bell: UnixStream,
    /// How many hold signals back.
    held: Mutex<usize>,
}

static HOOKS: OnceLock<Result<Hooks, io::ErrorKind>> = OnceLock::new();

/// As long as one of these lives, SIGINT, SIGTERM and SIGHUP are only noted. When the last is dropped, a signal that was
/// noted and not taken does what it would have done.
#[derive(Debug)]
pub struct Held(());

impl Held {
    /// Begins to hold signals back.
    ///
    /// # Errors
    /// That of the system, when the signals cannot be caught.
    pub fn begin() -> io::Result<Self> {
        let hooks = hooks()?;
        let mut held = hooks.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held += 1;
        hooks.ends.store(false, Ordering::SeqCst);
        Ok(Self(()))
    }

    /// What becomes readable when a signal comes.
    ///
    /// # Errors
    /// As of [`Held::begin`].
    pub fn bell(&self) -> io::Result<BorrowedFd<'static>> {
        Ok(hooks()?.bell.as_fd())
    }

    /// The signal that came, if any; it has no other effect then.
    #[must_use]
    pub fn take(&self) -> Option<i32> {
        let hooks = hooks().ok()?;
        let found = hooks.last.swap(0, Ordering::SeqCst);
        let mut rung = [0; 64];
        // Empties the bell; that there is nothing in it is the usual case.
        while matches!((&hooks.bell).read(&mut rung), Ok(1..)) {}
        i32::try_from(found).ok().filter(|signal| *signal != 0)
    }
}

impl Held {
    /// Lets a signal that was taken do what it would have done: this program ends by it, unless somebody else holds
    /// signals back still.
    pub fn obey(self, signal: i32) {
        if let Ok(hooks) = hooks() {
            hooks.last.store(usize::try_from(signal).unwrap_or_default(), Ordering::SeqCst);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ok(hooks) = hooks() else { return };
        let mut held = hooks.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.saturating_sub(1);
        if *held > 0 {
            return;
        }
        hooks.ends.store(true, Ordering::SeqCst);
        if let Some(signal) = self.take() {
            // Does not return, for any of these signals.
            let ended = low_level::emulate_default_handler(signal);
            tracing::debug!(signal, ?ended, "a signal that was held back had no effect");
        }
    }
}

fn hooks() -> io::Result<&'static Hooks> {
    HOOKS.get_or_init(|| set_up().map_err(|error| error.kind())).as_ref().map_err(|kind| io::Error::from(*kind))
}

fn set_up() -> io::Result<Hooks> {
    let (bell, ringer) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    let (ends, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let ignored = ignored(&fs::read_to_string("/proc/self/status")?);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // nohup(1), and a shell for what it starts in the background, want it to be ignored: it stays so.
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        // In this order: when signals end the program, the first of these does not return.
        flag::register_conditional_default(signal, Arc::clone(&ends))?;
        flag::register_usize(signal, Arc::clone(&last), usize::try_from(signal).unwrap_or_default())?;
        low_level::pipe::register(signal, ringer.try_clone()?)?;
    }
    Ok(Hooks { ends, last, bell, held: Mutex::new(0) })
}

/// The signals that a process ignores, from its `/proc/PID/status` (proc(5)).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0\n"), 1);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
