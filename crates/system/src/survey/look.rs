//! One look at what lies on a device, by libblkid in a child process without privileges. Must not wait for ever for a
//! device that does not answer, and must not read a failed look as an empty device.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
};

use cloud_machine_protocol::causes;
use libblkid_rs::{BlkidProbe, BlkidProbeRet, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::types::{Content, Look, Range, Signature, Table, TableCopy, TableEntry};
use crate::{
    confined::{Limits, Lost, PATIENCE, ask},
    device::{self, DeviceNumber},
    probe::value,
    sandbox, zeros,
};

/// Argument of the agent that makes its binary the looking child, followed by the kernel's name of the device, its major
/// and minor number, offset and length.
pub const CHILD_ARGUMENT: &str = "probe-details";
/// Longest answer: as many partitions as there may be, each with the longest name that a GPT can hold.
const MAX_ANSWER: usize = 256 << 10;
/// More partitions than any kernel takes from a table (block/partitions/core.c).
const MAX_PARTITIONS: i32 = 256;
/// More signatures than libblkid knows.
const MAX_SIGNATURES: usize = 128;

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

    fn silent(seconds: u64) -> Self {
        let table = Look::Unreadable { reason: format!("the device did not answer within {seconds} s") };
        Self::Seen { content: Content::Silent { seconds }, table }
    }
}

/// Looks at the device `name` of the kernel, whose number is `number`, or at a range of it.
pub(super) fn look(name: &str, number: DeviceNumber, range: Option<Range>) -> Answer {
    let Range { offset, length } = range.unwrap_or(Range { offset: 0, length: 0 });
    let (major, minor) = number;
    let numbers = [major, minor, offset, length].map(|number| number.to_string());
    let [major, minor, offset, length] = numbers.each_ref().map(String::as_str);
    let arguments = [CHILD_ARGUMENT, name, major, minor, offset, length];
    match ask(&arguments, &[], Limits { time: PATIENCE, answer: MAX_ANSWER }) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| Answer::unreadable(format!("the probing process gave an invalid answer: {error}"))),
        Err(Lost::Slow(limit)) => Answer::silent(limit.as_secs()),
        Err(lost) => Answer::unreadable(lost.to_string()),
    }
}

/// Body of the child: opens the device that `arguments` name, gives up its privileges, looks at it from the offset on,
/// prints one JSON object.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child(arguments: impl IntoIterator<Item = String>) -> Result<(), String> {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let [name, numbers @ ..] = arguments.as_slice() else { return Err("no device is named".to_owned()) };
    let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let numbers: Vec<u64> = numbers.iter().map(number).collect::<Result<_, _>>()?;
    let &[major, minor, offset, length] = numbers.as_slice() else { return Err("four numbers are needed".to_owned()) };
    let path = device::path(name);
    let answer = match device::open(&path, (major, minor)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEDIUM) => Answer::NoMedium,
        Err(error) => Answer::unreadable(format!("cannot open {path}: {error}")),
        Ok(device) => match sandbox::confine() {
            Ok(()) => look_at(&device, Range { offset, length }),
            // Told instead of probed: nothing has been read yet.
            Err(error) => Answer::unreadable(format!("cannot confine the probing process: {error}")),
        },
    };
    let answer = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
    io::stdout().write_all(&answer).map_err(|error| error.to_string())
}

/// A range without length goes to the end of the device.
fn look_at(device: &File, range: Range) -> Answer {
    let mut probe = match prepare() {
        Ok(probe) => probe,
        Err(error) => return Answer::unreadable(causes(&error)),
    };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if probe.set_device(device.as_raw_fd(), number(range.offset), number(range.length)).is_err() {
        // The library gives no reason but errno; it asks an optical drive whether it has a medium.
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOMEDIUM) => Answer::NoMedium,
            _ => Answer::unreadable(format!("cannot read the device: {error}")),
        };
    }
    match probe.do_safeprobe() {
        Ok(BlkidSafeprobeRet::None) => match unsigned(device, range) {
            Ok(content) => Answer::Seen { content, table: Look::Found { value: None } },
            Err(error) => Answer::unreadable(format!("cannot read the device: {error}")),
        },
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

/// What is there, when no signature is known.
fn unsigned(device: &File, Range { offset, length }: Range) -> io::Result<Content> {
    let length = if length == 0 { device::size(device)?.saturating_sub(offset) } else { length };
    Ok(if zeros::are_zero(device, offset, length)? { Content::Empty } else { Content::Unknown })
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
