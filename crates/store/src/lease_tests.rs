use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn opened() -> (tempfile::TempDir, Store, MachineName) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    (folder, store, "demo".parse().unwrap())
}

/// As if the time of the lease had passed.
fn expire(store: &Store, name: &MachineName) {
    let file = store.lease_file(name).unwrap().unwrap();
    let held = Held { until: "2026-01-01T00:00:00Z".parse().unwrap(), ..file.held.unwrap() };
    store.put_lease(name, file.number, Some(held)).unwrap();
}

fn text<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_lease_keeps_out_whoever_does_not_name_it_and_its_number_only_grows() {
    let (_folder, store, name) = opened();
    store.check_lease(&name).unwrap();
    let first = store.take_lease(&name, "ci runner 7", HOUR).unwrap();
    assert_eq!((first.number, first.owner.as_str()), (1, "ci runner 7"));
    let until = first.until;
    let held = format!("machine demo is leased to \"ci runner 7\" until {until:.0}");
    assert_eq!(text(store.check_lease(&name)), held);
    assert_eq!(
        text(store.take_lease(&name, "ci runner 7", HOUR)),
        held,
        "also for the same owner, who may be two programs"
    );
    store.clone().under_lease(1).check_lease(&name).unwrap();
    store.check_lease(&"other".parse().unwrap()).unwrap();
    store.give_back_lease(&name, 1).unwrap();
    store.give_back_lease(&name, 1).unwrap();
    store.check_lease(&name).unwrap();
    assert_eq!(text(store.clone().under_lease(1).check_lease(&name)), "lease 1 of machine demo was given back");
    assert_eq!(store.take_lease(&name, "b", HOUR).unwrap().number, 2);
    let lost = "lease 1 of machine demo is not the last one: lease 2 was taken since";
    assert_eq!(text(store.clone().under_lease(1).check_lease(&name)), lost);
    assert_eq!(text(store.renew_lease(&name, 1, HOUR)), lost);
    assert_eq!(text(store.give_back_lease(&name, 1)), lost);
    assert_eq!(text(store.clone().under_lease(9).check_lease(&name)), "lease 9 of machine demo was never taken here");
}

#[test]
fn a_lease_that_has_ended_is_free_and_no_longer_good_for_its_holder() {
    let (_folder, store, name) = opened();
    store.take_lease(&name, "a", HOUR).unwrap();
    expire(&store, &name);
    store.check_lease(&name).unwrap();
    assert!(store.leases().unwrap().is_empty());
    let lost = "lease 1 of machine demo ended at 2026-01-01T00:00:00Z";
    assert_eq!(text(store.clone().under_lease(1).check_lease(&name)), lost);
    assert_eq!(text(store.renew_lease(&name, 1, HOUR)), lost);
    assert_eq!(store.take_lease(&name, "b", HOUR).unwrap().number, 2);
}

#[test]
fn a_lease_is_renewed_from_now_and_listed() {
    let (_folder, store, name) = opened();
    let taken = store.take_lease(&name, "a", Duration::from_secs(60)).unwrap();
    let renewed = store.renew_lease(&name, 1, HOUR).unwrap();
    assert!(renewed.until > taken.until && renewed.taken == taken.taken);
    store.take_lease(&"broken".parse().unwrap(), "x", HOUR).unwrap();
    fs::write(store.leases_folder().join("broken.json"), "{").unwrap();
    let rows = store.leases().unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["broken", "demo"]);
    assert!(matches!(rows[0].lease, Err(StoreError::LeaseUnreadable { .. })));
    assert_eq!(rows[1].lease.as_ref().unwrap(), &renewed);
    assert!(store.check_lease(&"broken".parse().unwrap()).is_err(), "what cannot be read may be somebody's");
}

#[test]
fn a_lease_without_owner_or_end_is_refused() {
    let (_folder, store, name) = opened();
    for owner in ["", "a\nb", &"x".repeat(201)] {
        assert!(matches!(store.take_lease(&name, owner, HOUR), Err(StoreError::LeaseRefused { .. })), "{owner:?}");
    }
    for time in [Duration::ZERO, Duration::from_millis(999), LONGEST + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(store.take_lease(&name, "a", time), Err(StoreError::LeaseRefused { .. })), "{time:?}");
    }
    assert_eq!(store.take_lease(&name, "a", LONGEST).unwrap().number, 1);
}

#[test]
fn of_many_who_take_at_once_one_gets_it() {
    let (_folder, store, name) = opened();
    for round in 1..20 {
        let taken: usize = thread::scope(|scope| {
            let takers: Vec<_> = (0..8).map(|_| scope.spawn(|| store.take_lease(&name, "t", HOUR).is_ok())).collect();
            takers.into_iter().map(|taker| usize::from(taker.join().unwrap())).sum()
        });
        assert_eq!(taken, 1);
        store.give_back_lease(&name, round).unwrap();
    }
}

#[test]
fn a_folder_of_before_there_were_leases_is_read_and_nothing_is_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    assert!(store.leases().unwrap().is_empty());
    store.check_lease(&"demo".parse().unwrap()).unwrap();
    assert!(!store.leases_folder().exists() && !store.root().join("locks/leases").exists());
}
