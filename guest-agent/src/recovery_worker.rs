//! What a machine's recovery partition starts: carries out the request that is staged there, with nobody at the other end. A failure
//! or a cut at any moment ends in a reset, and the next start of the partition begins again; what must not be tried for ever is
//! counted before it is tried.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_disk::{Access, Disk};
use cloud_machine_protocol::{ReportResult, causes, each_cause};
use cloud_machine_recovery::{GivenBack, give_back};
use cloud_machine_system::{kernel, mounts};

use crate::{
    error::AgentError,
    host::Host,
    pass::node,
    recovery::{
        Recovery,
        next::{AfterFailure, AtRecovery, Progress, after_failure, at_recovery},
    },
    report::ReportBuilder,
    run,
    running_in::RunningIn,
    worker,
};

/// Argument that makes the agent's binary this.
pub(crate) const ARGUMENT: &str = "recovery-worker";
/// Pause before a machine is reset that found nothing, so that its console can be read.
const PAUSE: Duration = Duration::from_secs(30);
/// Exit status: the machine is powered off, since nothing on it can be started.
pub(crate) const GIVEN_UP: u8 = 4;

/// Runs it: 0 when the machine may be reset, [`GIVEN_UP`] when it must not start again.
pub(crate) fn work() -> ExitCode {
    let started = Instant::now();
    let found = worker::load_modules(RunningIn::Recovery).and_then(|()| Recovery::find());
    let recovery = match found {
        Ok(recovery) => recovery,
        Err(error) => {
            each_cause(&error).for_each(|cause| kernel::log(&cause));
            let resets = match &error {
                // A disk may come late, or be read the next time.
                AgentError::StagedAbsent { .. } | AgentError::System(_) => true,
                AgentError::StagedElsewhere { device } => is_given_back(device),
                _ => false,
            };
            thread::sleep(PAUSE);
            return if resets { ExitCode::SUCCESS } else { ExitCode::from(GIVEN_UP) };
        }
    };
    match attempt(&recovery, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => after(&recovery, &error),
    }
}

/// Whether a system on the disk starts again, of a request that nothing can go on with.
pub(crate) fn is_given_back(device: &str) -> bool {
    let disk = Disk::open(&node(device), Access::Write).map_err(AgentError::from);
    match disk.and_then(|disk| Ok(give_back(&disk)?)) {
        Ok(GivenBack::Back | GivenBack::NotStarted) => true,
        Ok(GivenBack::NotWhole) => false,
        Err(error) => {
            each_cause(&error).for_each(|cause| kernel::log(&cause));
            false
        }
    }
}

fn attempt(recovery: &Recovery, started: Instant) -> Result<(), AgentError> {
    let progress = recovery.progress();
    match at_recovery(progress) {
        AtRecovery::CarryOut => {}
        AtRecovery::Finish => return recovery.finish(),
        AtRecovery::TooMany => {
            let Progress { attempts, failures, .. } = progress;
            return Err(AgentError::TooManyAttempts { attempts, failures });
        }
        AtRecovery::Used => return Err(AgentError::TokenUsed),
    }
    recovery.count_attempt()?;
    let mut report = ReportBuilder::new(RunningIn::Recovery)?;
    report.timing("load modules", started.elapsed());
    let mut host = Host::new(RunningIn::Recovery, recovery.channel()?, started);
    host.hello(report.boot_id())?;
    report.kept_for_recovery(recovery.device(), recovery.partition());
    let deadline = run::run(RunningIn::Recovery, &mut host, &mut report, Some(recovery))?;
    // The disk is written again, and must be in no other use.
    if mounts::is_root_mounted()? {
        mounts::unmount(mounts::NEW_ROOT)?;
    }
    report.timing("total", started.elapsed());
    let (_, finished) = report.finish(ReportResult::Done);
    recovery.report(&serde_json::to_vec(&finished).map_err(AgentError::Encode)?)?;
    deadline.meet();
    recovery.finish()
}

/// What comes after a failure: the old system, if nothing of it was changed; another attempt; or nothing at all.
fn after(recovery: &Recovery, error: &AgentError) -> ExitCode {
    each_cause(error).for_each(|cause| kernel::log(&cause));
    let last = matches!(error, AgentError::TooManyAttempts { .. });
    let next = after_failure(recovery.progress().state, last);
    let reason = causes(error);
    // The disk is in use as long as the new root is mounted.
    if mounts::is_root_mounted().unwrap_or(false)
        && let Err(error) = mounts::unmount(mounts::NEW_ROOT)
    {
        kernel::log(&causes(&error));
    }
    let written = match next {
        AfterFailure::GiveBack => recovery.give_back(reason),
        AfterFailure::GiveUp => recovery.give_up(reason),
        AfterFailure::CountFailure => recovery.set(|control| {
            control.failures += 1;
            control.reason = Some(reason);
        }),
        AfterFailure::Again | AfterFailure::PowerOff => Ok(()),
    };
    if let Err(error) = written {
        kernel::log(&causes(&error));
    }
    if next.resets() { ExitCode::SUCCESS } else { ExitCode::from(GIVEN_UP) }
}
