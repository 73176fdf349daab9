//! What a machine's recovery partition starts: carries out the request that is staged there, with nobody at the other end. A failure
//! or a cut at any moment ends in a reset, and the next start of the partition begins again; what must not be tried for ever is
//! counted before it is tried.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{ReportResult, causes, each_cause};
use cloud_machine_recovery::State;
use cloud_machine_system::{kernel, mounts};

use crate::{
    error::AgentError,
    host::Host,
    recovery::{Progress, Recovery},
    report::ReportBuilder,
    run,
    running_in::RunningIn,
    worker,
};

/// Argument that makes the agent's binary this.
pub(crate) const ARGUMENT: &str = "recovery-worker";
/// How often a request may fail. A power cut is no failure.
const MAX_FAILURES: u32 = 3;
/// How often the partition is started for one request, whatever ended it: also a program that dies counts as nothing else.
const MAX_ATTEMPTS: u32 = 30;
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
            // A disk may come late, or be read the next time.
            let passes = matches!(error, AgentError::StagedAbsent { .. } | AgentError::System(_));
            thread::sleep(PAUSE);
            return if passes { ExitCode::SUCCESS } else { ExitCode::from(GIVEN_UP) };
        }
    };
    match attempt(&recovery, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => after(&recovery, &error),
    }
}

fn attempt(recovery: &Recovery, started: Instant) -> Result<(), AgentError> {
    match recovery.progress() {
        Progress { state: State::Armed | State::Begun, attempts, failures }
            if failures >= MAX_FAILURES || attempts >= MAX_ATTEMPTS =>
        {
            return Err(AgentError::TooManyAttempts { attempts, failures });
        }
        Progress { state: State::Armed | State::Begun, .. } => {}
        // Cut off at the very end: all is written, and the report is there.
        Progress { state: State::Reported, .. } => return recovery.finish(),
        Progress { state: State::Staged | State::Done | State::Failed, .. } => return Err(AgentError::TokenUsed),
    }
    recovery.set(|control| control.attempts += 1)?;
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
    let Progress { state, .. } = recovery.progress();
    let reason = causes(error);
    let last = matches!(error, AgentError::TooManyAttempts { .. });
    // The disk is in use as long as the new root is mounted.
    if mounts::is_root_mounted().unwrap_or(false)
        && let Err(error) = mounts::unmount(mounts::NEW_ROOT)
    {
        kernel::log(&causes(&error));
    }
    let written = match state {
        State::Armed => recovery.give_back(reason),
        State::Begun if last => recovery.give_up(reason),
        State::Begun => recovery.set(|control| {
            control.failures += 1;
            control.reason = Some(reason);
        }),
        State::Reported => Ok(()),
        State::Staged | State::Done | State::Failed => return ExitCode::from(GIVEN_UP),
    };
    if let Err(error) = written {
        kernel::log(&causes(&error));
    }
    if state == State::Begun && last { ExitCode::from(GIVEN_UP) } else { ExitCode::SUCCESS }
}
