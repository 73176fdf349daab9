//! The signal that stops this program until it is continued (SIGTSTP), held back while something has to be put in order before. Must
//! not put anything in order itself.

use std::{
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{consts::SIGTSTP, flag, low_level};

use super::interrupt::ignored;

/// What is set up once in the life of the program.
struct Hook {
    /// Whether the signal stops the program, as without any of this.
    stops: Arc<AtomicBool>,
    /// Becomes readable with each signal.
    bell: UnixStream,
}

static HOOK: OnceLock<Result<Hook, io::ErrorKind>> = OnceLock::new();

/// As long as this lives, SIGTSTP is only noted.
#[derive(Debug)]
pub struct Suspension(());

impl Suspension {
    /// Begins to hold the signal back.
    ///
    /// # Errors
    /// That of the system, when the signal cannot be caught.
    pub fn begin() -> io::Result<Self> {
        hook()?.stops.store(false, Ordering::SeqCst);
        Ok(Self(()))
    }

    /// What becomes readable when the signal comes.
    ///
    /// # Errors
    /// As of [`Suspension::begin`].
    pub fn bell(&self) -> io::Result<BorrowedFd<'static>> {
        Ok(hook()?.bell.as_fd())
    }

    /// Whether the signal came since this was asked last.
    #[must_use]
    pub fn take(&self) -> bool {
        let Ok(hook) = hook() else { return false };
        let (mut rung, mut came) = ([0; 64], false);
        while matches!((&hook.bell).read(&mut rung), Ok(1..)) {
            came = true;
        }
        came
    }

    /// Stops this program, as the signal would have done, and returns when it is continued.
    ///
    /// # Errors
    /// That of the system.
    pub fn stop(&self) -> io::Result<()> {
        low_level::emulate_default_handler(SIGTSTP)
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        if let Ok(hook) = hook() {
            hook.stops.store(true, Ordering::SeqCst);
        }
    }
}

fn hook() -> io::Result<&'static Hook> {
    HOOK.get_or_init(|| set_up().map_err(|error| error.kind())).as_ref().map_err(|kind| io::Error::from(*kind))
}

fn set_up() -> io::Result<Hook> {
    let (bell, ringer) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    let stops = Arc::new(AtomicBool::new(true));
    // A shell without jobs wants it to be ignored: it stays so.
    if ignored(&fs::read_to_string("/proc/self/status")?) & (1 << (SIGTSTP - 1)) == 0 {
        flag::register_conditional_default(SIGTSTP, Arc::clone(&stops))?;
        low_level::pipe::register(SIGTSTP, ringer)?;
    }
    Ok(Hook { stops, bell })
}
