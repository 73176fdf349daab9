use std::os::unix::fs::symlink;

use cloud_machine_protocol::MachineName;

use super::*;
use crate::{MachineState, machine_record};

/// More machines than are read without an index, all of them old enough for it.
fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state")).unwrap();
    for number in 0..=MAX_UNINDEXED {
        let name = format!("m{number:03}").parse().unwrap();
        let lock = store.lock(&name).unwrap();
        store.create(&lock, &machine_record(name.as_str())).unwrap();
    }
    (folder, store)
}

/// Makes an index as if all files were old: their true looks, and a clock that is far ahead.
fn index(store: &Store) {
    index_with(store, |_| ());
}

/// The same, of what `change` makes of each summary.
fn index_with(store: &Store, change: impl Fn(&mut MachineSummary)) {
    let opened = File::open(store.machines()).unwrap();
    let rows: Vec<Row> = store
        .summaries()
        .unwrap()
        .into_iter()
        .map(|mut row| {
            row.summary.as_deref_mut().map(&change).unwrap();
            Row { indexed: Indexed::Anew(Box::new(looks(&opened, &row.name).unwrap())), row }
        })
        .collect();
    let names: Vec<String> = rows.iter().map(|row| row.row.name.clone()).collect();
    store.write_index(&matched(&names, lines(b"")), &rows).unwrap();
}

fn row(store: &Store, name: &str) -> Result<Box<MachineSummary>, StoreError> {
    store.summaries().unwrap().into_iter().find(|row| row.name == name).unwrap().summary
}

fn record(store: &Store, name: &str) -> std::path::PathBuf {
    store.machine(&name.parse().unwrap()).record()
}

#[test]
fn the_index_says_what_the_records_say() {
    let (_folder, store) = opened();
    let text = |store: &Store| format!("{:?}", store.summaries().unwrap());
    let read = text(&store);
    assert!(!store.index().exists(), "what was changed just now is not trusted to look different next time");
    index(&store);
    assert_eq!(lines(&store.read_index()).count(), MAX_UNINDEXED + 1);
    assert_eq!(text(&store), read);
}

/// Without this the tests below would hold for an index that is never used.
#[test]
fn a_row_of_the_index_is_used_while_the_files_look_the_same() {
    let (_folder, store) = opened();
    index_with(&store, |summary| summary.image = "planted".parse().unwrap());
    assert_eq!(row(&store, "m007").unwrap().image.as_str(), "planted");
}

#[test]
fn an_index_that_was_changed_by_hand_is_not_believed() {
    let (_folder, store) = opened();
    index(&store);
    let text = fs::read_to_string(store.index()).unwrap();
    let changed = text.replace("debian-12", "planted").replace("\tcreating\t", "\trunning\t");
    assert_ne!(changed, text);
    fs::write(store.index(), changed).unwrap();
    let found = row(&store, "m007").unwrap();
    assert_eq!((found.image.as_str(), found.state), ("debian-12", MachineState::Creating));
}

#[test]
fn a_change_by_any_hand_is_seen_at_once() {
    let (_folder, store) = opened();
    index(&store);
    // By this program.
    let name: MachineName = "m001".parse().unwrap();
    let lock = store.lock(&name).unwrap();
    store.write(&lock, &MachineRecord { state: MachineState::Quarantined, ..machine_record("m001") }).unwrap();
    assert_eq!(row(&store, "m001").unwrap().state, MachineState::Quarantined);
    // By an editor that writes in place, to a text of the same length.
    let path = record(&store, "m002");
    let text = fs::read_to_string(&path).unwrap().replace("\"creating\"", "\"accepted\"");
    fs::write(&path, text).unwrap();
    assert_eq!(row(&store, "m002").unwrap().state, MachineState::Accepted);
    // By damage.
    fs::write(record(&store, "m003"), "{").unwrap();
    assert!(matches!(row(&store, "m003"), Err(StoreError::InvalidJson { .. })));
    fs::remove_file(record(&store, "m004")).unwrap();
    assert!(matches!(row(&store, "m004"), Err(StoreError::NoRecord { .. })));
    fs::remove_file(record(&store, "m005")).unwrap();
    symlink(record(&store, "m006"), record(&store, "m005")).unwrap();
    assert!(matches!(row(&store, "m005"), Err(StoreError::NotOrdinary { .. })));
    // A machine that is gone, and its name on another one's folder.
    fs::remove_dir_all(store.machines().join("m008")).unwrap();
    fs::rename(store.machines().join("m009"), store.machines().join("m008")).unwrap();
    assert!(matches!(row(&store, "m008"), Err(StoreError::InvalidRecord { .. })));
    assert!(!store.summaries().unwrap().iter().any(|row| row.name == "m009"));
}

#[test]
fn a_disk_that_comes_or_goes_is_seen_at_once_and_one_behind_a_link_is_never_remembered() {
    let (_folder, store) = opened();
    index(&store);
    assert_eq!(row(&store, "m001").unwrap().disks, Some(Vec::new()));
    let disk = store.machine(&"m001".parse().unwrap()).disks().join("system.raw");
    fs::write(&disk, "").unwrap();
    let found = fs::metadata(&disk).unwrap();
    let expected = (found.dev(), found.ino());
    assert_eq!(row(&store, "m001").unwrap().disks, Some(vec![expected]));
    fs::rename(&disk, store.root().join("elsewhere")).unwrap();
    symlink(store.root().join("elsewhere"), &disk).unwrap();
    assert_eq!(row(&store, "m001").unwrap().disks, None);
}

#[test]
fn a_file_with_the_process_id_of_an_attempt_is_known_as_a_disk_is() {
    let (_folder, store) = opened();
    let name = "m001".parse().unwrap();
    let attempt = store.machine(&name).new_attempt(&store.lock(&name).unwrap()).unwrap();
    fs::write(attempt.pid_file(), "7").unwrap();
    let found = fs::metadata(attempt.pid_file()).unwrap();
    index(&store);
    assert_eq!(row(&store, "m001").unwrap().disks, Some(vec![(found.dev(), found.ino())]));
    assert_eq!(row(&store, "m002").unwrap().disks, Some(Vec::new()));
}

#[test]
fn an_index_that_is_damaged_cut_off_or_of_another_version_is_as_if_it_were_not_there() {
    let (_folder, store) = opened();
    let read = format!("{:?}", store.summaries().unwrap());
    index(&store);
    let whole = fs::read(store.index()).unwrap();
    let zeros = vec![0; whole.len()];
    let other = String::from_utf8(whole.clone())
        .unwrap()
        .replacen("\"version\":3", "\"version\":9", 1)
        .replace("debian-12", "x");
    for bytes in [b"".as_slice(), &whole[..1], &whole[..whole.len() / 2], &zeros, other.as_bytes(), b"\n\n{}"] {
        fs::write(store.index(), bytes).unwrap();
        assert_eq!(format!("{:?}", store.summaries().unwrap()), read);
    }
    fs::remove_file(store.index()).unwrap();
    fs::create_dir(store.index()).unwrap();
    assert_eq!(format!("{:?}", store.summaries().unwrap()), read);
}

#[test]
fn an_index_that_is_written_again_keeps_the_lines_that_counted() {
    let (_folder, store) = opened();
    index(&store);
    let before = fs::read_to_string(store.index()).unwrap();
    let names = store
        .machine_folders()
        .map(|mut names| {
            names.sort_unstable();
            names
        })
        .unwrap();
    let rows: Vec<Row> = store
        .summaries()
        .unwrap()
        .into_iter()
        .map(|row| Row { indexed: if row.name == "m006" { Indexed::Not } else { Indexed::AsItWas }, row })
        .collect();
    let known = store.read_index();
    store.write_index(&matched(&names, lines(&known)), &rows).unwrap();
    let kept = before.split_inclusive('\n').skip(1).filter(|line| !line.starts_with("m006\t"));
    assert_eq!(fs::read_to_string(store.index()).unwrap(), index::text(kept.map(str::to_owned)));
}
