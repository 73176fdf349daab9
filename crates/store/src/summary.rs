//! What a list shows of each machine, without reading records that have not changed since they were last read. Owns the index of
//! what was read; must not say anything that the record itself does not say now.
//!
//! The index is no second truth: a row of it counts only while record and disk folder look exactly as they did when they were read,
//! which is asked of the kernel for every row of every list. So it may be deleted, cut off or out of date at any time.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, statat};

use super::{
    MachineFolder, MachineRecord, Stamp, Standing, Store, StoreError, file,
    index::{self, FileStamps, Line, MachineSummary, lines, matched},
    sweep,
};

/// Rows that are read anew at every list before the index is written again: writing it takes longer than reading these.
const MAX_UNINDEXED: usize = 100;
/// Largest index that is read: some 200,000 machines.
const MAX_INDEX: u64 = 256 << 20;
/// A file that was changed this recently may be changed again without looking different: clocks of files have steps.
const SETTLED: Duration = Duration::from_secs(2);
/// Rows that a thread takes at once.
const PIECE: usize = 64;

/// A line of the list; a broken record is a row with its error.
#[derive(Debug)]
pub struct SummaryRow {
    /// Name of the folder; a machine's name unless `summary` says otherwise.
    pub name: String,
    /// What the record says, or why it could not be read.
    pub summary: Result<Box<MachineSummary>, StoreError>,
}

/// What became of one row.
struct Row {
    row: SummaryRow,
    indexed: Indexed,
}

/// What the next index has of a row.
enum Indexed {
    /// The line that it had.
    AsItWas,
    /// A line of what was read just now.
    Anew(Box<FileStamps>),
    /// Nothing: it may change without looking different, or says nothing that could be kept.
    Not,
}

impl MachineSummary {
    fn of(record: MachineRecord, disks: Option<Vec<(u64, u64)>>) -> Self {
        Self {
            assurance: record.standing_assurance(),
            // Whether a job ran since a report that no longer stands says nothing about the disks.
            used: (record.standing() == Standing::Stands).then_some(record.dirty),
            name: record.name,
            uuid: record.uuid,
            driver: record.driver,
            image: record.image.name,
            ssh_port: record.ssh_port,
            remote: record.remote.map(|remote| (remote.address, remote.port)),
            state: record.state,
            driver_state: record.driver_state,
            disks,
        }
    }
}

impl Store {
    /// All machines with what a list shows of them, sorted by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder itself cannot be listed; whatever concerns one machine is in its row.
    pub fn summaries(&self) -> Result<Vec<SummaryRow>, StoreError> {
        let folder = self.machines();
        let (index, names) = thread::scope(|scope| {
            let index = scope.spawn(|| if has_mounts_below(&folder) { Vec::new() } else { self.read_index() });
            let names = self.machine_folders();
            (index.join().unwrap_or_default(), names)
        });
        let mut names = names?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        names.sort_unstable();
        let opened = File::open(&folder).map_err(StoreError::io("list", &folder))?;
        let known = matched(&names, lines(&index));
        let rows = in_parallel(&known, |(name, line)| self.row(&opened, name, line.as_ref()));
        let is_new = |row: &&Row| matches!(row.indexed, Indexed::Anew(_));
        if rows.iter().filter(is_new).count() > MAX_UNINDEXED
            && let Err(error) = self.write_index(&known, &rows)
        {
            tracing::debug!(%error, "the index of the machines is not kept");
        }
        Ok(rows.into_iter().map(|row| row.row).collect())
    }

    /// The names of all folders of machines.
    pub(super) fn machine_folders(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.machines();
        let mut names = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries.map_err(StoreError::io("list", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden folders are half made or half removed, hidden files half written.
            if name.starts_with('.') { sweep::sweep_one(&entry) } else { names.push(name) }
        }
        Ok(names)
    }

    fn row(&self, machines: &File, name: &str, known: Option<&Line<'_>>) -> Row {
        let before = looks(machines, name);
        if let Some(before) = &before
            && let Some(summary) = known.and_then(|line| line.summary(before))
        {
            let row = SummaryRow { name: name.to_owned(), summary: Ok(Box::new(summary)) };
            return Row { row, indexed: Indexed::AsItWas };
        }
        let invalid = |source| StoreError::InvalidName { path: self.machines().join(name), source };
        let summary = name.parse().map_err(invalid).and_then(|name| {
            let record = self.read(&name)?;
            Ok(Box::new(MachineSummary::of(record, files(&self.machine(&name)))))
        });
        let is_whole = summary.as_ref().is_ok_and(|summary| summary.disks.is_some());
        let looks =
            before.filter(|before| is_whole && are_settled(before) && looks(machines, name).as_ref() == Some(before));
        let indexed = looks.map_or(Indexed::Not, |looks| Indexed::Anew(Box::new(looks)));
        Row { row: SummaryRow { name: name.to_owned(), summary }, indexed }
    }

    fn index(&self) -> std::path::PathBuf {
        self.root.join("machines.index")
    }

    fn read_index(&self) -> Vec<u8> {
        // Whatever is wrong with it, the records are read.
        file::read(&self.index(), MAX_INDEX).ok().flatten().filter(|index| index::is_whole(index)).unwrap_or_default()
    }

    fn write_index(&self, known: &[(&str, Option<Line<'_>>)], rows: &[Row]) -> io::Result<()> {
        let line = |((_, line), row): (&(&str, Option<Line<'_>>), &Row)| match (&row.indexed, &row.row.summary) {
            (Indexed::AsItWas, _) => line.map(|line| line.text()),
            (Indexed::Anew(looks), Ok(summary)) => index::line(looks, summary),
            _ => None,
        };
        let mut new = file::aside(&self.root)?;
        new.write_all(index::text(known.iter().zip(rows).filter_map(line)).as_bytes())?;
        // Not flushed to the disk: an index that a power cut damages is made anew.
        new.persist(self.index()).map(drop).map_err(|error| error.error)
    }
}

/// Whether a later change of these files will look different.
fn are_settled(looks: &FileStamps) -> bool {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return false };
    let before = now.saturating_sub(SETTLED).as_secs();
    let is_old = |stamp: &Stamp| u64::try_from(stamp.changed.0).is_ok_and(|changed| changed < before);
    is_old(&looks.record) && looks.disks.as_ref().is_none_or(is_old)
}

/// How the files of a machine look now; `None` when that cannot be said.
fn looks(machines: &File, name: &str) -> Option<FileStamps> {
    let look = |path: String| match statat(machines, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(Stamp::from(&found))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    };
    let record = look(format!("{name}/machine.json")).ok()??;
    Some(FileStamps { record, disks: look(format!("{name}/disks")).ok()? })
}

/// What a process of a machine has open or locked; `None` when that cannot be remembered. A process with an attempt's pid file is
/// started between two changes of the record, so the record's looks tell of it.
fn files(machine: &MachineFolder) -> Option<Vec<(u64, u64)>> {
    let mut files = disk_files(&machine.disks())?;
    for attempt in machine.attempts().ok()? {
        match fs::symlink_metadata(attempt.pid_file()) {
            Ok(found) => files.push((found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(files)
}

/// The files in a folder of disks; `None` when their folder's looks do not tell of each change of them.
fn disk_files(folder: &Path) -> Option<Vec<(u64, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Vec::new()),
        Err(_) => return None,
    };
    if !fs::symlink_metadata(folder).ok()?.is_dir() {
        return None;
    }
    let mut files = Vec::new();
    for entry in entries {
        let found = entry.ok()?.metadata().ok()?;
        if !found.is_file() {
            return None;
        }
        files.push((found.dev(), found.ino()));
    }
    Some(files)
}

/// Whether something is mounted below a folder, over a disk for example: that changes a file without changing its folder.
fn has_mounts_below(folder: &Path) -> bool {
    let Ok(mounts) = fs::read("/proc/self/mountinfo") else { return true };
    // As the kernel writes paths there (proc_pid_mountinfo(5)).
    let mut start = Vec::new();
    for byte in folder.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => start.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => start.push(*byte),
        }
    }
    start.push(b'/');
    mounts
        .split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').nth(4).is_some_and(|at| at.starts_with(&start)))
}

/// Each item's result, in the order of the items, by as many threads as there are processors.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len().div_ceil(PIECE)).max(1);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let begin = next.fetch_add(PIECE, Ordering::Relaxed);
            let Some(piece) =
                items.get(begin..items.len().min(begin.saturating_add(PIECE))).filter(|piece| !piece.is_empty())
            else {
                return;
            };
            let results: Vec<R> = piece.iter().map(&work).collect();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((begin, results));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    let mut pieces = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    pieces.sort_unstable_by_key(|(begin, _)| *begin);
    let mut all = Vec::with_capacity(items.len());
    pieces.into_iter().for_each(|(_, results)| all.extend(results));
    all
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
