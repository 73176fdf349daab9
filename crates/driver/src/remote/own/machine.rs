//! The program on a machine that stages a request, over its pinned SSH connection. Must not believe what it says.

use std::{
    fmt,
    io::{self, BufWriter, Read, Write},
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_child::{self as child, Bounds, Output};
use cloud_machine_protocol::{MAX_REPORT, escape};
use cloud_machine_recovery::Told;

use super::{
    super::fault::{failed, refused, timed_out},
    paced::Paced,
};
use crate::{
    error::{DriverError, DriverErrorKind},
    ssh::{self, Target},
};

/// The program, as its package installs it.
const PROGRAM: &str = "cloud-machine-recovery";
/// What a shell says of a program that is not there.
const ABSENT: i32 = 127;
/// What `ssh` ends with when it has no connection.
const NO_CONNECTION: i32 = 255;
/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Pause before it is looked again whether the program has ended.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take none of a request that is written to it.
const SILENCE: Duration = Duration::from_secs(90);
/// What is to be done about a machine that takes nothing more.
const STALLED: &str = "look at its network and its disk; the next `cloud-machine reimage` begins anew";
/// Lines of what was said that an error has.
const MAX_SAID: usize = 5;

/// Writes the bytes of a request.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), DriverError>;

/// A machine whose system runs and has a recovery partition. Each call ends by `until`.
pub(super) trait Machine: fmt::Debug + Send {
    /// Where the partition is, and what is staged.
    fn tell(&self, until: Instant) -> Result<Told, DriverError>;

    /// Stages the request that `fill` writes.
    fn stage(&self, fill: Fill<'_>, until: Instant) -> Result<(), DriverError>;

    /// Takes the request with this token away.
    fn cancel(&self, token: &str, until: Instant) -> Result<(), DriverError>;

    /// Has the new system say that the request with this token is done, where only that is left.
    fn settle(&self, token: &str, until: Instant) -> Result<(), DriverError>;

    /// Starts the machine again.
    fn restart(&self, until: Instant) -> Result<(), DriverError>;

    /// What the new system says, which has the host key that is kept; an error while it is not there.
    fn tell_after(&self, until: Instant) -> Result<Told, DriverError>;

    /// The report of the request with this token, from the new system.
    fn report(&self, token: &str, until: Instant) -> Result<Vec<u8>, DriverError>;
}

/// One over SSH.
#[derive(Debug)]
pub(super) struct OverSsh {
    pub(super) name: String,
    /// With the host key that its system has now.
    pub(super) now: Target,
    /// With the one that is kept.
    pub(super) after: Target,
}

impl OverSsh {
    fn ask(&self, target: &Target, words: &[&str], output: usize, until: Instant) -> Result<Vec<u8>, DriverError> {
        let mut command = ssh::command(target).map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        let quoted: Vec<String> = words.iter().map(|word| ssh::quoted_word(word)).collect();
        command.arg(quoted.join(" "));
        let limit = ASK_LIMIT.min(until.saturating_duration_since(Instant::now()));
        let Output { status, stdout, stderr, .. } = child::run(&mut command, Bounds { limit, output })
            .map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        self.ended(status, words.get(1).copied().unwrap_or_default(), &stderr)?;
        Ok(stdout)
    }

    fn ended(&self, status: ExitStatus, asked: &str, stderr: &[u8]) -> Result<(), DriverError> {
        // The host is told in a report, whose causes are one line each.
        let said = escape::tail(stderr, MAX_SAID).replace('\n', "; ");
        match status.code() {
            Some(0) => Ok(()),
            Some(ABSENT) => {
                let text = format!("machine {} has no program {PROGRAM}", self.name);
                let way_out = "install the package cloud-machine-agent in the machine's image";
                Err(refused(text).with_way_out(Some(way_out.to_owned())))
            }
            Some(NO_CONNECTION) => {
                let text = format!("cannot log in to machine {} as root: {said}", self.name);
                let key = self.now.key.as_ref().map(|key| key.with_extension("pub").display().to_string());
                let way_out = format!("root's authorized_keys on it needs the line in {}", key.unwrap_or_default());
                Err(failed(text).with_way_out(Some(way_out)))
            }
            _ => Err(failed(format!("machine {} did not {asked} ({status}): {said}", self.name))),
        }
    }

    fn told(&self, target: &Target, until: Instant) -> Result<Told, DriverError> {
        let answer = self.ask(target, &[PROGRAM, "show"], 64 << 10, until)?;
        serde_json::from_slice(&answer).map_err(|error| {
            failed(format!("machine {} does not say what recovery partition it has: {error}", self.name))
        })
    }
}

impl Machine for OverSsh {
    fn tell(&self, until: Instant) -> Result<Told, DriverError> {
        self.told(&self.now, until)
    }

    fn stage(&self, fill: Fill<'_>, until: Instant) -> Result<(), DriverError> {
        let lost = |error: io::Error| failed(format!("cannot stage a request on machine {}: {error}", self.name));
        let mut command = ssh::command(&self.now).map_err(|error| DriverError::new(DriverErrorKind::Failed, error))?;
        command.arg(format!("{PROGRAM} stage"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut ssh = command.spawn().map_err(lost)?;
        let said = ssh.stderr.take();
        let said = thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read was not said.
            let _ = said.map(|said| said.take(64 << 10).read_to_end(&mut text));
            text
        });
        let input = Paced::new(ssh.stdin.take().ok_or_else(|| failed("ssh has no input"))?, SILENCE, until);
        let mut input = BufWriter::with_capacity(1 << 20, input);
        let filled = fill(&mut input).and_then(|()| input.flush().map_err(lost));
        let (input, _) = input.into_parts();
        let (until, why) = if input.stalled() && Instant::now() < until {
            (Instant::now(), format!("took nothing more of the request for {} s", SILENCE.as_secs()))
        } else {
            (until, "did not take the request in time".to_owned())
        };
        drop(input);
        let status = loop {
            match ssh.try_wait().map_err(lost)? {
                Some(status) => break status,
                None if Instant::now() < until => thread::sleep(PAUSE),
                None => {
                    let _ = ssh.kill();
                    let _ = ssh.wait();
                    let error = timed_out(format!("machine {} {why}", self.name));
                    return Err(error.with_way_out(Some(STALLED.to_owned())));
                }
            }
        };
        // It says why nobody reads.
        self.ended(status, "stage the request", &said.join().unwrap_or_default())?;
        filled
    }

    fn cancel(&self, token: &str, until: Instant) -> Result<(), DriverError> {
        self.ask(&self.now, &[PROGRAM, "cancel", token], 64 << 10, until).map(drop)
    }

    fn settle(&self, token: &str, until: Instant) -> Result<(), DriverError> {
        self.ask(&self.after, &[PROGRAM, "cancel", token], 64 << 10, until).map(drop)
    }

    fn restart(&self, until: Instant) -> Result<(), DriverError> {
        self.ask(&self.now, &["systemctl", "reboot", "--no-block"], 64 << 10, until).map(drop)
    }

    fn tell_after(&self, until: Instant) -> Result<Told, DriverError> {
        self.told(&self.after, until)
    }

    fn report(&self, token: &str, until: Instant) -> Result<Vec<u8>, DriverError> {
        self.ask(&self.after, &[PROGRAM, "report", token], MAX_REPORT, until)
    }
}
