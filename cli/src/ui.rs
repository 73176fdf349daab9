//! The one writer: results to standard output, everything else to standard error. Must not decide anything.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    arguments::{Global, OutputForm},
    failure::{Failure, Kind},
};

/// Where and how the program writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    form: OutputForm,
    quiet: bool,
    bars: bool,
}

/// A result that can be shown in both forms.
pub(crate) trait Show: Serialize {
    /// `kind` of the JSON form.
    const KIND: &'static str;
    /// The form for people.
    fn table(&self) -> String;
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
        Self { form: global.output, quiet: global.quiet, bars: !global.quiet && io::stderr().is_terminal() }
    }

    /// Writes the result of the command.
    pub(crate) fn result<T: Show>(&self, result: &T) -> Result<(), Failure> {
        let text = match self.form {
            OutputForm::Table => result.table(),
            OutputForm::Json => {
                let envelope = Envelope { kind: T::KIND, version: 1, value: result };
                serde_json::to_string_pretty(&envelope).map_err(Failure::during(Kind::Failed, "encode the result"))?
            }
        };
        self.raw(&format!("{}\n", text.trim_end()))
    }

    /// Writes text as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        let mut output = io::stdout().lock();
        output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush())
            .map_err(Failure::during(Kind::Failed, "write to standard output"))
    }

    /// A remark on what is going on.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Shows a failure: `error:`, `caused by:`, `hint:`.
    pub(crate) fn failure(&self, failure: &Failure) {
        for (index, cause) in failure.causes().iter().enumerate() {
            self.line(&format!("{}: {cause}", if index == 0 { "error" } else { "caused by" }));
        }
        for hint in &failure.hints {
            self.line(&format!("hint: {hint}"));
        }
    }

    /// A bar over bytes on a terminal, plain lines elsewhere, nothing when quiet.
    pub(crate) fn progress(&self, what: &str) -> Progress {
        if self.bars {
            let style = ProgressStyle::with_template("{prefix:28} {bar:30} {bytes:>10}/{total_bytes:10} {elapsed}");
            let bar = ProgressBar::new(0).with_prefix(what.to_owned());
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Progress(Some(bar))
        } else {
            self.note(what);
            Progress(None)
        }
    }

    fn line(&self, text: &str) {
        // Nobody is left to tell when standard error is closed.
        writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
    }
}

/// Progress of one piece of work; it disappears when dropped.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn set(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
