//! Starting the process of a boot, talking with its agent, and ending it. Must not decide what the machine is given.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    channel::{AgentChannel, ChannelError},
    console,
    qemu::{Process, Qemu},
};
use cloud_machine_protocol::{AgentMessage, Event, FORMAT_VERSION, HostMessage, Report, Secrets};
use cloud_machine_store::AttemptFolder;

use super::{Boot, BootEnd};

/// The device of the system disk, which is attached first; the one on the PCI bus is only its shell.
const SYSTEM_DEVICE: &str = "/machine/peripheral/drive0/virtio-backend";
/// How long one boot may take in software emulation on a busy host.
const DEADLINE: Duration = Duration::from_secs(240);

impl Boot {
    pub(super) fn boot(&mut self, kill: impl Fn(&Event) -> bool, time: Option<Duration>) -> BootEnd {
        self.attempts += 1;
        self.name_drives();
        let path = self.folder.path().join(format!("attempt-{}", self.attempts));
        fs::create_dir(&path).expect("a folder");
        let folder = AttemptFolder::at(path, self.attempts);
        let (drives, pin) = self.drives(&folder);
        let launch = self.launch(&folder, drives.clone(), pin);
        let deadline = Instant::now() + DEADLINE;
        let began = Instant::now();
        let process = Guard(Qemu::default().launch(&launch).expect("QEMU starts"));
        self.limit_writes(&process.0, deadline);
        let mut channel = AgentChannel::connect(&folder.agent_socket(), deadline).expect("the agent's port");
        process.0.resume(deadline).expect("QEMU resumes");
        let stop = time.map_or(deadline, |time| began + time);
        let kill = |event: &Event| {
            if event.message.starts_with("wait for the disk") {
                self.plug_in(&folder, &process.0, deadline);
            }
            kill(event)
        };
        let (greeted, report, events) = converse(&mut channel, &process.0, &self.secrets, stop, kill);
        let took = began.elapsed();
        if report.is_some() {
            let stop = HostMessage::Stop { reason: "the test is over".to_owned() };
            // A failed agent may be gone already.
            channel.send(&stop, deadline).unwrap_or_default();
        }
        let powered_off = process.0.ended(deadline).expect("the process can be watched");
        drop(process);
        self.system = fs::read(&drives[0].file).expect("the system disk");
        BootEnd {
            report,
            greeted,
            events,
            took,
            powered_off,
            system: self.system.clone(),
            file: drives[0].file.clone(),
            console: console::tail(&folder, 200).expect("the console"),
            expected: self.expectation(pin, &drives),
        }
    }

    fn limit_writes(&self, process: &Process, deadline: Instant) {
        if self.write_limit == 0 {
            return;
        }
        let none = ["bps", "bps_rd", "iops", "iops_rd", "iops_wr"].map(|limit| (limit.to_owned(), 0.into()));
        let mut limits: serde_json::Map<String, serde_json::Value> = none.into_iter().collect();
        limits.insert("id".to_owned(), SYSTEM_DEVICE.into());
        limits.insert("bps_wr".to_owned(), self.write_limit.into());
        let mut monitor = process.monitor(deadline).expect("the monitor");
        monitor.execute("block_set_io_throttle", &limits.into(), deadline).expect("a limit");
    }

    /// Plugs the late drive in.
    fn plug_in(&self, folder: &AttemptFolder, process: &Process, deadline: Instant) {
        let Some((serial, bytes)) = &self.late else { return };
        let file = folder.path().join(format!("{serial}.raw"));
        fs::write(&file, bytes).expect("a drive");
        let mut monitor = process.monitor(deadline).expect("the monitor");
        let node = serde_json::json!({
            "driver": "raw", "node-name": "late", "file": {"driver": "file", "filename": file},
        });
        monitor.execute("blockdev-add", &node, deadline).expect("a node");
        let device = serde_json::json!({
            "driver": "scsi-hd", "bus": "scsi.0", "scsi-id": 100, "drive": "late", "serial": serial,
        });
        monitor.execute("device_add", &device, deadline).expect("a device");
    }
}

/// Reads until the report or the end; what is still alive at `stop` is killed.
fn converse(
    channel: &mut AgentChannel,
    process: &Process,
    secrets: &Secrets,
    stop: Instant,
    kill: impl Fn(&Event) -> bool,
) -> (bool, Option<Report>, Vec<Event>) {
    let (mut greeted, mut events) = (false, Vec::new());
    loop {
        match channel.next(stop) {
            Ok(AgentMessage::Hello(hello)) => {
                assert_eq!(hello.version, FORMAT_VERSION);
                greeted = true;
                // What breaks the port here ends the conversation with the next line.
                channel.send(&HostMessage::Secrets(secrets.clone()), stop).unwrap_or_default();
            }
            Ok(AgentMessage::Event(event)) => {
                let now = kill(&event);
                events.push(event);
                if now {
                    kill_now(process);
                    return (greeted, None, events);
                }
            }
            Ok(AgentMessage::Report(report)) => return (greeted, Some(*report), events),
            Err(ChannelError::Closed) => return (greeted, None, events),
            Err(ChannelError::TimedOut) => {
                kill_now(process);
                return (greeted, None, events);
            }
            Err(error) => panic!("the agent's port: {error}"),
        }
    }
}

/// SIGKILL: the process gets no chance to write anything.
fn kill_now(process: &Process) {
    let status = Command::new("kill").args(["-KILL", &process.pid().to_string()]).status();
    assert!(status.expect("kill runs").success(), "the process is killed");
}

/// Ends the process of a test that panicked.
struct Guard(Process);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.stop(Duration::from_secs(5)) {
            assert!(std::thread::panicking(), "QEMU is left behind: {error}");
        }
    }
}
