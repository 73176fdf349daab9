//! What the console of a machine adds to a failure: it is text of the guest, so it explains and decides nothing.

use cloud_machine_driver::console;
use cloud_machine_store::AttemptFolder;

use crate::{error::OperationError, hint::Hint, startup};

/// Lines of the console that a failure shows.
const TAIL: usize = 20;

/// Adds the units that the system says have failed, when the failure does not name them already.
pub(crate) fn with_units(failure: OperationError, folder: &AttemptFolder) -> OperationError {
    let console = console::tail(folder, startup::LINES).unwrap_or_default();
    let told = failure.error.to_string();
    let units: Vec<String> = startup::failed_units(&console).into_iter().filter(|unit| !told.contains(unit)).collect();
    if units.is_empty() { failure } else { failure.hint(Hint::FailedUnits(units)) }
}

/// Adds the end of the console, escaped: it is text of the guest.
pub(crate) fn with_console(failure: OperationError, folder: &AttemptFolder) -> OperationError {
    match console::tail(folder, TAIL) {
        Ok(tail) if !tail.trim().is_empty() => failure.hint(Hint::ConsoleEnd(tail)),
        Ok(_) => failure.hint(Hint::ConsoleEmpty),
        Err(error) => failure.hint(Hint::ConsoleUnreadable(error.to_string())),
    }
}
