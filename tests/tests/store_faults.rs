//! A state folder whose programs are killed, whose file system is full or read-only, and which two programs change at once: what was
//! told to be there is there, and no lock is left.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{Outcome, Store};

const PROGRAM: &str = env!("CARGO_BIN_EXE_store-loop");
/// How often a program is killed.
const KILLS: u64 = 60;

fn start(state: &Path, prefix: &str) -> Child {
    Command::new(PROGRAM).arg("loop").arg(state).arg(prefix).stdout(Stdio::piped()).spawn().unwrap()
}

/// The last number that was told of each thing, such as `record demo0`.
type Told = BTreeMap<String, u64>;

fn note(told: &mut Told, text: &str) {
    // The last line may be cut off.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let (what, number) = line.trim_end().rsplit_once(' ').unwrap();
        told.insert(what.to_owned(), number.parse().unwrap());
    }
}

/// Lets a program tell `lines` lines, kills it, and notes all that it told.
fn kill_after(mut child: Child, lines: u64, told: &mut Told) {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        assert!(output.read_line(&mut text).unwrap() > 0, "it ended by itself");
    }
    child.kill().unwrap();
    output.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    note(told, &text);
}

/// Everything that was told is there, and nobody holds anything.
fn check(store: &Store, told: &Told) {
    for (what, number) in told {
        let (what, name) = what.split_once(' ').unwrap();
        let name: MachineName = name.parse().unwrap();
        drop(store.lock(&name).unwrap());
        match what {
            "record" => assert!(store.read(&name).unwrap().ram >= *number, "{name}: {number} was written"),
            "lease" => {
                let held = store.leases().unwrap().into_iter().find(|row| row.name == name.as_str());
                let now = match held {
                    Some(row) => row.lease.unwrap().number,
                    None => {
                        let lease = store.take_lease(&name, "check", Duration::from_secs(3600)).unwrap();
                        store.give_back_lease(&name, lease.number).unwrap();
                        lease.number
                    }
                };
                assert!(now >= *number, "{name}: lease {number} was taken, and now {now}");
            }
            _ => {}
        }
    }
    assert!(store.summaries().unwrap().iter().all(|row| row.summary.is_ok()));
}

#[test]
fn nothing_is_lost_and_no_lock_is_left_by_a_program_that_is_killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let store = Store::open(&state).unwrap();
    let mut told = Told::new();
    for kill in 0..KILLS {
        kill_after(start(&state, "demo"), 1 + (kill * 7) % 19, &mut told);
        check(&store, &told);
    }
    let journal = store.journal(None).unwrap();
    assert_eq!(journal.unreadable, 0);
    let count = |outcome| journal.entries.iter().filter(|entry| entry.outcome == outcome).count() as u64;
    assert_eq!((count(Outcome::UnderWay), count(Outcome::Failed)), (0, 0));
    assert!(count(Outcome::CutOff) <= KILLS, "each kill cuts off one operation at most");
    // Each operation that was told to be done changed its record once.
    let done: u64 = told.iter().filter(|(what, _)| what.starts_with("done ")).map(|(_, number)| number).sum();
    assert!(count(Outcome::Done) + count(Outcome::CutOff) >= done && count(Outcome::Done) > 0);
}

#[test]
fn two_programs_at_once_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let store = Store::open(&state).unwrap();
    let mut told = Told::new();
    for _ in 0..5 {
        let (one, other) = (start(&state, "one"), start(&state, "other"));
        kill_after(one, 30, &mut told);
        kill_after(other, 30, &mut told);
    }
    check(&store, &told);
    let journal = store.journal(None).unwrap();
    assert_eq!(journal.unreadable, 0);
    for prefix in ["one", "other"] {
        let done = journal.entries.iter().filter(|entry| entry.machine.as_str().starts_with(prefix));
        assert!(done.filter(|entry| entry.outcome == Outcome::Done).count() >= 40, "{prefix}");
    }
}

/// Runs a script as root of a mount namespace of its own, with a folder for what it mounts and the program.
fn in_namespace(folder: &Path, script: &str) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-euc", script, "sh"]).arg(folder).arg(PROGRAM);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text == "all is there\n", "{text}{errors}");
}

#[test]
fn on_a_full_file_system_all_stays_as_it_was_and_goes_on_once_there_is_room() {
    // With and without room for what is reserved.
    for size in ["2m", "16m"] {
        let folder = tempfile::tempdir().unwrap();
        in_namespace(
            folder.path(),
            &format!("mount -t tmpfs -o size={size},mode=700 none \"$1\"; exec \"$2\" full \"$1\""),
        );
    }
}

#[test]
fn a_read_only_state_folder_is_read_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    kill_after(start(folder.path(), "demo"), 30, &mut Told::new());
    in_namespace(folder.path(), "mount --bind -o ro \"$1\" \"$1\"; exec \"$2\" read-only \"$1\"");
}
