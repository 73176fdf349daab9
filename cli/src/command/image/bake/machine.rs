//! The machine that bakes: starts it, tells what it says, and turns a failure into one with a way out. Must not touch the image.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use cloud_machine_driver::qemu::{Accelerator, Once, Qemu, QemuError, decide_once};
use cloud_machine_packing::input::RawImage;
use cloud_machine_protocol::{bake, escape};

use crate::{
    arguments::Bake,
    command::image::bake::words::Words,
    failure::{Failure, Kind},
    ui::Ui,
};

/// Enough for the generators of distributions, which compress on all processors.
const MEMORY_MIB: u64 = 1536;
/// Translated, a second processor costs more than it gives: 133 s of processor time against 108 s, for one initramfs of Debian's.
const fn cpus(accelerator: Accelerator) -> u32 {
    match accelerator {
        Accelerator::Kvm => 2,
        Accelerator::Tcg => 1,
    }
}
/// How often it is looked whether the machine has said something.
const POLL: Duration = Duration::from_millis(200);
/// Bytes of the console of which the end is looked for.
const CONSOLE: u64 = 16 << 10;
/// Lines of the console that are shown when the machine said nothing else.
const CONSOLE_LINES: usize = 15;

/// Files of the machine, none of which has a name.
pub(super) struct Files {
    kernel: File,
    initramfs: File,
    console: File,
    words: File,
}

impl Files {
    /// The machine's files on the filesystem of `folder`.
    pub(super) fn new(folder: &Path, kernel: &[u8], initramfs: &[u8]) -> Result<Self, Failure> {
        let file = |bytes: &[u8]| {
            let made = tempfile::tempfile_in(folder).and_then(|mut file| file.write_all(bytes).map(|()| file));
            made.map_err(Failure::during(Kind::Failed, format!("write a temporary file in {}", folder.display())))
        };
        Ok(Self { kernel: file(kernel)?, initramfs: file(initramfs)?, console: file(b"")?, words: file(b"")? })
    }
}

/// A path by which QEMU finds a file without a name.
fn path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Bakes the image in `disk`.
pub(super) fn run(ui: &Ui, arguments: &Bake, files: &Files, disk: &RawImage, folder: &Path) -> Result<Words, Failure> {
    let qemu = Qemu::default();
    let (kernel, initramfs) = (path(&files.kernel), path(&files.initramfs));
    let verdict = match arguments.accelerator.named() {
        Some(named) => named.unproved(),
        None => decide_once(&qemu, &kernel, &initramfs, folder).map_err(failure)?,
    };
    let root = arguments.root_partition.map(|number| format!(" {}={number}", bake::ROOT_ARGUMENT)).unwrap_or_default();
    let once = Once {
        verdict: &verdict,
        memory_mib: MEMORY_MIB,
        cpus: cpus(verdict.accelerator),
        kernel,
        initramfs,
        append: format!("console=ttyS0 no_timer_check panic=-1 {}{root}", bake::ARGUMENT),
        disk: disk.path().into(),
        console: path(&files.console),
        words: path(&files.words),
        limit: Duration::from_secs(arguments.timeout),
    };
    ui.note(&format!("start a machine with the image (accelerator {})", verdict.accelerator));
    let ended = AtomicBool::new(false);
    let (run, words) = thread::scope(|scope| {
        let words = scope.spawn(|| follow(ui, &files.words, &ended));
        let run = qemu.run_once(&once);
        ended.store(true, Ordering::SeqCst);
        (run, words.join())
    });
    let words = words
        .map_err(|_| Failure::failed("what the machine said was lost"))?
        .map_err(Failure::during(Kind::Failed, "read what the machine said"))?;
    judge(run, words, &files.console)
}

/// Reads what is said until the machine has ended, and tells its steps.
fn follow(ui: &Ui, file: &File, ended: &AtomicBool) -> io::Result<Words> {
    let (mut words, mut rest, mut at) = (Words::default(), Vec::new(), 0);
    loop {
        // Asked first: what was said before the end is read below.
        let is_last = ended.load(Ordering::SeqCst);
        let mut piece = [0; 4096];
        loop {
            let count = file.read_at(&mut piece, at)?;
            if count == 0 {
                break;
            }
            at += count as u64;
            rest.extend_from_slice(piece.get(..count).unwrap_or_default());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if let Some(text) = words.take(&line) {
                    ui.note(&text);
                }
            }
            if rest.len() > 1 << 20 {
                return Err(io::Error::other("a line has no end"));
            }
        }
        if is_last {
            return Ok(words);
        }
        thread::sleep(POLL);
    }
}

/// What the machine did, or why it did not.
fn judge(run: Result<(), QemuError>, words: Words, console: &File) -> Result<Words, Failure> {
    if let Some((code, text)) = &words.failed {
        return Err(failed(code, text, &words));
    }
    run.map_err(failure)?;
    if words.done {
        return Ok(words);
    }
    let length = console.metadata().map(|found| found.len()).unwrap_or_default();
    let mut tail = vec![0; length.min(CONSOLE) as usize];
    let tail = match console.read_exact_at(&mut tail, length.saturating_sub(CONSOLE)) {
        Ok(()) => escape::tail(&tail, CONSOLE_LINES),
        Err(error) => format!("(it cannot be read: {error})"),
    };
    Err(Failure::failed("the machine with the image ended before it was done")
        .hint(format!("its console ends with\n{tail}")))
}

/// A failure that the machine told, with what helps.
fn failed(code: &str, text: &str, words: &Words) -> Failure {
    let (error, hint) = match code {
        bake::NO_ROOT if text.contains("crypto_LUKS") || text.contains("BitLocker") => (
            format!("no root was found that can be read: {text}"),
            "an encrypted root is not baked: run `initramfs/baked/install` in the system itself",
        ),
        bake::NO_ROOT => (
            format!("no root was found: {text}"),
            "a root is on ext4, xfs or btrfs in a partition of its own and has /etc/os-release; --root-partition NUMBER names one",
        ),
        bake::SEVERAL_ROOTS => {
            (format!("several partitions have a root: {text}"), "--root-partition NUMBER names the one that is meant")
        }
        "no-generator" => (
            format!("there is no generator of initramfs files in the image: {text}"),
            "install initramfs-tools or dracut there; --generator names one of two",
        ),
        "generator" => (
            match words.log.as_slice() {
                [] => text.to_owned(),
                log => format!("{text} failed in the image; it said last:\n{}", log.join("\n")),
            },
            "the image is as it was; what is missing has to be installed in it, or the policy must not need it",
        ),
        "full" => (
            format!("the image's filesystem is full: {text}"),
            "make the image and its filesystem larger, or delete what it does not need",
        ),
        "mount" => (format!("cannot mount {text}"), "all filesystems of the image have to be on its one disk"),
        "unmount" => (format!("cannot unmount {text}"), "something that the generator started holds it"),
        "write" => (format!("cannot write {text}"), "the image is as it was"),
        _ => (text.to_owned(), "the image is as it was; --kernel and --modules give another kernel for this"),
    };
    Failure::failed(error).hint(hint)
}

fn failure(error: QemuError) -> Failure {
    match &error {
        QemuError::Run { program, .. } if program == "setpriv" => {
            Failure::failed(error).hint("`apt-get install util-linux` brings it")
        }
        QemuError::Run { .. } => Failure::failed(error).hint("`apt-get install qemu-system-x86` brings it"),
        QemuError::Child(_) => Failure::new(Kind::TimedOut, error).hint("--timeout SECONDS gives it more time"),
        _ => Failure::failed(error),
    }
}
