//! What is known of a machine's process, and its end. Whether it runs is the driver's answer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    qemu::{Ended, Life, Process, QemuError, Subject, Trouble},
    store::{MachineRecord, Store},
};
use serde::Serialize;

use crate::{error::OperationError, hint::Hint};

/// How long a process gets to end by itself.
pub(crate) const END_TIME: Duration = Duration::from_secs(10);

/// How long a monitor may take to say how its machine is.
const ASK_TIME: Duration = Duration::from_secs(1);

/// What is known of the machine of a record.
pub(crate) fn of(store: &Store, record: &MachineRecord) -> Life {
    subject(store, record).life()
}

pub(crate) fn subject(store: &Store, record: &MachineRecord) -> Subject {
    Subject::of(record, store.machine(&record.name))
}

/// The machine's process; `None` when it is proved that there is none.
pub fn process(store: &Store, record: &MachineRecord) -> Result<Option<Process>, OperationError> {
    let subject = subject(store, record);
    match subject.settled_life() {
        Life::Ended(_) => Ok(None),
        Life::Running(process) => Ok(Some(process)),
        Life::Unknown(doubt) => Err(failed(subject.unproven(doubt))),
    }
}

/// What is known of a machine's process, to be shown.
#[derive(Debug, Serialize)]
pub struct ProcessStatus {
    /// Whether there is one.
    pub process: ProcessState,
    /// Why it is paused, or why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_reason: Option<String>,
}

/// Whether a machine has a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It is proved that there is none.
    None,
    /// There is one.
    Runs,
    /// There is one, and the machine stands still.
    Paused,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for ProcessState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::None => "none",
            Self::Runs => "runs",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        })
    }
}

/// Asks for the process of a machine, as far as it can be told.
#[must_use]
pub fn status(store: &Store, record: &MachineRecord) -> ProcessStatus {
    let (process, process_reason) = match of(store, record) {
        Life::Ended(_) => (ProcessState::None, None),
        Life::Unknown(doubt) => (ProcessState::Unknown, Some(doubt.why)),
        Life::Running(process) => match trouble(&process) {
            Some(trouble) => (ProcessState::Paused, Some(trouble.to_string())),
            None => (ProcessState::Runs, None),
        },
    };
    ProcessStatus { process, process_reason }
}

/// Why a machine that has a process stands still, as far as its monitor answers.
pub(crate) fn trouble(process: &Process) -> Option<Trouble> {
    match process.trouble(Instant::now() + ASK_TIME) {
        Ok(trouble) => trouble,
        // It serves one client at a time, and another command may be that.
        Err(error) => {
            tracing::debug!(pid = process.pid(), %error, "the monitor does not say how the machine is");
            None
        }
    }
}

/// Adds why the machine stands still, when it does: what it did not do follows from that.
pub(crate) fn with_trouble(failure: OperationError, process: &Process) -> OperationError {
    match trouble(process) {
        Some(trouble) => failure.hint(Hint::Paused(trouble)),
        None => failure,
    }
}

/// Refuses to talk to a machine that cannot answer, with the reason.
pub(crate) fn answers(store: &Store, record: &MachineRecord) -> Result<(), OperationError> {
    let Life::Running(process) = of(store, record) else { return Ok(()) };
    let Some(trouble) = trouble(&process) else { return Ok(()) };
    let name = &record.name;
    Err(OperationError::failed(format!("machine {name} is paused: {trouble}")).hint(Hint::StartOrReimage(name.clone())))
}

/// Ends whatever process the machine has and proves that nothing of it is left.
pub(crate) fn end(store: &Store, record: &mut MachineRecord) -> Result<Ended, OperationError> {
    let ended = end_of(&subject(store, record))?;
    record.process = None;
    Ok(ended)
}

/// As [`end`], of a machine whose record may be unreadable.
pub(crate) fn end_of(subject: &Subject) -> Result<Ended, OperationError> {
    subject.end(END_TIME).map_err(failed)
}

fn failed(error: QemuError) -> OperationError {
    let hint = match &error {
        QemuError::Unproven { pid: Some(pid), .. } => Some(Hint::LookAtProcess(*pid)),
        QemuError::Unproven { pid: None, .. } => Some(Hint::SeeAllProcesses),
        _ => None,
    };
    let failure = OperationError::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
