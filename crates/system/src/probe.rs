//! Probing a device for signatures in a child process without privileges, since the bytes may be hostile and the
//! prober is C. Must not mount, and must not read a failed probe as an empty device.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::Path,
};

use cloud_machine_protocol::{Probe, Signature, causes};
use libblkid_rs::{BlkidProbe, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};
use nix::libc;

use crate::{
    attributes::{SYSFS, device_number},
    confined::{Limits, Lost, PATIENCE, ask},
    device::{self, DeviceNumber},
    sandbox, zeros,
};

/// Argument that makes the agent's binary the probing child; the kernel's name of the device follows it, and its major and
/// minor number.
pub const CHILD_ARGUMENT: &str = "probe";
/// Longest answer of the child, in bytes.
const MAX_ANSWER: usize = 4096;

/// Probes the device that the kernel calls `name` in a child process, which is waited for no longer than for any look.
#[must_use]
pub fn probe(name: &str) -> Probe {
    probe_medium(name).unwrap_or_else(|| unreadable("its drive has no medium".to_owned()))
}

/// [`probe`] of what may be a drive without medium: then there is none.
pub(crate) fn probe_medium(name: &str) -> Option<Probe> {
    let (major, minor) = match device_number(&Path::new(SYSFS).join(name)) {
        Ok((major, minor)) => (major.to_string(), minor.to_string()),
        Err(error) => return Some(unreadable(causes(&error))),
    };
    let limits = Limits { time: PATIENCE, answer: MAX_ANSWER };
    match ask(&[CHILD_ARGUMENT, name, &major, &minor], &[], limits) {
        Ok(answer) => {
            serde_json::from_slice(&answer).unwrap_or_else(|error| Some(unreadable(format!("invalid answer: {error}"))))
        }
        Err(Lost::Slow(limit)) => Some(Probe::Silent { seconds: limit.as_secs() }),
        Err(lost) => Some(unreadable(lost.to_string())),
    }
}

fn unreadable(reason: String) -> Probe {
    Probe::Unreadable { reason }
}

/// Body of the child: opens the device that `arguments` name, gives up its privileges, probes it, prints one JSON object.
///
/// # Errors
/// A text for the exit path; the parent only sees that the child did not succeed.
pub fn child(arguments: impl IntoIterator<Item = String>) -> Result<(), String> {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let [name, major, minor] = arguments.as_slice() else {
        return Err("a device has a name and two numbers".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let found = probe_here(name, (number(major)?, number(minor)?))?;
    let answer = serde_json::to_vec(&found).map_err(|error| error.to_string())?;
    io::stdout().write_all(&answer).map_err(|error| error.to_string())
}

/// `None` for a drive without medium.
fn probe_here(name: &str, number: DeviceNumber) -> Result<Option<Probe>, String> {
    let path = device::path(name);
    let device = match device::open(&path, number) {
        Ok(device) => device,
        Err(error) if error.raw_os_error() == Some(libc::ENOMEDIUM) => return Ok(None),
        Err(error) => return Ok(Some(unreadable(format!("cannot open {path}: {error}")))),
    };
    sandbox::confine().map_err(|error| format!("cannot confine the probing process: {error}"))?;
    Ok(Some(match safe_probe(&device) {
        // The library gives no reason but errno; it asks an optical drive whether it has a medium.
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEDIUM) => return Ok(None),
        Ok(Probe::Empty) => match device::size(&device).and_then(|size| zeros::are_zero(&device, 0, size)) {
            Ok(true) => Probe::Empty,
            Ok(false) => Probe::Unknown,
            Err(error) => unreadable(format!("cannot read {path}: {error}")),
        },
        Ok(found) => found,
        Err(error) => unreadable(causes(&error)),
    }))
}

/// By signatures alone: what has none is empty here.
fn safe_probe(device: &File) -> Result<Probe, libblkid_rs::BlkidErr> {
    let mut probe = BlkidProbe::new()?;
    probe.set_device(device.as_raw_fd(), 0, 0)?;
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
