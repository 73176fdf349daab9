//! A machine as anybody starts one by hand: QEMU with firmware or a kernel and an initramfs, disks, and its serial console. No host of
//! ours, no agent's port. Ends with its process.

use std::{
    ffi::OsString,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What starts the machine's system.
#[derive(Clone, Debug)]
pub enum Start {
    /// QEMU loads the kernel itself.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initramfs.
        initramfs: PathBuf,
        /// More of the kernel command line than the console.
        append: String,
    },
    /// The first disk, by the firmware of a PC.
    Bios,
    /// The first disk, by UEFI, of the package ovmf.
    Uefi,
}

impl Start {
    fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Kernel { kernel, initramfs, append } => {
                let append = format!("console=ttyS0 net.ifnames=0 no_timer_check panic=-1 {append}");
                let words = ["-append".into(), append.into(), "-kernel".into(), kernel.into(), "-initrd".into()];
                words.into_iter().chain([initramfs.into()]).collect()
            }
            Self::Bios => Vec::new(),
            // Its variables are written to a copy that nobody keeps.
            Self::Uefi => [("CODE", "readonly=on"), ("VARS", "snapshot=on")]
                .map(|(part, option)| format!("if=pflash,format=raw,file=/usr/share/OVMF/OVMF_{part}_4M.fd,{option}"))
                .into_iter()
                .flat_map(|drive| ["-drive".into(), drive.into()])
                .collect(),
        }
    }
}

/// What QEMU is started with.
#[derive(Clone, Debug)]
pub struct PlainMachine {
    /// Where its system comes from.
    pub start: Start,
    /// Further arguments: disks, network, firmware.
    pub arguments: Vec<OsString>,
}

/// A machine that runs.
pub struct Running {
    /// None, where somebody else has started it.
    qemu: Option<Child>,
    input: Box<dyn Write + Send>,
    console: Arc<Console>,
}

/// What came over the console so far.
#[derive(Default)]
struct Console {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl PlainMachine {
    /// A disk in a raw or qcow2 file, as the kernel's next `vdX`.
    pub fn disk(&mut self, file: &Path, format: &str) {
        self.drive(format!("file={},format={format},if=virtio", file.display()));
    }

    /// A disk that cannot be written, likewise.
    pub fn read_only_disk(&mut self, file: &Path) {
        self.drive(format!("file={},format=raw,if=virtio,readonly=on", file.display()));
    }

    /// A disk in `file` that says `serial` when it is asked for its serial number; `options` are QEMU's of a drive.
    pub fn disk_with_serial(&mut self, file: &Path, options: &str, serial: &str) {
        let drive = format!("file={},{options},if=none,id={serial}", file.display());
        let device = format!("virtio-blk-pci,drive={serial},serial={serial}");
        self.arguments.extend(["-drive".into(), drive.into(), "-device".into(), device.into()]);
    }

    fn drive(&mut self, drive: String) {
        self.arguments.extend(["-drive".into(), drive.into()]);
    }

    /// Starts it.
    ///
    /// # Panics
    /// When QEMU cannot be started.
    #[must_use]
    pub fn start(&self) -> Running {
        let mut command = Command::new("qemu-system-x86_64");
        // Why this processor: docs/rationale.md.
        command
            .args(["-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,-cx16,-svm", "-smp", "1", "-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"])
            .args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"])
            .args(self.start.arguments())
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut qemu = command.spawn().expect("qemu-system-x86_64");
        let (input, output) = (qemu.stdin.take().expect("its input"), qemu.stdout.take().expect("its output"));
        Running { console: Console::of(output), qemu: Some(qemu), input: Box::new(input) }
    }
}

impl Console {
    /// What comes over `output` until its end, at which the machine has ended.
    fn of(mut output: impl Read + Send + 'static) -> Arc<Self> {
        let console = Arc::new(Self::default());
        let heard = Arc::clone(&console);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = output.read(&mut buffer).unwrap_or_default();
                let mut text = heard.text.lock().unwrap_or_else(PoisonError::into_inner);
                text.0.push_str(&String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()));
                text.1 = read == 0;
                heard.more.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        console
    }
}

impl Running {
    /// A machine that somebody else has started, with the serial console at the other end of `console`.
    ///
    /// # Panics
    /// When the socket cannot be had twice.
    #[must_use]
    pub fn over(console: UnixStream) -> Self {
        let output = console.try_clone().expect("a second one of the socket");
        Self { qemu: None, input: Box::new(console), console: Console::of(output) }
    }

    /// Waits until the console has `marker` behind the first `after` bytes; gives where it ends.
    ///
    /// # Panics
    /// With the console, when the time is over or the machine ends before.
    pub fn wait_for(&self, marker: &str, after: usize, limit: Duration) -> usize {
        self.wait_for_one(&[marker], after, limit)
    }

    /// Likewise for whichever of `markers` comes.
    ///
    /// # Panics
    /// As [`Running::wait_for`].
    pub fn wait_for_one(&self, markers: &[&str], after: usize, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut text = self.console.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = text.0.get(after..).unwrap_or_default();
            if let Some(end) = markers.iter().find_map(|marker| rest.find(marker).map(|at| at + marker.len())) {
                return after + end;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!text.1 && !left.is_zero(), "none of {markers:?} on the console:\n{}", text.0);
            text = self.console.more.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types `line` on the console.
    ///
    /// # Panics
    /// When QEMU has ended.
    pub fn type_line(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).expect("a console that takes input");
    }

    /// Waits until the machine has switched itself off, and gives its console.
    ///
    /// # Panics
    /// With the console, when the time is over.
    pub fn wait_for_end(self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        let mut text = self.console.text.lock().unwrap_or_else(PoisonError::into_inner);
        while !text.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the machine does not end:\n{}", text.0);
            text = self.console.more.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        text.0.clone()
    }

    /// Whether the machine has switched itself off, or was reset.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.console.text.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// What came over the console so far.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.text.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(qemu) = &mut self.qemu {
            // It may have ended by itself.
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
    }
}
