//! Asks before something is lost: on a terminal by a word that has to be typed, elsewhere never. Must not do it.

use std::io::{self, BufRead, IsTerminal};

use crate::{failure::Failure, ui::Ui};

/// Asks for `word`, its name, before `what` is deleted by `command`, unless that is `granted`.
pub(crate) fn deletion(ui: &Ui, granted: bool, command: &str, what: &str, word: &str) -> Result<(), Failure> {
    if granted {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::failed(format!("{what} is not deleted without being asked"))
            .hint(format!("`cloud-machine {command} {word} --yes` deletes it without asking")));
    }
    ui.note(&format!("delete {what}? Type {word}:"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    if answer.trim() == word { Ok(()) } else { Err(Failure::failed(format!("{what} is kept"))) }
}
