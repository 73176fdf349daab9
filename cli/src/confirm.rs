//! Asks before something is lost: on a terminal by a word that has to be typed, elsewhere never. Must not do it.

use std::io::{self, BufRead, IsTerminal};

use crate::{failure::Failure, ui::Ui};

/// Asks for `word` before `what` is deleted, unless that is `granted`.
pub(crate) fn deletion(ui: &Ui, granted: bool, what: &str, word: &str) -> Result<(), Failure> {
    if granted {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::failed(format!("{what} is not deleted without being asked")).hint("give --yes"));
    }
    ui.note(&format!("delete {what}? Type {word}:"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    if answer.trim() == word { Ok(()) } else { Err(Failure::failed(format!("{what} is kept"))) }
}
