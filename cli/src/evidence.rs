//! The evidence of a reimage: what the host expected and what the agent reported, kept together so that the
//! verification can be repeated. Must not judge; that is `plan::verify`.

use std::fs;

use cloud_machine_driver::{
    escape,
    store::{MachineLock, MachineRecord, Store},
};
use cloud_machine_plan::{Expected, Rejection, gaps};
use cloud_machine_protocol::{Assurance, Report};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// Expectation and report of one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evidence {
    pub(crate) expected: Expected,
    pub(crate) report: Report,
}

/// Stores evidence as `reports/NAME.json` of the machine and says its path relative to the machine's folder.
pub(crate) fn store(store: &Store, lock: &MachineLock, name: &str, evidence: &Evidence) -> Result<String, Failure> {
    let bytes = serde_json::to_vec_pretty(evidence).map_err(Failure::during(Kind::Failed, "encode the evidence"))?;
    Ok(store.machine(lock.name()).store_report(lock, name, &bytes)?)
}

/// Reads the evidence of the last accepted reimage.
pub(crate) fn load(store: &Store, record: &MachineRecord) -> Result<Evidence, Failure> {
    let name = &record.name;
    let relative = record.last_report.as_ref().ok_or_else(|| {
        Failure::new(Kind::Verification, format!("machine {name} has no accepted report"))
            .hint(format!("`cloud-machine reimage {name}` makes one"))
    })?;
    let path = store.machine(name).resolve(relative)?;
    let bytes = fs::read(&path)
        .map_err(Failure::during(Kind::Verification, format!("read the evidence {}", path.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(Failure::during(Kind::Verification, format!("read the evidence {}", path.display())))
}

/// A rejected report as a failure: of exit code 1 when the agent itself says that it failed, otherwise of exit code 5.
/// What the agent said is escaped.
pub(crate) fn rejected(rejection: &Rejection) -> Failure {
    let mut text = escape::line(rejection.to_string().as_bytes(), 4096);
    let mut source = std::error::Error::source(rejection);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&escape::line(cause.to_string().as_bytes(), 4096));
        source = cause.source();
    }
    match rejection {
        Rejection::Failed { .. } => Failure::failed(text),
        _ => Failure::new(Kind::Verification, format!("the report is refused: {text}")),
    }
}

/// Fails below the required assurance.
pub(crate) fn require(found: Assurance, required: Assurance) -> Result<(), Failure> {
    if found >= required {
        return Ok(());
    }
    let text = format!("the assurance is {found}, {required} is required");
    Err(Failure::new(Kind::Verification, text).hint(format!("{found} does not cover {}", found.does_not_cover())))
}

/// What the assurance of the last accepted reimage does not cover, and what was `left` of data disks.
pub(crate) fn gaps_of(record: &MachineRecord, level: Assurance, left: &[String]) -> String {
    let gaps = gaps(level, record.system.last.map(|last| last.tier));
    [gaps].into_iter().chain(left.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// The public SSH host key of a verified report.
pub(crate) fn host_key(report: &Report) -> Result<String, Failure> {
    let item = report.identity.iter().find(|item| item.name == "ssh-host-key-ed25519");
    item.map(|item| item.public.clone())
        .ok_or_else(|| Failure::new(Kind::Verification, "the report has no SSH host key"))
}
