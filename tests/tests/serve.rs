//! `cloud-machine-agent serve` as a process: who may have the machine, and what becomes of an agent whose connection is lost. No
//! disk is looked at: nothing that a host sends here is a volume.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cloud_machine_driver::{
    channel::AgentChannel,
    ssh::{ServingAgent, SshError, run_agent, stream_agent},
};
use cloud_machine_protocol::{AgentMessage, Digest, HostMessage, MachineFacts, ReportResult};
use cloud_machine_tests::{
    artifacts::{self, Artifacts},
    sshd::Sshd,
};
use serde_json::Value;

/// A mount namespace with a `/run` of its own, as long as it is there.
struct Machine(Child);

impl Machine {
    fn new() -> Self {
        let script = "mount -t tmpfs -o size=64k tmpfs /run; echo ready; exec cat";
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

    /// A file or folder as the machine has it.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.0.id()))
    }

    /// Processes of agents that hold the lock, and whether what they start holds it, too.
    fn holder(&self) -> (u32, bool) {
        let worker = fs::read_to_string(self.path("/run/cloud-machine/agent.lock")).unwrap().parse().unwrap();
        let open = fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten();
        let is_lock = |entry: &fs::DirEntry| fs::read_link(entry.path()).unwrap().ends_with("cloud-machine/agent.lock");
        let lock = open.into_iter().find(is_lock).unwrap();
        let about = format!("/proc/{worker}/fdinfo/{}", lock.file_name().into_string().unwrap());
        let about = fs::read_to_string(about).unwrap();
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        // O_CLOEXEC (proc_pid_fdinfo(5)).
        (worker, flags & 0o2_000_000 == 0)
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
    let (causes, code) = first.failed();
    assert!(causes.contains("as a later connection") && code == 1, "{causes}");
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
fn a_program_that_outlives_its_agent_keeps_the_machine_from_the_next_one() {
    let machine = Machine::new();
    let mut first = machine.connect();
    first.hello();
    let (worker, inherited) = machine.holder();
    assert!(inherited, "a program of worker {worker} would write beside the next agent");
    // In the place of a program that the worker started.
    let lock = fs::File::options().write(true).open(machine.path("/run/cloud-machine/agent.lock")).unwrap();
    drop(first);
    assert!(cloud_machine_disk::lock::lock(&lock).unwrap());
    // Without a hello, and the host is told why.
    let (said, code) = machine.connect().failed();
    assert!(said.contains(&format!("process {worker}, or a program that it started still works")), "{said}");
    assert_eq!(code, 1);
    drop(lock);
    machine.connect().hello();
}

#[test]
fn a_report_reaches_the_host_when_nothing_can_be_written_there() {
    let machine = Machine::new();
    let mut connection = machine.connect();
    connection.hello();
    let mut full = fs::File::create(machine.path("/run/full")).unwrap();
    while full.write_all(&[0; 4096]).is_ok() {}
    connection.send(b"{\"kind\":\"stop\",\"reason\":\"enough\"}\n");
    assert_eq!(connection.failed(), ("the host refused the report: enough".to_owned(), 1));
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

/// Whoever brings an agent has the folder in memory to itself.
static MEMORY: Mutex<()> = Mutex::new(());

/// Starts the agent over a real SSH connection, and gives its first message, or what was said in place of one.
fn over_ssh(
    sshd: &Sshd,
    digest: Digest,
    then: impl FnOnce(&mut AgentChannel, &mut ServingAgent),
) -> Result<(), String> {
    let agent = fs::read(Artifacts::from_environment_without_image().unwrap().agent).unwrap();
    bytes_over_ssh(sshd, &agent, digest, then)
}

/// The same with other bytes in its place.
fn bytes_over_ssh(
    sshd: &Sshd,
    agent: &[u8],
    digest: Digest,
    then: impl FnOnce(&mut AgentChannel, &mut ServingAgent),
) -> Result<(), String> {
    let mut log = tempfile::tempfile().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let started = ServingAgent::start(&sshd.target, agent, digest, log.try_clone().unwrap(), until);
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
    let _memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
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

#[test]
fn the_agent_is_brought_to_a_system_that_has_no_programs_but_busyboxes() {
    let _memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["sh", "stat", "mktemp", "head", "cat", "rm", "sha256sum", "chmod", "uname"] {
        std::os::unix::fs::symlink(artifacts::busybox().unwrap(), bin.join(program)).unwrap();
    }
    let sshd = Sshd::start(folder.path(), &format!("SetEnv PATH={}", bin.display()));
    let agent = fs::read(Artifacts::from_environment_without_image().unwrap().agent).unwrap();
    over_ssh(&sshd, cloud_machine_volume::write::pin(&agent), |_, _| {}).unwrap();
    let refused = over_ssh(&sshd, cloud_machine_volume::write::pin(b"another"), |_, _| panic!("it was started"));
    assert!(refused.unwrap_err().contains("the agent arrived damaged"));
    // An agent for another processor is not even tried: this shell would read it as a script.
    let mut other = agent;
    other[18..20].copy_from_slice(&[183, 0]);
    let digest = cloud_machine_volume::write::pin(&other);
    let refused = bytes_over_ssh(&sshd, &other, digest, |_, _| panic!("it was started")).unwrap_err();
    assert!(refused.contains("the agent is for aarch64, and this is x86_64"), "{refused}");
}

#[test]
fn an_agent_is_run_for_an_answer_and_what_it_refuses_is_told() {
    let _memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(folder.path(), "");
    let agent = fs::read(Artifacts::from_environment_without_image().unwrap().agent).unwrap();
    let digest = cloud_machine_volume::write::pin(&agent);
    let run = |digest: Digest, arguments: &[&str]| {
        run_agent(&sshd.target, &agent, digest, arguments, Instant::now() + Duration::from_secs(60))
    };
    let facts = MachineFacts::read(&run(digest, &["facts"]).unwrap()).unwrap();
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(facts.hostname, hostname.trim_end());
    assert_eq!(facts.in_memory, !facts.disks.iter().any(|disk| disk.holds_root), "{facts:?}");
    // Each word arrives as it is.
    let odd = "it's $(id) ARGUMENTS; \"x\"";
    let refused = run(digest, &["facts", odd]).unwrap_err();
    let SshError::AgentFailed { asked, ended, stderr, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((asked.as_str(), ended.as_str()), ("facts", "exit status: 2"));
    assert!(!stderr.is_empty());
    let other = cloud_machine_volume::write::pin(b"another program");
    let refused = run(other, &["facts"]).unwrap_err().to_string();
    assert!(refused.contains("the agent arrived damaged"), "{refused}");
    assert_eq!(left_in_memory(), 0, "a file of the agent is left");
    // Nobody answers, and nothing is waited for longer than it may take.
    let began = Instant::now();
    let refused = run_agent(&sshd.target, &agent, digest, &["serve"], began + Duration::from_secs(3));
    // Its input has ended, so it ends, too.
    assert!(refused.is_err() && began.elapsed() < Duration::from_secs(20), "{refused:?}");
    let limit = Duration::from_secs(60);
    let mut pieces = |_: &[u8]| Err(SshError::AgentTooMuch { limit: 0 });
    let refused = stream_agent(&sshd.target, &agent, digest, &["facts"], limit, &mut pieces).unwrap_err();
    assert!(matches!(refused, SshError::AgentTooMuch { limit: 0 }), "{refused:?}");
    // Another host key.
    fs::write(&sshd.target.known_hosts, "[127.0.0.1]:1 ssh-ed25519 AAAA\n").unwrap();
    let refused = run(digest, &["facts"]).unwrap_err().to_string();
    assert!(refused.contains("Host key verification failed"), "{refused}");
}

fn left_in_memory() -> usize {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("cloud-machine-agent.")).count()
}
