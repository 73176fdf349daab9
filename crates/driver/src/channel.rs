//! The agent's port as the host sees it: one message a line, within the protocol's limits, whatever the other side
//! sends. Must not judge what a message says.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cloud_machine_protocol::{AgentMessage, HostMessage, MAX_LINE, MAX_LINES, MAX_REPORT, escape};

use crate::socket::{self, LineError, Lines};

/// Deepest nesting of a message. The deepest report has 5 levels.
const MAX_DEPTH: usize = 16;
/// How long it takes to see that nothing is there.
const LOOK: Duration = Duration::from_millis(20);
/// How a report begins: only such a line may be longer than [`MAX_LINE`].
const REPORT_START: &[u8] = br#"{"kind":"report","#;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The socket could not be connected.
    #[error("cannot connect to the agent's port {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The machine's process closed the port, perhaps in the middle of a line.
    #[error("the machine closed the agent's port")]
    Closed,
    /// No whole line came, or none could be sent, before the deadline.
    #[error("the agent was silent until the deadline")]
    TimedOut,
    /// A line is longer than its kind may be.
    #[error("a line from the agent is longer than {limit} bytes")]
    LineTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// More lines than one attempt may have.
    #[error("the agent sent more than {MAX_LINES} lines")]
    TooManyLines,
    /// A line nests deeper than any message.
    #[error("a line from the agent nests deeper than {MAX_DEPTH}: {excerpt}")]
    TooDeep {
        /// Its start, safe to show.
        excerpt: String,
    },
    /// A line is no message.
    #[error("a line from the agent is no message: {excerpt}")]
    Invalid {
        /// Its start, safe to show.
        excerpt: String,
        /// The parser's answer, safe to show.
        reason: String,
    },
    /// The agent began to speak when it had to wait.
    #[error("the agent began to speak again after its report")]
    Unfinished,
    /// A message of the host could not be turned to JSON.
    #[error("cannot write a message as JSON")]
    ToJson(#[source] serde_json::Error),
    /// The system refused to read or write.
    #[error("cannot use the agent's port")]
    Io(#[source] io::Error),
}

impl From<LineError> for ChannelError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed => Self::Closed,
            LineError::TimedOut => Self::TimedOut,
            LineError::TooLong { limit } => Self::LineTooLong { limit },
            LineError::Io(error) => Self::Io(error),
        }
    }
}

/// The host's end of the agent's port, for one attempt.
#[derive(Debug)]
pub struct AgentChannel {
    lines: Lines,
    count: usize,
}

impl AgentChannel {
    /// Connects to the port's socket. To be done before the machine's processors start: what is written while nobody
    /// is connected is lost.
    ///
    /// # Errors
    /// [`ChannelError::Connect`].
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self, ChannelError> {
        let stream =
            socket::open(path, deadline).map_err(|source| ChannelError::Connect { path: path.to_owned(), source })?;
        Ok(Self::new(stream))
    }

    /// Takes a stream that is already connected.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { lines: Lines::new(stream), count: 0 }
    }

    /// The next message. After any error but [`ChannelError::TimedOut`] the attempt has failed.
    ///
    /// # Errors
    /// Any [`ChannelError`] but `Connect` and `ToJson`.
    pub fn next(&mut self, deadline: Instant) -> Result<AgentMessage, ChannelError> {
        if self.count == MAX_LINES {
            return Err(ChannelError::TooManyLines);
        }
        let line = self.lines.next(deadline, &limit)?;
        let message = parse(&line)?;
        // As many ranges as the image has are no flood: whoever answers them counts their bytes.
        self.count += usize::from(!matches!(message, AgentMessage::Read(_)));
        Ok(message)
    }

    /// A message that came without being waited for; `None` when the agent is silent, as it has to be while it waits.
    ///
    /// # Errors
    /// Those of [`AgentChannel::next`]; [`ChannelError::Unfinished`] for the beginning of a line.
    pub fn waiting(&mut self) -> Result<Option<AgentMessage>, ChannelError> {
        match self.next(Instant::now() + LOOK) {
            Ok(message) => Ok(Some(message)),
            Err(ChannelError::TimedOut) if self.lines.held() == 0 => Ok(None),
            Err(ChannelError::TimedOut) => Err(ChannelError::Unfinished),
            Err(error) => Err(error),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`ChannelError::TimedOut`], [`ChannelError::Closed`] or [`ChannelError::Io`].
    pub fn send(&mut self, message: &HostMessage, deadline: Instant) -> Result<(), ChannelError> {
        let line = serde_json::to_vec(message).map_err(ChannelError::ToJson)?;
        Ok(self.lines.send(&line, deadline)?)
    }

    /// Sends a message and the bytes that follow it: [`HostMessage::Volume`] or [`HostMessage::Data`].
    ///
    /// # Errors
    /// Those of [`AgentChannel::send`].
    pub fn send_with(&mut self, message: &HostMessage, bytes: &[u8], deadline: Instant) -> Result<(), ChannelError> {
        self.send(message, deadline)?;
        Ok(self.lines.send_bytes(bytes, deadline)?)
    }
}

fn limit(start: &[u8]) -> usize {
    if start.starts_with(REPORT_START) { MAX_REPORT } else { MAX_LINE }
}

fn parse(line: &[u8]) -> Result<AgentMessage, ChannelError> {
    let excerpt = || escape::line(line, 120);
    if depth(line) > MAX_DEPTH {
        return Err(ChannelError::TooDeep { excerpt: excerpt() });
    }
    let invalid = |error: serde_json::Error| {
        // The parser quotes what it read, such as an unknown kind.
        let reason = escape::line(error.to_string().as_bytes(), 200);
        ChannelError::Invalid { excerpt: excerpt(), reason }
    };
    serde_json::from_slice(line).map_err(invalid)
}

/// Deepest nesting of arrays and objects in a JSON text; of other text, some number.
fn depth(text: &[u8]) -> usize {
    let (mut open, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
