//! `virsh` as a program: each question with its bounds, and what its answer means. Must not decide what follows.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_child::{self as child, Bounds, ChildError};
use cloud_machine_protocol::{MachineName, escape};
use cloud_machine_store::identity::is_uuid;

use super::{
    LibvirtError,
    connection::Connection,
    domain::{self, Domain},
    words::Refusal,
};

/// How long an answer may take. The first one after its start took a daemon 8 s, in which it asks QEMU for all that it can.
const LIMIT: Duration = Duration::from_secs(60);
/// The same for what is only shown.
const SHOWN_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer: the description of a domain has a few thousand.
const MAX_ANSWER: usize = 4 << 20;
/// What of the caller's environment reaches `virsh`: where programs lie, and where a session has its daemon.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"];

/// What libvirt says that a domain does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Such as `paused`.
    pub(super) word: String,
    /// Such as `I/O error`.
    pub(super) reason: String,
}

/// `virsh` on one daemon.
#[derive(Clone, Debug)]
pub(super) struct Virsh {
    program: OsString,
    connection: Connection,
    /// How long an answer may take that is not waited for until a deadline.
    limit: Duration,
}

impl Virsh {
    pub(super) fn new(program: &OsStr, connection: Connection) -> Self {
        Self { program: program.to_owned(), connection, limit: LIMIT }
    }

    /// The same for a question that is only asked to show its answer: of many machines, one after the other.
    pub(super) fn for_showing(self) -> Self {
        Self { limit: SHOWN_LIMIT, ..self }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The UUIDs of all domains, running or not. That a machine's is not among them is the proof that libvirt has no such domain:
    /// no error is ever read as that.
    pub(super) fn uuids(&self) -> Result<Vec<String>, LibvirtError> {
        Ok(self.domains()?.into_iter().map(|(uuid, _)| uuid).collect())
    }

    /// UUID and name of each domain, running or not.
    fn domains(&self) -> Result<Vec<(String, String)>, LibvirtError> {
        let operation = "list the domains";
        let said = self.call(operation, &["list", "--all", "--uuid", "--name"], self.limit)?;
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let read = |line: &str| {
            let (uuid, name) = line.split_once(' ').unwrap_or((line, ""));
            is_uuid(uuid).then(|| (uuid.to_ascii_lowercase(), name.trim().to_owned()))
        };
        lines.map(|line| read(line).ok_or_else(|| output(operation, line))).collect()
    }

    /// The domain with `uuid`, held against the name of its machine; `None` when libvirt has none.
    pub(super) fn domain(&self, uuid: &str, machine: &MachineName) -> Result<Option<Domain>, LibvirtError> {
        let is_there = |uuids: Vec<String>| uuids.iter().any(|found| found == uuid);
        let domains = self.domains()?;
        // virsh takes a word for a name where it is no UUID that libvirt has: our domain may end before the word is used.
        if domains.iter().any(|(_, name)| name.eq_ignore_ascii_case(uuid)) {
            return Err(LibvirtError::Misnamed { name: uuid.to_owned() });
        }
        if !is_there(domains.into_iter().map(|(uuid, _)| uuid).collect()) {
            return Ok(None);
        }
        let operation = format!("read the domain {uuid}");
        match self.call(&operation, &["dumpxml", uuid], self.limit) {
            Ok(text) => domain::read(&text, machine).map(Some).map_err(|said| output(&operation, &said)),
            // It may have ended in between, and a transient one is gone then.
            Err(error) => match is_there(self.uuids()?) {
                true => Err(error),
                false => Ok(None),
            },
        }
    }

    /// Starts the domain that `file` describes, paused.
    pub(super) fn create(&self, file: &Path, until: Instant) -> Result<(), LibvirtError> {
        let words = [OsStr::new("create"), OsStr::new("--paused"), OsStr::new("--file"), file.as_os_str()];
        self.call("start a domain", &words, left(until)).map(drop)
    }

    pub(super) fn resume(&self, uuid: &str, until: Instant) -> Result<(), LibvirtError> {
        self.call("let the domain go on", &["resume", uuid], left(until)).map(drop)
    }

    /// Asks the system in it to shut down.
    pub(super) fn shut_down(&self, uuid: &str, until: Instant) -> Result<(), LibvirtError> {
        self.call("ask the domain to shut down", &["shutdown", "--mode", "acpi", uuid], left(until)).map(drop)
    }

    /// Ends it, by force at last.
    pub(super) fn destroy(&self, uuid: &str) -> Result<(), LibvirtError> {
        self.call("end the domain", &["destroy", uuid], LIMIT).map(drop)
    }

    pub(super) fn state(&self, uuid: &str, until: Instant) -> Result<State, LibvirtError> {
        let operation = "ask for the domain's state";
        let said = self.call(operation, &["domstate", "--reason", uuid], left(until))?;
        state(&said).ok_or_else(|| output(operation, &said))
    }

    /// Whether a disk of it found no room on the host.
    pub(super) fn has_no_space(&self, uuid: &str, until: Instant) -> Result<bool, LibvirtError> {
        let said = self.call("ask for the domain's disks", &["domblkerror", uuid], left(until))?;
        Ok(said.lines().any(|line| line.trim_end().ends_with(": no space")))
    }

    fn call(&self, operation: &str, words: &[impl AsRef<OsStr>], limit: Duration) -> Result<String, LibvirtError> {
        let mut command = Command::new(&self.program);
        command.env_clear().env("LC_ALL", "C");
        command.envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.args(["--quiet", "--connect"]).arg(self.connection.to_string()).args(words);
        let ended = child::run(&mut command, Bounds { limit, output: MAX_ANSWER }).map_err(LibvirtError::Child)?;
        if !ended.status.success() {
            let said = words_of(&ended.stderr);
            // The one sentence that virsh has for it, whatever the reason is.
            if said.contains("failed to connect to the hypervisor") {
                let (uri, way_out) = (self.connection.to_string(), self.connection.way_out());
                return Err(LibvirtError::Unreachable { uri, said, way_out });
            }
            return Err(LibvirtError::Refused { operation: operation.to_owned(), refusal: Refusal { said } });
        }
        String::from_utf8(ended.stdout).map_err(|error| output(operation, &escape::line(error.as_bytes(), 200)))
    }
}

impl LibvirtError {
    /// The words of a refusal, if it is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether there is no `virsh` at all.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Child(ChildError::Run { .. }))
    }
}

fn output(operation: &str, said: &str) -> LibvirtError {
    LibvirtError::Output { operation: operation.to_owned(), said: escape::line(said.as_bytes(), 200) }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).min(LIMIT)
}

/// What virsh says on stderr, without its prefix and without naming our file.
fn words_of(stderr: &[u8]) -> String {
    let tail = escape::tail(stderr, 10);
    let lines = tail.lines().map(|line| line.trim().trim_start_matches("error: "));
    let said: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("Failed to create domain from ")).collect();
    said.join("; ")
}

/// `paused (I/O error)`, and `running` where there is no reason.
fn state(said: &str) -> Option<State> {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty())?;
    let (word, reason) = match line.split_once(" (") {
        Some((word, rest)) => (word, rest.strip_suffix(')')?),
        None => (line, ""),
    };
    Some(State { word: escape::line(word.as_bytes(), 60), reason: escape::line(reason.as_bytes(), 60) })
}

#[cfg(test)]
#[path = "virsh_tests.rs"]
mod tests;
