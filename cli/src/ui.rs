//! The one writer: results to standard output, everything else to standard error, and nothing in either that a terminal
//! obeys. Must not decide anything.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cloud_machine_operation::{Operation, Phase, RefusedPlace};
use cloud_machine_protocol::escape;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    arguments::{EventForm, Global, OutputForm},
    failure::{Failure, Kind},
};

/// Where and how the program writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    form: OutputForm,
    progress_mode: ProgressMode,
}

/// How progress and progress_mode reach standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressMode {
    Silent,
    Lines,
    Bars,
    Ndjson,
}

/// Bytes after which progress towards an unknown total is told again.
const UNKNOWN: u64 = 64 << 20;

/// A line of `--events ndjson` (docs/reference/events.md).
#[derive(Serialize)]
struct EventLine<'a> {
    kind: &'a str,
    version: u32,
    #[serde(flatten)]
    subject: &'a EventSubject,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
}

/// A failure among the lines of `--events ndjson`.
#[derive(Serialize)]
struct ErrorLine<'a> {
    kind: &'a str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a str>,
    exit_code: u8,
    causes: Vec<String>,
    /// Where the configuration is wrong, when that is the failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<RefusedPlace>,
    hints: &'a [String],
}

/// Of what an event is: by it lines of several machines can be told apart.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EventSubject {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Operation>,
    /// The phase that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    /// The agent's step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    /// What a notice is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<&'static str>,
}

/// A result that can be shown in every form.
pub(crate) trait Show: Serialize {
    /// `kind` of the JSON form.
    const KIND: &'static str;
    /// The form for people.
    fn table(&self) -> String;
    /// A YAML form of its own; without one the JSON form is written as YAML.
    fn yaml(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    kind: &'a str,
    version: u32,
    #[serde(rename = "value")]
    value: &'a T,
}

impl Ui {
    pub(crate) fn new(global: &Global) -> Self {
        let progress_mode = match (global.quiet, global.events, io::stderr().is_terminal()) {
            (true, _, _) => ProgressMode::Silent,
            (false, Some(EventForm::Ndjson), _) => ProgressMode::Ndjson,
            (false, None, true) => ProgressMode::Bars,
            (false, None, false) => ProgressMode::Lines,
        };
        Self { form: global.output, progress_mode }
    }

    /// Writes the result of the command.
    pub(crate) fn result<T: Show>(&self, result: &T) -> Result<(), Failure> {
        self.raw(&self.form(result)?)
    }

    /// The result in the form that was asked for, ending with one end of line unless there is nothing to say.
    fn form<T: Show>(&self, result: &T) -> Result<String, Failure> {
        let envelope = Envelope { kind: T::KIND, version: 1, value: result };
        let mut text = match self.form {
            OutputForm::Table => escape::text(&result.table()).into_owned(),
            OutputForm::Yaml => match result.yaml()? {
                Some(text) => escape::text(&text).into_owned(),
                None => yaml(&envelope)?,
            },
            OutputForm::Json => {
                let json = serde_json::to_string_pretty(&envelope)
                    .map_err(Failure::during(Kind::Failed, "encode the result"))?;
                escape::json(&json).into_owned()
            }
        };
        text.truncate(text.trim_end().len());
        // A table without rows and header is nothing, and not a line of nothing.
        if !text.is_empty() {
            text.push('\n');
        }
        Ok(text)
    }

    /// Whether progress and failures are for a program.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.progress_mode == ProgressMode::Ndjson
    }

    /// Whether progress is shown to people.
    pub(crate) fn shows_progress(&self) -> bool {
        matches!(self.progress_mode, ProgressMode::Bars | ProgressMode::Lines)
    }

    /// Whether results are for people and not for a program.
    pub(crate) fn is_for_people(&self) -> bool {
        self.form == OutputForm::Table
    }

    /// Writes text of our own, or that is safe to show, as it is. That nobody reads any more is no failure.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        self.is_read(text).map(drop)
    }

    /// As [`Ui::raw`], and says whether anybody reads still.
    pub(crate) fn is_read(&self, text: &str) -> Result<bool, Failure> {
        let mut output = io::stdout().lock();
        match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::during(Kind::Failed, "write to standard output")(error)),
        }
    }

    /// Refuses a form for programs, which `what` has not.
    pub(crate) fn only_for_people(&self, what: &str) -> Result<(), Failure> {
        if self.is_for_people() {
            return Ok(());
        }
        Err(Failure::new(Kind::Usage, format!("{what} has no form for programs")).hint("leave --output out"))
    }

    /// A remark on what is going on.
    pub(crate) fn note(&self, text: &str) {
        self.note_about(EventSubject::default(), text);
    }

    /// A remark on what `subject` does.
    pub(crate) fn note_about(&self, subject: EventSubject, text: &str) {
        match self.progress_mode {
            ProgressMode::Silent => {}
            ProgressMode::Lines | ProgressMode::Bars => self.line(text),
            ProgressMode::Ndjson => event(&subject, text, None, None),
        }
    }

    /// A line that another program said on standard error: shown also where nothing but errors is.
    pub(crate) fn said(&self, text: &str) {
        match self.progress_mode {
            ProgressMode::Ndjson => event(&EventSubject::default(), text, None, None),
            _ => self.line(text),
        }
    }

    /// The end of a phase, for programs: people see what goes on inside of it.
    pub(crate) fn phase(&self, subject: EventSubject, phase: Phase, milliseconds: u64) {
        if self.progress_mode == ProgressMode::Ndjson {
            let subject = EventSubject { phase: Some(phase), ..subject };
            event(&subject, &format!("done: {phase}"), None, Some(milliseconds));
        }
    }

    /// Shows a failure, of `machine` when it is of one: `error:`, `caused by:`, `hint:`, or as JSON where events are.
    pub(crate) fn failure(&self, machine: Option<&str>, failure: &Failure) {
        self.failure_with(machine, failure, failure.kind as u8);
    }

    /// Shows what a signal cut off, in the middle of whatever else is shown.
    pub(crate) fn interrupted(&self, machine: &str, failure: &Failure, exit_code: u8) {
        if self.progress_mode == ProgressMode::Bars {
            // Behind a bar, which has no end of line.
            self.line("");
        }
        self.failure_with(Some(machine).filter(|_| self.is_for_programs()), failure, exit_code);
    }

    fn failure_with(&self, machine: Option<&str>, failure: &Failure, exit_code: u8) {
        if self.progress_mode == ProgressMode::Ndjson {
            let (causes, places, hints) = (failure.causes(), failure.places(), &failure.hints);
            return json_line(&ErrorLine { kind: "error", version: 1, machine, exit_code, causes, places, hints });
        }
        if let Some(machine) = machine {
            self.line(&format!("{machine}:"));
        }
        for (index, cause) in failure.causes().iter().enumerate() {
            self.line(&format!("{}: {cause}", if index == 0 { "error" } else { "caused by" }));
        }
        for hint in &failure.hints {
            self.line(&format!("hint: {hint}"));
        }
    }

    /// A bar over bytes on a terminal, events where they are asked for, plain lines elsewhere, nothing when quiet.
    pub(crate) fn progress(&self, what: &str) -> Progress {
        // Whatever concerns a machine is told by its operation.
        self.progress_of(EventSubject { operation: Some(Operation::Image), ..EventSubject::default() }, what)
    }

    /// As [`Ui::progress`], of what `subject` does.
    pub(crate) fn progress_of(&self, subject: EventSubject, what: &str) -> Progress {
        if self.progress_mode == ProgressMode::Bars {
            let style = ProgressStyle::with_template("{prefix:28} {bar:30} {bytes:>10}/{total_bytes:10} {elapsed}");
            let bar = ProgressBar::new(0).with_prefix(escape::line(what.as_bytes(), 200));
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            return Progress::Bar(bar);
        }
        self.note_about(subject.clone(), what);
        match self.progress_mode {
            ProgressMode::Ndjson => Progress::Events { subject, what: what.to_owned(), percent: AtomicU64::new(0) },
            _ => Progress::None,
        }
    }

    fn line(&self, text: &str) {
        // Nobody is left to tell when standard error is closed.
        writeln!(io::stderr().lock(), "{}", escape::text(text)).unwrap_or_default();
    }
}

/// As YAML. Its plain texts cannot hold an escape, so a document that needs one is written as JSON, which is YAML, too.
fn yaml<T: Serialize>(envelope: &Envelope<'_, T>) -> Result<String, Failure> {
    let text = serde_yaml::to_string(envelope).map_err(Failure::during(Kind::Failed, "encode the result"))?;
    if escape::is_shown_as_it_is(&text) {
        return Ok(text);
    }
    let json = serde_json::to_string_pretty(envelope).map_err(Failure::during(Kind::Failed, "encode the result"))?;
    Ok(escape::yaml(&json).into_owned())
}

/// Standard error for what the program logs: made safe like everything else, and never a reason to end.
pub(crate) struct SafeErrors;

impl Write for SafeErrors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write!(io::stderr().lock(), "{}", escape::text(&String::from_utf8_lossy(bytes))).unwrap_or_default();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one line of `--events ndjson`.
fn event(subject: &EventSubject, message: &str, bytes: Option<(u64, u64)>, milliseconds: Option<u64>) {
    let (done, total) = (bytes.map(|(done, _)| done), bytes.map(|(_, total)| total));
    json_line(&EventLine { kind: "event", version: 1, subject, message, done, total, milliseconds });
}

fn json_line<T: Serialize>(line: &T) {
    // Strings and numbers always have a JSON form; standard error may be closed.
    let line = serde_json::to_string(line).unwrap_or_default();
    writeln!(io::stderr().lock(), "{}", escape::json(&line)).unwrap_or_default();
}

/// Progress of one piece of work; a bar disappears when dropped.
pub(crate) enum Progress {
    /// Nothing is shown.
    None,
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// At most a hundred lines of JSON.
    Events {
        /// Of which machine and operation.
        subject: EventSubject,
        /// What is going on.
        what: String,
        /// How much of it has been told.
        percent: AtomicU64,
    },
}

impl Progress {
    /// Shows `done` of `total` bytes; a total of 0 is one that nobody knows.
    pub(crate) fn set(&self, done: u64, total: u64) {
        match self {
            Self::None => {}
            Self::Bar(bar) => {
                if total == 0 {
                    bar.unset_length()
                } else {
                    bar.set_length(total)
                }
                bar.set_position(done);
            }
            Self::Events { subject, what, percent } => {
                let now = done.saturating_mul(100).checked_div(total).unwrap_or(done / UNKNOWN);
                if percent.fetch_max(now, Ordering::Relaxed) < now {
                    event(subject, what, Some((done, total)), None);
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
#[path = "ui_tests.rs"]
mod tests;
