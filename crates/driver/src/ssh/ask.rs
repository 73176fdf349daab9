//! A question of the host to a machine, such as whether its system is up: one program, a short answer, and an end in
//! any case. Must not believe the answer.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use cloud_machine_child::{self as child, Bounds, Output};
use cloud_machine_protocol::escape;

use super::{SshError, Target, command, quoted_word, wait_banner};

/// Bytes that a machine may answer on each of its outputs.
const ANSWER: usize = 64 << 10;
/// Pause before a busy server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets the machine run a program, and gives what it said within `limit`. Each word arrives as it is.
///
/// # Errors
/// [`SshError::Child`], or those of [`command`].
pub fn ask(target: &Target, words: &[&str], limit: Duration) -> Result<Output, SshError> {
    let mut ssh = command(target)?;
    let quoted: Vec<String> = words.iter().map(|word| quoted_word(word)).collect();
    ssh.arg(quoted.join(" "));
    child::run(&mut ssh, Bounds { limit, output: ANSWER }).map_err(SshError::Child)
}

/// Waits until the machine answers with its pinned host key and runs the program `words`, and gives what that said on
/// standard output. `alive` says whether the machine's process is there; what cannot be known ends the waiting.
///
/// # Errors
/// [`SshError::Unready`] for another host key or a refused login, [`SshError::Unseen`], or those of [`ask`] and
/// [`wait_banner`].
pub fn wait_ready(
    target: &Target,
    words: &[&str],
    deadline: Instant,
    alive: &dyn Fn() -> io::Result<bool>,
) -> Result<Vec<u8>, SshError> {
    let unseen = std::cell::Cell::new(None);
    let looked = || {
        alive().unwrap_or_else(|error| {
            unseen.set(Some(error));
            false
        })
    };
    let answered = wait_banner(&target.host, target.port, deadline, &looked);
    if let Some(error) = unseen.take() {
        return Err(SshError::Unseen(error));
    }
    answered?;
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        let output = ask(target, words, left())?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        // A server that is busy for a moment ends the connection before it says who it is.
        let unheard = String::from_utf8_lossy(&output.stderr).contains("kex_exchange_identification");
        if !unheard || left().is_zero() {
            return Err(SshError::Unready { stderr: escape::tail(&output.stderr, 5) });
        }
        thread::sleep(PAUSE.min(left()));
    }
}
