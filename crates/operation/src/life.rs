//! What is known of a machine's power, and its end. Whether it runs is the driver's answer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cloud_machine_driver::machine::{self, Driver, Ended, MachineRef, Power, Running, SETTLE, Trouble};
use cloud_machine_protocol::{MachineName, RootOfTrust};
use cloud_machine_store::{MachineRecord, Store};
use serde::Serialize;

use crate::{Operations, error::OperationError, hint::Hint};

/// How long a machine gets to end by itself.
pub(crate) const END_TIME: Duration = Duration::from_secs(10);

/// How long a machine's driver may take to say how it is.
const ASK_TIME: Duration = Duration::from_secs(1);

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

impl ProcessState {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::None, Self::Runs, Self::Paused, Self::Unknown];

    /// The state as one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Runs => "runs",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

impl Operations<'_> {
    /// Asks for the process of a machine, as far as it can be told.
    #[must_use]
    pub fn status(&self, record: &MachineRecord) -> ProcessStatus {
        match self.driver_of(record) {
            Ok(driver) => status(driver.power(&reference(self.store, record), Duration::ZERO)),
            Err(error) => ProcessStatus { process: ProcessState::Unknown, process_reason: Some(error.line()) },
        }
    }

    /// The machine that runs; `None` when it is proved that none does.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn running(&self, record: &MachineRecord) -> Result<Option<Box<dyn Running>>, OperationError> {
        running(self.driver_of(record)?, self.store, record)
    }

    /// Refuses to talk to a machine that cannot answer, with the reason.
    pub(crate) fn answers(&self, record: &MachineRecord) -> Result<(), OperationError> {
        if self.is_on(record)? {
            return Ok(());
        }
        let name = &record.name;
        let text = format!("machine {name} does not run any more: its system shut down or rebooted, or was ended");
        Err(OperationError::failed(text).hint(Hint::Start(name.clone())))
    }

    /// Whether there is somebody to talk to, as far as it can be told.
    ///
    /// # Errors
    /// When the machine stands still.
    pub(crate) fn is_on(&self, record: &MachineRecord) -> Result<bool, OperationError> {
        let name = &record.name;
        let trouble = match self.driver_of(record)?.power(&reference(self.store, record), Duration::ZERO) {
            Power::Off => return Ok(false),
            Power::On(running) => trouble(&*running),
            Power::Unknown(_) => None,
        };
        let Some(trouble) = trouble else { return Ok(true) };
        Err(if trouble == Trouble::Network {
            without_network(name)
        } else {
            let text = format!("machine {name} is paused: {trouble}");
            OperationError::failed(text).hint(Hint::StartOrReimage(name.clone()))
        })
    }
}

/// Of a machine whose system runs on, and can be asked to shut down.
pub(crate) fn without_network(name: &MachineName) -> OperationError {
    let text = format!("machine {name} runs without its network: {}", Trouble::Network);
    OperationError::failed(text).hint(Hint::StopAndStart(name.clone()))
}

/// What a driver's answer is shown as.
pub(crate) fn status(power: Power) -> ProcessStatus {
    let (process, process_reason) = match power {
        Power::Off => (ProcessState::None, None),
        Power::Unknown(doubt) => (ProcessState::Unknown, Some(doubt.why)),
        Power::On(running) => match trouble(&*running) {
            Some(trouble) => (ProcessState::Paused, Some(trouble.to_string())),
            None => (ProcessState::Runs, None),
        },
    };
    ProcessStatus { process, process_reason }
}

/// The machine of a record, as its driver is told of it.
pub(crate) fn reference(store: &Store, record: &MachineRecord) -> MachineRef {
    MachineRef::of(record, store.machine(&record.name))
}

/// The machine that runs; `None` when it is proved that none does.
pub(crate) fn running(
    driver: &dyn Driver,
    store: &Store,
    record: &MachineRecord,
) -> Result<Option<Box<dyn Running>>, OperationError> {
    let machine = reference(store, record);
    match driver.power(&machine, SETTLE) {
        Power::Off => Ok(None),
        Power::On(running) => Ok(Some(running)),
        Power::Unknown(doubt) => Err(machine::unproven(&machine, doubt).into()),
    }
}

/// Why a machine that runs stands still, as far as its driver answers.
pub(crate) fn trouble(running: &dyn Running) -> Option<Trouble> {
    match running.trouble(Instant::now() + ASK_TIME) {
        Ok(trouble) => trouble,
        // It may serve one client at a time, and another command may be that.
        Err(error) => {
            tracing::debug!(?running, %error, "the driver does not say how the machine is");
            None
        }
    }
}

/// Adds why the machine stands still, when it does: what it did not do follows from that.
pub(crate) fn with_trouble(failure: OperationError, running: &dyn Running) -> OperationError {
    match trouble(running) {
        Some(trouble) => failure.hint(Hint::Paused(trouble)),
        None => failure,
    }
}

/// Ends whatever runs of a machine and proves that nothing of it is left.
pub(crate) fn end(driver: &dyn Driver, store: &Store, record: &mut MachineRecord) -> Result<Ended, OperationError> {
    let ended = machine::end(driver, &reference(store, record), END_TIME)?;
    record.driver_state = None;
    Ok(ended)
}

/// As [`end`], for an attempt. A machine that reimages itself runs until it does, and its reports prove nothing.
pub(crate) fn end_for_attempt(
    driver: &dyn Driver,
    store: &Store,
    record: &mut MachineRecord,
) -> Result<Ended, OperationError> {
    if !is_ended_by(driver) {
        return Ok(machine::without_end(driver, &reference(store, record))?);
    }
    end(driver, store, record)
}

/// Whether a driver can end its machines: none has power over one that reimages itself.
pub(crate) fn is_ended_by(driver: &dyn Driver) -> bool {
    driver.root_of_trust() != RootOfTrust::MachineDisk
}
