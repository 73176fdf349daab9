//! Probing a device for signatures in a child process without privileges, since the bytes may be hostile and the
//! prober is C. Must not mount, and must not read a failed probe as an empty device.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use cloud_machine_protocol::{Probe, Signature};
use libblkid_rs::{BlkidProbe, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};

use crate::{BlockReader, sandbox};

/// Argument that makes the agent's binary the probing child; the device is its standard input.
pub const CHILD_ARGUMENT: &str = "probe";
/// Longest answer of the child, in bytes.
const MAX_ANSWER: u64 = 4096;

/// Probes `/dev/<name>` in a child process.
#[must_use]
pub fn probe(name: &str) -> Probe {
    let unreadable = |reason: String| Probe::Unreadable { reason };
    let device = match BlockReader::open(name) {
        Ok(device) => device,
        Err(error) => return unreadable(format!("{error}: {}", source_text(&error))),
    };
    let child = Command::new("/proc/self/exe")
        .arg(CHILD_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(device.into_file()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return unreadable(format!("cannot start the probing process: {error}")),
    };
    let mut answer = Vec::new();
    let read = match child.stdout.take() {
        Some(output) => output.take(MAX_ANSWER).read_to_end(&mut answer),
        None => Ok(0),
    };
    match (read, child.wait()) {
        (Ok(_), Ok(status)) if status.success() => {
            serde_json::from_slice(&answer).unwrap_or_else(|error| unreadable(format!("invalid answer: {error}")))
        }
        (Ok(_), Ok(status)) => unreadable(format!("the probing process ended with {status}")),
        (Err(error), _) | (_, Err(error)) => unreadable(format!("lost the probing process: {error}")),
    }
}

fn source_text(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

/// Body of the child: gives up its privileges, probes standard input, prints one JSON object.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child() -> Result<(), String> {
    sandbox::confine().map_err(|error| format!("cannot confine the probing process: {error}"))?;
    let answer = serde_json::to_vec(&probe_standard_input()).map_err(|error| error.to_string())?;
    std::io::stdout().write_all(&answer).map_err(|error| error.to_string())
}

fn probe_standard_input() -> Probe {
    match safe_probe() {
        Ok(probe) => probe,
        Err(error) => Probe::Unreadable { reason: error.to_string() },
    }
}

fn safe_probe() -> Result<Probe, libblkid_rs::BlkidErr> {
    let mut probe = BlkidProbe::new()?;
    probe.set_device(0, 0, 0)?;
    probe.enable_superblocks(true)?;
    probe.set_superblock_flags(BlkidSublksFlags::new(vec![
        BlkidSublks::Label,
        BlkidSublks::Uuid,
        BlkidSublks::Type,
    ]))?;
    // Without this chain a filesystem and a partition table that collide are not seen as such.
    probe.enable_partitions(true)?;
    Ok(match probe.do_safeprobe()? {
        BlkidSafeprobeRet::Ambiguous => Probe::Ambivalent,
        BlkidSafeprobeRet::None => Probe::Empty,
        BlkidSafeprobeRet::Success => Probe::Found(Signature {
            filesystem: value(&probe, "TYPE"),
            label: value(&probe, "LABEL"),
            uuid: value(&probe, "UUID"),
            partition_table: value(&probe, "PTTYPE"),
        }),
    })
}

/// One value by its name. A value that is no UTF-8 text makes this tag, and only this tag, absent: it can equal no
/// name that is looked for.
pub(crate) fn value(probe: &BlkidProbe, name: &str) -> Option<String> {
    match probe.has_value(name) {
        Ok(true) => probe.lookup_value(name).ok().map(|text| text.trim_end_matches('\0').to_owned()),
        Ok(false) | Err(_) => None,
    }
}
