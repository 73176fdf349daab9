//! What the kernel says of processes and open files. Owns reading of `/proc` and of locks; must not decide whether a machine
//! runs.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use cloud_machine_disk::lock;
use nix::{fcntl::OFlag, libc};

use super::state::FileId;

/// Longest command line that is read; QEMU's have a few thousand bytes.
const MAX_COMMAND_LINE: u64 = 1 << 20;

/// The kernel's view of processes, through the folder where it shows them.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    proc: PathBuf,
}

impl Kernel {
    /// The host's.
    pub(super) fn host() -> Self {
        Self { proc: "/proc".into() }
    }

    #[cfg(test)]
    pub(super) fn at(proc: PathBuf) -> Self {
        Self { proc }
    }

    /// Id of the host's boot.
    pub(super) fn boot_id(&self) -> io::Result<String> {
        let text = fs::read_to_string(self.proc.join("sys/kernel/random/boot_id"))?;
        let text = text.trim();
        if text.is_empty() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(text.to_owned()) }
    }

    /// The namespace in which this process counts processes. Fails where the numbers of the folder are not this process's.
    pub(super) fn namespace(&self) -> io::Result<u64> {
        let own = fs::read_link(self.proc.join("self"))?;
        if own.to_str() != Some(std::process::id().to_string().as_str()) {
            return Err(io::Error::other("it shows the processes of another namespace"));
        }
        Ok(FileId::from(&fs::metadata(self.proc.join("self/ns/pid"))?).inode)
    }

    /// When a process started, in clock ticks since the host's boot; `None` when it is not shown.
    pub(super) fn started(&self, pid: i32) -> io::Result<Option<u64>> {
        let Some(text) = self.of(pid, "stat")? else { return Ok(None) };
        let text = String::from_utf8_lossy(&text);
        // The second field is the name in parentheses, which may hold anything, parentheses too.
        let after = text.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
        let started = after.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok());
        started.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The numbers of all processes that are shown.
    pub(super) fn processes(&self) -> io::Result<Vec<i32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.proc)? {
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        Ok(found)
    }

    /// The UUID of the machine that a process was started as, with `-uuid UUID` in either spelling that QEMU takes, in small
    /// letters. One that has ended has no command line.
    pub(super) fn uuid(&self, pid: i32) -> io::Result<Option<Vec<u8>>> {
        let Some(words) = self.of(pid, "cmdline")? else { return Ok(None) };
        let named = |word: &&[u8]| !matches!(*word, b"-uuid" | b"--uuid");
        let mut words = words.split(|byte| *byte == 0).skip_while(named);
        Ok(words.nth(1).map(<[u8]>::to_ascii_lowercase))
    }

    /// The name of a process's program, for people.
    pub(super) fn name(&self, pid: i32) -> String {
        let name = self.of(pid, "comm").ok().flatten().unwrap_or_default();
        cloud_machine_protocol::escape::line(name.trim_ascii(), 32)
    }

    /// Whether a process has one of `files` open. Of another user's process it cannot be seen: such files are locked, too.
    pub(super) fn opens(&self, pid: i32, files: &[FileId]) -> io::Result<bool> {
        self.any_open(pid, |found| files.contains(&found))
    }

    /// The files that a process has open; those of another user's process cannot be seen.
    pub(super) fn open_files(&self, pid: i32) -> io::Result<Vec<FileId>> {
        let mut files = Vec::new();
        self.any_open(pid, |found| {
            files.push(found);
            false
        })?;
        Ok(files)
    }

    fn any_open(&self, pid: i32, mut is_it: impl FnMut(FileId) -> bool) -> io::Result<bool> {
        let folder = self.proc.join(pid.to_string()).join("fd");
        let Some(entries) = shown(fs::read_dir(&folder))? else { return Ok(false) };
        for entry in entries {
            let Some(entry) = shown(entry)? else { continue };
            let Some(found) = shown(fs::metadata(entry.path()))? else { continue };
            if is_it(FileId::from(&found)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The inodes on which there is a lock. Those of open files are shown whoever has them; those of processes only when their
    /// namespace is (proc_locks(5)).
    pub(super) fn locked_inodes(&self) -> io::Result<HashSet<u64>> {
        let text = fs::read_to_string(self.proc.join("locks"))?;
        // Of each line the field with device and inode, `fd:00:1234`, is the only one with two colons.
        let inode = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1).filter(|field| field.matches(':').count() == 2);
            fields.next()?.rsplit(':').next()?.parse().ok()
        };
        text.lines().map(|line| inode(line).ok_or_else(|| io::ErrorKind::InvalidData.into())).collect()
    }

    fn of(&self, pid: i32, what: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.proc.join(pid.to_string()).join(what);
        let read = |file: File| {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, MAX_COMMAND_LINE), &mut bytes).map(|_| bytes)
        };
        shown(File::open(path).and_then(read))
    }
}

/// `None` for what is not shown: ended meanwhile (ENOENT, ESRCH), or another user's.
fn shown<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether anybody holds a lock on a part of a regular file, as QEMU does on its disks and on its file with the process id
/// for as long as it has them. The kernel answers whoever that is: a process that cannot be seen, too.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    lock::is_locked(&file)
}
