//! QEMU's monitor over its socket (QEMU Machine Protocol): greeting, commands, answers. Must not interpret events.

use std::{
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use cloud_machine_protocol::escape;
use serde_json::{Value, json};

use crate::socket::{self, LineError, Lines};

/// Longest line that is read; `query-status` and its like need a few hundred bytes.
const MAX_LINE: usize = 1 << 20;

/// Why the monitor did not answer as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The socket could not be connected.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// QEMU closed the monitor.
    #[error("the monitor was closed")]
    Closed,
    /// No answer came before the deadline. The monitor serves one client at a time.
    #[error("the monitor was silent until the deadline")]
    TimedOut,
    /// An answer is longer than any that is expected.
    #[error("the monitor sent a line of more than {limit} bytes")]
    LineTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// What came is no message of the protocol.
    #[error("the monitor sent no message of its protocol: {excerpt}")]
    Invalid {
        /// Its start, safe to show.
        excerpt: String,
    },
    /// QEMU refused the command.
    #[error("QEMU refused it ({class}): {description}")]
    Refused {
        /// QEMU's error class.
        class: String,
        /// QEMU's words, safe to show.
        description: String,
    },
    /// The system refused to read or write.
    #[error("cannot use the monitor's socket")]
    Io(#[source] io::Error),
}

impl From<LineError> for QmpError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed => Self::Closed,
            LineError::TimedOut => Self::TimedOut,
            LineError::TooLong { limit } => Self::LineTooLong { limit },
            LineError::Io(error) => Self::Io(error),
        }
    }
}

/// A connection to the monitor, ready for commands.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    last_id: u64,
}

impl Qmp {
    /// Connects, reads the greeting and leaves the negotiation mode.
    ///
    /// # Errors
    /// Any [`QmpError`].
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self, QmpError> {
        let stream =
            socket::open(path, deadline).map_err(|source| QmpError::Connect { path: path.to_owned(), source })?;
        let mut lines = Lines::new(stream);
        let greeting = read(&mut lines, deadline)?;
        if greeting.get("QMP").is_none() {
            return Err(invalid(greeting.to_string().as_bytes()));
        }
        let mut qmp = Self { lines, last_id: 0 };
        qmp.execute("qmp_capabilities", &json!({}), deadline)?;
        Ok(qmp)
    }

    /// Executes a command and gives what it returns.
    ///
    /// # Errors
    /// Any [`QmpError`] but `Connect`.
    pub fn execute(&mut self, command: &str, arguments: &Value, deadline: Instant) -> Result<Value, QmpError> {
        self.last_id += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": self.last_id});
        self.lines.send(request.to_string().as_bytes(), deadline)?;
        loop {
            let mut answer = read(&mut self.lines, deadline)?;
            // Events come between; an answer to a command that was given up carries another id.
            if answer.get("id").and_then(Value::as_u64) != Some(self.last_id) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                let text = |key: &str| {
                    let text = error.get(key).and_then(Value::as_str).unwrap_or_default();
                    escape::line(text.as_bytes(), 500)
                };
                return Err(QmpError::Refused { class: text("class"), description: text("desc") });
            }
            return match answer.get_mut("return") {
                Some(value) => Ok(value.take()),
                None => Err(invalid(answer.to_string().as_bytes())),
            };
        }
    }

    /// Starts the processors of a machine that was launched paused.
    ///
    /// # Errors
    /// Any [`QmpError`] but `Connect`.
    pub fn cont(&mut self, deadline: Instant) -> Result<(), QmpError> {
        self.execute("cont", &json!({}), deadline).map(drop)
    }

    /// Presses the power button; the machine's system may ignore it.
    ///
    /// # Errors
    /// Any [`QmpError`] but `Connect`.
    pub fn power_down(&mut self, deadline: Instant) -> Result<(), QmpError> {
        self.execute("system_powerdown", &json!({}), deadline).map(drop)
    }

    /// Ends the process. That the monitor closes without an answer is the answer.
    ///
    /// # Errors
    /// Any [`QmpError`] but `Connect` and `Closed`.
    pub fn quit(&mut self, deadline: Instant) -> Result<(), QmpError> {
        match self.execute("quit", &json!({}), deadline) {
            Ok(_) | Err(QmpError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// QEMU's word for what the machine does, such as `prelaunch`, `running`, `paused` or `shutdown`.
    ///
    /// # Errors
    /// Any [`QmpError`] but `Connect`.
    pub fn query_status(&mut self, deadline: Instant) -> Result<String, QmpError> {
        let answer = self.execute("query-status", &json!({}), deadline)?;
        let status = answer.get("status").and_then(Value::as_str).map(str::to_owned);
        status.ok_or_else(|| invalid(answer.to_string().as_bytes()))
    }
}

fn read(lines: &mut Lines, deadline: Instant) -> Result<Value, QmpError> {
    let line = lines.next(deadline, &|_| MAX_LINE)?;
    serde_json::from_slice(&line).map_err(|_| invalid(&line))
}

fn invalid(line: &[u8]) -> QmpError {
    QmpError::Invalid { excerpt: escape::line(line, 120) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        os::unix::net::UnixListener,
        thread,
        time::Duration,
    };

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

    /// A monitor that says the greeting, then one answer for each line it reads; `ID` in it becomes the request's id.
    fn monitor(greeting: &'static str, answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{greeting}").unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                let Some(Ok(request)) = requests.next() else { return };
                let request: Value = serde_json::from_str(&request).unwrap();
                writeln!(stream, "{}", answer.replace("ID", &request["id"].to_string())).unwrap();
            }
            requests.next();
        });
        (folder, path)
    }

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn events_and_foreign_answers_are_passed_over() {
        let (_folder, path) = monitor(
            GREETING,
            &[
                r#"{"return": {}, "id": ID}"#,
                "{\"event\": \"RESUME\"}\n{\"return\": 1, \"id\": 99}\n{\"return\": {\"status\": \"running\"}, \"id\": ID}",
            ],
        );
        let mut qmp = Qmp::connect(&path, deadline()).unwrap();
        assert_eq!(qmp.query_status(deadline()).unwrap(), "running");
    }

    #[test]
    fn a_refusal_carries_qemus_words_harmless() {
        let (_folder, path) = monitor(
            GREETING,
            &[
                r#"{"return": {}, "id": ID}"#,
                r#"{"error": {"class": "GenericError", "desc": "no \u001b[31m"}, "id": ID}"#,
            ],
        );
        let error = Qmp::connect(&path, deadline()).unwrap().cont(deadline()).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused it (GenericError): no \\u{1b}[31m");
    }

    #[test]
    fn whatever_is_no_monitor_is_an_error_and_never_a_hang() {
        let soon = || Instant::now() + Duration::from_millis(100);
        for (greeting, shown) in [
            ("{}", "the monitor sent no message of its protocol: {}"),
            ("SSH-2.0-x", "the monitor sent no message of its protocol: SSH-2.0-x"),
            (GREETING, "the monitor was silent until the deadline"),
        ] {
            let (_folder, path) = monitor(greeting, &["{\"event\": \"RESUME\"}"]);
            assert_eq!(Qmp::connect(&path, soon()).unwrap_err().to_string(), shown);
        }
        let (_folder, path) = monitor(GREETING, &[]);
        assert_eq!(Qmp::connect(&path, soon()).unwrap_err().to_string(), "the monitor was closed");
        let error = Qmp::connect(Path::new("/nonexistent/qmp.sock"), soon()).unwrap_err();
        assert_eq!(error.to_string(), "cannot connect to /nonexistent/qmp.sock");
    }
}
