//! A machine with one disk that does one piece of work for the host and powers itself off. Must not know what the work is, nor whether
//! it went well: the machine says so.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cloud_machine_child::Bounds;
use cloud_machine_protocol::escape;

use super::{Qemu, QemuError, Verdict, tool};

/// Has a program end with the thread that started it, whatever ends that: setpriv(1) of util-linux, prctl(2). The machine works on files
/// without a name, which would be lost with this program, and keep their space for as long as the machine runs.
const WITH_US: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];
/// What setpriv(1) exits with when there is no such program.
const NO_PROGRAM: i32 = 127;
/// Bytes that QEMU itself may say.
const OUTPUT: usize = 1 << 20;

/// What the machine is started with. No path may have a comma, which QEMU would read as the end of it.
#[derive(Clone, Debug)]
pub struct Once<'a> {
    /// How instructions are executed, and the processor's model.
    pub verdict: &'a Verdict,
    /// Its memory.
    pub memory_mib: u64,
    /// Its processors.
    pub cpus: u32,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The kernel command line; `console=ttyS0` is the first serial port.
    pub append: String,
    /// The disk, a raw file that nobody else uses: what is written to it is not flushed.
    pub disk: PathBuf,
    /// File that gets what the machine says on its first serial port.
    pub console: PathBuf,
    /// File that gets what it says on its second.
    pub words: PathBuf,
    /// When it is ended.
    pub limit: Duration,
}

impl Qemu {
    /// Runs the machine until it ends. No process of it is left, also when a signal ends this program meanwhile, be it SIGKILL.
    ///
    /// # Errors
    /// [`QemuError::Run`], [`QemuError::Refused`] when QEMU ended with an error, [`QemuError::Child`] after the limit.
    pub fn run_once(&self, once: &Once<'_>) -> Result<(), QemuError> {
        let [setpriv, options @ ..] = WITH_US;
        let mut command = tool::command(setpriv);
        command.args(options).arg(self.program()).args(once.arguments());
        let bounds = Bounds { limit: once.limit, output: OUTPUT };
        let output = tool::output(&mut command, bounds).map_err(QemuError::child)?;
        if output.status.success() {
            return Ok(());
        }
        let program = self.program().to_string_lossy().into_owned();
        if output.status.code() == Some(NO_PROGRAM) {
            return Err(QemuError::Run { program, source: io::ErrorKind::NotFound.into() });
        }
        Err(QemuError::Refused {
            program,
            arguments: once.arguments(),
            status: output.status,
            stderr: escape::tail(&output.stderr, 10).replace('\n', "; "),
        })
    }
}

impl Once<'_> {
    fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words: Vec<String> = ["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned).into();
        let options = [
            ("-display", "none".to_owned()),
            ("-machine", "q35".to_owned()),
            ("-accel", self.verdict.accelerator.option().to_owned()),
            ("-cpu", self.verdict.cpu_model.clone()),
            ("-smp", self.cpus.to_string()),
            ("-m", format!("{}M", self.memory_mib)),
            ("-kernel", path(&self.kernel)),
            ("-initrd", path(&self.initramfs)),
            ("-append", self.append.clone()),
            ("-drive", format!("file={},format=raw,if=virtio,cache=unsafe,discard=unmap", path(&self.disk))),
            ("-device", "virtio-rng-pci".to_owned()),
            ("-serial", format!("file:{}", path(&self.console))),
            ("-serial", format!("file:{}", path(&self.words))),
        ];
        words.extend(options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        words
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::qemu::Accelerator;

    fn once(folder: &Path, verdict: &Verdict, limit: Duration) -> Result<(), QemuError> {
        let program = folder.join("qemu");
        Qemu::new(program).run_once(&Once {
            verdict,
            memory_mib: 512,
            cpus: 2,
            kernel: "/k".into(),
            initramfs: "/i".into(),
            append: "console=ttyS0 a b".to_owned(),
            disk: folder.join("disk"),
            console: folder.join("console"),
            words: folder.join("words"),
            limit,
        })
    }

    /// A program in the place of QEMU.
    fn stand_in(folder: &Path, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let program = folder.join("qemu");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_machine_ends_well_badly_or_too_late() {
        let folder = tempfile::tempdir().unwrap();
        let verdict = Verdict { accelerator: Accelerator::Tcg, cpu_model: "x".to_owned(), reason: String::new() };
        let limit = Duration::from_secs(20);
        let absent = once(folder.path(), &verdict, limit).unwrap_err();
        assert!(matches!(&absent, QemuError::Run { program, .. } if program.ends_with("/qemu")), "{absent}");
        stand_in(folder.path(), "printf '%s\\n' \"$@\" >\"$(dirname \"$0\")/said\"");
        once(folder.path(), &verdict, limit).unwrap();
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        for words in ["-accel\ntcg,thread=multi\n-cpu\nx\n-smp\n2\n-m\n512M\n", "-append\nconsole=ttyS0 a b\n"] {
            assert!(said.contains(words), "{said}");
        }
        stand_in(folder.path(), "echo no such thing >&2; exit 3");
        let error = once(folder.path(), &verdict, limit).unwrap_err().to_string();
        assert!(error.ends_with("ended with exit status: 3: no such thing"), "{error}");
        stand_in(folder.path(), "sleep 60");
        let error = once(folder.path(), &verdict, Duration::from_millis(200)).unwrap_err().to_string();
        assert!(error.contains("did not end within"), "{error}");
    }
}
