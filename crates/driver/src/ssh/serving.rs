//! The agent on another system: put into its memory and started there over one SSH connection, whose two ends are the way to
//! it. Must not know what is said over it.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::Digest;

use super::{SshError, Target, command, quoted_word};

/// What a shell there does: it takes SIZE bytes of its standard input into a folder in memory from which programs may run, holds
/// them against DIGEST, and becomes the agent, of which no file is left. The host says nothing more before the agent does, so
/// that nothing of it can get lost in a buffer.
const SCRIPT: &str = "set -eu
umask 077
file=
for folder in /dev/shm /run /tmp; do
    case $(stat -f -c %T \"$folder\" 2>/dev/null || true) in tmpfs | ramfs) ;; *) continue ;; esac
    last=$file
    file=$(mktemp \"$folder/cloud-machine-agent.XXXXXX\")
    trap 'rm -f \"$file\"' EXIT
    if [ -z \"$last\" ]; then head -c SIZE >\"$file\"; else cat \"$last\" >\"$file\" && rm \"$last\"; fi
    echo \"DIGEST  $file\" | sha256sum -c --status || { echo \"the agent arrived damaged\" >&2; exit 1; }
    chmod 700 \"$file\"
    \"$file\" --version >/dev/null 2>&1 || continue
    exec 3<\"$file\"
    rm \"$file\"
    exec /proc/self/fd/3 serve
done
echo \"there is no folder in memory from which programs may run: /dev/shm, /run, /tmp\" >&2
exit 1
";
/// Pause before it is looked again whether the connection has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// An agent at the other end of an SSH connection, which is closed when this goes.
#[derive(Debug)]
pub struct ServingAgent {
    ssh: Child,
}

impl ServingAgent {
    /// Starts `agent`, all of whose bytes have the SHA-256 `digest`, on the system of `target`, and gives the socket to it. What
    /// `ssh` and the agent's standard error say goes into `log`.
    ///
    /// # Errors
    /// Those of [`command`], or [`SshError::Agent`] when it does not arrive. That it does not start shows when the socket is
    /// closed before the agent has said anything; `log` says why.
    pub fn start(
        target: &Target,
        agent: &[u8],
        digest: Digest,
        log: File,
        until: Instant,
    ) -> Result<(Self, UnixStream), SshError> {
        let (own, theirs) = UnixStream::pair().map_err(SshError::Agent)?;
        let input = OwnedFd::from(theirs.try_clone().map_err(SshError::Agent)?);
        let mut ssh = command(target)?;
        ssh.arg(format!("exec sh -c {}", quoted_word(&script(agent.len(), digest))))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(log);
        let serving = Self { ssh: ssh.spawn().map_err(SshError::Agent)? };
        // Its copies of the other end: the end of `ssh` would not be seen.
        drop(ssh);
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        own.set_write_timeout(Some(left)).map_err(SshError::Agent)?;
        (&own).write_all(agent).map_err(SshError::Agent)?;
        own.set_write_timeout(None).map_err(SshError::Agent)?;
        Ok((serving, own))
    }

    /// Waits until the connection has ended, and says how the agent ended; `None` when the deadline came first.
    ///
    /// # Errors
    /// When the connection's process cannot be watched.
    pub fn ended(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match self.ssh.try_wait()? {
                None if Instant::now() < until => thread::sleep(PAUSE),
                ended => return Ok(ended),
            }
        }
    }
}

impl Drop for ServingAgent {
    fn drop(&mut self) {
        // An agent that still works sees that its connection is lost.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

fn script(size: usize, digest: Digest) -> String {
    SCRIPT.replace("SIZE", &size.to_string()).replace("DIGEST", &digest.hex())
}
