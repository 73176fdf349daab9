//! The agent on another system: put into its memory and run there over one SSH connection, whose two ends are the way to it.
//! Must not know what is said over it.

use std::{
    fs::File,
    io::{self, Read, Seek},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Digest, escape};

use crate::socket::Lines;

use super::{
    SshError, Target,
    command::{command, compressed},
    quoted_word,
};

/// What a shell there does, with programs as BusyBox has them, too: it takes SIZE bytes of its standard input into a folder in
/// memory from which programs may run, holds them against DIGEST, and becomes the agent, of which no file is left. The host says
/// nothing more before the agent does, so that nothing of it can get lost in a buffer.
const SCRIPT: &str = "set -eu
umask 077
case $(uname -m) in PROCESSOR) ;; *) echo \"the agent is for PROCESSOR, and this is $(uname -m)\" >&2; exit 1 ;; esac
file=
for folder in /dev/shm /run /tmp; do
    case $(stat -f -c %T \"$folder\" 2>/dev/null || true) in tmpfs | ramfs) ;; *) continue ;; esac
    new=$(mktemp \"$folder/cloud-machine-agent.XXXXXX\") || continue
    last=$file
    file=$new
    trap 'rm -f \"$last\" \"$file\"' EXIT
    if [ -z \"$last\" ]; then head -c SIZE >\"$file\"; else cat \"$last\" >\"$file\"; rm \"$last\"; fi
    [ \"$(sha256sum <\"$file\")\" = \"DIGEST  -\" ] || { echo \"the agent arrived damaged\" >&2; exit 1; }
    chmod 700 \"$file\"
    \"$file\" --version >/dev/null || continue
    exec 3<\"$file\"
    rm \"$file\"
    exec /proc/self/fd/3 ARGUMENTS
done
echo \"the agent runs from no folder in memory: /dev/shm, /run, /tmp\" >&2
exit 1
";
/// What serves a host.
const SERVE: &str = "serve";
/// Bytes that an agent may say in one answer.
const MAX_ANSWER: usize = 1 << 20;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// Lines of what was said that an error has.
const MAX_SAID: usize = 5;
/// How long the connection may take to end once nothing more comes.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that are kept of what `ssh` and the system at its other end say.
const MAX_LOG: u64 = 64 << 10;
/// Pause before it is looked again whether the connection has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// An agent at the other end of an SSH connection, which is closed when this goes.
#[derive(Debug)]
pub struct ServingAgent {
    ssh: Child,
    /// Keeps what is said.
    keeper: Option<JoinHandle<()>>,
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
        let (serving, own) = Self::connect(compressed(target)?, &script(agent, digest, &[SERVE]), log)?;
        send(&own, agent, until)?;
        Ok((serving, own))
    }

    /// Starts `script` on the system that `ssh` logs in to.
    fn connect(mut ssh: Command, script: &str, log: File) -> Result<(Self, UnixStream), SshError> {
        let (own, theirs) = UnixStream::pair().map_err(SshError::Agent)?;
        let input = OwnedFd::from(theirs.try_clone().map_err(SshError::Agent)?);
        ssh.arg(format!("exec sh -c {}", quoted_word(script)))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped());
        let mut serving = Self { ssh: ssh.spawn().map_err(SshError::Agent)?, keeper: None };
        let said = serving.ssh.stderr.take();
        serving.keeper = said.map(|said| thread::spawn(move || keep(said, log)));
        // Its copies of the other end: the end of `ssh` would not be seen.
        drop(ssh);
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
                None => return Ok(None),
                ended => {
                    self.all_is_kept();
                    return Ok(ended);
                }
            }
        }
    }
}

impl ServingAgent {
    /// Waits until the log has what was said, once nobody says more.
    fn all_is_kept(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Drop for ServingAgent {
    fn drop(&mut self) {
        // An agent that still works sees that its connection is lost.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
        self.all_is_kept();
    }
}

/// Brings `agent`, all of whose bytes have the SHA-256 `digest`, to the system of `target`, runs it there with `arguments`, each of
/// which arrives as it is, and gives its standard output.
///
/// # Errors
/// As [`stream_agent`], and [`SshError::AgentTooMuch`] when it says more than 1 MiB.
pub fn run_agent(
    target: &Target,
    agent: &[u8],
    digest: Digest,
    arguments: &[&str],
    until: Instant,
) -> Result<Vec<u8>, SshError> {
    let mut answer = Vec::new();
    let mut take = |piece: &[u8]| {
        if answer.len() + piece.len() > MAX_ANSWER {
            return Err(SshError::AgentTooMuch { limit: MAX_ANSWER });
        }
        answer.extend_from_slice(piece);
        Ok(())
    };
    let left = until.saturating_duration_since(Instant::now());
    stream_agent(target, agent, digest, arguments, left, &mut |piece| {
        if Instant::now() >= until {
            return Err(SshError::AgentSilent { place: target.host.place(target.port) });
        }
        take(piece)
    })?;
    Ok(answer)
}

/// As [`run_agent`], for an answer of any length: each piece of it is given to `take`, whose first error ends the agent. The
/// agent may take `patience` to arrive, and again between two pieces.
///
/// # Errors
/// Those of [`command`] and of `take`; [`SshError::AgentFailed`] with the end of what it said on standard error, when it does not
/// arrive or does not end well; [`SshError::AgentSilent`].
pub fn stream_agent(
    target: &Target,
    agent: &[u8],
    digest: Digest,
    arguments: &[&str],
    patience: Duration,
    take: &mut dyn FnMut(&[u8]) -> Result<(), SshError>,
) -> Result<(), SshError> {
    let mut log = tempfile::tempfile().map_err(SshError::Agent)?;
    let ours = log.try_clone().map_err(SshError::Agent)?;
    let (mut serving, own) = ServingAgent::connect(command(target)?, &script(agent, digest, arguments), ours)?;
    let silent = || SshError::AgentSilent { place: target.host.place(target.port) };
    match send(&own, agent, Instant::now() + patience).and_then(|()| receive(&own, patience, take)) {
        // It shows in the way it ended why the other end is closed.
        Ok(()) => {}
        Err(SshError::Agent(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(SshError::Agent(error)) if error.kind() == io::ErrorKind::TimedOut => return Err(silent()),
        Err(error) => return Err(error),
    }
    drop(own);
    let ended = serving.ended(Instant::now() + END_LIMIT).map_err(SshError::Agent)?.ok_or_else(silent)?;
    if ended.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut said)).map_err(SshError::Agent)?;
    let place = target.host.place(target.port);
    let asked = arguments.first().copied().unwrap_or_default().to_owned();
    Err(SshError::AgentFailed { place, asked, ended: ended.to_string(), stderr: escape::tail(&said, MAX_SAID) })
}

fn send(own: &UnixStream, agent: &[u8], until: Instant) -> Result<(), SshError> {
    let mut lines = Lines::new(own.try_clone().map_err(SshError::Agent)?);
    lines.send_bytes(agent, until).map_err(|error| SshError::Agent(error.into()))?;
    own.set_write_timeout(None).map_err(SshError::Agent)
}

/// Reads to the end of what is said.
fn receive(
    mut own: &UnixStream,
    patience: Duration,
    take: &mut dyn FnMut(&[u8]) -> Result<(), SshError>,
) -> Result<(), SshError> {
    own.shutdown(Shutdown::Write).map_err(SshError::Agent)?;
    own.set_read_timeout(Some(patience.max(PAUSE))).map_err(SshError::Agent)?;
    let mut piece = vec![0; PIECE];
    loop {
        match own.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => take(piece.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            // How a socket says that its timeout has passed.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(SshError::Agent(io::ErrorKind::TimedOut.into()));
            }
            Err(error) => return Err(SshError::Agent(error)),
        }
    }
}

/// Keeps the beginning of what is said there; the rest is read, so that nobody waits for a reader, and not kept.
fn keep(mut said: ChildStderr, mut log: File) {
    let kept = io::copy(&mut (&mut said).take(MAX_LOG), &mut log);
    if let Err(error) = kept.and_then(|_| io::copy(&mut said, &mut io::sink())) {
        tracing::debug!(%error, "what the system of the agent says is not kept");
    }
}

fn script(agent: &[u8], digest: Digest, arguments: &[&str]) -> String {
    let script = SCRIPT.replace("SIZE", &agent.len().to_string()).replace("DIGEST", &digest.hex());
    let words: Vec<String> = arguments.iter().map(|word| quoted_word(word)).collect();
    // The last, so that nothing is replaced in them.
    script.replace("PROCESSOR", processor(agent)).replace("ARGUMENTS", &words.join(" "))
}

/// The processors that `agent` is for, as a shell's pattern for what uname(1) says: a shell may read a program that the kernel
/// does not start as a script, and do whatever its bytes happen to say.
fn processor(agent: &[u8]) -> &'static str {
    // e_machine (elf(5)).
    match agent.get(18..20) {
        Some([62, 0]) => "x86_64",
        Some([183, 0]) => "aarch64",
        _ => "*",
    }
}
