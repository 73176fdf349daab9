//! The evidence of a reimage: what the host expected and what the agent reported, kept together so that the
//! verification can be repeated, and sealed one after the other. Must not judge; that is `plan::verify`.

use std::path::Path;

use cloud_machine_plan::{Expected, HOST_KEY, Rejection, gaps};
use cloud_machine_protocol::{Assurance, IdentityItem, Report, SecretPolicy, each_cause, escape, version_of};
use cloud_machine_store::{
    self as store, MAX_RECORD, MachineLock, MachineRecord, MachineState, Seal, SnapshotRecord, Standing, Store,
    StoreError,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
    rebuilt::Rebuilt,
};

/// Version of a stored evidence.
const VERSION: u32 = 3;
/// The version before, which had the same members under keys in kebab-case.
const VERSION_BEFORE: u32 = 2;

/// Expectation and report of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    version: u32,
    /// The report that was accepted before this one, when it is the one that was stored.
    previous: Option<Link>,
    /// Why there is none, although a report was accepted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    pub(crate) expected: Expected,
    pub(crate) report: Report,
}

/// The evidence of an accepted reimage, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// An agent reported.
    Report(Box<Evidence>),
    /// A provider said that it was done.
    Rebuild(Box<RebuildEvidence>),
}

impl Kept {
    fn previous(self) -> Option<Link> {
        match self {
            Self::Report(evidence) => evidence.previous,
            Self::Rebuild(evidence) => evidence.previous,
        }
    }
}

/// What a provider said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RebuildEvidence {
    version: u32,
    /// As in [`Evidence`].
    previous: Option<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
    pub(crate) rebuilt: Rebuilt,
}

impl RebuildEvidence {
    /// As the evidence that is accepted after the last one of `record`.
    pub(crate) fn after(rebuilt: Rebuilt, store: &Store, record: &MachineRecord) -> Self {
        let (previous, lost) = before(store, record);
        Self { version: VERSION, previous, lost, rebuilt }
    }

    /// Why those before it are not in its chain.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// As [`Evidence::store`].
    pub(crate) fn store(
        &self,
        store: &Store,
        lock: &MachineLock,
        name: &str,
    ) -> Result<(String, Seal), OperationError> {
        keep(&bytes(self)?, store, lock, name)
    }
}

/// The last accepted evidence of a record, or why it begins no chain with the next one.
fn before(store: &Store, record: &MachineRecord) -> (Option<Link>, Option<String>) {
    let last = record.last_report.clone().zip(record.accepted.as_ref());
    match count(store, record) {
        Ok(_) => (last.map(|(report, accepted)| Link { report, seal: accepted.seal }), None),
        Err(failure) => (None, Some(failure.line())),
    }
}

fn bytes(evidence: &impl Serialize) -> Result<Vec<u8>, OperationError> {
    serde_json::to_vec_pretty(evidence).map_err(OperationError::during(ErrorKind::Failed, "encode the evidence"))
}

/// Stores evidence as `reports/NAME.json` of the machine. Says its path relative to the machine's folder, and its seal.
fn keep(bytes: &[u8], store: &Store, lock: &MachineLock, name: &str) -> Result<(String, Seal), OperationError> {
    let seal = store.seal(bytes)?;
    Ok((store.machine(lock.name()).store_report(lock, name, bytes)?, seal))
}

/// A stored evidence, and the seal by which it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// Relative to the machine's folder.
    report: String,
    seal: Seal,
}

impl Evidence {
    pub(crate) fn new(expected: &Expected, report: &Report) -> Self {
        Self { version: VERSION, previous: None, lost: None, expected: expected.clone(), report: report.clone() }
    }

    /// As the report that is accepted after the last one of `record`. Where a report before it is missing or another, a
    /// new chain begins, and says why: what is accepted now must be possible to judge.
    pub(crate) fn after(self, store: &Store, record: &MachineRecord) -> Self {
        let (previous, lost) = before(store, record);
        Self { previous, lost, ..self }
    }

    /// Why the reports before it are not in its chain.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// Stores it as `reports/NAME.json` of the machine. Says its path relative to the machine's folder, and its seal.
    pub(crate) fn store(
        &self,
        store: &Store,
        lock: &MachineLock,
        name: &str,
    ) -> Result<(String, Seal), OperationError> {
        keep(&bytes(self)?, store, lock, name)
    }
}

/// Reads the evidence of the last accepted report, which still has to stand, and every one before it.
///
/// # Errors
/// Of [`ErrorKind::Verification`] when there is none, it no longer stands, or one of them is missing, or not the one that was
/// stored.
pub(crate) fn load(store: &Store, record: &MachineRecord) -> Result<Kept, OperationError> {
    let name = &record.name;
    let refuse = |text: String| {
        let hint = match record.state {
            MachineState::Quarantined => Hint::Quarantined { machine: name.clone(), failures: None },
            _ => Hint::ReimageForReport(name.clone()),
        };
        OperationError::new(ErrorKind::Verification, text).hint(hint)
    };
    match record.standing() {
        Standing::Stands => {}
        Standing::Never => return Err(refuse(format!("machine {name} has no accepted report"))),
        Standing::Unanswered => {
            let text = format!("the system of machine {name} did not come up after its last report was accepted");
            return Err(refuse(text));
        }
        Standing::Ended { state } => {
            let text =
                format!("another attempt began since the last accepted report of machine {name}, which is {state}");
            return Err(refuse(text));
        }
    }
    let (Some(report), Some(accepted)) = (record.last_report.clone(), &record.accepted) else {
        return Err(refuse(format!(
            "the last report of machine {name} was accepted by an older program, which did not seal it"
        )));
    };
    let (evidence, _) = chain(store, record, Link { report, seal: accepted.seal })?;
    Ok(evidence)
}

/// Refuses a report that is newer than the last one of the record: the record is an older one that was put back. Ids of
/// requests sort by time; a refused report is named so.
fn newest(store: &Store, record: &MachineRecord, last: &str) -> Result<(), OperationError> {
    let folder = store.machine(&record.name).reports();
    let failed = || OperationError::during(ErrorKind::Failed, format!("list {}", folder.display()));
    for entry in std::fs::read_dir(&folder).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name().to_string_lossy().into_owned();
        let newer = format!("reports/{name}").as_str() > last && name.ends_with(".json") && !name.contains("refused");
        // Evidence is stored before the record that names it; a cut between them leaves one of the request under way.
        let pending = record.request.as_ref().is_some_and(|request| name == format!("{}.json", request.id));
        if newer && !pending {
            let text =
                format!("{} is newer than the last report of machine {}", folder.join(name).display(), record.name);
            return Err(OperationError::new(ErrorKind::Verification, text).hint(Hint::OlderRecord));
        }
    }
    Ok(())
}

/// The evidence that `last` names, and how many there are with those before it, each of which was read and is the one that
/// was stored.
fn chain(store: &Store, record: &MachineRecord, last: Link) -> Result<(Kept, usize), OperationError> {
    newest(store, record, &last.report)?;
    let evidence = read(store, record, &last)?;
    let (mut previous, mut count) = (evidence.clone().previous(), 1);
    while let Some(link) = previous {
        // A circle is not possible: each seal is over a file that holds the seal of the one before it.
        previous = read(store, record, &link)?.previous();
        count += 1;
    }
    Ok((evidence, count))
}

/// Refuses a snapshot that is not of the disk of an accepted report: in the chain of the last one, with its image and host key.
pub(crate) fn of_snapshot(
    store: &Store,
    record: &MachineRecord,
    snapshot: &SnapshotRecord,
) -> Result<(), OperationError> {
    let refused = |why: &str| {
        let text = format!("the snapshot of machine {} is not of the disk of {}: {why}", record.name, snapshot.report);
        OperationError::new(ErrorKind::Verification, text).hint(Hint::Snapshot(record.name.clone()))
    };
    let last = record.last_report.clone().zip(record.accepted.as_ref());
    let mut next = last.map(|(report, accepted)| Link { report, seal: accepted.seal });
    while let Some(link) = next {
        let kept = read(store, record, &link)?;
        if link.report == snapshot.report {
            let Kept::Report(evidence) = kept else { return Err(refused("no agent has reported it")) };
            if evidence.expected.request.image.digest != snapshot.image {
                return Err(refused("that had another image"));
            }
            if host_key(&evidence.report)? != snapshot.host_key {
                return Err(refused("that had another SSH host key"));
            }
            return Ok(());
        }
        next = kept.previous();
    }
    Err(refused("that is not among the reports which lead to the last one"))
}

/// How many accepted reports of a machine there are, all of them sealed and as they were stored, whether or not the last
/// one still stands; 0 when none was accepted.
///
/// # Errors
/// One that is missing or another.
pub fn count(store: &Store, record: &MachineRecord) -> Result<usize, OperationError> {
    match (record.last_report.clone(), &record.accepted) {
        (Some(report), Some(accepted)) => Ok(chain(store, record, Link { report, seal: accepted.seal })?.1),
        _ => Ok(0),
    }
}

fn read(store: &Store, record: &MachineRecord, link: &Link) -> Result<Kept, OperationError> {
    let path = store.machine(&record.name).resolve(&link.report)?;
    let unread = |source: StoreError| {
        OperationError::during(ErrorKind::Verification, format!("read the evidence {}", path.display()))(source)
    };
    let bytes = store::read(&path, MAX_RECORD)
        .map_err(unread)?
        .ok_or_else(|| missing(&path).hint(Hint::NewChain(record.name.clone())))?;
    if !store.is_sealed(&bytes, link.seal).map_err(unread)? {
        let text = format!("the evidence {} is not the one that was stored", path.display());
        return Err(OperationError::new(ErrorKind::Verification, text).hint(Hint::NewChain(record.name.clone())));
    }
    parse(&bytes, &path)
}

/// Evidence as this program writes it, byte for byte: a field or a spelling of somebody else's is none of ours. What an older
/// program wrote is known by its seal alone.
fn parse(stored: &[u8], path: &Path) -> Result<Kept, OperationError> {
    let failed = || OperationError::during(ErrorKind::Verification, format!("read the evidence {}", path.display()));
    if version_of(stored).map_err(failed())? == VERSION_BEFORE {
        let mut evidence: Evidence = serde_json::from_slice(stored)
            .and_then(store::renamed)
            .and_then(serde_json::from_value)
            .map_err(failed())?;
        evidence.version = VERSION;
        return Ok(Kept::Report(Box::new(evidence)));
    }
    let value: serde_json::Value = serde_json::from_slice(stored).map_err(failed())?;
    let (kept, version, written) = if value.get("rebuilt").is_some() {
        let evidence: RebuildEvidence = serde_json::from_slice(stored).map_err(failed())?;
        let (version, written) = (evidence.version, bytes(&evidence)?);
        (Kept::Rebuild(Box::new(evidence)), version, written)
    } else {
        let evidence: Evidence = serde_json::from_slice(stored).map_err(failed())?;
        let (version, written) = (evidence.version, bytes(&evidence)?);
        (Kept::Report(Box::new(evidence)), version, written)
    };
    if version != VERSION || written != stored {
        let text = format!("the evidence {} is not written as this program writes it", path.display());
        return Err(OperationError::new(ErrorKind::Verification, text));
    }
    Ok(kept)
}

fn missing(path: &Path) -> OperationError {
    OperationError::new(ErrorKind::Verification, format!("the evidence {} is missing", path.display()))
}

/// A rejected report as a failure: of exit code 1 when the agent itself says that it failed, otherwise of exit code 5.
/// What the agent said is escaped.
pub(crate) fn rejected(rejection: &Rejection) -> OperationError {
    let escaped: Vec<String> = each_cause(rejection).map(|cause| escape::line(cause.as_bytes(), 4096)).collect();
    let text = escaped.join(": ");
    match rejection {
        Rejection::Failed { .. } => OperationError::failed(text),
        _ => OperationError::new(ErrorKind::Verification, format!("the report is refused: {text}")),
    }
}

/// Fails below the required assurance.
pub(crate) fn require(found: Assurance, required: Assurance) -> Result<(), OperationError> {
    if found >= required {
        return Ok(());
    }
    let text = format!("the assurance is {found}, {required} is required");
    Err(OperationError::new(ErrorKind::Verification, text).hint(Hint::NotCovered(found)))
}

/// What the assurance of the last accepted reimage does not cover, and what may be left on other disks since.
#[must_use]
pub fn gaps_of(record: &MachineRecord, level: Assurance) -> String {
    let last = record.system.last;
    let gaps = gaps(level, last.and_then(|last| last.tier), last.and_then(|last| last.rescue_host_key));
    let disks = record.not_covered.iter().chain(&record.not_covered_since).cloned();
    [gaps].into_iter().chain(disks).collect::<Vec<_>>().join("; ")
}

/// Notes what the report of a start says nothing about: a disk that a reimage wiped or made is one that is kept by now.
pub(crate) fn note_start(record: &mut MachineRecord, not_covered: &[String]) {
    let more = not_covered.iter().filter(|line| !record.not_covered.contains(line));
    record.not_covered_since = more.cloned().collect();
}

/// The public SSH host key of a verified report.
pub(crate) fn host_key(report: &Report) -> Result<String, OperationError> {
    host_key_item(report)
        .map(|item| item.public.clone())
        .ok_or_else(|| OperationError::new(ErrorKind::Verification, "the report has no SSH host key"))
}

/// Whether the SSH host key of a verified report was rotated or kept.
pub(crate) fn host_key_policy(report: &Report) -> Option<SecretPolicy> {
    host_key_item(report).map(|item| item.policy)
}

fn host_key_item(report: &Report) -> Option<&IdentityItem> {
    report.identity.iter().find(|item| item.name == HOST_KEY)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// A machine whose disk was wiped, and another made anew, at its last reimage.
    fn record() -> MachineRecord {
        let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
        let record = serde_json::json!({
            "version": cloud_machine_store::RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu", "layers": {}, "ram": 1, "cpus": 1,
            "image": {"name": "x", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1},
            "disks": [], "drives": [], "ssh_port": 2222, "state": "running",
            "identity": {
                "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
                "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
            },
            "request": {"id": "A", "action": "boot", "attempts": 1, "failures": 0, "started": Timestamp::UNIX_EPOCH},
            "host_key": null, "last_report": "reports/B.json", "assurance": "host-rooted", "dirty": false,
            "not_covered": ["the disk `made`: not wiped"], "created": Timestamp::UNIX_EPOCH,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn what_a_start_found_left_is_told_until_the_next_one_beside_what_the_reimage_left() {
        let mut record = record();
        let told = |record: &MachineRecord| gaps_of(record, Assurance::HostRooted);
        assert!(told(&record).ends_with("; the disk `made`: not wiped"), "{}", told(&record));
        let kept = ["the disk `made`: kept".to_owned(), "the disk `wiped`: kept".to_owned()];
        note_start(&mut record, &kept);
        let once = told(&record);
        assert!(
            once.ends_with("; the disk `made`: not wiped; the disk `made`: kept; the disk `wiped`: kept"),
            "{once}"
        );
        note_start(&mut record, &kept);
        assert_eq!(told(&record), once);
        note_start(&mut record, &["the disk `made`: not wiped".to_owned()]);
        assert!(told(&record).ends_with("; the disk `made`: not wiped"), "nothing is said twice: {}", told(&record));
    }
}
