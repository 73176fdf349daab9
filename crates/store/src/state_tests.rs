//! What every [`State`] has to hold. `open` gives it as another program sees it.

use super::*;
use crate::{MachineState, Outcome, machine_record};

const HOUR: Duration = Duration::from_secs(3600);

fn of_files(test: impl Fn(&dyn Fn() -> Box<dyn State>)) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state");
    let store = Store::open(&root).unwrap();
    let name = "demo".parse().unwrap();
    store.create(&store.lock(&name).unwrap(), &machine_record("demo")).unwrap();
    test(&|| Box::new(Store::open(&root).unwrap()));
}

#[test]
fn one_program_at_a_time_changes_a_machine_and_all_see_what_it_wrote() {
    of_files(|open| {
        let (one, other, name) = (open(), open(), "demo".parse().unwrap());
        let lock = one.lock(&name).unwrap();
        assert!(matches!(other.lock(&name), Err(StoreError::Locked { .. })));
        let second = "second".parse().unwrap();
        let foreign = other.lock(&second).unwrap();
        one.write(&lock, &MachineRecord { state: MachineState::Failed, ..machine_record("demo") }).unwrap();
        assert!(matches!(other.write(&foreign, &machine_record("demo")), Err(StoreError::WrongLock { .. })));
        assert!(matches!(other.write(&foreign, &machine_record("second")), Err(StoreError::NoMachine { .. })));
        assert!(matches!(other.read(&second), Err(StoreError::NoMachine { .. })));
        assert_eq!(other.read(&name).unwrap().state, MachineState::Failed);
        let rows = other.summaries().unwrap();
        assert_eq!((rows.len(), rows[0].summary.as_ref().unwrap().state), (1, MachineState::Failed));
        drop(lock);
        drop(other.lock(&name).unwrap());
    });
}

#[test]
fn a_lease_of_one_program_holds_for_all() {
    of_files(|open| {
        let (one, other, name) = (open(), open(), "demo".parse().unwrap());
        let lease = one.take_lease(&name, "one", HOUR).unwrap();
        assert!(matches!(other.take_lease(&name, "other", HOUR), Err(StoreError::Leased { .. })));
        assert!(matches!(other.check_lease(&name), Err(StoreError::Leased { .. })));
        assert_eq!(other.leases().unwrap()[0].lease.as_ref().unwrap(), &lease);
        assert!(other.renew_lease(&name, lease.number, HOUR).unwrap().until >= lease.until);
        other.give_back_lease(&name, lease.number).unwrap();
        other.give_back_lease(&name, lease.number).unwrap();
        one.check_lease(&name).unwrap();
        let next = open().take_lease(&name, "third", HOUR).unwrap();
        assert!(next.number > lease.number);
        assert!(matches!(one.give_back_lease(&name, lease.number), Err(StoreError::LeaseLost { .. })));
        assert!(matches!(one.renew_lease(&name, lease.number, HOUR), Err(StoreError::LeaseLost { .. })));
    });
}

#[test]
fn the_journal_has_the_operations_of_all_programs_and_tells_those_that_were_cut_off() {
    of_files(|open| {
        let (one, other, name) = (open(), open(), "demo".parse().unwrap());
        let lock = one.lock(&name).unwrap();
        let begun = one.journal_begin(&lock, "start").unwrap();
        let outcomes =
            || other.journal(Some(&name)).unwrap().entries.iter().map(|entry| entry.outcome).collect::<Vec<_>>();
        assert_eq!(outcomes(), [Outcome::UnderWay]);
        one.journal_end(begun, Some("request".to_owned()), None).unwrap();
        let _never_ended = one.journal_begin(&lock, "stop").unwrap();
        drop(lock);
        assert_eq!(outcomes(), [Outcome::Done, Outcome::CutOff]);
        let unknown = "unknown".parse().unwrap();
        assert!(matches!(other.journal(Some(&unknown)), Err(StoreError::NoMachine { .. })));
        drop(one.journal_begin(&one.lock(&unknown).unwrap(), "create").unwrap());
        assert_eq!(other.journal(Some(&unknown)).unwrap().entries.len(), 1, "its folder may be gone, or not there yet");
    });
}
