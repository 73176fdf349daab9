//! `cloud-machine-agent serve` as a process: who may have the machine, and what becomes of an agent whose connection is lost. No
//! disk is looked at: nothing that a host sends here is a volume.

use std::{
    io::{BufRead, BufReader, Read, Seek, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use cloud_machine_driver::{channel::AgentChannel, ssh::ServingAgent};
use cloud_machine_protocol::{AgentMessage, Digest, HostMessage, ReportResult};
use cloud_machine_tests::{artifacts::Artifacts, sshd::Sshd};
use serde_json::Value;

/// A mount namespace with a `/run` of its own, as long as it is there.
struct Machine(Child);

impl Machine {
    fn new() -> Self {
        let script = "mount -t tmpfs tmpfs /run; echo ready; exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-ec", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Self(holder)
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.0.id()));
        command.arg(Artifacts::from_environment_without_image().unwrap().agent).args(arguments);
        command
    }

    fn connect(&self) -> Connection {
        let mut command = self.agent(&["serve"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Connection { child, stdin, stdout }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success() || std::thread::panicking());
    }
}

/// An agent and both ends of its connection, which is lost when this goes.
struct Connection {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Connection {
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn hello(&mut self) {
        assert_eq!(self.next()["kind"], "hello");
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The causes of its report, and its exit code.
    fn failed(&mut self) -> (String, i32) {
        let report = self.next();
        let causes = report["result"]["causes"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
        let causes: Vec<_> = causes.iter().filter_map(Value::as_str).collect();
        (causes.join(": "), self.child.wait().unwrap().code().unwrap())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has ended by itself, or does now.
        self.child.wait().unwrap();
    }
}

#[test]
fn a_later_connection_ends_the_agent_of_an_earlier_one() {
    let machine = Machine::new();
    let mut first = machine.connect();
    first.hello();
    let mut second = machine.connect();
    second.hello();
    assert_eq!(first.failed(), ("the worker was ended by signal 9".to_owned(), 1));
    // And the later one is still there.
    second.send(b"{\"kind\":\"stop\",\"reason\":\"enough\"}\n");
    assert_eq!(second.failed(), ("the host refused the report: enough".to_owned(), 1));
}

#[test]
fn an_agent_whose_connection_is_lost_ends_with_its_worker() {
    let machine = Machine::new();
    let mut lost = machine.connect();
    lost.hello();
    let worker = Command::new("ps").args(["-o", "pid=", "--ppid", &lost.child.id().to_string()]).output().unwrap();
    let worker = String::from_utf8(worker.stdout).unwrap().trim().to_owned();
    assert!(std::path::Path::new("/proc").join(&worker).exists(), "{worker:?}");
    drop(lost.stdin.take());
    assert_eq!(lost.child.wait().unwrap().code(), Some(1));
    assert!(!std::path::Path::new("/proc").join(&worker).exists(), "worker {worker} is left behind");
    let mut again = machine.connect();
    again.hello();
}

#[test]
fn what_is_no_answer_is_told_with_its_reason() {
    let machine = Machine::new();
    for (sent, reason) in [
        (b"nonsense\n".as_slice(), "the host's answer is invalid"),
        (b"{\"kind\":\"secrets\"}\n".as_slice(), "the host said something else than its volume"),
        (b"{\"kind\":\"volume\",\"bytes\":999999999}\n".as_slice(), "has 999999999 bytes, and at most 67108864"),
        (b"{\"kind\":\"volume\",\"bytes\":4}\nnone".as_slice(), "volume"),
    ] {
        let mut connection = machine.connect();
        connection.hello();
        connection.send(sent);
        let (causes, code) = connection.failed();
        assert!(causes.contains(reason), "{reason}: {causes}");
        assert_eq!(code, 1);
    }
}

#[test]
fn wrong_usage_and_another_user_are_refused_before_anything_is_said() {
    let machine = Machine::new();
    let usage = machine.agent(&["serve", "now"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let help = machine.agent(&["serve", "--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert_eq!(usage.stdout, help.stdout);
    assert!(String::from_utf8_lossy(&help.stdout).contains("ssh root@rescue.example"));

    let agent = Artifacts::from_environment_without_image().unwrap().agent;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("agent");
    std::fs::copy(agent, &copy).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let user = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .arg("serve")
        .output()
        .unwrap();
    assert_eq!(user.status.code(), Some(1));
    assert_eq!(user.stdout, b"");
    let said = String::from_utf8_lossy(&user.stderr).into_owned();
    assert!(said.contains("only root may write to the machine's disks"), "{said}");
}

/// Starts the agent over a real SSH connection, and gives its first message, or what was said in place of one.
fn over_ssh(
    sshd: &Sshd,
    digest: Digest,
    then: impl FnOnce(&mut AgentChannel, &mut ServingAgent),
) -> Result<(), String> {
    let agent = std::fs::read(Artifacts::from_environment_without_image().unwrap().agent).unwrap();
    let mut log = tempfile::tempfile().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let started = ServingAgent::start(&sshd.target, &agent, digest, log.try_clone().unwrap(), until);
    let mut said = || {
        let mut text = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut text).unwrap();
        text
    };
    let (mut serving, stream) = started.map_err(|error| format!("{error}: {}", said()))?;
    let mut channel = AgentChannel::new(stream);
    match channel.next(until) {
        Ok(AgentMessage::Hello(_)) => then(&mut channel, &mut serving),
        other => {
            serving.ended(until).unwrap();
            return Err(format!("{other:?}: {}", said()));
        }
    }
    Ok(())
}

#[test]
fn the_agent_is_brought_over_one_connection_and_leaves_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(folder.path(), "");
    let agent = std::fs::read(Artifacts::from_environment_without_image().unwrap().agent).unwrap();
    let digest = cloud_machine_volume::write::pin(&agent);
    let until = Instant::now() + Duration::from_secs(60);
    over_ssh(&sshd, digest, |channel, serving| {
        assert_eq!(left_in_memory(), 0, "a file of the agent is left");
        channel.send(&HostMessage::Stop { reason: "enough".to_owned() }, until).unwrap();
        let Ok(AgentMessage::Report(report)) = channel.next(until) else { panic!("no report") };
        assert!(matches!(report.result, ReportResult::Failed { .. }), "{report:?}");
        assert_eq!(serving.ended(until).unwrap().and_then(|status| status.code()), Some(1));
    })
    .unwrap();
    // One that is left alone sees it.
    over_ssh(&sshd, digest, |_, serving| assert_eq!(serving.ended(Instant::now()).unwrap(), None)).unwrap();
    let other = cloud_machine_volume::write::pin(b"another program");
    let refused = over_ssh(&sshd, other, |_, _| panic!("it was started")).unwrap_err();
    assert!(refused.contains("the agent arrived damaged"), "{refused}");
    assert_eq!(left_in_memory(), 0, "a file of the agent is left");
    // The rescue system of another machine.
    std::fs::write(&sshd.target.known_hosts, "[127.0.0.1]:1 ssh-ed25519 AAAA\n").unwrap();
    let refused = over_ssh(&sshd, digest, |_, _| panic!("it was started")).unwrap_err();
    assert!(refused.contains("Host key verification failed"), "{refused}");
}

fn left_in_memory() -> usize {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("cloud-machine-agent.")).count()
}
