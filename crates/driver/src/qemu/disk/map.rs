//! The dirty map of a disk: a qcow2 file that holds no data, only a persistent bitmap in which QEMU marks what a process
//! writes to the raw file beside it. Must not call a map good that a process did not close itself.

use std::{
    fs,
    io::BufRead,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cloud_machine_child::ChildError;
use cloud_machine_protocol::{Extent, escape};
use cloud_machine_store::file;
use rustix::process::Signal;
use serde::Deserialize;

use super::{
    node::mapped,
    tools::{put_in_place, remove, run},
};
use crate::{
    machine::DirtyMap,
    qemu::{QemuError, pidfd::Pidfd},
};

/// Name of the bitmap.
const BITMAP: &str = "system";
/// Bytes that one bit stands for: those of an image's leaf.
const GRANULARITY: &str = "65536";
/// Largest disk whose map has clusters of 64 KiB; those of a larger one are sixteen times as large, so that 100 GB need
/// less than 1 MiB of tables.
const SMALL: u64 = 16 << 30;
/// Most extents of a map that is of use: with more of them, comparing everything costs no more.
pub const MAX_EXTENTS: usize = 20_000;
/// Longest line of `qemu-img map`; they have about 120 bytes.
const MAX_LINE: u64 = 4096;
/// How long a server that nobody uses any more gets to end.
const END: Duration = Duration::from_secs(2);

/// Makes an empty map of a raw disk of `size` bytes at `path`, in the place of an older one. It records from the moment
/// in which QEMU opens it.
///
/// # Errors
/// [`QemuError::Run`], [`QemuError::Refused`] or [`QemuError::Io`].
pub fn new_map(path: &Path, size: u64) -> Result<(), QemuError> {
    let (new, stand_in) = (path.with_extension("new"), path.with_extension("none"));
    remove(&new)?;
    // `qemu-img create` empties the data file that it is given, so it gets another one than the disk.
    let made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&stand_in);
    let made = made.and_then(|file| file.set_len(size));
    made.map_err(QemuError::io("make", &stand_in))?;
    let made = create(&new, &stand_in, size);
    remove(&stand_in)?;
    made?;
    put_in_place(&new, path)
}

fn create(new: &Path, stand_in: &Path, size: u64) -> Result<(), QemuError> {
    let Some(name) = stand_in.to_str() else {
        return Err(QemuError::InvalidLaunch {
            what: "path of a disk",
            found: stand_in.to_string_lossy().into_owned(),
            allowed: "an absolute path of UTF-8",
        });
    };
    let cluster = if size <= SMALL { 64 << 10 } else { 1 << 20 };
    // A comma is doubled in QEMU's options.
    let options = format!("cluster_size={cluster},data_file_raw=on,data_file={}", name.replace(',', ",,"));
    let words = ["create", "-q", "-f", "qcow2", "-o", &options].map(Into::into);
    run("qemu-img", words.into_iter().chain([new.into(), size.to_string().into()]).collect())?;
    // As a node, in which every file is named: nothing is looked up under a name that a file holds.
    let node = format!("json:{}", mapped(new, stand_in, false)?);
    let words = ["bitmap", "--add", "-g", GRANULARITY, &node, BITMAP];
    run("qemu-img", words.map(Into::into).to_vec()).map(drop)
}

/// Reads the map at `path` of the disk `raw` of `size` bytes. The process that marked it must be gone.
///
/// # Errors
/// [`QemuError::Run`], [`QemuError::Refused`], [`QemuError::Output`], [`QemuError::Process`] or [`QemuError::Io`].
pub fn read_map(path: &Path, raw: &Path, size: u64) -> Result<DirtyMap, QemuError> {
    if !path.try_exists().map_err(QemuError::io("look for", path))? {
        return Ok(DirtyMap::Absent);
    }
    let node = format!("json:{}", mapped(path, raw, true)?);
    if is_in_use(&node)? {
        return Ok(DirtyMap::Inconsistent);
    }
    // Beside the map, where there is room for what the machine needs anyway.
    let beside = path.parent().unwrap_or(Path::new("/"));
    let folder = tempfile::Builder::new().prefix(".map.").tempdir_in(beside);
    let folder = folder.map_err(QemuError::io("make a folder in", beside))?;
    let pid = folder.path().join("pid");
    // A socket's address holds 107 bytes (unix(7)), and qemu-nbd wants it absolute: it goes through the open folder.
    let opened = fs::File::open(folder.path()).map_err(QemuError::io("open", folder.path()))?;
    let socket = PathBuf::from(format!("/proc/{}/fd/{}/map.sock", std::process::id(), opened.as_raw_fd()));
    let words = ["--fork", "--read-only", "--bitmap", BITMAP, "--socket"].map(Into::into).to_vec();
    let more = [socket.clone().into(), "--pid-file".into(), pid.clone().into(), node.into()];
    run("qemu-nbd", words.into_iter().chain(more).collect())?;
    let server = Server::attach(&pid)?;
    let extents = dirty_extents(&socket, size);
    drop(server);
    extents
}

/// Whether `raw` was written after the map at `path` was closed: by something else than a machine with this map.
///
/// # Errors
/// [`QemuError::Io`].
pub fn is_newer_than_map(raw: &Path, path: &Path) -> Result<bool, QemuError> {
    let changed = |path: &Path| {
        let found = fs::metadata(path).map_err(QemuError::io("read the times of", path))?;
        Ok::<_, QemuError>((found.ctime(), found.ctime_nsec()))
    };
    Ok(changed(raw)? > changed(path)?)
}

/// What `qemu-img info` says of a qcow2 file, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format_specific: Specific,
}

#[derive(Deserialize)]
struct Specific {
    data: Bitmaps,
}

#[derive(Deserialize)]
struct Bitmaps {
    #[serde(default)]
    bitmaps: Vec<Bitmap>,
}

#[derive(Deserialize)]
struct Bitmap {
    name: String,
    flags: Vec<String>,
    granularity: u64,
}

/// Whether the bitmap is as a process left it that did not close it. That it is another one than [`new_map`] makes is an
/// error.
fn is_in_use(node: &str) -> Result<bool, QemuError> {
    let invalid = |stderr: String| QemuError::Output { program: "qemu-img info", stderr };
    let printed = run("qemu-img", ["info", "--output=json", node].map(Into::into).to_vec())?;
    let info: Info = serde_json::from_slice(&printed).map_err(|error| invalid(error.to_string()))?;
    let bitmap = match info.format_specific.data.bitmaps.as_slice() {
        [bitmap] if bitmap.name == BITMAP && bitmap.granularity.to_string() == GRANULARITY => bitmap,
        other => return Err(invalid(format!("{} bitmaps in the place of {BITMAP:?}", other.len()))),
    };
    // A bitmap that does not record by itself would be empty whatever was written.
    if !bitmap.flags.iter().any(|flag| flag == "auto") {
        return Err(invalid("a bitmap that does not record".to_owned()));
    }
    Ok(bitmap.flags.iter().any(|flag| flag == "in-use"))
}

/// An NBD server that must not outlive its reader.
struct Server(Option<Pidfd>);

impl Server {
    fn attach(pid_file: &Path) -> Result<Self, QemuError> {
        let text = file::read(pid_file, file::MAX_WORD).map_err(QemuError::File)?.unwrap_or_default();
        let Some(pid) = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()) else {
            return Err(QemuError::InvalidPid { path: pid_file.to_owned(), found: escape::line(&text, 40) });
        };
        let handle = Pidfd::open(pid).map_err(|source| QemuError::Process { operation: "open", pid, source })?;
        Ok(Self(handle))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with its first client; the signal is for the case that there was none.
        let Some(handle) = &self.0 else { return };
        let ended = handle.ended(Instant::now() + END / 4);
        if ended.as_ref().is_ok_and(|ended| *ended) {
            return;
        }
        let killed = handle.signal(Signal::KILL).and_then(|()| handle.ended(Instant::now() + END));
        if !killed.as_ref().is_ok_and(|ended| *ended) {
            tracing::warn!(pid = handle.pid(), ?killed, "the server of a dirty map is still there");
        }
    }
}

/// One line of `qemu-img map --output=json`.
#[derive(Deserialize)]
struct Line {
    start: u64,
    length: u64,
    data: bool,
}

/// Reads the bitmap behind an NBD socket.
fn dirty_extents(socket: &Path, size: u64) -> Result<DirtyMap, QemuError> {
    let server = serde_json::json!({"type": "unix", "path": socket.to_string_lossy()});
    let bitmap = format!("qemu:dirty-bitmap:{BITMAP}");
    let node = format!("json:{}", serde_json::json!({"driver": "nbd", "server": server, "x-dirty-bitmap": bitmap}));
    match run("qemu-img", ["map", "--output=json", &node].map(Into::into).to_vec()) {
        Ok(printed) => extents(&mut printed.as_slice(), size),
        // A line an extent: that is more of them than a map may have.
        Err(QemuError::Child(ChildError::TooMuch { .. })) => Ok(DirtyMap::TooMany),
        Err(error) => Err(error),
    }
}

/// With `x-dirty-bitmap` a range without data is a dirty one (QEMU's `qapi/block-core.json`).
fn extents(output: &mut impl BufRead, size: u64) -> Result<DirtyMap, QemuError> {
    let invalid = |stderr: &[u8]| QemuError::Output { program: "qemu-img map", stderr: escape::line(stderr, 120) };
    let mut extents: Vec<Extent> = Vec::new();
    let (mut line, mut next) = (Vec::new(), 0);
    loop {
        line.clear();
        let count = std::io::Read::take(&mut *output, MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|source| QemuError::Run { program: "qemu-img map".to_owned(), source })?;
        if count == 0 {
            // Nothing at all is no map, and neither is the beginning of one.
            return if next == size { Ok(DirtyMap::Extents(extents)) } else { Err(invalid(b"")) };
        }
        let object = line.trim_ascii().strip_prefix(b"[").unwrap_or(line.trim_ascii());
        let object = object.strip_suffix(b",").or(object.strip_suffix(b"]")).unwrap_or(object);
        let found: Line = serde_json::from_slice(object).map_err(|_| invalid(&line))?;
        if found.start != next || found.length == 0 {
            return Err(invalid(&line));
        }
        next = found.start.checked_add(found.length).ok_or_else(|| invalid(&line))?;
        if found.data {
            continue;
        }
        let count = extents.len();
        match extents.last_mut() {
            Some(last) if last.offset + last.length == found.start => last.length += found.length,
            _ if count == MAX_EXTENTS => return Ok(DirtyMap::TooMany),
            _ => extents.push(Extent { offset: found.start, length: found.length }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, size: u64) -> Result<DirtyMap, String> {
        extents(&mut text.as_bytes(), size).map_err(|error| error.to_string())
    }

    fn line(start: u64, length: u64, data: bool) -> String {
        format!("{{ \"start\": {start}, \"length\": {length}, \"depth\": 0, \"zero\": false, \"data\": {data}}}")
    }

    #[test]
    fn dirty_ranges_are_the_ones_without_data_and_those_that_touch_are_one() {
        let lines = [line(0, 10, true), line(10, 5, false), line(15, 5, false), line(20, 5, true), line(25, 1, false)];
        let expected = vec![Extent { offset: 10, length: 10 }, Extent { offset: 25, length: 1 }];
        assert_eq!(parsed(&format!("[{}]\n", lines.join(",\n")), 26), Ok(DirtyMap::Extents(expected)));
        assert_eq!(parsed(&format!("[{}]\n", line(0, 10, true)), 10), Ok(DirtyMap::Extents(Vec::new())));
    }

    #[test]
    fn what_has_a_gap_or_is_no_map_is_an_error() {
        for text in [
            String::new(),
            "[]\n".to_owned(),
            "x".to_owned(),
            "[".to_owned(),
            format!("[{}]", line(1, 5, true)),
            format!("[{},\n{}]", line(0, 5, true), line(6, 5, false)),
            format!("[{},\n{}]", line(0, 5, true), line(0, 5, false)),
            format!("[{}]", line(0, 0, true)),
            format!("[{},\n{}]", line(0, u64::MAX, true), line(u64::MAX, 9, false)),
            format!("[{}", " ".repeat(10_000)),
            format!("[{}]", line(0, 25, false)),
            format!("[{}]", line(0, 27, false)),
        ] {
            let error = parsed(&text, 26).unwrap_err();
            assert!(error.starts_with("qemu-img map printed what it should not: "), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_map_with_too_many_extents_is_given_up() {
        let lines = |count: u64| -> String {
            (0..count).map(|index| line(2 * index, 1, false) + "\n" + &line(2 * index + 1, 1, true) + "\n").collect()
        };
        let most = MAX_EXTENTS as u64;
        assert!(matches!(parsed(&lines(most), 2 * most), Ok(DirtyMap::Extents(found)) if found.len() == MAX_EXTENTS));
        assert_eq!(parsed(&lines(most + 1), 2 * most + 2), Ok(DirtyMap::TooMany));
    }
}
