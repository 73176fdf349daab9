//! The agent's side of an attempt, while the agent has nobody to talk to: takes what the host hands over, stages it on the machine,
//! starts the machine again, and hands over the report that was kept there. Must not judge it.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{
    Action, AgentEvidence, AgentMessage, Algorithm, Digest, Event, FORMAT_VERSION, Hello, HostMessage, MAX_LINE,
    MAX_READ, Read, Report, ReportResult, Secrets, StepId, causes, volume,
};
use cloud_machine_recovery::{Area, State, Told, ToldRequest};

use super::{
    super::fault::{failed, refused, timed_out},
    machine::Machine,
    request::{Files, Staged},
};
use crate::{
    error::DriverError,
    socket::{LineError, Lines},
};

/// Pause before a machine that was started again is asked anew.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the new system is asked for a report that it says it has: two minutes.
const MAX_LOST: u32 = 24;
/// How long it may take to take a request back.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of the image between two words about its progress: the host takes a limited number of lines.
const EVERY: u64 = 64 << 20;

/// One attempt.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) machine: Box<dyn Machine>,
    pub(super) told: Told,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) command_line: String,
    pub(super) token: String,
    pub(super) pause: Duration,
    pub(super) until: Instant,
}

/// The host, as an agent sees it.
struct Host {
    lines: Lines,
    began: Instant,
    until: Instant,
}

impl Staging {
    /// How often a machine that was started again is asked.
    pub(super) const PAUSE: Duration = PAUSE;

    /// Serves the host at the other end of `socket` until the attempt has ended, and tells it why when it fails.
    pub(super) fn serve(&self, socket: UnixStream) {
        let mut host = Host { lines: Lines::new(socket), began: Instant::now(), until: self.until };
        if let Err(error) = self.converse(&mut host) {
            tracing::debug!(%error, "the request is given up");
            let mut why = vec![causes(&error)];
            why.extend(error.way_out);
            if let Err(error) = host.say(&AgentMessage::Report(Box::new(not_done(why)))) {
                tracing::debug!(%error, "the host was not told");
            }
        }
    }

    fn converse(&self, host: &mut Host) -> Result<(), DriverError> {
        // Which boot will report is not known yet.
        let hello =
            Hello { version: FORMAT_VERSION, agent: env!("CARGO_PKG_VERSION").to_owned(), boot_id: String::new() };
        host.say(&AgentMessage::Hello(hello))?;
        let (volume, secrets) = host.handed()?;
        let files = Files { kernel: &self.kernel, initramfs: &self.initramfs, command_line: &self.command_line };
        let staged = Staged::new(&self.told, files, (&volume, secrets), self.token.clone())?;
        if let Some(ToldRequest { token, .. }) = self.told.staged.as_ref().filter(|staged| !staged.state.is_over()) {
            // Of an attempt that was cut off before the machine was started again, or that a system without the agent does not end.
            host.tell("stage", "a request from before is taken away", None)?;
            self.machine.cancel(token, self.until)?;
        }
        host.tell("stage", "the request is staged", None)?;
        if let Err(error) = self.machine.stage(&mut |sink| stream(&staged, &volume, host, sink), self.until) {
            // It may be staged all the same, where only the answer was lost.
            return Err(self.taken_back(error));
        }
        if let Err(error) = self.machine.restart(self.until) {
            return Err(self.taken_back(error));
        }
        host.tell("restart", "the machine starts again and reimages itself", None)?;
        let report = self.report(host)?;
        host.send(&report)?;
        // The new system runs already, whatever the host says.
        host.next().map(drop)
    }

    /// Waits for the report. Any single answer may be lost on its way: what the machine has done is there for the next question.
    fn report(&self, host: &mut Host) -> Result<Vec<u8>, DriverError> {
        let mut lost = 0;
        loop {
            match self.machine.tell_after(self.until) {
                Ok(told) => match told.staged {
                    Some(ToldRequest { state: State::Done, token, .. }) if token == self.token => {
                        match self.machine.report(&self.token, self.until) {
                            Ok(report) => return Ok(report.trim_ascii_end().to_vec()),
                            Err(error) => self.go_on(&mut lost, error)?,
                        }
                    }
                    // The new system runs, and its agent, which would have ended it, is not there.
                    Some(ToldRequest { state: State::Reported, token, .. }) if token == self.token => {
                        if let Err(error) = self.machine.settle(&self.token, self.until) {
                            self.go_on(&mut lost, error)?;
                        }
                    }
                    found => self.look(&told.boot_id, found)?,
                },
                // The old system has another host key until it was reimaged for the first time.
                Err(_) => {
                    if let Ok(told) = self.machine.tell(self.until) {
                        self.look(&told.boot_id, told.staged)?;
                    }
                }
            }
            if Instant::now() + self.pause >= self.until {
                let text = "the machine was started again, and its report did not come in time: it may still be reimaging itself";
                return Err(timed_out(text));
            }
            thread::sleep(self.pause);
            host.tell("reimage", "the machine reimages itself", None)?;
        }
    }

    /// Counts an answer of the new system that was `lost`, or is an `error` that may not stay.
    fn go_on(&self, lost: &mut u32, error: DriverError) -> Result<(), DriverError> {
        *lost += 1;
        if *lost < MAX_LOST && Instant::now() + self.pause < self.until {
            tracing::debug!(%error, "the new system is asked again");
            return Ok(());
        }
        let text = format!("the machine has reimaged itself, and its report cannot be had: {}", causes(&error));
        Err(DriverError::new(error.kind, text).with_way_out(error.way_out))
    }

    /// Refuses what ends in no report.
    fn look(&self, boot_id: &str, found: Option<ToldRequest>) -> Result<(), DriverError> {
        match found {
            Some(ToldRequest { state: State::Failed, token, reason, .. }) if token == self.token => {
                let reason = reason.unwrap_or_else(|| "it does not say why".to_owned());
                Err(failed(format!("the machine gave the reimage up: {reason}")))
            }
            Some(ToldRequest { state: State::Staged, token, .. }) if token == self.token => {
                if boot_id == self.told.boot_id {
                    return Ok(());
                }
                let error = refused("the machine started again, and nothing of it began with the staged request");
                let way_out = "its initramfs needs the agent, with `recovery` in its policy";
                Err(self.taken_back(error.with_way_out(Some(way_out.to_owned()))))
            }
            Some(ToldRequest { token, .. }) if token == self.token => Ok(()),
            _ => Err(failed("another request is in the recovery partition of the machine, or none")),
        }
    }

    /// Takes the request back after `error`, so that no later start of the machine begins with it.
    fn taken_back(&self, error: DriverError) -> DriverError {
        let until = Instant::now() + CANCEL_LIMIT;
        let waits =
            |told: Told| told.staged.is_some_and(|staged| staged.state == State::Staged && staged.token == self.token);
        match self.machine.cancel(&self.token, until) {
            Ok(()) => error,
            Err(_) if self.machine.tell(until).is_ok_and(|told| !waits(told)) => error,
            Err(lost) => {
                let text =
                    format!("{}; the request is staged still, and counts at the next start: {lost}", causes(&error));
                DriverError::new(error.kind, text).with_way_out(error.way_out)
            }
        }
    }
}

/// Writes all that is staged.
fn stream(staged: &Staged, volume: &[u8], host: &mut Host, sink: &mut dyn Write) -> Result<(), DriverError> {
    let lost = |error| failed(format!("the machine does not take the request: {error}"));
    let line =
        serde_json::to_vec(&staged.control).map_err(|error| failed(format!("cannot write a request: {error}")))?;
    for bytes in [&line[..], b"\n", &staged.boot, volume] {
        sink.write_all(bytes).map_err(lost)?;
    }
    let Area { length, .. } = staged.control.image;
    let (mut offset, mut said) = (0, 0);
    while offset < length {
        let piece = host.read(Read { offset, length: MAX_READ.min(length - offset) })?;
        sink.write_all(&piece).map_err(lost)?;
        offset += piece.len() as u64;
        if offset >= said + EVERY || offset == length {
            host.tell("stage", "the request is staged", Some((offset, length)))?;
            said = offset;
        }
    }
    Ok(())
}

impl Host {
    fn say(&mut self, message: &AgentMessage) -> Result<(), DriverError> {
        let line = serde_json::to_vec(message).map_err(|error| failed(format!("cannot write a message: {error}")))?;
        self.send_line(&line)
    }

    /// Sends a report as it was kept: the host reads it as it reads every agent's.
    fn send(&mut self, report: &[u8]) -> Result<(), DriverError> {
        let report: Report = serde_json::from_slice(report)
            .map_err(|error| failed(format!("what the machine keeps as its report is none: {error}")))?;
        self.say(&AgentMessage::Report(Box::new(report)))
    }

    fn send_line(&mut self, line: &[u8]) -> Result<(), DriverError> {
        self.lines.send(line, self.until).map_err(gone)
    }

    fn tell(&mut self, step: &str, message: &str, of: Option<(u64, u64)>) -> Result<(), DriverError> {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (done, total) = of.unzip();
        let step = Some(StepId(step.to_owned()));
        self.say(&AgentMessage::Event(Event { at, step, message: message.to_owned(), done, total }))
    }

    fn next(&mut self) -> Result<HostMessage, DriverError> {
        let line = self.lines.next(self.until, &|_| MAX_LINE).map_err(gone)?;
        serde_json::from_slice(&line).map_err(|error| failed(format!("the host said what is no message: {error}")))
    }

    fn bytes(&mut self, count: u64, most: u64) -> Result<Vec<u8>, DriverError> {
        let length = usize::try_from(count.min(most)).unwrap_or_default();
        if count > most {
            return Err(failed(format!("the host hands over {count} bytes, more than {most}")));
        }
        self.lines.bytes(length, self.until).map_err(gone)
    }

    /// The volume and the secrets.
    fn handed(&mut self) -> Result<(Vec<u8>, Secrets), DriverError> {
        let HostMessage::Volume { bytes } = self.next()? else { return Err(failed("the host handed over no volume")) };
        let volume = self.bytes(bytes, volume::MAX_SIZE)?;
        let HostMessage::Secrets(secrets) = self.next()? else { return Err(failed("the host told no secrets")) };
        Ok((volume, secrets))
    }

    fn read(&mut self, read: Read) -> Result<Vec<u8>, DriverError> {
        self.say(&AgentMessage::Read(read))?;
        match self.next()? {
            HostMessage::Data { bytes } if bytes == read.length => self.bytes(bytes, MAX_READ),
            _ => Err(failed("the host did not hand over the bytes that were asked for")),
        }
    }
}

fn gone(error: LineError) -> DriverError {
    failed(format!("the host's connection is lost: {}", std::io::Error::from(error)))
}

/// The report of an attempt that no agent has begun.
fn not_done(causes: Vec<String>) -> Report {
    let none = Digest::new(Algorithm::Sha256, [0; 32]);
    Report {
        version: FORMAT_VERSION,
        request_id: None,
        nonce: None,
        machine_uuid: None,
        action: Some(Action::Reimage),
        boot_id: String::new(),
        result: ReportResult::Failed { step: None, causes },
        agent: AgentEvidence {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: None,
            kernel_release: String::new(),
            command_line_digest: none,
        },
        image: None,
        config: None,
        steps: Vec::new(),
        devices: Vec::new(),
        image_source: None,
        disks: Vec::new(),
        root: None,
        changed: Vec::new(),
        ignored_volumes: Vec::new(),
        identity: Vec::new(),
        not_covered: Vec::new(),
        timings: Vec::new(),
    }
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
