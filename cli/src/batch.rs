//! One operation on several machines: each gets its own result, and one failure does not stop the others.

use std::{collections::BTreeSet, process::ExitCode};

use cloud_machine_protocol::MachineName;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// What an operation on one machine gave, as a row.
#[derive(Serialize)]
struct Row<T> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Vec<String>>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Rows<T> {
    machines: Vec<Row<T>>,
}

/// A result of one machine that can be put into a table.
pub(crate) trait Line: Serialize {
    /// Cells after the name.
    fn cells(&self) -> Vec<String>;
}

impl<T: Line> Show for Rows<T> {
    const KIND: &'static str = "machine-results";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        for row in &self.machines {
            let mut cells = vec![row.name.clone()];
            match &row.result {
                Some(result) => cells.extend(result.cells()),
                None => cells.push(without_result(row)),
            }
            table.add_row(cells);
        }
        table.to_string()
    }
}

/// Does `operation` on each machine in turn and writes all results.
pub(crate) fn each<T: Line>(
    ui: &Ui,
    names: &[MachineName],
    mut operation: impl FnMut(&MachineName) -> Result<T, Failure>,
) -> Result<ExitCode, Failure> {
    named_once(names)?;
    let mut rows = Vec::new();
    for name in names {
        rows.push(match operation(name) {
            Ok(result) => Row { name: name.to_string(), result: Some(result), error: None, exit_code: 0 },
            Err(failure) => {
                ui.failure(Some(name.as_str()).filter(|_| names.len() > 1 || ui.is_for_programs()), &failure);
                let code = failure.kind as u8;
                Row { name: name.to_string(), result: None, error: Some(failure.causes()), exit_code: code }
            }
        });
    }
    let code = exit_code(&rows.iter().map(|row| row.exit_code).collect::<Vec<_>>());
    ui.result(&Rows { machines: rows })?;
    Ok(ExitCode::from(code))
}

/// Refuses a machine that is named twice: the second time it would be another operation on it.
fn named_once(names: &[MachineName]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(twice) => Err(Failure::new(Kind::Usage, format!("machine {twice} is named twice"))
            .hint("nothing was done; name each machine once")),
    }
}

/// What became of a machine with which nothing was done, or not all of it.
fn without_result<T>(row: &Row<T>) -> String {
    // Whoever is refused, for what is described or for somebody else's lock or lease, or names no machine, has begun nothing.
    match row.exit_code {
        code if code == Kind::Locked as u8 => "locked".to_owned(),
        code if code == Kind::Refused as u8 => "refused".to_owned(),
        // What is not there may be the image.
        code if code == Kind::NotFound as u8 => {
            row.error.iter().flatten().next().cloned().unwrap_or_else(|| "not found".to_owned())
        }
        _ => "failed".to_owned(),
    }
}

/// The common code when all ended alike, otherwise the code for some of several.
fn exit_code(codes: &[u8]) -> u8 {
    match codes {
        [] => 0,
        [first, rest @ ..] if rest.iter().all(|code| code == first) => *first,
        _ => Kind::Partial as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Done;

    impl Line for Done {
        fn cells(&self) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn a_machine_with_which_nothing_was_begun_did_not_fail() {
        let error = Some(vec!["no image nope".to_owned(), "a cause".to_owned()]);
        let row = |exit_code| Row::<Done> { name: "demo".to_owned(), result: None, error: error.clone(), exit_code };
        let words = [Kind::Locked, Kind::Refused, Kind::NotFound, Kind::TimedOut]
            .map(|kind| Rows { machines: vec![row(kind as u8)] }.table().trim().to_owned());
        assert_eq!(words, ["demo  locked", "demo  refused", "demo  no image nope", "demo  failed"]);
    }

    #[test]
    fn a_machine_that_is_named_twice_is_wrong_usage() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<MachineName>>();
        assert!(named_once(&names(&["a", "b"])).is_ok());
        let failure = named_once(&names(&["a", "b", "a"])).unwrap_err();
        assert_eq!((failure.kind, failure.causes()[0].as_str()), (Kind::Usage, "machine a is named twice"));
    }

    #[test]
    fn one_code_for_all_and_7_for_a_mixture() {
        assert_eq!(exit_code(&[0, 0]), 0);
        assert_eq!(exit_code(&[4]), 4);
        assert_eq!(exit_code(&[5, 5]), 5);
        assert_eq!(exit_code(&[0, 5]), 7);
    }
}
