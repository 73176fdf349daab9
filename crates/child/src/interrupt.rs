//! Signals that ask this program to end: held back while a child runs that must not outlive it, and told of before they end the
//! program. Must not change what a signal does at any other time.

use std::{
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag, low_level,
};

/// How long the last words may take: where they go, nobody may read any more.
const WORDS_LIMIT: Duration = Duration::from_secs(2);

/// What is said before a signal ends the program.
type Words = Box<dyn FnOnce(i32) + Send>;

/// What is set up once in the life of the program.
struct Hooks {
    /// Whether a signal ends the program, as without any of this.
    ends: Arc<AtomicBool>,
    /// The last signal that was held back; 0 for none.
    last: Arc<AtomicUsize>,
    /// Becomes readable with each signal.
    bell: UnixStream,
    /// The same for the thread that says the last words.
    speaker: UnixStream,
    state: Mutex<State>,
}

/// What a signal meets.
#[derive(Default)]
struct State {
    /// How many hold signals back.
    held: usize,
    /// What is said before a signal ends the program.
    words: Option<Words>,
    /// Whether there is a thread that says them.
    has_speaker: bool,
}

impl Hooks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signal ends the program by itself where nobody has anything to do before.
    fn arm(&self, state: &State) {
        self.ends.store(state.held == 0 && state.words.is_none(), Ordering::SeqCst);
    }

    /// The signal that came, if any; it has no other effect then.
    fn take(&self) -> Option<i32> {
        i32::try_from(self.last.swap(0, Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }

    /// Lets a signal that came and that nobody holds back do what it does, after the last words. `state` is locked meanwhile: no
    /// child is started.
    fn end(&self, mut state: MutexGuard<'_, State>) {
        if state.held > 0 {
            return;
        }
        let Some(signal) = self.take() else { return };
        // Whoever asks once more does not wait for the words.
        self.ends.store(true, Ordering::SeqCst);
        if let Some(words) = state.words.take() {
            say(words, signal);
        }
        // Does not return, for any of these signals.
        let ended = low_level::emulate_default_handler(signal);
        tracing::debug!(signal, ?ended, "a signal that was held back had no effect");
    }
}

/// Lets `words` be said by a thread that nobody waits for longer than they may take.
fn say(words: Words, signal: i32) {
    let (said, hears) = mpsc::channel::<()>();
    let speaks = move || {
        // Dropped when they are said, and when they cannot be.
        let _said = said;
        words(signal);
    };
    if thread::Builder::new().name("last words".to_owned()).spawn(speaks).is_ok() {
        let _said_or_too_late = hears.recv_timeout(WORDS_LIMIT);
    }
}

static HOOKS: OnceLock<Result<Hooks, io::ErrorKind>> = OnceLock::new();

/// As long as one of these lives, SIGINT, SIGTERM, SIGHUP and SIGQUIT are only noted. When the last is dropped, a signal that was
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
        let mut state = hooks.state();
        state.held += 1;
        hooks.arm(&state);
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
        let found = hooks.take();
        let mut rung = [0; 64];
        // Empties the bell; that there is nothing in it is the usual case.
        while matches!((&hooks.bell).read(&mut rung), Ok(1..)) {}
        found
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
        let mut state = hooks.state();
        state.held = state.held.saturating_sub(1);
        hooks.arm(&state);
        hooks.end(state);
    }
}

/// As long as this lives, a signal that ends this program lets it say its last words before.
#[derive(Debug)]
pub struct LastWords(());

impl LastWords {
    /// `words` get the signal and are said by another thread, while whatever this one does goes on. They replace earlier ones, must
    /// run no child, and are cut off where nobody takes them.
    ///
    /// # Errors
    /// That of the system, when the signals cannot be caught.
    pub fn prepare(words: impl FnOnce(i32) + Send + 'static) -> io::Result<Self> {
        let hooks = hooks()?;
        let mut state = hooks.state();
        if !state.has_speaker {
            thread::Builder::new().name("last signal".to_owned()).spawn(move || speak(hooks))?;
            state.has_speaker = true;
        }
        state.words = Some(Box::new(words));
        hooks.arm(&state);
        Ok(Self(()))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let Ok(hooks) = hooks() else { return };
        let mut state = hooks.state();
        state.words = None;
        hooks.arm(&state);
        // One that came at the last moment, when there was nothing more to say.
        hooks.end(state);
    }
}

/// Ends the program by each signal that nobody holds back; a held one is left to who holds it.
fn speak(hooks: &'static Hooks) {
    let mut rung = [0; 64];
    while matches!((&hooks.speaker).read(&mut rung), Ok(1..)) {
        hooks.end(hooks.state());
    }
}

fn hooks() -> io::Result<&'static Hooks> {
    HOOKS.get_or_init(|| set_up().map_err(|error| error.kind())).as_ref().map_err(|kind| io::Error::from(*kind))
}

fn set_up() -> io::Result<Hooks> {
    let (bell, ringer) = UnixStream::pair()?;
    let (speaker, caller) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    let (ends, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let ignored = ignored(&fs::read_to_string("/proc/self/status")?);
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        // nohup(1), and a shell for what it starts in the background, want it to be ignored: it stays so.
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        // In this order: when signals end the program, the first of these does not return.
        flag::register_conditional_default(signal, Arc::clone(&ends))?;
        flag::register_usize(signal, Arc::clone(&last), usize::try_from(signal).unwrap_or_default())?;
        low_level::pipe::register(signal, ringer.try_clone()?)?;
        low_level::pipe::register(signal, caller.try_clone()?)?;
    }
    Ok(Hooks { ends, last, bell, speaker, state: Mutex::default() })
}

/// The signals that a process ignores, from its `/proc/PID/status` (proc(5)).
pub(crate) fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
    };

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    };

    use super::*;

    /// What this program says as the child of the test below.
    const WORDS: &str = "these are my last words";
    /// Tells it that it is that child, and whether it holds signals back.
    const ROLE: &str = "CLOUD_MACHINE_TEST_INTERRUPTED";

    fn be_interrupted(holds: bool) -> ! {
        let _words = LastWords::prepare(|signal| println!("{WORDS}: {signal}")).unwrap();
        let held = holds.then(|| Held::begin().unwrap());
        println!("ready");
        if let Some(held) = held {
            // As one does who runs a child: it hears of the signal, ends the child, and obeys.
            let bell = held.bell().unwrap();
            let signal = loop {
                // The signal may interrupt it, too.
                let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], None);
                if let Some(signal) = held.take() {
                    break signal;
                }
            };
            println!("the child has ended");
            held.obey(signal);
        }
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_signal_ends_the_program_after_its_last_words_and_after_its_children() {
        let holds = std::env::var(ROLE);
        if let Ok(holds) = holds {
            be_interrupted(holds == "holds");
        }
        for (role, before) in [("alone", ""), ("holds", "the child has ended\n")] {
            let name = "interrupt::tests::a_signal_ends_the_program_after_its_last_words_and_after_its_children";
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([name, "--exact", "--nocapture"]).env(ROLE, role).stdout(Stdio::piped());
            let mut program = command.spawn().unwrap();
            let mut said = BufReader::new(program.stdout.take().unwrap());
            let ready = said.by_ref().lines().map(Result::unwrap).find(|line| line.ends_with("ready"));
            assert!(ready.is_some(), "{role}");
            kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
            let mut rest = String::new();
            said.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, format!("{before}{WORDS}: {SIGTERM}\n"), "{role}");
            assert_eq!(program.wait().unwrap().signal(), Some(SIGTERM), "{role}");
        }
    }

    /// As where standard error is a pipe that nobody reads.
    #[test]
    fn last_words_that_nobody_takes_do_not_keep_the_program_from_ending() {
        if std::env::var(ROLE).is_ok() {
            let _words = LastWords::prepare(|_| {
                loop {
                    thread::park();
                }
            });
            println!("ready");
            loop {
                thread::park();
            }
        }
        let name = "interrupt::tests::last_words_that_nobody_takes_do_not_keep_the_program_from_ending";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(ROLE, "alone").stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let mut said = BufReader::new(program.stdout.take().unwrap());
        assert!(said.by_ref().lines().map(Result::unwrap).any(|line| line.ends_with("ready")));
        kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
        let handle = pidfd_open(Pid::from_child(&program), PidfdFlags::empty()).unwrap();
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
            program.kill().unwrap();
        }
        assert_eq!(program.wait().unwrap().signal(), Some(SIGTERM), "it was still there");
    }

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0\n"), 1);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
