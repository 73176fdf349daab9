//! The journal of operations: one line when an operation on a machine begins and one when it ends, appended and flushed. Must not
//! decide anything: what a machine is, and whether an operation may begin, is said by its record and its lock alone.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use cloud_machine_protocol::MachineName;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, file, identity, lock};

/// Version of a line; lines of another one are counted as unreadable.
const VERSION: u32 = 1;
/// Bytes after which the journal becomes the older one, whose place it takes.
const MAX_SIZE: u64 = 4 << 20;
/// Bytes of one journal that are read. It may have grown while its lock was held elsewhere.
const MAX_READ: u64 = 64 << 20;
/// Bytes of an error that are kept.
const MAX_ERROR: usize = 2000;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    version: u32,
    at: Timestamp,
    id: String,
    #[serde(flatten)]
    event: LineEvent,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum LineEvent {
    Begin { machine: MachineName, operation: String },
    End { request: Option<String>, failure: Option<JournalFailure> },
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalFailure {
    /// What callers act on, such as `timed_out`.
    pub kind: String,
    /// The error with its causes on one line, safe to show.
    pub error: String,
}

/// An operation that has begun and whose end is to be written.
#[derive(Debug)]
#[must_use = "an operation without an end is one that was cut off"]
pub struct Begun {
    id: String,
}

/// An operation of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// Its id; ids of later operations are greater.
    pub id: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` while it is under way, and when it was cut off.
    pub ended: Option<Timestamp>,
    /// The machine.
    pub machine: MachineName,
    /// What was done with it, such as `reimage`.
    pub operation: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The machine's request at its end.
    pub request: Option<String>,
    /// Why it failed, when it did.
    pub failure: Option<JournalFailure>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// It did not.
    Failed,
    /// It has not ended: the lock of its machine is held.
    UnderWay,
    /// Its process ended before it did, or the host did.
    CutOff,
}

/// What the journal says.
#[derive(Debug, Default)]
pub struct Journal {
    /// The operations, oldest first.
    pub entries: Vec<JournalEntry>,
    /// Lines that cannot be read: cut off by a full disk, or of another version.
    pub unreadable: usize,
}

impl Store {
    /// Notes that an operation begins; it is on stable storage when this returns. To be called under the machine's lock, by which
    /// an operation that is under way is told from one that was cut off.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::ToJson`].
    pub fn journal_begin(&self, lock: &super::MachineLock, operation: &str) -> Result<Begun, StoreError> {
        let now = Timestamp::now();
        let id = identity::request_id(now).map_err(StoreError::Random)?;
        let event = LineEvent::Begin { machine: lock.name().clone(), operation: operation.to_owned() };
        self.append(&Line { version: VERSION, at: now, id: id.clone(), event })?;
        Ok(Begun { id })
    }

    /// Notes that it has ended, and how.
    ///
    /// # Errors
    /// As [`Store::journal_begin`].
    pub fn journal_end(
        &self,
        begun: Begun,
        request: Option<String>,
        failure: Option<JournalFailure>,
    ) -> Result<(), StoreError> {
        let failure = failure.map(|failure| {
            let end = failure.error.floor_char_boundary(MAX_ERROR);
            JournalFailure { error: failure.error.get(..end).unwrap_or_default().to_owned(), ..failure }
        });
        let event = LineEvent::End { request, failure };
        self.append(&Line { version: VERSION, at: Timestamp::now(), id: begun.id, event })
    }

    /// All operations that the journal still has, or those on one machine, which may be deleted since.
    ///
    /// # Errors
    /// [`StoreError::NoMachine`] for one that is not there and of which nothing is noted; [`StoreError::Io`] and the other errors of [`file::open`].
    pub fn journal(&self, machine: Option<&MachineName>) -> Result<Journal, StoreError> {
        let mut journal = Journal::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for path in [self.older_journal(), self.newer_journal()] {
            let bytes = file::read_end(&path, MAX_READ)?.unwrap_or_default();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                match serde_json::from_slice::<Line>(line) {
                    Ok(line) if line.version == VERSION => journal.add(&mut places, line),
                    _ => journal.unreadable = journal.unreadable.saturating_add(1),
                }
            }
        }
        if let Some(machine) = machine {
            journal.entries.retain(|entry| entry.machine == *machine);
            let path = self.machine(machine).path().to_owned();
            if journal.entries.is_empty() && !path.try_exists().map_err(StoreError::io("look for", &path))? {
                return Err(StoreError::NoMachine { name: machine.clone() });
            }
        }
        self.tell_under_way(&mut journal);
        Ok(journal)
    }

    /// Of the operations on one machine only the last can be under way, and only while its lock is held.
    fn tell_under_way(&self, journal: &mut Journal) {
        let mut last: HashMap<MachineName, usize> = HashMap::new();
        for (place, entry) in journal.entries.iter().enumerate() {
            last.insert(entry.machine.clone(), place);
        }
        for (machine, place) in last {
            let Some(entry) = journal.entries.get_mut(place).filter(|entry| entry.outcome == Outcome::CutOff) else {
                continue;
            };
            if self.is_locked(&machine) {
                entry.outcome = Outcome::UnderWay;
            }
        }
    }

    fn append(&self, line: &Line) -> Result<(), StoreError> {
        // A line of its own even behind one that a full disk cut off.
        let mut bytes = vec![b'\n'];
        serde_json::to_writer(&mut bytes, line)
            .map_err(|source| StoreError::ToJson { what: "a line of the journal", source })?;
        bytes.push(b'\n');
        let path = self.newer_journal();
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        // All at once: lines of several programs stay whole.
        file.write_all(&bytes).map_err(StoreError::io("write to", &path))?;
        file.sync_data().map_err(StoreError::io("flush", &path))?;
        if is_new {
            file::flush_folder(&self.root)?;
        }
        let size = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        // What is noted is noted, whether or not there will be a new journal.
        if size > MAX_SIZE
            && let Err(error) = self.rotate()
        {
            tracing::debug!(%error, "the journal is not rotated and goes on growing");
        }
        Ok(())
    }

    /// The journal becomes the older one, in place of the one before. Whoever finds the lock taken leaves that to its holder.
    fn rotate(&self) -> Result<(), StoreError> {
        let Some(_lock) = lock::try_lock(&self.root.join("locks/journal"))? else { return Ok(()) };
        let path = self.newer_journal();
        // Another program may have done it since.
        if fs::metadata(&path).is_ok_and(|found| found.len() > MAX_SIZE) {
            fs::rename(&path, self.older_journal()).map_err(StoreError::io("rename", &path))?;
            file::flush_folder(&self.root)?;
        }
        Ok(())
    }

    fn newer_journal(&self) -> PathBuf {
        self.root.join("journal.ndjson")
    }

    fn older_journal(&self) -> PathBuf {
        self.root.join("journal.1.ndjson")
    }
}

impl Journal {
    fn add(&mut self, places: &mut HashMap<String, usize>, line: Line) {
        match line.event {
            LineEvent::Begin { machine, operation } => {
                places.insert(line.id.clone(), self.entries.len());
                self.entries.push(JournalEntry {
                    id: line.id,
                    began: line.at,
                    ended: None,
                    machine,
                    operation,
                    outcome: Outcome::CutOff,
                    request: None,
                    failure: None,
                });
            }
            // An end whose begin is no longer kept says nothing of which machine it is.
            LineEvent::End { request, failure } => {
                let Some(entry) = places.remove(&line.id).and_then(|place| self.entries.get_mut(place)) else { return };
                entry.ended = Some(line.at);
                entry.outcome = if failure.is_some() { Outcome::Failed } else { Outcome::Done };
                (entry.request, entry.failure) = (request, failure);
            }
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
