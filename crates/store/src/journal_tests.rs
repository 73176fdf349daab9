use super::*;

fn opened() -> (tempfile::TempDir, Store, MachineName) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    (folder, store, "demo".parse().unwrap())
}

fn outcomes(store: &Store, name: &MachineName) -> Vec<Outcome> {
    store.journal(Some(name)).unwrap().entries.iter().map(|entry| entry.outcome).collect()
}

#[test]
fn an_operation_is_under_way_until_its_end_or_until_its_lock_is_free() {
    let (_folder, store, name) = opened();
    let lock = store.lock(&name).unwrap();
    let begun = store.journal_begin(&lock, "create").unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::UnderWay]);
    store.journal_end(begun, Some("01R".to_owned()), None).unwrap();
    let failure = JournalFailure { kind: "timed_out".to_owned(), error: "é".repeat(MAX_ERROR) };
    let begun = store.journal_begin(&lock, "reimage").unwrap();
    store.journal_end(begun, None, Some(failure)).unwrap();
    let _never_ended = store.journal_begin(&lock, "stop").unwrap();
    let _nor_this = store.journal_begin(&lock, "start").unwrap();
    let expected = [Outcome::Done, Outcome::Failed, Outcome::CutOff, Outcome::UnderWay];
    assert_eq!(outcomes(&store, &name), expected, "of two without an end only the last can be under way");
    drop(lock);
    assert_eq!(outcomes(&store, &name)[3], Outcome::CutOff);
    assert!(matches!(store.journal(Some(&"other".parse().unwrap())), Err(StoreError::NoMachine { .. })));
    let all = store.journal(None).unwrap();
    assert_eq!((all.entries.len(), all.unreadable), (4, 0));
    let first = &all.entries[0];
    assert_eq!((first.operation.as_str(), first.request.as_deref()), ("create", Some("01R")));
    assert_eq!(all.entries[1].failure.as_ref().unwrap().error.len(), MAX_ERROR);
}

#[test]
fn a_line_that_was_cut_off_takes_no_other_with_it() {
    let (_folder, store, name) = opened();
    let lock = store.lock(&name).unwrap();
    let begun = store.journal_begin(&lock, "create").unwrap();
    let mut file = OpenOptions::new().append(true).open(store.newer_journal()).unwrap();
    file.write_all(b"\n{\"version\":1,\"at\":\"2026").unwrap();
    store.journal_end(begun, None, None).unwrap();
    let journal = store.journal(None).unwrap();
    assert_eq!((journal.entries.len(), journal.unreadable, journal.entries[0].outcome), (1, 1, Outcome::Done));
}

#[test]
fn the_journal_is_bounded_and_an_operation_over_its_turn_keeps_its_begin() {
    let (_folder, store, name) = opened();
    let lock = store.lock(&name).unwrap();
    let long = JournalFailure { kind: "failed".to_owned(), error: "x".repeat(MAX_ERROR) };
    let begun = store.journal_begin(&lock, "create").unwrap();
    fs::write(store.newer_journal(), [fs::read(store.newer_journal()).unwrap(), vec![b'\n'; 4 << 20]].concat())
        .unwrap();
    store.journal_end(begun, None, Some(long)).unwrap();
    assert!(store.older_journal().exists() && !store.newer_journal().exists());
    let begun = store.journal_begin(&lock, "start").unwrap();
    store.journal_end(begun, None, None).unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::Failed, Outcome::Done]);
    let begun = store.journal_begin(&lock, "stop").unwrap();
    fs::rename(store.newer_journal(), store.older_journal()).unwrap();
    store.journal_end(begun, None, None).unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::Done, Outcome::Done], "the oldest are gone");
}

#[test]
fn an_operation_is_noted_to_its_end_also_when_no_new_journal_can_be_begun() {
    let (_folder, store, name) = opened();
    std::fs::write(store.newer_journal(), vec![b'\n'; usize::try_from(MAX_SIZE).unwrap()]).unwrap();
    // Not a file that can be locked.
    std::fs::create_dir_all(store.root().join("locks/journal")).unwrap();
    let lock = store.lock(&name).unwrap();
    let begun = store.journal_begin(&lock, "stop").unwrap();
    store.journal_end(begun, None, None).unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::Done]);
}

#[test]
fn whoever_reads_makes_no_locks_and_a_lock_that_cannot_be_looked_at_holds_nothing_up() {
    let (_folder, store, name) = opened();
    let lock = store.lock(&name).unwrap();
    let _never_ended = store.journal_begin(&lock, "stop").unwrap();
    drop(lock);
    let path = store.root().join("locks/machines").join(name.as_str());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::CutOff]);
    assert!(!path.exists());
    std::os::unix::fs::symlink("/nonexistent", &path).unwrap();
    assert_eq!(outcomes(&store, &name), [Outcome::CutOff]);
}
