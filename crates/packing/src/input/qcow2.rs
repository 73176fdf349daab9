//! From a qcow2 image to a sparse raw one, by `qemu-img`. Owns what is refused before that program sees the image, so
//! that no other file than the image is ever opened.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::FileExt},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use cloud_machine_child::{self as child, Bounds, ChildError};
use cloud_machine_protocol::escape;
use serde::Deserialize;

use super::{Input, InputError, Phase, RawImage, temporary::temporary};

mod tables;

// docs/interop/qcow2.txt of QEMU: all numbers are big-endian. Version 2 has a header of 72 bytes, version 3 one of at
// least 104 that begins with the same fields.
const HEADER_2: usize = 72;
const HEADER_3: usize = 104;
/// Bits of the incompatible features.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENDED_L2: u64 = 1 << 4;
/// `qemu-img check`: clusters that nothing refers to. They cost space, nothing is wrong with the disk.
const LEAKS: i32 = 3;
/// What `qemu-img check` may take; it reads all tables of the image.
const CHECK: Bounds = Bounds { limit: Duration::from_secs(3600), output: 4 << 20 };
/// Bytes of stderr that an error carries.
const MAX_STDERR: usize = 4096;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes of the disk.
    size: u64,
    /// Whether clusters may be written in part.
    extended_l2: bool,
    /// Bytes of a cluster.
    cluster: u64,
}

/// What `qemu-img check` says, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    image_end_offset: Option<u64>,
    #[serde(default)]
    compressed_clusters: u64,
}

/// Converts `image` to a temporary file.
pub(super) fn convert(input: &Input<'_>, image: &File, name: &str) -> Result<RawImage, InputError> {
    let invalid = |reason: String| InputError::Qcow2 { name: name.to_owned(), reason };
    let read = |source| InputError::Read { name: name.to_owned(), source };
    // Also of a block device, whose metadata say nothing.
    let length = io::Seek::seek(&mut &*image, io::SeekFrom::End(0)).map_err(read)?;
    let mut head = [0; HEADER_3];
    let count = length.min(HEADER_3 as u64) as usize;
    image.read_exact_at(head.get_mut(..count).unwrap_or_default(), 0).map_err(read)?;
    let header = Header::parse(head.get(..count).unwrap_or_default()).map_err(invalid)?;
    if header.size > input.max_size {
        return Err(InputError::TooLarge { name: name.to_owned(), max: input.max_size });
    }
    // A conversion reads what is cut off as zeros and says nothing.
    let checked = check(input, image)?;
    let whole = checked.image_end_offset.unwrap_or_default();
    let ends_early = length < whole && checked.compressed_clusters == 0 && !header.extended_l2;
    if ends_early && !ends_in_table(image, &header, length, whole).map_err(read)? {
        return Err(invalid(format!("it is truncated: it has {length} bytes, its last cluster ends at byte {whole}")));
    }
    let raw = temporary(input.folder)?;
    let failed = |source| InputError::Write { name: name.to_owned(), written: 0, source };
    raw.set_len(header.size).map_err(failed)?;
    let options = ["-n", "--target-is-zero", "-S", "64k", "-f", "qcow2", "-O", "raw"];
    run(input, &options, image, &raw, (Phase::Convert, header.size))?;
    RawImage::of(raw, name.to_owned())
}

/// Whether the last cluster of an image, which ends at byte `whole`, holds a table that is all there and needs no more
/// than the `length` bytes of the file.
fn ends_in_table(image: &File, header: &Header, length: u64, whole: u64) -> io::Result<bool> {
    let mut head = vec![0; header.cluster.min(length) as usize];
    image.read_exact_at(&mut head, 0)?;
    let last = whole.saturating_sub(header.cluster);
    Ok(tables::exact(image, &head)?.iter().any(|(start, end)| *start < whole && *end > last && *end <= length))
}

impl Header {
    /// The error is the reason.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let number = |at: usize, length: usize| {
            let field = bytes.get(at..at + length).unwrap_or_default();
            field.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if !bytes.starts_with(b"QFI\xfb") {
            return Err("it is no qcow2 image: it does not begin with its magic number".to_owned());
        }
        let version = number(4, 4);
        let needed = if version == 2 { HEADER_2 } else { HEADER_3 };
        if bytes.len() < needed {
            return Err(format!("it is truncated: its header has {} of {needed} bytes", bytes.len()));
        }
        if !matches!(version, 2 | 3) {
            return Err(format!("it is qcow2 of version {version}; versions 2 and 3 are known"));
        }
        let features = if version == 2 { 0 } else { number(72, 8) };
        let refused = [
            (
                number(8, 8) != 0,
                "it has a backing file; `qemu-img rebase -b \"\"` or `qemu-img convert` makes it whole",
            ),
            (features & EXTERNAL_DATA != 0, "its data is in another file; `qemu-img convert -O qcow2` makes it whole"),
            (number(32, 4) != 0, "it is encrypted"),
            (
                number(60, 4) != 0,
                "it has internal snapshots, so it is not clear which state is meant; `qemu-img convert` takes the \
                 current one, with `-l` a snapshot",
            ),
            (features & CORRUPT != 0, "it is marked as corrupt; `qemu-img check -r all` may repair it"),
            (number(24, 8) == 0, "it is a disk of 0 bytes"),
            (!(9..=21).contains(&number(20, 4)), "its clusters have a size that is none of qcow2"),
        ];
        match refused.iter().find(|(is, _)| *is) {
            Some((_, reason)) => Err((*reason).to_owned()),
            None => {
                Ok(Self { size: number(24, 8), extended_l2: features & EXTENDED_L2 != 0, cluster: 1 << number(20, 4) })
            }
        }
    }
}

/// A path to an open file for a child process, also when the file has no name.
pub(super) fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Lets `qemu-img` check that every cluster is there.
fn check(input: &Input<'_>, image: &File) -> Result<Checked, InputError> {
    let arguments = ["check", "-f", "qcow2", "--output", "json", &path(image)].map(str::to_owned);
    let program = input.qemu_img.display().to_string();
    let output = child::run(Command::new(input.qemu_img).args(&arguments), CHECK).map_err(|error| match error {
        ChildError::Run { program, source } => InputError::Run { program, source },
        other => InputError::Run { program: program.clone(), source: io::Error::other(other) },
    })?;
    let failed = |stderr: String| InputError::Program {
        program: program.clone(),
        arguments: arguments.join(" "),
        status: output.status,
        stderr,
    };
    if !output.status.success() && output.status.code() != Some(LEAKS) {
        return Err(failed(stderr(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(format!("its answer is no JSON: {error}")))
}

/// Lets `qemu-img convert` write every cluster of `image` that is not zero to `target`; tells the phase, by bytes of the disk's `size`.
pub(super) fn run(
    input: &Input<'_>,
    options: &[&str],
    image: &File,
    target: &File,
    (phase, size): (Phase, u64),
) -> Result<(), InputError> {
    let mut arguments: Vec<String> = ["convert", "-p"].iter().chain(options).map(|word| (*word).to_owned()).collect();
    arguments.extend([path(image), path(target)]);
    let program = input.qemu_img.display().to_string();
    let unread = |source| InputError::Run { program: program.clone(), source };
    let mut child = Command::new(input.qemu_img)
        .args(&arguments)
        // What it says of a full disk is looked for.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unread)?;
    let errors = child.stderr.take();
    // No file takes them: the filesystem of temporary files may be what is full.
    let text = thread::scope(|scope| {
        let text = scope.spawn(|| errors.map(last_bytes).unwrap_or_default());
        if let Some(output) = child.stdout.take() {
            follow(output, |percent| (input.progress)(phase, (size as f64 * percent / 100.0) as u64, size));
        }
        text.join().unwrap_or_default()
    });
    let status = child.wait().map_err(unread)?;
    if status.success() {
        return Ok(());
    }
    Err(InputError::Program { program, arguments: arguments.join(" "), status, stderr: stderr(&text) })
}

/// The end of what a program says, as far as an error can carry it.
fn last_bytes(mut output: impl Read) -> Vec<u8> {
    let (mut buffer, mut last) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        last.extend_from_slice(buffer.get(..count).unwrap_or_default());
        last.drain(..last.len().saturating_sub(MAX_STDERR));
    }
    last
}

/// Reads the progress that `qemu-img -p` writes, `    (12.34/100%)` after a carriage return, until it ends.
fn follow(mut output: impl Read, mut tell: impl FnMut(f64)) {
    let (mut buffer, mut line) = ([0; 256], String::new());
    // Its exit status says whether all went well; a broken pipe only ends the progress.
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        for byte in buffer.get(..count).unwrap_or_default() {
            match byte {
                b'\r' | b'\n' => line.clear(),
                _ if line.len() < 64 => line.push(char::from(*byte)),
                _ => {}
            }
            let number = line.trim_start().strip_prefix('(').and_then(|rest| rest.strip_suffix("/100%)"));
            if let Some(percent) = number.and_then(|number| number.parse::<f64>().ok()) {
                tell(percent.clamp(0.0, 100.0));
            }
        }
    }
}

/// The end of what a program said, on one line and safe to show.
fn stderr(stderr: &[u8]) -> String {
    let end = stderr.get(stderr.len().saturating_sub(MAX_STDERR)..).unwrap_or_default();
    escape::tail(end, 10).replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl FnOnce(&mut [u8])) -> Result<Header, String> {
        let mut bytes = vec![0; HEADER_3];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[7] = 3;
        bytes[23] = 16;
        bytes[24 + 4] = 1;
        change(&mut bytes);
        Header::parse(&bytes)
    }

    #[test]
    fn what_needs_more_than_the_file_is_refused_by_its_reason() {
        let plain = |extended_l2| Ok(Header { size: 1 << 24, extended_l2, cluster: 1 << 16 });
        assert_eq!(header(|_| ()), plain(false));
        assert_eq!(header(|bytes| bytes[79] = 0x11), plain(true));
        type Case = (fn(&mut [u8]), &'static str);
        let cases: [Case; 9] = [
            (|bytes| bytes[0] = 0, "no qcow2 image"),
            (|bytes| bytes[7] = 4, "version 4"),
            (|bytes| bytes[15] = 1, "backing file"),
            (|bytes| bytes[79] = 4, "in another file"),
            (|bytes| bytes[35] = 2, "encrypted"),
            (|bytes| bytes[63] = 1, "internal snapshots"),
            (|bytes| bytes[79] = 2, "corrupt"),
            (|bytes| bytes[28] = 0, "0 bytes"),
            (|bytes| bytes[23] = 22, "clusters"),
        ];
        for (change, expected) in cases {
            let reason = header(change).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
        assert!(Header::parse(b"QFI\xfb\0\0\0\x03").unwrap_err().contains("8 of 104 bytes"));
        assert!(Header::parse(b"QFI\xfb\0\0\0\x02").unwrap_err().contains("8 of 72 bytes"));
    }

    #[test]
    fn progress_is_read_as_it_is_written() {
        let mut told = Vec::new();
        follow(
            &b"    (0.00/100%)\r    (12.50/100%)\r(999/100%)\rnoise (x/100%)\r    (100.00/100%)\r\n"[..],
            |percent| {
                told.push(percent);
            },
        );
        assert_eq!(told, [0.0, 12.5, 100.0, 100.0]);
    }
}
