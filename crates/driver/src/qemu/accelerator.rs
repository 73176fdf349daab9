//! KVM or TCG, decided by proof: a machine that said a word under KVM with this kernel, on this boot of the host.
//! Must not trust that KVM works because its device can be opened.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_protocol::{ALIVE, Digest, LOG_PREFIX, PROBE_ARGUMENT, escape};
use cloud_machine_store::{ImageFolder, Store, file};
use serde::{Deserialize, Serialize};

use super::{Qemu, QemuError, pidfd, tool};

/// Processor model under TCG. Without `cx16` the kernel's slab allocator takes a lock instead of `cmpxchg16b`, which
/// multi-threaded TCG of QEMU 7.2 does not execute atomically enough: with it, Linux 6.12 on two processors panicked
/// in `__kmalloc` in 4 of 7 boots, without it in none. Without `svm` the machine does not load a KVM module for nobody.
pub const TCG_CPU: &str = "qemu64,-cx16,-svm";

/// Where the kernel has KVM.
const DEVICE: &str = "/dev/kvm";
/// Processor models to try under KVM. `host` can abort on a register that a nested hypervisor refuses.
const KVM_CPUS: [&str; 2] = ["host", "max"];
/// How long the marker may take. A working KVM needs one or two seconds.
const LIMIT: Duration = Duration::from_secs(15);
/// Bytes that are read of a probe's console.
const MAX_CONSOLE: usize = 4 << 20;
/// Verdicts that are remembered; each kernel has its own.
const MAX_VERDICTS: usize = 16;

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By translation, many times slower.
    Tcg,
}

impl Accelerator {
    /// With the processor model for it that is tried first, without a proof that it works.
    #[must_use]
    pub fn unproved(self) -> Verdict {
        let cpu_model = match self {
            Self::Kvm => KVM_CPUS[0],
            Self::Tcg => TCG_CPU,
        };
        Verdict { accelerator: self, cpu_model: cpu_model.to_owned(), reason: "it was asked for".to_owned() }
    }

    /// The accelerator called `name`, as it is displayed.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg].into_iter().find(|one| one.to_string() == name)
    }

    /// Value of QEMU's `-accel`.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What machines with one kernel are started with on this host, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// How instructions are executed.
    pub accelerator: Accelerator,
    /// QEMU's processor model.
    pub cpu_model: String,
    /// Why, safe to show.
    pub reason: String,
}

/// What a verdict holds for: it is proved anew when any of it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Circumstances {
    boot_id: String,
    qemu: String,
    kernel: Digest,
    initramfs: Digest,
}

/// Version of `kvm.json`.
const VERSION: u32 = 2;

/// `kvm.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    verdicts: Vec<(Circumstances, Verdict)>,
}

/// Where to look; replaced in tests.
struct Host {
    device: PathBuf,
    boot_id: PathBuf,
    limit: Duration,
}

/// Decides for `image`: TCG when `/dev/kvm` cannot be opened; otherwise what was proved and is remembered in the store.
/// A proof starts a machine and takes up to 15 s for each of two processor models.
///
/// # Errors
/// [`QemuError::Run`] or [`QemuError::Refused`] when QEMU itself cannot be run, [`QemuError::Remember`],
/// [`QemuError::Io`]. That KVM does not work is a verdict and not an error.
pub fn decide(qemu: &Qemu, store: &Store, image: &ImageFolder) -> Result<Verdict, QemuError> {
    let host = Host { device: DEVICE.into(), boot_id: "/proc/sys/kernel/random/boot_id".into(), limit: LIMIT };
    decide_on(&host, qemu, &store.kvm_verdicts(), image)
}

/// As [`decide`], for a machine that is started once: nothing is remembered, and what is in `folder` is gone afterwards. The initramfs is
/// one with the agent as its first process.
///
/// # Errors
/// As [`decide`].
pub fn decide_once(qemu: &Qemu, kernel: &Path, initramfs: &Path, folder: &Path) -> Result<Verdict, QemuError> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => prove(LIMIT, qemu, (kernel, initramfs), folder),
        Err(error) => Ok(tcg(format!("{DEVICE} cannot be opened: {error}"))),
    }
}

fn decide_on(host: &Host, qemu: &Qemu, memory: &Path, image: &ImageFolder) -> Result<Verdict, QemuError> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open(&host.device) {
        return Ok(tcg(format!("{} cannot be opened: {error}", host.device.display())));
    }
    let boot_id = fs::read_to_string(&host.boot_id).map_err(QemuError::io("read", &host.boot_id))?;
    let circumstances = Circumstances {
        boot_id: boot_id.trim().to_owned(),
        qemu: qemu.version()?,
        kernel: image.boot.kernel,
        initramfs: image.boot.initramfs,
    };
    let mut remembered = recall(memory)?;
    if let Some((_, verdict)) = remembered.verdicts.iter().find(|(known, _)| *known == circumstances) {
        return Ok(verdict.clone());
    }
    let folder = memory.parent().unwrap_or(Path::new("/"));
    let verdict = prove(host.limit, qemu, (&image.kernel(), &image.initramfs()), folder)?;
    // Verdicts of another boot of the host can never hold again.
    remembered.verdicts.retain(|(known, _)| known.boot_id == circumstances.boot_id);
    remembered.verdicts.insert(0, (circumstances, verdict.clone()));
    remembered.verdicts.truncate(MAX_VERDICTS);
    remember(memory, &remembered)?;
    Ok(verdict)
}

fn tcg(reason: String) -> Verdict {
    Verdict { accelerator: Accelerator::Tcg, cpu_model: TCG_CPU.to_owned(), reason }
}

fn recall(memory: &Path) -> Result<Remembered, QemuError> {
    // It can be proved again, so a file of another version or a broken one costs time and nothing else.
    Ok(read_memory(memory)?.unwrap_or_else(|reason| {
        tracing::warn!(path = %memory.display(), reason, "forgetting what was proved of KVM");
        Remembered::default()
    }))
}

/// What is remembered, or why that cannot be used. A file that is not there says nothing yet.
fn read_memory(memory: &Path) -> Result<Result<Remembered, String>, QemuError> {
    let Some(bytes) = file::read(memory, file::MAX_RECORD).map_err(QemuError::Remember)? else {
        return Ok(Ok(Remembered::default()));
    };
    Ok(match serde_json::from_slice::<Remembered>(&bytes) {
        Ok(remembered) if remembered.version == VERSION => Ok(remembered),
        Ok(remembered) => Err(format!("it has version {}, expected {VERSION}", remembered.version)),
        Err(error) => Err(error.to_string()),
    })
}

/// The verdicts that are remembered in the store, one for each kernel, or why those that are there cannot be used and will be
/// proved again.
///
/// # Errors
/// [`QemuError::Remember`] when the file cannot be read: then no machine can be started under KVM.
pub fn remembered(store: &Store) -> Result<Result<Vec<Verdict>, String>, QemuError> {
    let verdicts = |remembered: Remembered| remembered.verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    Ok(read_memory(&store.kvm_verdicts())?.map(verdicts))
}

fn remember(memory: &Path, remembered: &Remembered) -> Result<(), QemuError> {
    let whole = Remembered { version: VERSION, verdicts: remembered.verdicts.clone() };
    let bytes = serde_json::to_vec_pretty(&whole).map_err(io::Error::other).map_err(QemuError::io("write", memory))?;
    file::replace(memory, &bytes).map_err(QemuError::Remember)
}

/// How a machine under KVM ended.
enum Probe {
    Alive,
    Silent,
    TooMuch,
    Ended { status: ExitStatus, stderr: String },
}

fn prove(limit: Duration, qemu: &Qemu, files: (&Path, &Path), folder: &Path) -> Result<Verdict, QemuError> {
    let mut reasons = Vec::new();
    for cpu_model in KVM_CPUS {
        let started = Instant::now();
        match probe(limit, qemu, cpu_model, files, folder)? {
            Probe::Alive => {
                let reason =
                    format!("proved with processor model {cpu_model} in {:.1} s", started.elapsed().as_secs_f64());
                return Ok(Verdict { accelerator: Accelerator::Kvm, cpu_model: cpu_model.to_owned(), reason });
            }
            Probe::Ended { status, stderr } => {
                reasons.push(format!("with {cpu_model} QEMU ended with {status}: {stderr}"))
            }
            // Firmware runs and the kernel does not: another processor model is not going to help.
            Probe::Silent => {
                reasons.push(format!("with {cpu_model} the agent did not answer within {} s", limit.as_secs()));
                break;
            }
            Probe::TooMuch => {
                reasons.push(format!("with {cpu_model} the console said more than {MAX_CONSOLE} bytes"));
                break;
            }
        }
    }
    Ok(tcg(format!("KVM does not work: {}", reasons.join("; "))))
}

/// A machine that must not outlive its probe.
struct Probed(Child);

impl Drop for Probed {
    fn drop(&mut self) {
        // It may have ended by itself; then both do nothing.
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::warn!(pid = self.0.id(), %error, "the probe's process could not be ended");
        }
    }
}

fn probe(
    limit: Duration,
    qemu: &Qemu,
    cpu_model: &str,
    files: (&Path, &Path),
    folder: &Path,
) -> Result<Probe, QemuError> {
    let (kernel, initramfs) = files;
    let failed = |source| QemuError::Run { program: qemu.program().to_string_lossy().into_owned(), source };
    let mut stderr = tempfile::tempfile_in(folder).map_err(QemuError::io("make a file in", folder))?;
    let mut command = tool::command(qemu.program());
    command
        .args(["-machine", "q35", "-accel", Accelerator::Kvm.option(), "-cpu", cpu_model, "-smp", "1", "-m", "512M"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args([Path::new("-kernel"), kernel, Path::new("-initrd"), initramfs])
        .args(["-append", &format!("console=ttyS0 panic=-1 {PROBE_ARGUMENT}")])
        .args(["-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr.try_clone().map_err(failed)?);
    let child = tool::spawn(&mut command).map_err(failed)?;
    let mut machine = Probed(child);
    let mut console = machine.0.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let deadline = Instant::now() + limit;
    let alive = format!("{LOG_PREFIX}{ALIVE}");
    let (mut received, mut chunk) = (Vec::new(), [0; 8192]);
    while received.len() < MAX_CONSOLE {
        if !pidfd::readable(console.as_fd(), deadline).map_err(failed)? {
            return Ok(Probe::Silent);
        }
        let count = console.read(&mut chunk).map_err(failed)?;
        if count == 0 {
            let status = machine.0.wait().map_err(failed)?;
            return Ok(Probe::Ended { status, stderr: words(&mut stderr).map_err(failed)? });
        }
        // The line may lie across two pieces.
        let start = received.len().saturating_sub(alive.len());
        received.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let fresh = received.get(start..).unwrap_or_default();
        if fresh.windows(alive.len()).any(|window| window == alive.as_bytes()) {
            return Ok(Probe::Alive);
        }
        if Instant::now() >= deadline {
            return Ok(Probe::Silent);
        }
    }
    Ok(Probe::TooMuch)
}

/// The first of what QEMU said on stderr; an abort is followed by nothing of interest.
fn words(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut text)?;
    Ok(escape::line(text.trim_ascii(), 300))
}

#[cfg(test)]
#[path = "accelerator_tests.rs"]
mod tests;
