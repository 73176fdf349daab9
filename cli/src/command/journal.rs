//! `journal`: which operations were done, and how they ended. Must not write the journal.

use cloud_machine_store::{JournalEntry, Outcome, State};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    arguments::Journal,
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Operations {
    operations: Vec<JournalEntry>,
    /// Lines of the journal that cannot be read.
    unreadable_lines: usize,
}

impl Show for Operations {
    const KIND: &'static str = "operation-journal";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["BEGAN", "MACHINE", "OPERATION", "OUTCOME", "SECONDS", "ERROR"]);
        for entry in &self.operations {
            let outcome = match entry.outcome {
                Outcome::Done => "done",
                Outcome::Failed => "failed",
                Outcome::UnderWay => "under_way",
                Outcome::CutOff => "cut_off",
            };
            // A clock that was set back makes it negative, which is told as it is.
            let seconds = entry.ended.map(|ended| ended.duration_since(entry.began).as_secs().to_string());
            table.add_row([
                format!("{:.0}", entry.began),
                entry.machine.to_string(),
                entry.operation.clone(),
                outcome.to_owned(),
                seconds.unwrap_or_default(),
                entry.failure.as_ref().map(|failure| failure.error.clone()).unwrap_or_default(),
            ]);
        }
        let mut text = table.to_string();
        if self.unreadable_lines > 0 {
            text.push_str(&format!("\n{} lines of the journal cannot be read", self.unreadable_lines));
        }
        text
    }
}

pub(crate) fn run(ui: &Ui, store: &dyn State, asked: &Journal) -> Result<(), Failure> {
    let journal = store.journal(asked.name.as_ref())?;
    let mut operations = journal.entries;
    if asked.last > 0 {
        operations.drain(..operations.len().saturating_sub(asked.last));
    }
    ui.result(&Operations { operations, unreadable_lines: journal.unreadable })
}
