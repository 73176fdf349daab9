//! Whether anything of a machine runs: ended and proved so, running, or not known. Owns that answer for every command; must
//! not take the absence of evidence for evidence of absence.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::MachineName;
use cloud_machine_store::{AttemptFolder, DriverState, MachineFolder, MachineRecord};

use super::{
    Process, QemuError,
    kernel::{Kernel, is_locked},
    pidfd::Pidfd,
    state::{FileId, ProcessRecord},
};
use crate::machine::{Doubt, MachineRef, SETTLE};

/// Processes of one machine that are ended before it is given up.
const MAX_PROCESSES: usize = 16;
/// How often it is looked meanwhile: nothing announces that a lock is gone.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of a machine's process.
#[derive(Debug)]
pub enum Life {
    /// Nothing of it runs.
    Ended,
    /// This process is it.
    Running(Process),
    /// It cannot be said.
    Unknown(Doubt),
}

/// The machine that is asked about.
#[derive(Clone, Debug)]
pub struct Subject {
    name: MachineName,
    /// `None` when its record cannot be read.
    uuid: Option<String>,
    process: Option<ProcessRecord>,
    /// Why the record does not say which process it was started as, although it was.
    unreadable: Option<String>,
    folder: MachineFolder,
}

impl From<&MachineRef> for Subject {
    fn from(machine: &MachineRef) -> Self {
        let MachineRef { name, uuid, state, folder, .. } = machine.clone();
        Self::new(name, uuid, state.as_ref(), folder)
    }
}

impl Subject {
    /// The machine of a record.
    #[must_use]
    pub fn of(record: &MachineRecord, folder: MachineFolder) -> Self {
        Self::new(record.name.clone(), Some(record.uuid.clone()), record.driver_state.as_ref(), folder)
    }

    fn new(name: MachineName, uuid: Option<String>, state: Option<&DriverState>, folder: MachineFolder) -> Self {
        let (process, unreadable) = match state.map(DriverState::read::<ProcessRecord>) {
            Some(Ok(process)) => (Some(process), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        Self { name, uuid, process, unreadable, folder }
    }

    /// A machine whose record cannot be read: it is known by its files alone.
    #[must_use]
    pub fn without_record(name: MachineName, folder: MachineFolder) -> Self {
        Self::new(name, None, None, folder)
    }

    /// Whether it runs.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life_in(&Kernel::host())
    }

    /// As [`Subject::life`], but a doubt has to last for `patience`: what has a disk open for a moment only is no reason to give up.
    #[must_use]
    pub fn settled_life(&self, patience: Duration) -> Life {
        let settled = Instant::now() + patience;
        loop {
            match self.life() {
                Life::Unknown(_) if Instant::now() < settled => thread::sleep(LOOK),
                life => return life,
            }
        }
    }

    /// Ends whatever runs of it, each of its processes within `grace` and then by force, and proves it.
    ///
    /// # Errors
    /// [`QemuError::Unproven`], [`QemuError::StillThere`] or [`QemuError::Process`].
    pub fn end(&self, grace: Duration) -> Result<(), QemuError> {
        for _ in 0..MAX_PROCESSES {
            match self.settled_life(SETTLE) {
                Life::Ended => return Ok(()),
                Life::Running(process) => drop(process.stop(grace)?),
                Life::Unknown(doubt) => return Err(self.unproven(doubt)),
            }
        }
        Err(self
            .unproven(Doubt::new(None, format!("{MAX_PROCESSES} processes of it were ended, and there may be more"))))
    }

    /// The error for a doubt.
    #[must_use]
    pub fn unproven(&self, doubt: Doubt) -> QemuError {
        QemuError::Unproven { machine: self.name.clone(), pid: doubt.pid, why: doubt.why, way_out: doubt.way_out }
    }

    /// What is written into the record before `process` may do anything.
    ///
    /// # Errors
    /// [`QemuError::Process`], or [`QemuError::Io`] when its disks cannot be looked at.
    pub fn proof(&self, process: &Process) -> Result<ProcessRecord, QemuError> {
        let (kernel, pid) = (Kernel::host(), process.pid());
        let failed = |operation| move |source| QemuError::Process { operation, pid, source };
        let started = kernel.started(pid).and_then(|started| started.ok_or_else(|| io::ErrorKind::NotFound.into()));
        Ok(ProcessRecord {
            pid,
            started: started.map_err(failed("read the start time of"))?,
            boot_id: kernel.boot_id().map_err(failed("read the boot id for"))?,
            namespace: kernel.namespace().map_err(failed("read the namespace of"))?,
            disks: self
                .disks()
                .map_err(QemuError::io("list", self.folder.disks()))?
                .into_iter()
                .map(|(_, id)| id)
                .collect(),
        })
    }

    fn life_in(&self, kernel: &Kernel) -> Life {
        match self.look(kernel) {
            Ok(life) => life,
            // What cannot be looked at may be anything.
            Err((what, error)) => {
                let pid = self.process.as_ref().map(|process| process.pid);
                Life::Unknown(Doubt::new(pid, format!("cannot read {what}: {error}")))
            }
        }
    }

    fn look(&self, kernel: &Kernel) -> Result<Life, (&'static str, io::Error)> {
        let namespace = kernel.namespace().map_err(|error| ("/proc", error))?;
        let disks = self.disks().map_err(|error| ("the machine's disks", error))?;
        let elsewhere = match &self.process {
            None => None,
            Some(process) => match self.recorded(kernel, process, namespace).map_err(|error| ("its process", error))? {
                Recorded::Gone => None,
                Recorded::Runs(handle) => return Ok(Life::Running(self.process_of(handle))),
                Recorded::Elsewhere => Some(process),
            },
        };
        if let Some(life) = self.shown(kernel, &disks).map_err(|error| ("the processes of this host", error))? {
            return Ok(life);
        }
        let pid_files = self.pid_files().map_err(|error| ("its attempts", error))?;
        for path in disks.iter().map(|(path, _)| path).chain(&pid_files) {
            if locked(path).map_err(|error| ("the lock of a file of the machine", error))? {
                let why = format!("{} is locked, and no process that is shown here has it", path.display());
                return Ok(Life::Unknown(Doubt::new(self.process.as_ref().map(|process| process.pid), why)));
            }
        }
        if let Some(reason) = &self.unreadable {
            let why = format!("driver_state of its record does not say which process it was started as: {reason}");
            let way_out = "if `ps` shows no process of it, set driver_state in its machine.json to null".to_owned();
            return Ok(Life::Unknown(Doubt { way_out: Some(way_out), ..Doubt::new(None, why) }));
        }
        Ok(match elsewhere {
            // Of a process that cannot be seen its locks are all that is known: they tell only of the files that it had.
            Some(process) if !has_all(&disks, process) => {
                let why = "it was started in another pid namespace, and the disks are other files since".to_owned();
                Life::Unknown(Doubt::new(Some(process.pid), why))
            }
            _ => Life::Ended,
        })
    }

    /// What became of the process of the record.
    fn recorded(&self, kernel: &Kernel, process: &ProcessRecord, namespace: u64) -> io::Result<Recorded> {
        if kernel.boot_id()? != process.boot_id {
            return Ok(Recorded::Gone);
        }
        if namespace != process.namespace {
            return Ok(Recorded::Elsewhere);
        }
        let Some(handle) = Pidfd::open(process.pid)? else { return Ok(Recorded::Gone) };
        // The handle first, then the look, then that it has not ended since: what was seen is the handle's process.
        let started = kernel.started(process.pid)?;
        if handle.ended(Instant::now())? {
            return Ok(Recorded::Gone);
        }
        match started {
            Some(started) if started == process.started => Ok(Recorded::Runs(handle)),
            // The number means another process now.
            Some(_) => Ok(Recorded::Gone),
            None => Err(io::Error::other(format!("process {} is there and is not shown", process.pid))),
        }
    }

    /// What the processes that are shown say: one with the machine's UUID is it, one with a disk of it stands in the way.
    fn shown(&self, kernel: &Kernel, disks: &[(PathBuf, FileId)]) -> io::Result<Option<Life>> {
        let recorded = self.process.iter().flat_map(|process| process.disks.iter().copied());
        let files: Vec<FileId> = disks.iter().map(|(_, id)| *id).chain(recorded).collect();
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let mut holder = None;
        for pid in kernel.processes()?.into_iter().filter(|pid| *pid != own) {
            if self.is_it(kernel, pid, &files)? {
                let Some(handle) = Pidfd::open(pid)? else { continue };
                if self.is_it(kernel, pid, &files)? && !handle.ended(Instant::now())? {
                    return Ok(Some(Life::Running(self.process_of(handle))));
                }
            } else if holder.is_none() && kernel.opens(pid, &files)? {
                holder = Some(pid);
            }
        }
        Ok(holder.map(|pid| {
            let why = format!("process {pid} ({}) has a disk of the machine open", kernel.name(pid));
            Life::Unknown(Doubt::new(Some(pid), why))
        }))
    }

    /// Whether a process is the machine: it has its UUID, or, where that is not known, any UUID and a disk of it.
    fn is_it(&self, kernel: &Kernel, pid: i32, files: &[FileId]) -> io::Result<bool> {
        let Some(found) = kernel.uuid(pid)? else { return Ok(false) };
        match &self.uuid {
            Some(uuid) => Ok(found.eq_ignore_ascii_case(uuid.as_bytes())),
            None => kernel.opens(pid, files),
        }
    }

    /// The attempt is for its sockets; signals reach the process in any case.
    fn process_of(&self, handle: Pidfd) -> Process {
        let last = self.folder.last_attempt().ok().flatten();
        Process::new(last.unwrap_or_else(|| AttemptFolder::at(self.folder.run(), 0)), handle)
    }

    fn disks(&self) -> io::Result<Vec<(PathBuf, FileId)>> {
        regular_files(&self.folder.disks())
    }

    fn pid_files(&self) -> io::Result<Vec<PathBuf>> {
        let attempts = self.folder.attempts().map_err(io::Error::other)?;
        Ok(attempts.iter().map(AttemptFolder::pid_file).collect())
    }
}

/// What became of a recorded process.
enum Recorded {
    Gone,
    Runs(Pidfd),
    /// Its number counts in a namespace that is not ours.
    Elsewhere,
}

/// Whether the disks are the files that a process had.
fn has_all(disks: &[(PathBuf, FileId)], process: &ProcessRecord) -> bool {
    !process.disks.is_empty() && process.disks.iter().all(|id| disks.iter().any(|(_, found)| found == id))
}

fn locked(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    match is_locked(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        locked => locked,
    }
}

fn regular_files(folder: &Path) -> io::Result<Vec<(PathBuf, FileId)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // Through links: a disk may have been laid elsewhere.
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => files.push((path, FileId::from(&found))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
