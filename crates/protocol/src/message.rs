//! Lines between agent and host: one JSON object a line, on a virtio-serial port or over a connection to a rescue system, where
//! some lines are followed by bytes. Owns the limits that a reader must hold.

use serde::{Deserialize, Serialize};

use crate::{HostKeySeed, Nonce, Report, SecretUrl, StepId, secret_url::revealed};

/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "cloud-machine.agent.0";
/// Longest line that is not a report, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Longest report, in bytes.
pub const MAX_REPORT: usize = 1 << 20;
/// Most lines of one attempt.
pub const MAX_LINES: usize = 10_000;
/// Most bytes of one [`AgentMessage::Read`].
pub const MAX_READ: u64 = 4 << 20;

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AgentMessage {
    /// First line of an attempt.
    Hello(Hello),
    /// Progress.
    Event(Event),
    /// Over a connection alone: bytes of the packed image are wanted. [`HostMessage::Data`] answers.
    Read(Read),
    /// Last line of an attempt.
    Report(Box<Report>),
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::FORMAT_VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent: String,
    // The name that agents of format version 2 have for it: they are refused by their number, not by a spelling.
    #[serde(alias = "boot-id")]
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// Progress of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// A range of the packed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Where it begins.
    pub offset: u64,
    /// Bytes, from 1 to [`MAX_READ`].
    pub length: u64,
}

/// What may not lie on the volume: whole addresses whose places it states, absent when it has all of an address, and the private
/// key that a machine keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// That of the packed image.
    #[serde(default, with = "revealed", skip_serializing_if = "Option::is_none")]
    pub image: Option<SecretUrl>,
    /// That of the document behind `cloud-init-url`.
    #[serde(default, with = "revealed", skip_serializing_if = "Option::is_none")]
    pub document: Option<SecretUrl>,
    /// The SSH host key of a machine that keeps its own; only with a request that writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<HostKeySeed>,
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HostMessage {
    /// Over a connection alone, before the secrets: the volume, which is not attached there. Its bytes follow the line.
    Volume {
        /// How many, at most [`crate::volume::MAX_SIZE`].
        bytes: u64,
    },
    /// The answer to the hello, once: what may not lie on a volume that stays attached while the machine's system runs.
    Secrets(Secrets),
    /// The answer to [`AgentMessage::Read`]: the bytes that were asked for follow the line.
    Data {
        /// How many.
        bytes: u64,
    },
    /// The report is accepted and stored: start the machine's own system.
    Go {
        /// Nonce of the attempt.
        nonce: Nonce,
        /// The certificate of the host key that the report named; a boot has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
    },
    /// The report is refused: power off.
    Stop {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_cross_whole_and_are_not_printed() {
        let image = Some("https://me:hunter2@images.example/x?token=hunter2".parse().unwrap());
        let host_key = Some(HostKeySeed::new([0xab; 32]));
        let message = HostMessage::Secrets(Secrets { image, document: None, host_key });
        let line = serde_json::to_string(&message).unwrap();
        let key = "ab".repeat(32);
        let expected = format!(
            r#"{{"kind":"secrets","image":"https://me:hunter2@images.example/x?token=hunter2","host_key":"{key}"}}"#
        );
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<HostMessage>(&line).unwrap(), message);
        let shown = format!("{message:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("171") && !shown.contains("abab"), "{shown}");
        let short = serde_json::from_str::<HostMessage>(&line.replace(&key, "abcd")).unwrap_err().to_string();
        assert!(short.contains("64 hexadecimal digits") && !short.contains("abcd"), "{short}");
        let none = HostMessage::Secrets(Secrets::default());
        assert_eq!(serde_json::from_str::<HostMessage>(r#"{"kind":"secrets"}"#).unwrap(), none);
    }

    #[test]
    fn an_agent_of_the_format_before_is_known_by_its_number() {
        let line = r#"{"kind":"hello","version":2,"agent":"0.1.0","boot-id":"x"}"#;
        let AgentMessage::Hello(hello) = serde_json::from_str(line).unwrap() else { panic!("another message") };
        assert_eq!((hello.version, hello.boot_id.as_str()), (2, "x"));
    }
}
