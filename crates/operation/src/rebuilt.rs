//! The evidence of a rebuild: no report, but what was asked of the provider and what it said. Must not ask anybody.

use cloud_machine_protocol::{Assurance, MachineName};
use cloud_machine_store::{DriverState, LastReimage, MachineRecord, SnapshotRecord, Strategy};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, OperationError};

/// What a rebuild reaches, whoever did it.
pub(crate) const REACHES: Assurance = Assurance::ProviderRebuilt;

/// Why nothing is said of what had changed.
pub(crate) const NOT_RECORDED: &str =
    "what had changed on the system disk: not recorded, since the provider wrote over it unread (strategy rebuild)";

/// What the provider was asked for, and that it said that it was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rebuilt {
    /// Name of the machine.
    machine: MachineName,
    /// Its UUID.
    uuid: String,
    /// The request.
    request: String,
    /// The driver.
    driver: String,
    /// What the driver knows the machine by.
    control: DriverState,
    /// What was written over the system disk.
    snapshot: SnapshotRecord,
    /// When the provider said that it was done.
    done: Timestamp,
}

impl Rebuilt {
    /// The rebuild of a machine from `snapshot` by a request, which the provider said at `done` to be done. `None` of a machine
    /// that this host runs.
    pub(crate) fn new(
        record: &MachineRecord,
        request: &str,
        snapshot: &SnapshotRecord,
        done: Timestamp,
    ) -> Option<Self> {
        Some(Self {
            machine: record.name.clone(),
            uuid: record.uuid.clone(),
            request: request.to_owned(),
            driver: record.driver.clone(),
            control: record.remote.as_ref()?.control.clone(),
            snapshot: snapshot.clone(),
            done,
        })
    }

    /// What was written.
    pub(crate) const fn snapshot(&self) -> &SnapshotRecord {
        &self.snapshot
    }

    /// Holds it against the record of the machine, and says in a sentence what was done.
    ///
    /// # Errors
    /// Of [`ErrorKind::Verification`], with what differs.
    pub(crate) fn judge(&self, record: &MachineRecord) -> Result<String, OperationError> {
        let Self { machine, uuid, request, driver, control, snapshot, done } = self;
        let report = format!("reports/{request}.json");
        let of_record = [
            ("the machine", *machine == record.name && *uuid == record.uuid),
            ("the request", record.last_report.as_deref() == Some(&*report)),
            ("the driver", *driver == record.driver),
            ("what has power over it", record.remote.as_ref().map(|remote| &remote.control) == Some(control)),
            ("the image", snapshot.image == record.image.digest),
            ("the host key", record.host_key.as_ref() == Some(&snapshot.host_key)),
            ("the assurance", record.assurance == Some(REACHES)),
            ("how it was done", record.system.last == Some(last())),
            ("what is not covered", record.not_covered == not_covered()),
        ];
        if let Some((what, _)) = of_record.into_iter().find(|(_, is_same)| !is_same) {
            let text = format!("{what} in the evidence of machine {}'s rebuild is not that of its record", record.name);
            return Err(OperationError::new(ErrorKind::Verification, text));
        }
        Ok(format!(
            "the provider said at {done} that it had written the snapshot of {} over the system disk: the clean disk of {}",
            snapshot.taken, snapshot.report
        ))
    }
}

/// How a machine that was rebuilt became clean.
pub(crate) const fn last() -> LastReimage {
    LastReimage { strategy: Strategy::Rebuild, tier: None, rescue_host_key: None }
}

/// What is left besides what the level does not cover.
pub(crate) fn not_covered() -> Vec<String> {
    vec!["the SSH host key, which is the snapshot's: every job since it was made could copy it".to_owned()]
}
