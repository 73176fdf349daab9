//! What can go wrong with a QEMU process, one variant a reason. Must not decide what follows from it.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::StoreError;

use cloud_machine_child::ChildError;

/// Why a QEMU process could not be started, asked or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// The system refused an operation on a path.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// Verb and object.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file of the state folder could not be read.
    #[error(transparent)]
    File(StoreError),
    /// A value may not stand on QEMU's command line.
    #[error("invalid {what} {found:?}: expected {allowed}")]
    InvalidLaunch {
        /// Which value.
        what: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program did not end within its bounds.
    #[error(transparent)]
    Child(ChildError),
    /// QEMU ended instead of starting the machine.
    #[error("{program} ended with {status}: {stderr}")]
    Refused {
        /// The program.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// How it ended.
        status: ExitStatus,
        /// The last 4 KiB of its stderr, safe to show.
        stderr: String,
    },
    /// A program of QEMU's disk tools printed something else than it is known to print.
    #[error("{program} printed what it should not: {stderr}")]
    Output {
        /// The program.
        program: &'static str,
        /// What it printed, or what is wrong with it, safe to show.
        stderr: String,
    },
    /// QEMU neither started the machine nor ended.
    #[error("{program} did not start the machine within {} s: {stderr}", limit.as_secs())]
    Undecided {
        /// The program.
        program: String,
        /// How long was waited.
        limit: Duration,
        /// The last 4 KiB of its stderr, safe to show.
        stderr: String,
    },
    /// QEMU said that it had started the machine, and then there was no process.
    #[error("the machine's process ended right after its start: {stderr}")]
    Vanished {
        /// The last 4 KiB of its stderr, safe to show.
        stderr: String,
    },
    /// The file with the process id holds something else.
    #[error("{} holds no process id: {found}", path.display())]
    InvalidPid {
        /// The file.
        path: PathBuf,
        /// Its start, safe to show.
        found: String,
    },
    /// The process could not be opened, watched or signalled.
    #[error("cannot {operation} process {pid}")]
    Process {
        /// Verb.
        operation: &'static str,
        /// The process.
        pid: i32,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The process is there after SIGKILL: it hangs in the kernel.
    #[error("process {pid} is still there after SIGKILL")]
    StillThere {
        /// The process.
        pid: i32,
    },
    /// Nothing proves that the machine has ended.
    #[error("cannot prove that {} of machine {machine} has ended: {why}", process(*.pid))]
    Unproven {
        /// The machine.
        machine: MachineName,
        /// The process that may be it.
        pid: Option<i32>,
        /// Why, safe to show.
        why: String,
        /// What would help, where that is known.
        way_out: Option<String>,
    },
    /// The monitor did not do what it was asked.
    #[error("cannot ask QEMU's monitor for {command}")]
    Monitor {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: super::QmpError,
    },
    /// The process between the machine and its user network did not begin.
    #[error("cannot begin the process that closes the host's loopback interface to the machine: {stderr}")]
    Relay {
        /// The last 4 KiB of its stderr, safe to show.
        stderr: String,
    },
    /// The remembered verdicts about KVM could not be stored.
    #[error("cannot remember the verdict about KVM")]
    Remember(#[source] StoreError),
}

impl QemuError {
    /// Whether QEMU refused because another process holds the port on 127.0.0.1: take another port and try again.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        // QEMU has no code for it; the text is the same in QEMU 2.0 to 10.
        matches!(self, Self::Refused { stderr, .. } if stderr.contains("Could not set up host forwarding rule"))
    }

    /// Whether QEMU's bridge helper gave it no tap device on a bridge.
    pub(super) fn is_bridge_refused(&self) -> bool {
        matches!(self, Self::Refused { stderr, .. } if stderr.contains("bridge helper failed"))
    }

    /// Whether QEMU refused the sockets of the closed user network: QEMU 7.2 was the first to have them.
    pub(super) fn is_stream_refused(&self) -> bool {
        matches!(self, Self::Refused { stderr, .. } if stderr.contains("-netdev stream,"))
    }

    pub(super) fn child(error: ChildError) -> Self {
        match error {
            ChildError::Run { program, source } => Self::Run { program, source },
            other => Self::Child(other),
        }
    }

    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "every process".to_owned(), |pid| format!("process {pid}"))
}
