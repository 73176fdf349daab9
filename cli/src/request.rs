//! The request that a machine serves: which one is next, and when it is given up. Must not serve it.

use cloud_machine_driver::store::{MachineRecord, MachineState, RequestRecord};
use cloud_machine_protocol::Action;

/// Failed attempts after which a machine is quarantined.
pub(crate) const MAX_FAILURES: u32 = 3;

/// Counts a failed attempt and says whether the machine is quarantined.
pub(crate) fn count_failure(record: &mut MachineRecord) -> bool {
    let Some(request) = record.request.as_mut() else { return false };
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
    RequestRecord { attempts: pending.attempts.saturating_add(1), ..pending }
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_request_is_continued_until_a_report_of_it_was_accepted() {
        let request = |id: &str, attempts, failures| RequestRecord {
            id: id.to_owned(),
            action: Action::Reimage,
            attempts,
            failures,
            started: Timestamp::UNIX_EPOCH,
        };
        let next = |pending, last| next_request(pending, request("NEW", 1, 0), last);
        assert_eq!(next(None, None), request("NEW", 1, 0));
        assert_eq!(next(Some(request("OLD", 1, 1)), None), request("OLD", 2, 1));
        assert_eq!(next(Some(request("OLD", 2, 2)), Some("reports/OTHER.json")), request("OLD", 3, 2));
        assert_eq!(next(Some(request("OLD", 2, 2)), Some("reports/OLD.json")), request("NEW", 1, 2));
    }
}
