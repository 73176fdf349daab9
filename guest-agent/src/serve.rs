//! `serve`: the agent on a rescue system, at the other end of the host's connection. Starts the worker, ends it when the
//! connection is lost, and speaks for it when it died; everything that parses or decides is in the worker.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::{
        fd::RawFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_disk::lock;
use cloud_machine_protocol::causes;
use cloud_machine_system::{SystemError, kernel, mounts, stdio};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, close, geteuid, getppid},
};

use crate::{error::AgentError, last_words, print::print, running_in::RunningIn, worker};

/// Argument that makes the agent's binary this.
pub(crate) const ARGUMENT: &str = "serve";
/// Argument that makes it the worker below this.
pub(crate) const WORKER_ARGUMENT: &str = "serve-worker";
/// Folder and file of the lock that one agent has on a machine; the number of its process is in it.
const FOLDER: &str = "/run/cloud-machine";
const LOCK: &str = "/run/cloud-machine/agent.lock";
/// SIGKILL as a number.
const KILLED: i32 = Signal::SIGKILL as i32;
/// How long an agent of an earlier connection may take to end.
const TAKE_OVER: Duration = Duration::from_secs(20);
/// How often what the worker left is ended, 50 ms apart.
const ORPHAN_ROUNDS: u32 = 200;

const USAGE: &str = "\
cloud-machine-agent serve reimages the machine from a system that somebody else booted and that uses none of the machine's
disks, such as a provider's rescue system. The host, which is the computer that cloud-machine runs on, starts it over SSH and
speaks with it over standard input and output; no port is opened. A disk that anything uses is refused. When the connection is
lost it ends at once, and the next attempt finds what is left to do. An agent of an earlier connection is ended first.

usage: cloud-machine-agent serve

  --help  print this

example, of a copy of the agent on the rescue system; without a host at the other end it prints its first message and waits:
  ssh root@rescue.example /run/cloud-machine-agent serve

exit codes: 0 the host accepted the report and the disks are flushed: reset the machine; 1 it was not done, and the host was
told why where there was a connection; 2 wrong usage
";

/// Serves one connection.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match arguments.next().as_deref() {
        None => {}
        Some("--help") => return print(USAGE, 0),
        Some(_) => return print(USAGE, 2),
    }
    if !geteuid().is_root() {
        return failed("cannot serve: only root may write to the machine's disks");
    }
    match serve() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            if status.code() != Some(worker::REPORTED) {
                last_words::send(RunningIn::RescueSystem, ended(status));
            }
            ExitCode::FAILURE
        }
        Err(error) => failed(&causes(&error)),
    }
}

fn failed(reason: &str) -> ExitCode {
    // The other end of an SSH connection shows it.
    std::io::stderr().write_all(format!("error: {reason}\n").as_bytes()).unwrap_or_default();
    ExitCode::FAILURE
}

fn serve() -> Result<ExitStatus, SystemError> {
    // Programs that the worker started are this process's children once it is gone, each in a group of its own.
    prctl::set_child_subreaper(true).map_err(SystemError::io("become", "the parent of orphans"))?;
    let mut worker = Command::new("/proc/self/exe")
        .args([WORKER_ARGUMENT, &std::process::id().to_string()])
        .process_group(0)
        .spawn()
        .map_err(SystemError::io("start", "the worker"))?;
    end_with_connection(&worker);
    let status = worker.wait().map_err(SystemError::io("wait for", "the worker"))?;
    end_orphans();
    Ok(status)
}

/// Ends what the worker left: a program may still write to a disk.
fn end_orphans() {
    let mut killed = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if killed < ORPHAN_ROUNDS => {
                killed += 1;
                for orphan in children() {
                    let _ = kill(orphan, Signal::SIGKILL);
                }
                thread::sleep(Duration::from_millis(50));
            }
            Ok(WaitStatus::StillAlive) => return kernel::log("a program of the worker does not end"),
            Ok(_) | Err(Errno::EINTR) => {}
            // There is none.
            Err(_) => return,
        }
    }
}

/// Children of this process (proc_pid_task(5): whichever of its threads they belong to).
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let numbers = lists.flat_map(|list| list.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<i32>>());
    numbers.map(Pid::from_raw).collect()
}

/// Ends the worker and all that it started once the host is gone: what it would write then, nobody asked for any more.
fn end_with_connection(worker: &Child) {
    let group = Pid::from_raw(i32::try_from(worker.id()).unwrap_or(i32::MAX));
    thread::spawn(move || {
        match stdio::wait_for_hangup() {
            Ok(()) => kernel::log("the connection to the host is lost"),
            Err(error) => kernel::log(&causes(&error)),
        }
        if let Err(error) = killpg(group, Signal::SIGKILL) {
            kernel::log(&format!("cannot end the worker: {error}"));
        }
    });
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(crate::deadline::PASSED), _) => "the request's deadline has passed".to_owned(),
        (Some(code), _) => format!("the worker ended with status {code}"),
        (None, Some(KILLED)) => {
            "the worker was ended by signal 9, as a later connection to this machine ends the agent of an earlier one"
                .to_owned()
        }
        (None, signal) => format!("the worker was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The worker: alone on this machine, with mounts of its own, and gone with the process that started it.
pub(crate) fn work(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match begin(arguments.next().and_then(|parent| parent.parse().ok())) {
        // Held as long as the worker works.
        Ok(_lock) => worker::run(RunningIn::RescueSystem),
        Err(error) => {
            last_words::send(RunningIn::RescueSystem, causes(&error));
            ExitCode::from(u8::try_from(worker::REPORTED).unwrap_or(1))
        }
    }
}

fn begin(parent: Option<i32>) -> Result<File, AgentError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(SystemError::io("follow the end of", "the process above"))?;
    // It may have ended before it could be followed.
    if parent != Some(getppid().as_raw()) {
        return Err(AgentError::NoParent);
    }
    let lock = alone()?;
    // A program that outlives this process may still write to a disk: it has the lock, too, and the next agent waits for it.
    fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| SystemError::io("hand on", LOCK)(errno))?;
    mounts::leave_namespace()?;
    Ok(lock)
}

/// Gives the worker's lock back, in a process of it that only reads: one that waits for a dead drive may never end.
pub(crate) fn without_lock() {
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let is_lock = std::fs::read_link(entry.path()).is_ok_and(|file| file == Path::new(LOCK));
        if let Some(descriptor) =
            entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()).filter(|_| is_lock)
        {
            let _ = close(descriptor);
        }
    }
}

/// The lock that one agent has on this machine. Whoever has it is of a connection that the host gave up, and is ended.
fn alone() -> Result<File, AgentError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDER).map_err(SystemError::io("create", FOLDER))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(LOCK)
        .map_err(SystemError::io("open", LOCK))?;
    let until = Instant::now() + TAKE_OVER;
    while !lock::lock(&file).map_err(SystemError::io("lock", LOCK))? {
        let process = holder(&mut file)?;
        if Instant::now() >= until {
            return Err(AgentError::OtherAgent { process });
        }
        if let Some(worker) = process.parse().ok().filter(|process| is_worker(*process)) {
            kernel::log(&format!("end the agent of an earlier connection, process {worker}"));
            // It may end by itself in this moment; the lock says when it has.
            let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(200));
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(SystemError::io("write", LOCK))?;
    Ok(file)
}

fn holder(file: &mut File) -> Result<String, SystemError> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(SystemError::io("read", LOCK))?;
    Ok(text.trim().to_owned())
}

/// Whether a number is that of a worker: what the file says may be of one that ended long ago.
fn is_worker(process: i32) -> bool {
    let arguments = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(1) == Some(WORKER_ARGUMENT.as_bytes())
}
