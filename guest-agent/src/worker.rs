//! The worker: prepares the machine, runs the pipe, sends its report and waits for the host's word. Must end with a
//! status that tells the supervisor whether the host has heard the reason.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cloud_machine_protocol::{Action, ReportResult, each_cause};
use cloud_machine_system::{buses, kernel, mounts};

use crate::{
    channel, error::AgentError, host::Host, host_certificate, modules::Stage, report::ReportBuilder, run,
    running_in::RunningIn,
};

/// Exit status of a worker whose failure the host knows, or that has nobody to tell.
pub(crate) const REPORTED: i32 = 1;
/// How long the host may take to verify and store a report.
const ANSWER_TIME: Duration = Duration::from_secs(300);

/// Runs the worker; 0 only when the machine may start its own system.
pub(crate) fn run(running_in: RunningIn) -> ExitCode {
    let started = Instant::now();
    match work(running_in, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for cause in each_cause(&error) {
                kernel::log(&cause);
            }
            ExitCode::from(u8::try_from(REPORTED).unwrap_or(1))
        }
    }
}

/// Loads what the machine's disks need, out of an initramfs of the host's.
pub(crate) fn load_modules(running_in: RunningIn) -> Result<(), AgentError> {
    let modules = running_in.modules();
    modules.load_stage(Stage::Boot)?;
    for stage in buses::stages()? {
        modules.load_bus(stage)?;
    }
    Ok(())
}

fn work(running_in: RunningIn, started: Instant) -> Result<(), AgentError> {
    let mut report = ReportBuilder::new(running_in)?;
    if running_in == RunningIn::Initramfs {
        load_modules(running_in)?;
        report.timing("load modules", started.elapsed());
    }
    let mut host = Host::new(running_in, channel::open(running_in)?, started);
    host.hello(report.boot_id())?;
    match run::run(running_in, &mut host, &mut report, None) {
        Ok(deadline) => {
            report.timing("total", started.elapsed());
            let (nonce, finished) = report.finish(ReportResult::Done);
            // A boot writes nothing to a root that a job may have left.
            let writes = finished.action == Some(Action::Reimage);
            host.report(finished)?;
            deadline.meet();
            match host.wait_for_go(nonce, Instant::now() + ANSWER_TIME)? {
                Some(certificate) if writes => host_certificate::write(&certificate)?,
                Some(_) => return Err(AgentError::OutOfTurn { expected: "its word on a boot, without a certificate" }),
                None => {}
            }
            // A reset comes next, and it must find the disk whole.
            if running_in == RunningIn::RescueSystem && mounts::is_root_mounted()? {
                mounts::unmount(mounts::NEW_ROOT)?;
            }
            Ok(())
        }
        Err(error) => {
            let step = report.current_step();
            let (_, finished) = report.finish(ReportResult::Failed { step, causes: each_cause(&error).collect() });
            host.report(finished)?;
            Err(error)
        }
    }
}
