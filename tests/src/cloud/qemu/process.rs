//! One machine: its QEMU process, its power, and what its next boot goes into. A process is one boot: when the system in it reboots,
//! the process ends and the next boot begins, as a provider's network boot would have it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Parts, Traffic, rescue, traffic};
use crate::cloud::machines::{Failure, Rescue, Seen, Spec};

/// A machine, on or off.
pub(super) struct Machine {
    name: String,
    address: Ipv4Addr,
    mac: String,
    serial: String,
    folder: PathBuf,
    memory: u64,
    ssh_port: u16,
    kernel: PathBuf,
    rescue_root: PathBuf,
    counts_traffic: bool,
    power: Mutex<Power>,
}

#[derive(Default)]
struct Power {
    running: Option<Running>,
    rescue: Option<Rescue>,
    /// Counts boots.
    boot: usize,
    /// The power button was pressed for a reboot.
    restart: bool,
}

struct Running {
    child: Child,
    monitor: UnixStream,
}

impl Machine {
    pub(super) fn new(
        spec: &Spec,
        folder: PathBuf,
        parts: &Parts,
        rescue_root: &Path,
        counts_traffic: bool,
    ) -> Arc<Self> {
        let [.., d, e, f] = spec.id.to_be_bytes();
        Arc::new(Self {
            name: spec.name.clone(),
            address: spec.address,
            mac: format!("92:00:06:{d:02x}:{e:02x}:{f:02x}"),
            serial: format!("cloud-{}", spec.id),
            folder,
            memory: parts.memory,
            ssh_port: parts.ssh_port,
            kernel: parts.rescue.join("kernel"),
            rescue_root: rescue_root.to_owned(),
            counts_traffic,
            power: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file with what the last boot wrote on the console.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join(format!("console-{}", self.power().boot))
    }

    pub(super) fn traffic(&self) -> Result<Traffic, Failure> {
        let boot = self.power().boot;
        traffic::of(&self.folder, boot, &self.mac)
    }

    pub(super) fn look(&self) -> Seen {
        let power = self.power();
        Seen { on: power.running.is_some(), rescue: power.rescue.is_some() }
    }

    pub(super) fn set_rescue(&self, rescue: Option<Rescue>) {
        self.power().rescue = rescue;
    }

    pub(super) fn power_on(self: &Arc<Self>) -> Result<(), Failure> {
        let mut power = self.power();
        if power.running.is_some() { Ok(()) } else { self.boot(&mut power) }
    }

    /// All that was written to the disk so far stays written; what the system had in its memory is gone.
    pub(super) fn power_off(&self) -> Result<(), Failure> {
        let Some(mut running) = self.power().running.take() else { return Ok(()) };
        // It may just have ended by itself.
        running.child.kill().unwrap_or_default();
        running.child.wait().map(drop).map_err(|error| format!("QEMU was not ended: {error}"))
    }

    pub(super) fn press_power_button(&self, restart: bool) -> Result<(), Failure> {
        let mut power = self.power();
        power.restart = restart;
        let Some(running) = &mut power.running else { return Err("the server is off".to_owned()) };
        let sent = running.monitor.write_all(b"{\"execute\": \"system_powerdown\"}\n");
        sent.map_err(|error| format!("QEMU does not listen: {error}"))
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a boot: into the rescue system, if that is set, which it no longer is then.
    fn boot(self: &Arc<Self>, power: &mut Power) -> Result<(), Failure> {
        power.boot += 1;
        power.restart = false;
        let socket = self.folder.join("monitor");
        fs::remove_file(&socket).unwrap_or_default();
        let mut command = self.command(power.boot);
        if let Some(rescue) = power.rescue.take_if(|rescue| !rescue.ignored) {
            let initrd = self.rescue_archive(&rescue)?;
            command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(initrd);
            command.args(["-append", "console=ttyS0 net.ifnames=0 no_timer_check quiet panic=-1"]);
        }
        let log = self.folder.join(format!("qemu-{}", power.boot));
        let file = fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let (machine, boot) = (Arc::clone(self), power.boot);
        let (sender, receiver) = mpsc::channel();
        // QEMU ends with the thread that starts it, so that is one which is there as long.
        thread::spawn(move || match start(command, &socket, &log) {
            Ok((running, stream)) => {
                // The other end waits for it.
                sender.send(Ok(running)).unwrap_or_default();
                machine.watch(stream, boot);
            }
            Err(failure) => sender.send(Err(failure)).unwrap_or_default(),
        });
        let running = receiver.recv().map_err(|error| format!("QEMU was not started: {error}"))??;
        power.running = Some(running);
        Ok(())
    }

    /// Until the process ends; then comes the next boot, if the system asked for it.
    fn watch(self: &Arc<Self>, stream: UnixStream, boot: usize) {
        let mut reboots = false;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if line.contains("\"SHUTDOWN\"") {
                reboots = line.contains("guest-reset");
            }
        }
        let mut power = self.power();
        // Somebody cut the power, or has begun another boot since.
        if power.boot != boot || power.running.is_none() {
            return;
        }
        if let Some(mut ended) = power.running.take() {
            ended.child.wait().map(drop).unwrap_or_default();
        }
        if (reboots || power.restart)
            && let Err(failure) = self.boot(&mut power)
        {
            // Nobody waits for it: the server is seen to be off, and its folder has QEMU's words.
            fs::write(self.folder.join("failure"), failure).unwrap_or_default();
        }
    }

    /// The rescue system's root, and behind it who may log in.
    fn rescue_archive(&self, rescue: &Rescue) -> Result<PathBuf, Failure> {
        let (access, both) = (self.folder.join("access.cpio"), self.folder.join("rescue.cpio"));
        rescue::access(rescue, &access)?;
        let failed = |error: std::io::Error| format!("cannot write the rescue system: {error}");
        fs::copy(&self.rescue_root, &both).map_err(failed)?;
        let mut file = fs::OpenOptions::new().append(true).open(&both).map_err(failed)?;
        file.write_all(&fs::read(&access).map_err(failed)?).map_err(failed)?;
        Ok(both)
    }

    fn command(&self, boot: usize) -> Command {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let (address, port, memory) = (self.address, self.ssh_port, self.memory);
        // Also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ]);
        command.args(["-name", &self.name, "-machine", "q35", "-cpu", "qemu64,-cx16,-svm"]);
        // Not KVM, even where its device can be opened: on some hosts nothing runs there, and finding out would take a boot.
        command.args(["-accel", "tcg,thread=multi", "-smp", "1"]);
        command.args(["-m", &format!("{memory}M"), "-action", "reboot=shutdown"]);
        command.args(["-drive", &format!("file={},format=raw,if=none,id=system,discard=unmap", at("disk.raw"))]);
        command.args(["-device", &format!("virtio-blk-pci,drive=system,serial={},bootindex=1", self.serial)]);
        command.args(["-netdev", &format!("user,id=net,hostfwd=tcp:{address}:{port}-:22")]);
        command.args(["-device", &format!("virtio-net-pci,netdev=net,mac={},romfile=", self.mac)]);
        if self.counts_traffic {
            command.args(["-object", &traffic::option(&self.folder, boot)]);
        }
        command.args(["-device", "virtio-rng-pci", "-serial", &format!("file:{}", at(&format!("console-{boot}")))]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", at("monitor"))]);
        command
    }
}

fn start(mut command: Command, socket: &Path, log: &Path) -> Result<(Running, UnixStream), Failure> {
    let mut child = command.spawn().map_err(|error| format!("QEMU does not start: {error}"))?;
    let connected = connect(socket, &mut child).and_then(|stream| {
        let monitor = stream.try_clone().map_err(|error| format!("QEMU's monitor: {error}"))?;
        Ok((stream, monitor))
    });
    match connected {
        Ok((stream, monitor)) => Ok((Running { child, monitor }, stream)),
        Err(failure) => {
            child.kill().and_then(|()| child.wait()).map(drop).unwrap_or_default();
            Err(format!("{failure}: {}", fs::read_to_string(log).unwrap_or_default().trim()))
        }
    }
}

/// The connection to QEMU's monitor, where commands are taken.
fn connect(socket: &Path, child: &mut Child) -> Result<UnixStream, Failure> {
    let began = Instant::now();
    let mut stream = loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            break stream;
        }
        match child.try_wait() {
            Ok(None) if began.elapsed() < Duration::from_secs(60) => thread::sleep(Duration::from_millis(20)),
            Ok(None) => return Err("QEMU opens no monitor".to_owned()),
            Ok(Some(status)) => return Err(format!("QEMU ended with {status}")),
            Err(error) => return Err(format!("QEMU cannot be watched: {error}")),
        }
    };
    let sent = stream.write_all(b"{\"execute\": \"qmp_capabilities\"}\n");
    sent.map_err(|error| format!("QEMU does not listen: {error}"))?;
    Ok(stream)
}
