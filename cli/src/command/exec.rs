//! `exec`: a program on a machine, and what became of it, so that nobody runs a job twice that may have run. Must not
//! tell a program's end from a lost connection by the exit code of ssh, which is the same for both.

use std::{
    io::{self, IsTerminal},
    os::{fd::AsFd, unix::process::CommandExt},
    process::ExitCode,
    time::Duration,
};

use cloud_machine_driver::{
    console, drivers,
    ssh::{Followed, Job, JobEnd, NotBegun, Sink, quoted_word},
};
use cloud_machine_operation::{Operations, access};
use cloud_machine_protocol::MachineName;
use cloud_machine_store::Store;
use serde::Serialize;

use crate::{
    arguments::Exec,
    failure::{Failure, Kind},
    interrupted::{SIGNALLED, exit_code_of},
    ui::{Show, Ui},
};

/// How long a machine may take until the program begins; a login is slow in software emulation.
pub(super) const START: Duration = Duration::from_secs(120);
/// Bytes of each output that a result carries.
const KEPT: usize = 1 << 20;
/// The highest number of a signal (signal(7)).
const LAST_SIGNAL: u8 = 64;

/// What became of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Exited,
    NotBegun,
    LostConnection,
    TimedOut,
    Interrupted,
}

/// Whether the program ran on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Ran {
    Yes,
    No,
    /// It may have ended, be running, or never have begun.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Executed {
    name: MachineName,
    end: End,
    ran: Ran,
    /// That of the program.
    exit_code: Option<u8>,
    /// The signal that ended it, as far as its exit code tells.
    signal: Option<u8>,
    /// Why there is no exit code.
    reason: Option<String>,
    output: String,
    errors: String,
    /// Whether that is all that it said.
    complete: bool,
}

impl Show for Executed {
    const KIND: &'static str = "executed";

    /// For people the program's own outputs are the result.
    fn table(&self) -> String {
        String::new()
    }
}

pub(crate) fn run(ui: &Ui, store: &Store, exec: &Exec) -> Result<ExitCode, Failure> {
    if exec.tty {
        return on_this_terminal(ui, store, exec);
    }
    let record = Operations { store, drivers: &drivers(), observer: &() }.mark_used(&exec.name)?;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let memory = !ui.is_for_people();
    let job = Job {
        ssh: access::login(store, &record)?,
        words: &exec.program,
        start: START,
        limit: exec.timeout.map(Duration::from_secs),
        input: input.as_fd(),
        output: if memory { Sink::Memory(KEPT) } else { Sink::File(output.as_fd()) },
        errors: if memory { Sink::Memory(KEPT) } else { Sink::File(errors.as_fd()) },
    };
    let followed = job.follow().map_err(Failure::failed)?;
    cut_console(store, &exec.name);
    let (code, failure) = judge(&exec.name, exec.timeout, &followed.end);
    if memory {
        ui.result(&executed(exec.name.clone(), followed, failure.as_ref()))?;
    } else if !followed.is_complete && matches!(followed.end, JobEnd::Exited(_)) {
        ui.note("the program has ended; something that it left behind holds its output open");
    }
    if let Some(failure) = failure {
        ui.failure(None, &failure);
    }
    Ok(ExitCode::from(code))
}

/// The program on the terminal of this one, which becomes ssh: its exit code is the program's, or 255 from ssh itself.
fn on_this_terminal(ui: &Ui, store: &Store, exec: &Exec) -> Result<ExitCode, Failure> {
    let usage = |text: &str| Failure::new(Kind::Usage, text.to_owned());
    if !ui.is_for_people() {
        return Err(usage("a program with a terminal has no result for programs").hint("leave --tty or --output out"));
    }
    if !io::stdin().is_terminal() {
        return Err(usage("standard input is no terminal, so there is none to give").hint("leave --tty out"));
    }
    let record = Operations { store, drivers: &drivers(), observer: &() }.mark_used(&exec.name)?;
    let mut ssh = access::interactive(store, &record)?;
    let words: Vec<String> = exec.program.iter().map(|word| quoted_word(word)).collect();
    ssh.args(["-t", "--", &words.join(" ")]);
    Err(Failure::during(Kind::Failed, "start ssh")(ssh.exec()))
}

/// The job may have filled the log of the console. What it ended with is told whether or not that can be cut.
fn cut_console(store: &Store, name: &MachineName) {
    let last = store.machine(name).last_attempt();
    if let Err(error) = last.and_then(|last| last.as_ref().map_or(Ok(()), console::cut)) {
        tracing::warn!(%error, "the console log could not be looked at");
    }
}

/// The exit code, and what is to be said when it is not the program's own.
fn judge(name: &MachineName, timeout: Option<u64>, end: &JobEnd) -> (u8, Option<Failure>) {
    let console = format!("`cloud-machine console {name}` shows what the machine says");
    let told = |failure: Failure| (failure.kind as u8, Some(failure));
    let may_run = "do not run it again without looking: it may have run, or run still; a reimage ends it";
    match end {
        JobEnd::Exited(code) => (*code, None),
        JobEnd::Lost(said) => told(
            Failure::failed(format!("the connection to machine {name} was lost while the program ran\n{said}"))
                .hint(may_run)
                .hint(console),
        ),
        JobEnd::TimedOut => told(
            Failure::new(
                Kind::TimedOut,
                format!("the program on machine {name} did not end within {} s", timeout.unwrap_or_default()),
            )
            .hint(may_run),
        ),
        JobEnd::Interrupted(signal) => {
            let text = format!("signal {signal} ended the connection to machine {name} while the program ran");
            (exit_code_of(*signal), Some(Failure::failed(text).hint(may_run)))
        }
        JobEnd::Unread => told(
            Failure::failed(format!("nobody reads any more what the program on machine {name} says")).hint(may_run),
        ),
        JobEnd::NotBegun(NotBegun::Interrupted(signal)) => {
            let text = format!("signal {signal} came before the program on machine {name} was begun");
            (exit_code_of(*signal), Some(Failure::failed(text)))
        }
        JobEnd::NotBegun(reason) => told(not_begun(name, reason).hint(console)),
    }
}

pub(super) fn not_begun(name: &MachineName, reason: &NotBegun) -> Failure {
    let text = format!("the program was not begun on machine {name}");
    match reason {
        NotBegun::Ssh(said) => Failure::failed(format!("{text}: ssh could not log in\n{said}")),
        NotBegun::Foreign(said) => {
            Failure::new(Kind::Verification, format!("{text}: the machine ran something else\n{said}"))
        }
        NotBegun::Flood => Failure::new(Kind::Verification, format!("{text}: the machine said too much before")),
        NotBegun::TimedOut => Failure::new(Kind::TimedOut, format!("{text} in time")),
        NotBegun::Interrupted(signal) => Failure::failed(format!("{text}: signal {signal} came first")),
    }
}

fn executed(name: MachineName, followed: Followed, failure: Option<&Failure>) -> Executed {
    let (end, ran) = match &followed.end {
        JobEnd::Exited(_) => (End::Exited, Ran::Yes),
        JobEnd::NotBegun(_) => (End::NotBegun, Ran::No),
        JobEnd::Lost(_) => (End::LostConnection, Ran::Unknown),
        JobEnd::TimedOut => (End::TimedOut, Ran::Unknown),
        JobEnd::Interrupted(_) | JobEnd::Unread => (End::Interrupted, Ran::Unknown),
    };
    let exit_code = match followed.end {
        JobEnd::Exited(code) => Some(code),
        _ => None,
    };
    let signal =
        exit_code.and_then(|code| code.checked_sub(SIGNALLED)).filter(|signal| (1..=LAST_SIGNAL).contains(signal));
    Executed {
        name,
        end,
        ran,
        exit_code,
        signal,
        reason: failure.map(|failure| failure.causes().join(": ")),
        output: String::from_utf8_lossy(&followed.output).into_owned(),
        errors: String::from_utf8_lossy(&followed.errors).into_owned(),
        complete: followed.is_complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(end: JobEnd) -> (u8, Executed) {
        let name: MachineName = "m".parse().unwrap();
        let (code, failure) = judge(&name, Some(5), &end);
        let followed = Followed { end, output: b"out".to_vec(), errors: Vec::new(), is_complete: true };
        (code, executed(name, followed, failure.as_ref()))
    }

    #[test]
    fn a_program_that_may_have_run_is_never_called_one_that_did_not() {
        for (job_end, code, end, ran) in [
            (JobEnd::Exited(0), 0, End::Exited, Ran::Yes),
            (JobEnd::Exited(255), 255, End::Exited, Ran::Yes),
            (JobEnd::Lost("x".to_owned()), 1, End::LostConnection, Ran::Unknown),
            (JobEnd::TimedOut, 6, End::TimedOut, Ran::Unknown),
            (JobEnd::Interrupted(15), 143, End::Interrupted, Ran::Unknown),
            (JobEnd::NotBegun(NotBegun::Ssh("x".to_owned())), 1, End::NotBegun, Ran::No),
            (JobEnd::NotBegun(NotBegun::Foreign("x".to_owned())), 5, End::NotBegun, Ran::No),
            (JobEnd::NotBegun(NotBegun::Flood), 5, End::NotBegun, Ran::No),
            (JobEnd::NotBegun(NotBegun::TimedOut), 6, End::NotBegun, Ran::No),
            (JobEnd::NotBegun(NotBegun::Interrupted(2)), 130, End::NotBegun, Ran::No),
        ] {
            let (found, executed) = told(job_end.clone());
            assert_eq!((found, executed.end, executed.ran), (code, end, ran), "{job_end:?}");
            assert_eq!(executed.reason.is_some(), executed.exit_code.is_none(), "{job_end:?}");
        }
        assert_eq!(told(JobEnd::Exited(137)).1.signal, Some(9));
        assert_eq!(told(JobEnd::Exited(128)).1.signal, None);
        assert_eq!(told(JobEnd::Exited(255)).1.signal, None);
    }
}
