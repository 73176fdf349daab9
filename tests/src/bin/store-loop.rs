//! A program that changes a state folder without end, to be killed, or in a full or read-only file system: `tests/tests/store_faults.rs`
//! starts it. What it prints has happened.

use std::{env, fs, io::Write, path::Path, process::ExitCode, time::Duration};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{MachineRecord, Outcome, Store, StoreError};
use cloud_machine_tests::fabricated;

type Ended = Result<(), Box<dyn std::error::Error>>;

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["loop", state, prefix] => go_on(Path::new(state), prefix),
        ["full", folder] => full(Path::new(folder)),
        ["read-only", state] => read_only(Path::new(state)),
        _ => Err("usage: store-loop loop STATE PREFIX | full FOLDER | read-only STATE".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn record(name: &MachineName, ram: u64) -> Result<MachineRecord, serde_json::Error> {
    let mut record = fabricated::record(name.as_str(), 2222);
    record["ram"] = ram.into();
    serde_json::from_value(record)
}

/// Of five machines one after the other: a lease, a record and an operation.
fn go_on(state: &Path, prefix: &str) -> Ended {
    let store = Store::open(state)?;
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        let name: MachineName = format!("{prefix}{}", number % 5).parse()?;
        let lock = store.lock(&name)?;
        let begun = store.journal_begin(&lock, "reimage")?;
        let lease = match store.take_lease(&name, "loop", HOUR) {
            // Of one that was killed: whoever knows its number may end it.
            Err(StoreError::Leased { .. }) => {
                let rows = store.leases()?;
                let held = rows.into_iter().find(|row| row.name == name.as_str()).ok_or("no lease is listed")?;
                store.give_back_lease(&name, held.lease?.number)?;
                store.take_lease(&name, "loop", HOUR)?
            }
            taken => taken?,
        };
        writeln!(out, "lease {name} {}", lease.number)?;
        let ram = match store.read(&name) {
            Ok(old) => {
                store.write(&lock, &record(&name, old.ram + 1)?)?;
                old.ram + 1
            }
            Err(StoreError::NoMachine { .. }) => {
                store.create(&lock, &record(&name, 1)?)?;
                1
            }
            Err(error) => return Err(error.into()),
        };
        writeln!(out, "record {name} {ram}")?;
        store.give_back_lease(&name, lease.number)?;
        store.journal_end(begun, None, None)?;
        writeln!(out, "done {name} {ram}")?;
    }
    Ok(())
}

fn is_full<T: std::fmt::Debug>(what: &str, result: Result<T, StoreError>) -> Ended {
    match result {
        Err(error) if error.is_full() => Ok(()),
        other => Err(format!("{what} on a full file system: {other:?}").into()),
    }
}

/// In a file system of its own, which is small.
fn full(folder: &Path) -> Ended {
    let store = Store::open(folder.join("state"))?;
    let name: MachineName = "demo".parse()?;
    let lock = store.lock(&name)?;
    store.create(&lock, &record(&name, 1)?)?;
    let lease = store.take_lease(&name, "a", HOUR)?;
    let begun = store.journal_begin(&lock, "reimage")?;
    fill(folder)?;
    // What is reserved for records is for nothing else.
    is_full("a lease that is taken", store.take_lease(&"other".parse()?, "b", HOUR))?;
    is_full("a lease that is given back", store.give_back_lease(&name, lease.number))?;
    // A line may still find room in the last block of the journal, and then nothing is wrong with it.
    let mut lines = 0;
    while let Ok(_never_ended) = store.journal_begin(&lock, "stop") {
        lines += 1;
    }
    let mut written = 1;
    if folder.join("state/reserve").exists() {
        store.write(&lock, &record(&name, 2)?)?;
        written = 2;
        fill(folder)?;
    }
    let refused = loop {
        match store.write(&lock, &record(&name, written + 1)?) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        fill(folder)?;
    };
    is_full("a record", Err::<(), _>(refused))?;
    if store.read(&name)?.ram != written
        || store.take_lease(&name, "b", HOUR).is_ok()
        || store.leases()?[0].lease.is_err()
    {
        return Err("what was there is not what it was".into());
    }
    fs::remove_file(folder.join("fill"))?;
    store.write(&lock, &record(&name, written + 1)?)?;
    store.give_back_lease(&name, lease.number)?;
    store.journal_end(begun, None, None)?;
    let (next, journal) = (store.take_lease(&name, "b", HOUR)?, store.journal(None)?);
    let first = journal.entries.first().ok_or("the journal is empty")?;
    if next.number <= lease.number || first.outcome != Outcome::Done || journal.entries.len() != lines + 1 {
        return Err(format!("after there was room again: {next:?} {journal:?}").into());
    }
    println!("all is there");
    Ok(())
}

fn fill(folder: &Path) -> Ended {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(folder.join("fill"))?;
    for size in [1 << 16, 1 << 12, 1] {
        while file.write(&vec![1; size]).is_ok_and(|written| written > 0) {}
    }
    Ok(())
}

/// A state folder with a machine, a lease and an operation, where nothing can be written.
fn read_only(state: &Path) -> Ended {
    let store = Store::open(state)?;
    let name: MachineName = "demo0".parse()?;
    let rows = store.summaries()?;
    if rows.is_empty() || rows.iter().any(|row| row.summary.is_err()) || store.journal(None)?.entries.is_empty() {
        return Err("what is there cannot be read".into());
    }
    let is_refused = |error: &StoreError| matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
    let taken = store.take_lease(&name, "a", HOUR).err().is_some_and(|error| is_refused(&error));
    let locked = store.lock(&name).err().is_some_and(|error| is_refused(&error));
    if !taken || !locked {
        return Err("something was changed".into());
    }
    println!("all is there");
    Ok(())
}
