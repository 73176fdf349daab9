//! The request that a machine serves: which one is next, and when it is given up. Must not serve it.

use cloud_machine_protocol::Action;
use cloud_machine_store::{MachineRecord, MachineState, RequestRecord};

use crate::{
    error::{ErrorKind, OperationError},
    hint::Hint,
};

/// Failed attempts after which a machine is quarantined.
pub(crate) const MAX_FAILURES: u32 = 3;

/// Counts a failed attempt and says whether the machine is quarantined. An attempt whose process was never started says
/// nothing about the machine: the host lacked something.
pub(crate) fn count_failure(record: &mut MachineRecord) -> bool {
    let was_started = record.driver_state.is_some();
    let Some(request) = record.request.as_mut().filter(|_| was_started) else { return false };
    request.failures = request.failures.saturating_add(1);
    // A system that does not start is not tried again and again: a reimage is the way out of that.
    request.action == Action::Reimage && request.failures >= MAX_FAILURES
}

/// What is served next: the request that is under way, or `new`.
///
/// One report of a request is accepted. When that was done and the system then did not answer, another reimage is a
/// request of its own; its failures count on, or a machine whose system never answers would be reimaged for ever.
pub(crate) fn next_request(
    pending: Option<RequestRecord>,
    new: RequestRecord,
    last_report: Option<&str>,
) -> RequestRecord {
    let Some(pending) = pending else { return new };
    let is_accepted = last_report == Some(format!("reports/{}.json", pending.id).as_str());
    if is_accepted {
        return RequestRecord { failures: pending.failures, ..new };
    }
    // What is asked now counts.
    RequestRecord { attempts: pending.attempts.saturating_add(1), wanted: new.wanted, no_agent: false, ..pending }
}

/// By what the snapshot of an attempt is found again.
pub(crate) fn snapshot_attempt(request: &RequestRecord) -> String {
    format!("{}-{}", request.id, request.attempts)
}

/// Whether a request was begun and not finished.
pub(crate) fn is_pending(state: MachineState) -> bool {
    matches!(state, MachineState::Requested | MachineState::Writing | MachineState::Failed | MachineState::Quarantined)
}

/// The request that must be finished before anything else may start on this machine.
pub(crate) fn pending_action(record: &MachineRecord) -> Option<Action> {
    let request = record.request.as_ref()?;
    // A reimage whose report was accepted but whose system never answered is not pending: its disk is the image.
    (record.state == MachineState::Creating || is_pending(record.state)).then_some(request.action)
}

/// Refuses a machine of a provider that is half made, and one that is half taken over.
pub(crate) fn is_made(record: &MachineRecord) -> Result<(), OperationError> {
    let is_begun = record.state == MachineState::Creating && record.request.is_none();
    let is_half_made = match &record.remote {
        Some(remote) => remote.facts.is_none() || is_begun,
        None => record.disks.is_empty(),
    };
    if !is_half_made {
        return Ok(());
    }
    let name = &record.name;
    // Only who is there already has a host key before its first report.
    if record.remote.as_ref().is_some_and(|remote| remote.host_key.is_some()) {
        let text = format!("machine {name} is not adopted yet: that was cut off");
        return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::Adopt(name.clone())));
    }
    let text = format!("machine {name} is not made yet: its creation was cut off");
    Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::Create(name.clone())))
}

#[cfg(test)]
mod tests {
    use cloud_machine_store::Wanted;
    use jiff::Timestamp;

    use super::*;

    /// A record with one attempt that is under way.
    fn record() -> MachineRecord {
        let uuid = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
        let record = serde_json::json!({
            "version": cloud_machine_store::RECORD_VERSION, "name": "demo", "uuid": uuid, "driver": "qemu", "layers": {}, "ram": 1, "cpus": 1,
            "image": {"name": "x", "digest": format!("blake3:{}", "ab".repeat(32)), "size": 1},
            "disks": [], "drives": [], "ssh_port": 2222, "state": "writing",
            "identity": {
                "name": "demo", "machine_uuid": uuid, "machine_id": "0123456789abcdef0123456789abcdef",
                "mac": "52:54:00:12:34:56", "authorized_keys": [], "ssh_host_keys": "rotate",
            },
            "request": {"id": "A", "action": "reimage", "attempts": 1, "failures": 0, "started": Timestamp::UNIX_EPOCH},
            "host_key": null, "last_report": null, "assurance": null, "dirty": false, "created": Timestamp::UNIX_EPOCH,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn an_attempt_counts_only_when_its_process_was_started() {
        let mut record = record();
        for _ in 0..2 * MAX_FAILURES {
            assert!(!count_failure(&mut record));
        }
        assert_eq!(record.request.as_ref().map(|request| request.failures), Some(0));
        record.driver_state = Some(cloud_machine_store::DriverState::of(&"what a driver keeps").unwrap());
        let counted: Vec<bool> = (0..MAX_FAILURES).map(|_| count_failure(&mut record)).collect();
        assert_eq!(counted, [false, false, true]);
        if let Some(request) = &mut record.request {
            request.action = Action::Boot;
        }
        assert!(!count_failure(&mut record), "a system that does not start is no reason");
    }

    #[test]
    fn a_request_is_continued_until_a_report_of_it_was_accepted() {
        let request = |id: &str, attempts, failures| RequestRecord {
            id: id.to_owned(),
            action: Action::Reimage,
            attempts,
            failures,
            started: Timestamp::UNIX_EPOCH,
            wanted: Wanted::default(),
            failure: None,
            no_agent: false,
        };
        let next = |pending, last| next_request(pending, request("NEW", 1, 0), last);
        assert_eq!(next(None, None), request("NEW", 1, 0));
        assert_eq!(next(Some(request("OLD", 1, 1)), None), request("OLD", 2, 1));
        assert_eq!(next(Some(request("OLD", 2, 2)), Some("reports/OTHER.json")), request("OLD", 3, 2));
        assert_eq!(next(Some(request("OLD", 2, 2)), Some("reports/OLD.json")), request("NEW", 1, 2));
    }
}
