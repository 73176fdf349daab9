//! `logs`: the journal of a machine while its system answers, and its console log otherwise. Text of the guest, so it is
//! escaped line by line; must not count as use of the machine, since nothing is left there.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    process::ExitCode,
    thread,
};

use cloud_machine_driver::{
    console::Lines,
    drivers,
    ssh::{Followed, Job, JobEnd, NotBegun, Sink},
};
use cloud_machine_operation::{Operations, access};
use cloud_machine_protocol::{MachineName, escape};
use cloud_machine_store::{MachineState, Store};

use super::{console, exec};
use crate::{
    arguments::Logs,
    failure::{Failure, Kind},
    interrupted::exit_code_of,
    terminal,
    ui::Ui,
};

/// What a shell says when there is no such program.
const NO_PROGRAM: u8 = 127;
/// Bytes of the first words that explain an end.
const MAX_STDERR: usize = 2 << 10;

pub(crate) fn run(ui: &Ui, store: &Store, logs: &Logs) -> Result<ExitCode, Failure> {
    ui.only_for_people("a log")?;
    let record = store.read(&logs.name)?;
    let operations = Operations { store, drivers: &drivers(), observer: &() };
    let runs = record.state == MachineState::Running && operations.running(&record)?.is_some();
    if logs.console || !runs {
        if logs.unit.is_some() {
            let text = format!("{}, and its journal is on its disk", why_not(&logs.name, record.state));
            return Err(Failure::failed(text).hint(format!("`cloud-machine logs {}` shows its console", logs.name)));
        }
        if !logs.console {
            let why = why_not(&logs.name, record.state);
            ui.note(&format!("{why}: what follows is its console log, which the host keeps"));
        }
        return console::show(ui, store, &logs.name, logs.lines, logs.follow).map(|()| ExitCode::SUCCESS);
    }
    let words = journalctl(logs);
    let (followed, is_read) = follow(ui, access::login(store, &record)?, &words)?;
    judge(logs, &followed, is_read)
}

/// Why the system of a machine is not asked, whose process is not there or not its own system's.
fn why_not(name: &MachineName, state: MachineState) -> String {
    match state {
        MachineState::Creating | MachineState::Requested | MachineState::Writing | MachineState::Accepted => {
            format!("the system of machine {name} does not run yet, its state is {state}")
        }
        MachineState::Running => format!("machine {name} has ended by itself"),
        MachineState::Stopped => format!("machine {name} is stopped"),
        MachineState::Failed => format!("the last attempt of machine {name} failed"),
        MachineState::Quarantined => format!("machine {name} is quarantined, since its attempts failed"),
    }
}

/// What the machine is asked to run.
fn journalctl(logs: &Logs) -> Vec<String> {
    let lines = if logs.lines == 0 { "all".to_owned() } else { logs.lines.to_string() };
    let mut words = vec!["journalctl", "--no-pager", "--quiet", "--output", "short-iso", "--lines", &lines];
    if logs.follow {
        words.push("--follow");
    }
    if let Some(unit) = &logs.unit {
        words.extend(["--unit", unit]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Prints what comes until it ends or nobody reads any more, and whether somebody read to the end.
fn follow(ui: &Ui, ssh: std::process::Command, words: &[String]) -> Result<(Followed, bool), Failure> {
    let failed = |source: io::Error| Failure::during(Kind::Failed, "read the journal")(source);
    let (reader, writer) = io::pipe().map_err(failed)?;
    let nothing = File::open("/dev/null").map_err(failed)?;
    thread::scope(|scope| {
        let printing = scope.spawn(move || print(ui, reader));
        let job = Job {
            ssh,
            words,
            start: exec::START,
            limit: None,
            input: nothing.as_fd(),
            output: Sink::Reader(writer.as_fd()),
            errors: Sink::Memory(MAX_STDERR),
        };
        let followed = job.follow();
        drop(writer);
        let is_read = printing.join().unwrap_or_else(|_| Err(Failure::failed("printing the journal ended early")))?;
        Ok((followed.map_err(Failure::failed)?, is_read))
    })
}

/// Prints lines as long as somebody reads them; the end of `reader` ends the program that writes.
fn print(ui: &Ui, mut reader: io::PipeReader) -> Result<bool, Failure> {
    let (mut lines, mut piece, mut is_read, mut goes_on) = (Lines::default(), vec![0; 64 << 10], Ok(true), true);
    let mut show = |line: String| {
        if matches!(is_read, Ok(true)) {
            is_read = ui.is_read(&format!("{line}\n"));
        }
        matches!(is_read, Ok(true))
    };
    while goes_on {
        if !terminal::wait_readable(reader.as_fd()).map_err(Failure::during(Kind::Failed, "read the journal"))? {
            return Ok(false);
        }
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => lines.add(piece.get(..count).unwrap_or_default(), &mut |line| goes_on &= show(line)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::during(Kind::Failed, "read the journal")(error)),
        }
    }
    lines.finish(&mut |line| goes_on &= show(line));
    is_read
}

/// Nothing is left there, so an end that was asked for is none to be told of.
fn judge(logs: &Logs, followed: &Followed, is_read: bool) -> Result<ExitCode, Failure> {
    let console = format!("`cloud-machine logs {} --console` shows its console", logs.name);
    match &followed.end {
        JobEnd::Exited(0) => Ok(ExitCode::SUCCESS),
        JobEnd::Exited(_) | JobEnd::Unread if !is_read => Ok(ExitCode::SUCCESS),
        JobEnd::Exited(NO_PROGRAM) => {
            Err(Failure::failed(format!("machine {} has no journalctl", logs.name)).hint(console))
        }
        JobEnd::Exited(code) => {
            let said = escape::tail(&followed.errors, 5);
            let text = format!("journalctl on machine {} ended with exit code {code}\n{said}", logs.name);
            Err(Failure::failed(text).hint(console))
        }
        JobEnd::Interrupted(signal) | JobEnd::NotBegun(NotBegun::Interrupted(signal)) => {
            Ok(ExitCode::from(exit_code_of(*signal)))
        }
        JobEnd::Lost(said) => {
            Err(Failure::failed(format!("the connection to machine {} was lost\n{said}", logs.name)).hint(console))
        }
        JobEnd::NotBegun(reason) => Err(exec::not_begun(&logs.name, reason).hint(console)),
        JobEnd::Unread => Err(Failure::failed("printing the journal ended early")),
        JobEnd::TimedOut => Err(Failure::failed(format!("the journal of machine {} took too long", logs.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_journal_is_not_there_is_a_sentence_of_each_state() {
        let name = "m".parse().unwrap();
        for (state, sentence) in [
            (MachineState::Creating, "the system of machine m does not run yet, its state is creating"),
            (MachineState::Writing, "the system of machine m does not run yet, its state is writing"),
            (MachineState::Running, "machine m has ended by itself"),
            (MachineState::Stopped, "machine m is stopped"),
            (MachineState::Failed, "the last attempt of machine m failed"),
            (MachineState::Quarantined, "machine m is quarantined, since its attempts failed"),
        ] {
            assert_eq!(why_not(&name, state), sentence);
        }
    }

    #[test]
    fn a_unit_is_one_word_whatever_it_is_called() {
        let mut logs = Logs { name: "m".parse().unwrap(), lines: 5, follow: false, unit: None, console: false };
        let plain = ["journalctl", "--no-pager", "--quiet", "--output", "short-iso", "--lines"];
        assert_eq!(journalctl(&logs), [&plain[..], &["5"]].concat());
        (logs.lines, logs.follow, logs.unit) = (0, true, Some("a'; reboot".to_owned()));
        assert_eq!(journalctl(&logs), [&plain[..], &["all", "--follow", "--unit", "a'; reboot"]].concat());
    }
}
