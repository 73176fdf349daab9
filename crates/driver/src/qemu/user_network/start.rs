//! Starts the relay of a machine, and tells whether it runs. Must not carry a frame.

use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::escape;
use cloud_machine_store::{AttemptFolder, file};

use super::relay::{LOG, PID, READY, RELAY};
use crate::qemu::{QemuError, kernel::is_locked, pidfd::readable, tool};

/// This program, also when its file was replaced since it was started.
const PROGRAM: &str = "/proc/self/exe";
/// How long it may take until frames are carried. On a busy host it takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of stderr that an error carries.
const MAX_STDERR: u64 = 4 << 10;

/// Starts the relay of a machine whose QEMU runs. It ends with that QEMU, and not with this process.
///
/// # Errors
/// [`QemuError::Run`], [`QemuError::Relay`] or [`QemuError::Io`].
pub(crate) fn start(folder: &AttemptFolder) -> Result<(), QemuError> {
    let run = |source| QemuError::Run { program: format!("this program as `{RELAY}`"), source };
    let log = folder.path().join(LOG);
    let mut command = tool::command(PROGRAM);
    command.arg0("cloud-machine").arg(RELAY).current_dir(folder.path()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(tool::private(&log)?);
    let mut child = tool::spawn(&mut command).map_err(run)?;
    let mut said = [0; READY.len()];
    let heard = match child.stdout.take() {
        Some(mut stdout) => match readable(stdout.as_fd(), Instant::now() + LIMIT) {
            Ok(true) => stdout.read_exact(&mut said).map(|()| said == READY),
            other => other,
        },
        None => Ok(false),
    };
    if matches!(heard, Ok(true)) {
        // Its end is nothing to wait for; until this process ends, somebody has to take note of it.
        thread::spawn(move || child.wait());
        return Ok(());
    }
    child.kill().and_then(|()| child.wait()).map_err(run)?;
    let end = file::read_end(&log, MAX_STDERR).map_err(QemuError::File)?.unwrap_or_default();
    Err(QemuError::Relay { stderr: escape::tail(&end, 50).replace('\n', "; ") })
}

/// Whether the relay of a machine runs; `None` when it never had one.
pub(crate) fn runs(folder: &AttemptFolder) -> io::Result<Option<bool>> {
    match is_locked(&folder.path().join(PID)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked.map(Some),
    }
}
