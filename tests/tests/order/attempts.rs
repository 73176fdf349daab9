//! What is done of an attempt before what, and what is stored when something on the way fails.

use std::time::Instant;

use cloud_machine_driver::fake::{Call, Faults};
use cloud_machine_operation::{ErrorKind, Hint};
use cloud_machine_protocol::{Assurance, HostMessage};
use cloud_machine_store::MachineState;

use crate::host::{Host, TIME};

/// What cloud-init is handed is seen by whoever asks whether the machine was used since.

#[test]
fn a_machine_whose_documents_let_others_in_counts_as_used_from_its_acceptance_on() {
    for (more, used) in [
        ("", false),
        ("}\nusers: [default]\nhostname: web\n#", false),
        ("}\nusers: [ada]\n#", true),
        ("}\nruncmd: [id]\n#", true),
    ] {
        let host = Host::new(Some);
        host.forget_facts();
        host.create_with(&host.name, more).unwrap_err();
        let (word, accepted) = host.word().unwrap();
        assert!(matches!(word, HostMessage::Go { .. }), "{more:?}: {word:?}");
        assert_eq!((accepted.state, accepted.dirty), (MachineState::Accepted, used), "{more:?}");
    }
}

#[test]
fn the_last_boot_is_gone_before_there_is_a_nonce_and_everything_is_stored_before_the_word() {
    let host = Host::new(Some);
    let error = host.create();
    assert_eq!(error.kind, ErrorKind::Failed, "no SSH answers: {}", error.line());
    let order = [Call::Power, Call::Halt, Call::Power, Call::Processor, Call::Start, Call::Resume];
    let calls = host.fake.calls();
    assert_eq!(calls.get(..order.len()), Some(&order[..]), "{calls:?}");
    assert_eq!(host.seen.lock().unwrap().state_at_start, Some(MachineState::Writing));
    let (word, record) = host.word().expect("a word");
    assert!(matches!(word, HostMessage::Go { .. }), "{word:?}");
    assert_eq!((record.state, record.assurance), (MachineState::Accepted, Some(Assurance::HostRooted)));
    let report = host.store.machine(&host.name).path().join(record.last_report.expect("a report"));
    assert!(report.is_file(), "the evidence is there before the machine may go on");
    assert!(record.host_key.is_some() && record.accepted.is_some());
    // The attempt failed at its end: the machine is off, and its failure is recorded.
    assert!(!host.fake.is_on());
    assert_eq!(host.record().state, MachineState::Failed);
}

#[test]
fn a_machine_that_stays_on_or_of_which_nobody_can_say_gets_no_nonce_and_keeps_its_record() {
    let host = Host::new(Some);
    host.create();
    host.fake.calls();
    let (before, nonces) = (host.stored(), host.seen.lock().unwrap().nonces.len());
    for (faults, calls) in [
        (Faults { unknown: true, ..Faults::default() }, vec![Call::Power]),
        (Faults { halt_fails: true, ..Faults::default() }, vec![Call::Power, Call::Halt]),
    ] {
        host.fake.plant(faults);
        let error = host.reimage(false);
        assert_eq!(error.kind, ErrorKind::Failed, "{faults:?}: {}", error.line());
        assert_eq!(host.fake.calls(), calls, "{faults:?}");
        assert!(host.stored() == before, "{faults:?}: the record is as it was");
    }
    assert_eq!(host.seen.lock().unwrap().nonces.len(), nonces);
}

#[test]
fn power_that_stays_on_after_it_was_cut_is_no_end() {
    let host = Host::new(|_| None);
    // The agent breaks off, and the machine cannot be ended: it is on from now on.
    host.fake.plant(Faults { stays_on: true, ..Faults::default() });
    let error = host.create();
    assert!(host.fake.is_on());
    assert!(
        error.hints.iter().any(|hint| matches!(hint, Hint::Also(why) if why.contains("cannot prove"))),
        "{error:?}"
    );
    host.fake.calls();
    let before = host.stored();
    let error = host.reimage(false);
    assert!(error.line().contains("cannot prove that every process of machine demo has ended"), "{}", error.line());
    assert_eq!(host.fake.calls(), [Call::Power, Call::Halt, Call::Power]);
    assert!(host.stored() == before);
}

#[test]
fn no_nonce_is_used_twice() {
    let host = Host::new(Some);
    host.create();
    host.reimage(false);
    host.reimage(true);
    let mut nonces = host.seen.lock().unwrap().nonces.clone();
    assert_eq!(nonces.len(), 3);
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 3);
}

#[test]
fn a_refused_report_is_kept_and_gets_no_word_to_go_and_three_of_them_are_enough() {
    let host = Host::new(|mut report| {
        report.disks.clear();
        Some(report)
    });
    for attempt in 1..=3 {
        let error = if attempt == 1 { host.create() } else { host.reimage(false) };
        assert_eq!(error.kind, ErrorKind::Verification, "{}", error.line());
        let kept = error.hints.iter().find_map(|hint| match hint {
            Hint::RefusedReport(path) => Some(path),
            _ => None,
        });
        assert!(kept.unwrap().is_absolute() && kept.unwrap().is_file(), "{error:?}");
        let (word, _) = host.word().expect("a word");
        assert!(matches!(word, HostMessage::Stop { .. }), "{word:?}");
        assert!(!host.fake.is_on());
        let record = host.record();
        let why = record.request.as_ref().and_then(|request| request.failure.clone());
        assert!(why.is_some_and(|why| why.starts_with("the report is refused")), "the record says why");
        assert_eq!((record.last_report, record.assurance), (None, None));
        let quarantined = error.hints.iter().any(|hint| matches!(hint, Hint::Quarantined { failures: Some(3), .. }));
        assert_eq!((quarantined, record.state == MachineState::Quarantined), (attempt == 3, attempt == 3));
    }
    host.fake.calls();
    let error = host.reimage(false);
    assert!(error.hints.iter().any(|hint| matches!(hint, Hint::Quarantined { failures: None, .. })), "{error:?}");
    assert!(host.fake.calls().is_empty(), "a quarantined machine is left alone");
    host.reimage(true);
    assert!(host.fake.calls().contains(&Call::Start), "an operator lets it try again");
}

#[test]
fn an_attempt_whose_machine_was_never_started_does_not_count() {
    let host = Host::new(Some);
    host.fake.plant(Faults { start_fails: true, ..Faults::default() });
    host.create();
    for _ in 0..4 {
        let error = host.reimage(false);
        assert!(error.line().contains("planted: it cannot be started"), "{}", error.line());
        assert_eq!(host.record().state, MachineState::Failed);
    }
}

#[test]
fn a_port_that_had_to_change_is_stored_before_the_machine_goes_on() {
    let host = Host::new(Some);
    host.fake.plant(Faults { port_taken: true, ..Faults::default() });
    host.create();
    let (stored, asked) = host.seen.lock().unwrap().ports_at_start.unwrap();
    assert_eq!(stored, asked.wrapping_add(1));
    assert_eq!(host.record().ssh_port, stored);
}

#[test]
fn a_machine_that_does_not_go_on_is_ended() {
    let host = Host::new(Some);
    host.fake.plant(Faults { resume_fails: true, ..Faults::default() });
    let error = host.create();
    assert!(error.line().contains("planted: it does not go on"), "{}", error.line());
    assert!(!host.fake.is_on());
    assert!(host.word().is_none());
}

#[test]
fn a_machine_that_stands_still_is_not_waited_for() {
    let host = Host::silent();
    host.fake.plant(Faults { stands_still: true, ..Faults::default() });
    let began = Instant::now();
    let error = host.create();
    assert!(began.elapsed() < TIME / 2, "{:?}", began.elapsed());
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.line().contains("the machine stands still: the host's file system is full"), "{}", error.line());
}
