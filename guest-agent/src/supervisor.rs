//! PID 1. A panic here would be a kernel panic, so it only mounts, waits, speaks for a worker that died, and steps
//! into the new root; everything that parses or decides is in the worker.

use std::{
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use cloud_machine_protocol::{ALIVE, causes};
use cloud_machine_system::{kernel, mounts, power, root};
use nix::sys::wait::{WaitStatus, wait};

use crate::{bake, command_line::CommandLine, last_words, recovery_worker, running_in::RunningIn};

/// Argument that makes the agent's binary the worker.
pub(crate) const WORKER_ARGUMENT: &str = "worker";

/// How the worker ended.
enum Ending {
    /// The host said GO and the root is mounted.
    Ready,
    /// It said itself why not.
    Reported,
    /// Nothing on the machine can be started.
    GivenUp,
    /// It could say nothing.
    Died(String),
}

/// Runs the machine until its own system takes over; otherwise powers it off.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = mounts::mount_kernel_filesystems() {
        kernel::log(&causes(&error));
        power::power_off();
        return ExitCode::FAILURE;
    }
    match kernel::command_line() {
        Ok(line) if CommandLine::new(&line).is_probe() => kernel::log(ALIVE),
        Ok(line) if CommandLine::new(&line).is_bake() => bake::run(&CommandLine::new(&line)),
        Ok(line) if CommandLine::new(&line).is_recovery() => recover(),
        Ok(_) => work(),
        Err(error) => kernel::log(&causes(&error)),
    }
    power::power_off();
    ExitCode::FAILURE
}

fn work() {
    match worker_ending(WORKER_ARGUMENT) {
        Ending::Ready => match root::switch() {
            Ok(never) => match never {},
            Err(error) => kernel::log(&format!("cannot start the new system: {}", causes(&error))),
        },
        Ending::Reported | Ending::GivenUp => {}
        Ending::Died(reason) => last_words::send(RunningIn::Initramfs, reason),
    }
}

/// Resets the machine, unless it must not start again.
fn recover() {
    match worker_ending(recovery_worker::ARGUMENT) {
        Ending::GivenUp => return,
        Ending::Died(reason) => {
            kernel::log(&format!("{reason}; the machine is reset, and begins again"));
            // It may have died of something that passes, and a console shall be read.
            thread::sleep(Duration::from_secs(5));
        }
        Ending::Ready | Ending::Reported => {}
    }
    power::reset();
}

fn worker_ending(argument: &str) -> Ending {
    let spawned = Command::new("/proc/self/exe").arg(argument).stdin(Stdio::null()).spawn();
    let worker = match spawned {
        Ok(worker) => i64::from(worker.id()),
        Err(error) => return Ending::Died(format!("cannot start the worker: {error}")),
    };
    loop {
        // PID 1 is the parent of every orphan: others than the worker are only reaped.
        match wait() {
            Ok(WaitStatus::Exited(process, code)) if i64::from(process.as_raw()) == worker => {
                return match code {
                    0 => Ending::Ready,
                    crate::worker::REPORTED => Ending::Reported,
                    code if code == i32::from(recovery_worker::GIVEN_UP) => Ending::GivenUp,
                    crate::deadline::PASSED => Ending::Died("the request's deadline has passed".to_owned()),
                    other => Ending::Died(format!("the worker ended with status {other}")),
                };
            }
            Ok(WaitStatus::Signaled(process, signal, _)) if i64::from(process.as_raw()) == worker => {
                return Ending::Died(format!("the worker was ended by {signal}"));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Ending::Died(format!("lost the worker: {error}")),
        }
    }
}
