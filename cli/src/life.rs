//! What commands ask and say of a machine's process. Owns the words; whether it runs is the driver's answer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    qemu::{Ended, Life, Process, QemuError, Subject, Trouble},
    store::{MachineRecord, Store},
};
use serde::Serialize;

use crate::failure::Failure;

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
pub(crate) fn process(store: &Store, record: &MachineRecord) -> Result<Option<Process>, Failure> {
    let subject = subject(store, record);
    match subject.settled_life() {
        Life::Ended(_) => Ok(None),
        Life::Running(process) => Ok(Some(process)),
        Life::Unknown(doubt) => Err(failed(subject.unproven(doubt))),
    }
}

/// What `list` and `show` say of a machine's process.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) process: Word,
    /// Why it is paused, or why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    None,
    Runs,
    /// There is one, and the machine stands still.
    Paused,
    Unknown,
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::None => "none",
            Self::Runs => "runs",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        })
    }
}

pub(crate) fn told(store: &Store, record: &MachineRecord) -> Told {
    let (process, process_reason) = match of(store, record) {
        Life::Ended(_) => (Word::None, None),
        Life::Unknown(doubt) => (Word::Unknown, Some(doubt.why)),
        Life::Running(process) => match trouble(&process) {
            Some(trouble) => (Word::Paused, Some(trouble.to_string())),
            None => (Word::Runs, None),
        },
    };
    Told { process, process_reason }
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
pub(crate) fn with_trouble(failure: Failure, process: &Process) -> Failure {
    match trouble(process) {
        Some(trouble) => failure.hint(format!("the machine is paused: {trouble}")),
        None => failure,
    }
}

/// Refuses to talk to a machine that cannot answer, with the reason.
pub(crate) fn answers(store: &Store, record: &MachineRecord) -> Result<(), Failure> {
    let Life::Running(process) = of(store, record) else { return Ok(()) };
    let Some(trouble) = trouble(&process) else { return Ok(()) };
    let name = &record.name;
    Err(Failure::failed(format!("machine {name} is paused: {trouble}")).hint(format!(
        "once the host can serve it, `cloud-machine start {name}` lets it go on; `cloud-machine reimage {name}` makes it new"
    )))
}

/// Ends whatever process the machine has and proves that nothing of it is left.
pub(crate) fn end(store: &Store, record: &mut MachineRecord) -> Result<Ended, Failure> {
    let ended = end_of(&subject(store, record))?;
    record.process = None;
    Ok(ended)
}

/// As [`end`], of a machine whose record may be unreadable.
pub(crate) fn end_of(subject: &Subject) -> Result<Ended, Failure> {
    subject.end(END_TIME).map_err(failed)
}

fn failed(error: QemuError) -> Failure {
    let hint = match &error {
        QemuError::Unproven { pid: Some(pid), .. } => Some(format!(
            "look at it with `ps -fp {pid}`; once it has ended, try again as the user who started the machine"
        )),
        QemuError::Unproven { pid: None, .. } => {
            Some("try again as the user who started the machine, where all processes of this host are shown".to_owned())
        }
        _ => None,
    };
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
