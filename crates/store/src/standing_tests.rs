use super::*;
use crate::{RequestRecord, machine_record};

const STATES: [MachineState; 8] = [
    MachineState::Creating,
    MachineState::Requested,
    MachineState::Writing,
    MachineState::Accepted,
    MachineState::Running,
    MachineState::Stopped,
    MachineState::Failed,
    MachineState::Quarantined,
];

fn accepted(state: MachineState, request: Option<(&str, Action)>) -> MachineRecord {
    let started = "2026-11-22T12:00:00Z".parse().unwrap();
    MachineRecord {
        state,
        request: request.map(|(id, action)| RequestRecord {
            id: id.to_owned(),
            action,
            attempts: 1,
            failures: 0,
            started,
            wanted: crate::Wanted::default(),
            failure: None,
            no_agent: false,
        }),
        last_report: Some("reports/FIRST.json".to_owned()),
        assurance: Some(Assurance::HostRooted),
        ..machine_record("demo")
    }
}

#[test]
fn a_report_stands_only_until_the_next_attempt_begins() {
    for state in STATES {
        let settled = matches!(state, MachineState::Accepted | MachineState::Running | MachineState::Stopped);
        for request in [("FIRST", Action::Reimage), ("SECOND", Action::Boot)] {
            let wanted = match (settled, request.0) {
                (true, _) => Standing::Stands,
                (false, "FIRST") if state == MachineState::Failed => Standing::Unanswered,
                _ => Standing::Ended { state },
            };
            let record = accepted(state, Some(request));
            assert_eq!(record.standing(), wanted, "{state} {request:?}");
            assert_eq!(record.standing_assurance().is_some(), settled, "{state} {request:?}");
        }
        for request in [Some(("SECOND", Action::Reimage)), None] {
            let record = accepted(state, request);
            assert_eq!(record.standing(), Standing::Ended { state }, "{request:?}");
            assert_eq!(record.standing_assurance(), None);
        }
    }
}

#[test]
fn without_an_accepted_report_nothing_stands() {
    for state in STATES {
        let record = MachineRecord { last_report: None, ..accepted(state, Some(("FIRST", Action::Reimage))) };
        assert_eq!((record.standing(), record.standing_assurance()), (Standing::Never, None), "{state}");
    }
}
