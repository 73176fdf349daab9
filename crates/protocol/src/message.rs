//! Lines on the virtio-serial port: one JSON object a line. Owns the limits that a reader must hold.

use serde::{Deserialize, Serialize};

use crate::{Nonce, Report, StepId};

/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "cloud-machine.agent.0";
/// Longest line that is not a report, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Longest report, in bytes.
pub const MAX_REPORT: usize = 1 << 20;
/// Most lines of one attempt.
pub const MAX_LINES: usize = 10_000;

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AgentMessage {
    /// First line of an attempt.
    Hello(Hello),
    /// Progress.
    Event(Event),
    /// Last line of an attempt.
    Report(Box<Report>),
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// [`crate::FORMAT_VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// Progress of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Event {
    /// Milliseconds since the agent started.
    pub at: u64,
    /// The step, when one has begun.
    pub step: Option<StepId>,
    /// What is going on.
    pub message: String,
    /// Bytes done, of a step that counts bytes.
    pub done: Option<u64>,
    /// Bytes in total.
    pub total: Option<u64>,
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HostMessage {
    /// The report is accepted and stored: start the machine's own system.
    Go {
        /// Nonce of the attempt.
        nonce: Nonce,
    },
    /// The report is refused: power off.
    Stop {
        /// Why.
        reason: String,
    },
}
