//! The conversation with the host, as typed messages over its channel. Owns how often progress is told.

use std::{
    fs,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{
    AgentMessage, Event, FORMAT_VERSION, Hello, HostMessage, MAX_LINE, Nonce, Report, Secrets, StepId,
};
use cloud_machine_system::{SystemError, channel::Channel, kernel};

use crate::error::AgentError;

/// Where the report stays for the new system.
const REPORT_FOLDER: &str = "/run/cloud-machine";
/// How long the host may take to answer the hello.
const SECRETS_TIME: Duration = Duration::from_secs(60);

/// The host at the other end of the channel.
pub(crate) struct Host {
    channel: Box<dyn Channel>,
    started: Instant,
}

impl Host {
    /// Speaks over `channel`; times are counted from `started`.
    pub(crate) fn new(channel: Box<dyn Channel>, started: Instant) -> Self {
        Self { channel, started }
    }

    pub(crate) fn hello(&mut self, boot_id: &str) -> Result<(), AgentError> {
        self.send(&AgentMessage::Hello(Hello {
            version: FORMAT_VERSION,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_id.to_owned(),
        }))
    }

    /// Tells what is going on.
    pub(crate) fn event(&mut self, step: Option<&StepId>, message: &str) -> Result<(), AgentError> {
        kernel::log(message);
        self.progress(step, message, None)
    }

    /// Tells how far a step is; `bytes` is done and total.
    pub(crate) fn progress(
        &mut self,
        step: Option<&StepId>,
        message: &str,
        bytes: Option<(u64, u64)>,
    ) -> Result<(), AgentError> {
        self.send(&AgentMessage::Event(Event {
            at: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            step: step.cloned(),
            message: message.to_owned(),
            done: bytes.map(|(done, _)| done),
            total: bytes.map(|(_, total)| total),
        }))
    }

    /// Sends the report and keeps a copy for the new system.
    pub(crate) fn report(&mut self, report: Report) -> Result<(), AgentError> {
        let path = format!("{REPORT_FOLDER}/report.json");
        let copy = serde_json::to_vec_pretty(&report).map_err(AgentError::Encode)?;
        fs::create_dir_all(REPORT_FOLDER)
            .and_then(|()| fs::write(&path, copy))
            .map_err(SystemError::io("write", path))?;
        self.send(&AgentMessage::Report(Box::new(report)))
    }

    /// What the host tells over the channel alone, as its answer to the hello. It is read once, and then nowhere but in the
    /// memory of this process, which ends before the machine's own system starts.
    pub(crate) fn secrets(&mut self) -> Result<Secrets, AgentError> {
        match self.answer(Instant::now() + SECRETS_TIME)? {
            HostMessage::Secrets(secrets) => Ok(secrets),
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            HostMessage::Go { .. } => Err(AgentError::OutOfTurn { expected: "what answers the hello" }),
        }
    }

    /// Waits until the host accepts the report of this attempt, and gives the certificate that it made.
    pub(crate) fn wait_for_go(
        &mut self,
        expected: Option<Nonce>,
        deadline: Instant,
    ) -> Result<Option<String>, AgentError> {
        match self.answer(deadline)? {
            HostMessage::Go { nonce, certificate } if Some(nonce) == expected => Ok(certificate),
            HostMessage::Go { .. } => Err(AgentError::ForeignNonce),
            HostMessage::Stop { reason } => Err(AgentError::Refused { reason }),
            HostMessage::Secrets(_) => Err(AgentError::OutOfTurn { expected: "its word on the report" }),
        }
    }

    fn answer(&mut self, deadline: Instant) -> Result<HostMessage, AgentError> {
        let line = self.channel.receive(MAX_LINE, deadline)?;
        serde_json::from_slice(&line).map_err(AgentError::Answer)
    }

    fn send(&mut self, message: &AgentMessage) -> Result<(), AgentError> {
        let line = serde_json::to_vec(message).map_err(AgentError::Encode)?;
        Ok(self.channel.send(&line)?)
    }
}
