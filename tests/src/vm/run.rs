//! Starting the process of a boot, talking with its agent, and ending it. Must not decide what the machine is given.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    channel::{AgentChannel, ChannelError},
    console,
    qemu::{Process, Qemu},
};
use cloud_machine_protocol::{AgentMessage, Event, FORMAT_VERSION, HostMessage, Read, Report};
use cloud_machine_store::AttemptFolder;

use super::{Boot, BootEnd, Rescue};

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
        let (drives, pin, volume) = self.drives(&folder);
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
        let mut heard = Heard::default();
        while self.converse(&mut channel, &process.0, &volume, stop, &kill, &mut heard) == Ended::HungUp {
            drop(channel);
            // A port that has a host again at once had one all the time, as the system there sees it.
            thread::sleep(Duration::from_secs(2));
            channel = AgentChannel::connect(&folder.agent_socket(), deadline).expect("the agent's port");
        }
        let took = began.elapsed();
        if heard.report.is_some() {
            let nonce = self.expected.nonce;
            let word = match self.rescue {
                Some(Rescue { go: true, .. }) => HostMessage::Go { nonce, certificate: None },
                _ => HostMessage::Stop { reason: "the test is over".to_owned() },
            };
            // A failed agent may be gone already.
            channel.send(&word, deadline).unwrap_or_default();
        }
        let powered_off = process.0.ended(deadline).expect("the process can be watched");
        drop(process);
        self.system = fs::read(&drives[0].file).expect("the system disk");
        BootEnd {
            report: heard.report,
            greeted: heard.greeted,
            events: heard.events,
            served: heard.served,
            took,
            powered_off,
            system: self.system.clone(),
            file: drives[0].file.clone(),
            console: console::tail(&folder, 200).expect("the console"),
            expected: self.expectation(pin, &drives),
        }
    }

    /// Reads until the report or the end; what is still alive at `stop` is killed.
    fn converse(
        &self,
        channel: &mut AgentChannel,
        process: &Process,
        volume: &[u8],
        stop: Instant,
        kill: &impl Fn(&Event) -> bool,
        heard: &mut Heard,
    ) -> Ended {
        loop {
            // What breaks the port while something is sent ends the conversation with the next line.
            match channel.next(stop) {
                Ok(AgentMessage::Hello(hello)) => {
                    assert_eq!(hello.version, FORMAT_VERSION);
                    heard.greeted = true;
                    if heard.hung_up.is_some() {
                        heard.hung_up = Some(HangUp::Over);
                    }
                    if self.rescue.is_some() {
                        let message = HostMessage::Volume { bytes: volume.len() as u64 };
                        channel.send_with(&message, volume, stop).unwrap_or_default();
                    }
                    channel.send(&HostMessage::Secrets(self.secrets.clone()), stop).unwrap_or_default();
                }
                // Of the connection before.
                Ok(_) if heard.hung_up == Some(HangUp::Now) => {}
                Ok(AgentMessage::Read(Read { offset, length })) => {
                    let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
                    let bytes = self.packed.get(range).expect("a range of the image");
                    channel.send_with(&HostMessage::Data { bytes: length }, bytes, stop).unwrap_or_default();
                    heard.served += length;
                }
                Ok(AgentMessage::Event(event)) => {
                    let (now, hang_up) = (kill(&event), self.rescue.and_then(|rescue| rescue.hang_up));
                    let hang_up = heard.hung_up.is_none() && hang_up.is_some_and(|hang_up| hang_up(&event));
                    heard.events.push(event);
                    if hang_up {
                        heard.hung_up = Some(HangUp::Now);
                        return Ended::HungUp;
                    }
                    if now {
                        kill_now(process);
                        return Ended::Over;
                    }
                }
                Ok(AgentMessage::Report(report)) => {
                    heard.report = Some(*report);
                    return Ended::Over;
                }
                Err(ChannelError::Closed) => return Ended::Over,
                Err(ChannelError::TimedOut) => {
                    kill_now(process);
                    return Ended::Over;
                }
                Err(error) => panic!("the agent's port: {error}"),
            }
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

/// What was heard so far.
#[derive(Default)]
struct Heard {
    greeted: bool,
    hung_up: Option<HangUp>,
    report: Option<Report>,
    events: Vec<Event>,
    served: u64,
}

/// Whether the agent knows of a connection that was lost.
#[derive(PartialEq, Eq)]
enum HangUp {
    Now,
    Over,
}

/// Why a conversation is at its end.
#[derive(PartialEq, Eq)]
enum Ended {
    HungUp,
    Over,
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
