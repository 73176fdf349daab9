//! One look at what lies on a device, by libblkid in a child process without privileges. Must not wait for ever for a
//! device that does not answer, and must not read a failed look as an empty device.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use libblkid_rs::{BlkidProbe, BlkidProbeRet, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde::{Deserialize, Serialize};

use super::{
    sysfs::{DeviceNumber, path},
    words::{Content, Look, Signature, Table, TableCopy, TableEntry},
};
use crate::{probe::value, sandbox};

/// Argument of the agent that makes its binary the looking child, followed by offset and length; the device is its
/// standard input.
pub const CHILD_ARGUMENT: &str = "probe-details";
/// What one look may take: a drive that spins up needs ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer: as many partitions as there may be, each with the longest name that a GPT can hold.
const MAX_ANSWER: usize = 256 << 10;
/// More partitions than any kernel takes from a table (block/partitions/core.c).
const MAX_PARTITIONS: i32 = 256;
/// More signatures than libblkid knows.
const MAX_SIGNATURES: usize = 128;

/// Bytes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What one look gave.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The drive is empty.
    NoMedium,
    /// What is there.
    Seen {
        /// Filesystem and the like.
        content: Content,
        /// Partition table, where there is one.
        table: Look<Option<TableFound>>,
    },
}

/// A partition table with its partitions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableFound {
    pub(super) table: Table,
    pub(super) entries: Vec<TableEntry>,
}

impl Answer {
    fn unreadable(reason: String) -> Self {
        let table = Look::Unreadable { reason: reason.clone() };
        Self::Seen { content: Content::Unreadable { reason }, table }
    }
}

/// Looks at the device `name` of the kernel, whose number is `number`, or at a range of it.
pub(super) fn look(name: &str, number: DeviceNumber, range: Option<Range>) -> Answer {
    let path = path(name);
    let device = match open(&path, number) {
        Ok(device) => device,
        Err(error) if error.raw_os_error() == Some(libc::ENOMEDIUM) => return Answer::NoMedium,
        Err(error) => return Answer::unreadable(format!("cannot open {path}: {error}")),
    };
    let Range { offset, length } = range.unwrap_or(Range { offset: 0, length: 0 });
    let child = Command::new("/proc/self/exe")
        .args([CHILD_ARGUMENT, &offset.to_string(), &length.to_string()])
        .env_clear()
        .stdin(Stdio::from(device))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => answer(child).unwrap_or_else(Answer::unreadable),
        Err(error) => Answer::unreadable(format!("cannot start the probing process: {error}")),
    }
}

/// Opens a device node for reading, and only the device that it should be.
fn open(path: &str, number: DeviceNumber) -> io::Result<File> {
    // Without O_NONBLOCK a drive would close its tray, and a pipe in the place of a device would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    let own = (u64::from(libc::major(found.rdev())), u64::from(libc::minor(found.rdev())));
    if found.file_type().is_block_device() && own == number {
        Ok(file)
    } else {
        Err(io::Error::other("it is not the device of that name in /sys"))
    }
}

/// The child's answer, or why there is none.
fn answer(mut child: Child) -> Result<Answer, String> {
    let deadline = Instant::now() + PATIENCE;
    let bytes = match child.stdout.take() {
        Some(output) => read(output, deadline),
        None => Err(ErrorKind::BrokenPipe.into()),
    };
    let status = match bytes {
        Ok(_) => wait(&mut child, deadline),
        Err(_) => Ok(None),
    };
    if !matches!(status, Ok(Some(_))) {
        // A process that waits for a dead drive ends only with the drive's answer: it is told to, and left behind.
        child.kill().unwrap_or_default();
        wait(&mut child, Instant::now() + Duration::from_millis(200)).map(|_| ()).unwrap_or_default();
    }
    let slow = || format!("the device did not answer within {} s", PATIENCE.as_secs());
    let bytes = bytes.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => slow(),
        _ => format!("lost the probing process: {error}"),
    })?;
    let status = status.map_err(|error| format!("lost the probing process: {error}"))?.ok_or_else(slow)?;
    if !status.success() {
        return Err(format!("the probing process ended with {status}"));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("the probing process gave an invalid answer: {error}"))
}

fn read(mut output: ChildStdout, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 1 << 14];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let count = match output.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::other("its answer is too long"));
        }
    }
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Body of the child: gives up its privileges, looks at standard input from `offset` on, prints one JSON object.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child(offset: &str, length: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("{text:?} is no number of bytes"));
    let (offset, length) = (number(offset)?, number(length)?);
    let answer = match sandbox::confine() {
        Ok(()) => look_at_standard_input(offset, length),
        // Told instead of probed: nothing has been read yet.
        Err(error) => Answer::unreadable(format!("cannot confine the probing process: {error}")),
    };
    let answer = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
    io::stdout().write_all(&answer).map_err(|error| error.to_string())
}

fn look_at_standard_input(offset: i64, length: i64) -> Answer {
    let mut probe = match prepare() {
        Ok(probe) => probe,
        Err(error) => return Answer::unreadable(error.to_string()),
    };
    if probe.set_device(0, offset, length).is_err() {
        // The library gives no reason but errno; it asks an optical drive whether it has a medium.
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOMEDIUM) => Answer::NoMedium,
            _ => Answer::unreadable(format!("cannot read the device: {error}")),
        };
    }
    match probe.do_safeprobe() {
        Ok(BlkidSafeprobeRet::None) => Answer::Seen { content: Content::Empty, table: Look::Found { value: None } },
        Ok(BlkidSafeprobeRet::Ambiguous) => Answer::Seen {
            content: Content::Ambivalent { signatures: signatures(&mut probe) },
            table: Look::Found { value: None },
        },
        Ok(BlkidSafeprobeRet::Success) => {
            let text = |name| value(&probe, name).filter(|text| !text.is_empty());
            let signature = Signature {
                filesystem: text("TYPE"),
                usage: text("USAGE"),
                label: text("LABEL"),
                uuid: text("UUID"),
                partition_table: text("PTTYPE"),
            };
            let table = if signature.partition_table.is_some() {
                match table(&mut probe) {
                    Ok(found) => Look::Found { value: Some(found) },
                    Err(reason) => Look::Unreadable { reason },
                }
            } else {
                Look::Found { value: None }
            };
            Answer::Seen { content: Content::Found(signature), table }
        }
        Err(_) => Answer::unreadable(format!("cannot read the device: {}", io::Error::last_os_error())),
    }
}

fn prepare() -> Result<BlkidProbe, libblkid_rs::BlkidErr> {
    let mut probe = BlkidProbe::new()?;
    probe.enable_superblocks(true)?;
    let wanted = vec![BlkidSublks::Label, BlkidSublks::Uuid, BlkidSublks::Type, BlkidSublks::Usage];
    probe.set_superblock_flags(BlkidSublksFlags::new(wanted))?;
    // Without this chain a filesystem and a partition table that collide are not seen as such.
    probe.enable_partitions(true)?;
    Ok(probe)
}

/// Types of all signatures of a device whose signatures contradict each other.
fn signatures(probe: &mut BlkidProbe) -> Vec<String> {
    probe.reset();
    let mut types = Vec::new();
    while types.len() < MAX_SIGNATURES && matches!(probe.do_probe(), Ok(BlkidProbeRet::Success)) {
        types.extend(value(probe, "TYPE").or_else(|| value(probe, "PTTYPE")));
    }
    types
}

fn table(probe: &mut BlkidProbe) -> Result<TableFound, String> {
    let failed = |error: libblkid_rs::BlkidErr| format!("cannot read the partition table: {error}");
    let sector_size = i64::from(probe.get_sector_size());
    let mut list = probe.get_partitions().map_err(failed)?;
    let own = list.get_table().map_err(failed)?;
    let format = own.get_type().map_err(failed)?;
    // A table without an identity has none to tell; the library does not say why it has none.
    let id = own.get_id().ok().filter(|id| !id.is_empty());
    // The primary GPT is in the sector after the first, whatever the size of a sector.
    let offset = own.get_offset().map_err(failed)?;
    let copy = match format.as_str() {
        "gpt" if *offset.as_ref() == sector_size => Some(TableCopy::Primary),
        "gpt" => Some(TableCopy::Backup),
        _ => None,
    };
    let count = list.number_of_partitions().map_err(failed)?;
    if count > MAX_PARTITIONS {
        return Err(format!("the partition table has {count} partitions, more than {MAX_PARTITIONS}"));
    }
    let mut entries = Vec::new();
    for index in 0..count {
        let partition = list.get_partition(index).map_err(failed)?;
        let number = partition.get_partno().map_err(failed)?;
        // In sectors of 512 bytes on every disk; a hostile table may say anything.
        let bytes = |sectors: &i64| u64::try_from(*sectors).unwrap_or(u64::MAX).saturating_mul(512);
        let uuid = match partition.get_uuid() {
            Ok(uuid) => uuid.map(|uuid| uuid.to_string()),
            // Not that of a GPT: the disk's identity and the number (libblkid, partitions/dos.c).
            Err(_) => id.as_ref().map(|id| format!("{id}-{number:02x}")),
        };
        let r#type = partition.get_type_string().ok().or_else(|| match partition.get_type() {
            0 => None,
            number => Some(format!("{number:#x}")),
        });
        entries.push(TableEntry {
            number,
            offset: bytes(partition.get_start().as_ref()),
            length: bytes(partition.get_size().as_ref()),
            r#type,
            // A name that is no UTF-8 text, as no name at all, is none that can be shown.
            name: partition.get_name().ok().flatten().filter(|name| !name.is_empty()),
            uuid,
            extended: partition.is_extended(),
        });
    }
    Ok(TableFound { table: Table { format, id, copy }, entries })
}
