//! One QEMU process: started, found again, ended, and never mistaken for another one of the same number. Must not
//! know what the machine does.

use std::{
    io,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Connection, escape};
use cloud_machine_store::{AttemptFolder, file};
use rustix::process::Signal;

use super::{Launch, Qemu, QemuError, Qmp, QmpError, command, kernel::Kernel, pidfd::Pidfd, tool, user_network};

/// How long the kernel may take to end a process after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long the monitor may take to press the power button. One that hangs does not keep the machine for longer.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of stderr that an error carries.
const MAX_STDERR: u64 = 4 << 10;

/// A running QEMU process of one attempt.
#[derive(Debug)]
pub struct Process {
    folder: AttemptFolder,
    handle: Pidfd,
}

/// What ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had ended before.
    Before,
    /// QEMU's monitor.
    Quit,
    /// SIGTERM.
    Terminated,
    /// SIGKILL.
    Killed,
}

impl Qemu {
    /// Starts a machine, paused: connect the agent's channel, then call [`Process::resume`].
    ///
    /// # Errors
    /// [`QemuError::InvalidLaunch`], [`QemuError::Run`], [`QemuError::Refused`], [`QemuError::Undecided`],
    /// [`QemuError::Vanished`], [`QemuError::Relay`] or [`QemuError::Io`].
    pub fn launch(&self, launch: &Launch) -> Result<Process, QemuError> {
        let process = self.begin(launch)?;
        if launch.connection == Connection::UserClosed { with_relay(process) } else { Ok(process) }
    }

    /// The machine without what stands between it and its network.
    pub(super) fn begin(&self, launch: &Launch) -> Result<Process, QemuError> {
        let arguments = command::arguments(launch)?;
        let program = || self.program().to_string_lossy().into_owned();
        let log_path = launch.folder.qemu_log();
        let log = tool::private(&log_path)?;
        // With `-daemonize` QEMU takes a mask of its own, which lets the group read: the file is there before.
        tool::private(&launch.folder.console_log())?;
        let stdout = log.try_clone().map_err(QemuError::io("make", &log_path))?;
        let mut command = tool::command(self.program());
        command.args(&arguments).current_dir(launch.folder.path()).stdin(Stdio::null()).stdout(stdout).stderr(log);
        let mut child = tool::spawn(&mut command).map_err(|source| QemuError::Run { program: program(), source })?;
        let limit = self.launch_limit;
        if !ended_within(limit, &child).map_err(|source| QemuError::Run { program: program(), source })? {
            abandon(&mut child, launch).map_err(|source| QemuError::Run { program: program(), source })??;
            return Err(QemuError::Undecided { program: program(), limit, stderr: stderr(&log_path)? });
        }
        let status = child.wait().map_err(|source| QemuError::Run { program: program(), source })?;
        if !status.success() {
            let arguments = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            return Err(QemuError::Refused { program: program(), arguments, status, stderr: stderr(&log_path)? });
        }
        match Process::attach(&launch.folder, &launch.uuid)? {
            Some(process) => Ok(process),
            None => Err(QemuError::Vanished { stderr: stderr(&log_path)? }),
        }
    }
}

impl Process {
    /// A process that is known to be a machine's.
    pub(super) fn new(folder: AttemptFolder, handle: Pidfd) -> Self {
        Self { folder, handle }
    }

    /// Finds the process that has just been started as machine `uuid`; `None` when it has ended or its number now means
    /// another process. Of one that may have been started before, only [`super::Subject::life`] can tell.
    ///
    /// # Errors
    /// [`QemuError::InvalidPid`], [`QemuError::Process`] or [`QemuError::Io`].
    pub(super) fn attach(folder: &AttemptFolder, uuid: &str) -> Result<Option<Self>, QemuError> {
        let path = folder.pid_file();
        let Some(text) = file::read(&path, file::MAX_WORD).map_err(QemuError::File)? else { return Ok(None) };
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = number else {
            return Err(QemuError::InvalidPid { path, found: escape::line(&text, 40) });
        };
        let failed = |operation| move |source| QemuError::Process { operation, pid, source };
        // The order matters: the handle first, then the look at its command line, then that it has not ended since.
        // So the command line that was seen is the one of the handle's process.
        let Some(handle) = Pidfd::open(pid).map_err(failed("open"))? else { return Ok(None) };
        let found = Kernel::host().uuid(pid).map_err(failed("read the command line of"))?;
        let ours = found.is_some_and(|found| found == uuid.as_bytes());
        let gone = handle.ended(Instant::now()).map_err(failed("watch"))?;
        Ok((ours && !gone).then(|| Self { folder: folder.clone(), handle }))
    }

    /// The attempt that it belongs to.
    #[must_use]
    pub fn folder(&self) -> &AttemptFolder {
        &self.folder
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.handle.pid()
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// [`QemuError::Process`].
    pub fn alive(&self) -> Result<bool, QemuError> {
        Ok(!self.ended(Instant::now())?)
    }

    /// Waits until it has ended; `false` when the deadline came first.
    ///
    /// # Errors
    /// [`QemuError::Process`].
    pub fn ended(&self, deadline: Instant) -> Result<bool, QemuError> {
        self.handle.ended(deadline).map_err(self.failed("watch"))
    }

    /// Connects to the monitor. It serves one client at a time: drop the connection soon.
    ///
    /// # Errors
    /// Any [`QmpError`].
    pub fn monitor(&self, deadline: Instant) -> Result<Qmp, QmpError> {
        Qmp::connect(&self.folder.qmp_socket(), deadline)
    }

    /// Starts the processors.
    ///
    /// # Errors
    /// [`QemuError::Monitor`].
    pub fn resume(&self, deadline: Instant) -> Result<(), QemuError> {
        let asked = self.monitor(deadline).and_then(|mut monitor| monitor.cont(deadline));
        asked.map_err(|source| QemuError::Monitor { command: "cont".to_owned(), source })
    }

    /// Presses the power button and waits; `false` when the machine's system did not end before the deadline.
    ///
    /// # Errors
    /// [`QemuError::Monitor`] or [`QemuError::Process`].
    pub fn power_down(&self, deadline: Instant) -> Result<bool, QemuError> {
        let answered = deadline.min(Instant::now() + ASK_LIMIT);
        let asked = self.monitor(answered).and_then(|mut monitor| monitor.power_down(answered));
        asked.map_err(|source| QemuError::Monitor { command: "system_powerdown".to_owned(), source })?;
        self.ended(deadline)
    }

    /// Ends the process, by its monitor, then by SIGTERM, at last by SIGKILL, each of the first two for half of
    /// `grace`. When this returns well the process is gone and its files are closed.
    ///
    /// # Errors
    /// [`QemuError::StillThere`] or [`QemuError::Process`].
    pub fn stop(&self, grace: Duration) -> Result<Ending, QemuError> {
        if !self.alive()? {
            return Ok(Ending::Before);
        }
        let deadline = Instant::now() + grace / 2;
        let asked = self.monitor(deadline).and_then(|mut monitor| monitor.quit(deadline));
        match asked {
            Ok(()) if self.ended(deadline)? => return Ok(Ending::Quit),
            Ok(()) => {}
            // A monitor that does not answer is what the signals are for.
            Err(error) => tracing::debug!(pid = self.pid(), %error, "the monitor did not end the process"),
        }
        for (signal, ended, limit) in
            [(Signal::TERM, Ending::Terminated, grace / 2), (Signal::KILL, Ending::Killed, KILL_LIMIT)]
        {
            self.handle.signal(signal).map_err(self.failed("signal"))?;
            if self.ended(Instant::now() + limit)? {
                return Ok(ended);
            }
        }
        Err(QemuError::StillThere { pid: self.pid() })
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> QemuError + use<> {
        let pid = self.pid();
        move |source| QemuError::Process { operation, pid, source }
    }
}

/// With `-daemonize` the child ends when the machine is there, or when it will never be.
fn ended_within(limit: Duration, child: &Child) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match Pidfd::open(pid)? {
        Some(handle) => handle.ended(Instant::now() + limit),
        None => Ok(true),
    }
}

/// Ends a QEMU that does not come to a decision, and the process that it may have left behind.
fn abandon(child: &mut Child, launch: &Launch) -> io::Result<Result<(), QemuError>> {
    child.kill()?;
    child.wait()?;
    Ok(Process::attach(&launch.folder, &launch.uuid).and_then(|process| match process {
        Some(process) => process.stop(KILL_LIMIT).map(drop),
        None => Ok(()),
    }))
}

/// A machine without the way to its network is none.
fn with_relay(process: Process) -> Result<Process, QemuError> {
    match user_network::start(process.folder()) {
        Ok(()) => Ok(process),
        Err(error) => process.stop(KILL_LIMIT).and(Err(error)),
    }
}

/// The end of QEMU's stderr, on one line and safe to show.
fn stderr(log: &Path) -> Result<String, QemuError> {
    Ok(escape::tail(&end_of(log, MAX_STDERR)?, 50).replace('\n', "; "))
}

fn end_of(path: &Path, bytes: u64) -> Result<Vec<u8>, QemuError> {
    Ok(file::read_end(path, bytes).map_err(QemuError::File)?.unwrap_or_default())
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
