//! Leases: the right of one owner to a machine until a deadline, each with a number that is greater than that of every lease before
//! it. Must not know what is done with a machine; two operations at once are kept apart by its lock, not by a lease.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::MachineName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Lock, MAX_WORD, Store, StoreError, file, lock, sweep};

/// Version of the file of a lease.
const VERSION: u32 = 1;
/// Longest that a lease may be taken for, 30 days: a forgotten one has to end.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// How long a change of the same lease is waited for, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked meanwhile: nothing announces that a lock is free.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of an owner.
const MAX_OWNER: usize = 200;

/// A lease that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The machine.
    pub machine: MachineName,
    /// Its number: by it the holder says that it is the holder, and whoever is behind knows that it is.
    pub number: u64,
    /// Who has it, for people.
    pub owner: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it ends, unless it is renewed.
    pub until: Timestamp,
}

/// A line of the list of leases; a broken file is a row with its error.
#[derive(Debug)]
pub struct LeaseRow {
    /// Name of the file, that of the machine.
    pub name: String,
    /// The lease, or why it could not be read.
    pub lease: Result<Lease, StoreError>,
}

/// The file of a machine's leases: the number stays when there is none, so that it only grows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseFile {
    version: u32,
    machine: MachineName,
    // Its word in files of before.
    #[serde(alias = "fence")]
    number: u64,
    held: Option<Held>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    owner: String,
    taken: Timestamp,
    until: Timestamp,
}

impl Store {
    /// Takes a lease on a machine, also on one that does not exist yet. It is on stable storage when this returns.
    ///
    /// # Errors
    /// [`StoreError::Leased`] while there is one, whoever has it; [`StoreError::LeaseRefused`] for a time or an owner that
    /// cannot be; those of reading and writing.
    pub fn take_lease(&self, name: &MachineName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        let refused = |reason| StoreError::LeaseRefused { name: name.clone(), reason };
        let owner = lease_owner(owner).map_err(refused)?;
        let _lock = self.lock_lease(name)?;
        let old = self.lease_file(name)?;
        let (now, number) = (Timestamp::now(), old.as_ref().map_or(0, |old| old.number));
        if let Some(held) = old.and_then(|old| old.held).filter(|held| held.until > now) {
            return Err(StoreError::Leased { name: name.clone(), owner: held.owner, until: held.until });
        }
        let number = number.checked_add(1).ok_or_else(|| refused("there are no more numbers"))?;
        let held = Held { owner, taken: now, until: end(name, now, time)? };
        self.put_lease(name, number, Some(held.clone()))?;
        Ok(lease(name, number, held))
    }

    /// Lets a lease last until `time` from now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it has ended, or another one was taken since; [`StoreError::LeaseRefused`]; those of
    /// reading and writing.
    pub fn renew_lease(&self, name: &MachineName, number: u64, time: Duration) -> Result<Lease, StoreError> {
        let _lock = self.lock_taken(name, number)?;
        let now = Timestamp::now();
        let held = Held { until: end(name, now, time)?, ..self.held_by(name, number, now)? };
        self.put_lease(name, number, Some(held.clone()))?;
        Ok(lease(name, number, held))
    }

    /// Gives a lease back. One that has ended, or was given back already, is no error: nothing holds any more.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another one was taken since, or it was never there; those of reading and writing.
    pub fn give_back_lease(&self, name: &MachineName, number: u64) -> Result<(), StoreError> {
        let _lock = self.lock_taken(name, number)?;
        match self.lease_file(name)? {
            Some(file) if file.number == number && file.held.is_none() => Ok(()),
            Some(file) if file.number == number => self.put_lease(name, number, None),
            other => Err(lost(name, number, other.as_ref())),
        }
    }

    /// All leases that have not ended, sorted by the machine's name.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder itself cannot be listed; whatever concerns one lease is in its row.
    pub fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        let (folder, now) = (self.leases_folder(), Timestamp::now());
        let mut rows = Vec::new();
        sweep::sweep(&folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rows),
            Err(error) => return Err(StoreError::io("list", &folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?.file_name().to_string_lossy().into_owned();
            // Hidden files are half written.
            let Some(name) = entry.strip_suffix(".json").filter(|name| !name.starts_with('.')) else { continue };
            let invalid = |source| StoreError::InvalidName { path: folder.join(&entry), source };
            let lease = match name.parse().map_err(invalid).and_then(|name| Ok((self.lease_file(&name)?, name))) {
                Ok((Some(LeaseFile { number, held: Some(held), .. }), name)) if held.until > now => {
                    Ok(lease(&name, number, held))
                }
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            rows.push(LeaseRow { name: name.to_owned(), lease });
        }
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(rows)
    }

    /// The same state folder for somebody who acts under the lease `number`.
    #[must_use]
    pub fn under_lease(self, number: u64) -> Self {
        Self { lease: Some(number), ..self }
    }

    /// Refuses a change of a machine that somebody else has a lease on.
    ///
    /// # Errors
    /// [`StoreError::Leased`] when somebody has a lease and none is acted under, [`StoreError::LeaseLost`] when the one that is
    /// acted under holds no longer; those of reading: a lease that cannot be read may be somebody's.
    pub fn check_lease(&self, name: &MachineName) -> Result<(), StoreError> {
        let now = Timestamp::now();
        match self.lease {
            Some(number) => self.held_by(name, number, now).map(drop),
            None => match self.lease_file(name)?.and_then(|file| file.held).filter(|held| held.until > now) {
                Some(held) => Err(StoreError::Leased { name: name.clone(), owner: held.owner, until: held.until }),
                None => Ok(()),
            },
        }
    }

    fn held_by(&self, name: &MachineName, number: u64, now: Timestamp) -> Result<Held, StoreError> {
        match self.lease_file(name)? {
            Some(LeaseFile { number: found, held: Some(held), .. }) if found == number && held.until > now => Ok(held),
            other => Err(lost(name, number, other.as_ref())),
        }
    }

    fn lease_file(&self, name: &MachineName) -> Result<Option<LeaseFile>, StoreError> {
        let path = self.leases_folder().join(format!("{name}.json"));
        // Whose lease it is cannot be said then, so it may be anybody's.
        let unreadable =
            |source| StoreError::LeaseUnreadable { name: name.clone(), path: path.clone(), source: Box::new(source) };
        let Some(bytes) = file::read(&path, MAX_WORD).map_err(unreadable)? else { return Ok(None) };
        let read: LeaseFile = serde_json::from_slice(&bytes)
            .map_err(|source| unreadable(StoreError::InvalidJson { path: path.clone(), source }))?;
        if read.version != VERSION {
            let found = read.version;
            return Err(unreadable(StoreError::UnknownVersion { path: path.clone(), found, known: VERSION }));
        }
        if read.machine != *name {
            let reason = format!("it is of machine {}", read.machine);
            return Err(unreadable(StoreError::InvalidRecord { path: path.clone(), reason }));
        }
        Ok(Some(read))
    }

    fn put_lease(&self, name: &MachineName, number: u64, held: Option<Held>) -> Result<(), StoreError> {
        let path = self.leases_folder().join(format!("{name}.json"));
        let mut bytes = serde_json::to_vec(&LeaseFile { version: VERSION, machine: name.clone(), number, held })
            .map_err(|source| StoreError::ToJson { what: "a lease", source })?;
        bytes.push(b'\n');
        file::replace(&path, &bytes)
    }

    /// [`Store::lock_lease`] for whoever took one: where there never was a lease nothing is made.
    fn lock_taken(&self, name: &MachineName, number: u64) -> Result<Lock, StoreError> {
        if self.leases_folder().is_dir() { self.lock_lease(name) } else { Err(lost(name, number, None)) }
    }

    /// The right to change a machine's lease. The kernel gives it back when its holder dies.
    fn lock_lease(&self, name: &MachineName) -> Result<Lock, StoreError> {
        let locks = self.root.join("locks/leases");
        for folder in [&locks, &self.leases_folder()] {
            file::make_folder(folder)?;
        }
        let path = locks.join(name.as_str());
        let until = Instant::now() + PATIENCE;
        loop {
            match lock::try_lock(&path)? {
                Some(lock) => return Ok(lock),
                None if Instant::now() < until => thread::sleep(LOOK),
                None => return Err(StoreError::Locked { name: name.clone() }),
            }
        }
    }
}

/// What an owner of a lease is called, so that it can be shown and kept.
///
/// # Errors
/// What it has to be.
pub fn lease_owner(text: &str) -> Result<String, &'static str> {
    let is_one = !text.is_empty() && text.len() <= MAX_OWNER && !text.chars().any(char::is_control);
    if is_one { Ok(text.to_owned()) } else { Err("the owner has to be 1 to 200 bytes without control characters") }
}

fn end(name: &MachineName, now: Timestamp, time: Duration) -> Result<Timestamp, StoreError> {
    let refused = || StoreError::LeaseRefused { name: name.clone(), reason: "it may last from 1 second to 30 days" };
    if time < Duration::from_secs(1) || time > LONGEST {
        return Err(refused());
    }
    now.checked_add(time).map_err(|_| refused())
}

fn lease(name: &MachineName, number: u64, held: Held) -> Lease {
    let Held { owner, taken, until } = held;
    Lease { machine: name.clone(), number, owner, taken, until }
}

/// What became of a lease that does not hold.
fn lost(name: &MachineName, number: u64, file: Option<&LeaseFile>) -> StoreError {
    let why = match file {
        Some(file) if file.number > number => format!("is not the last one: lease {} was taken since", file.number),
        Some(LeaseFile { number: found, held: Some(held), .. }) if *found == number => {
            format!("ended at {:.0}", held.until)
        }
        Some(file) if file.number == number => "was given back".to_owned(),
        _ => "was never taken here".to_owned(),
    };
    StoreError::LeaseLost { name: name.clone(), number, why }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
