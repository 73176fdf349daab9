//! Whether the last accepted report of a machine still says what its disks hold. Owns that rule for every command; must
//! not judge the report itself.

use cloud_machine_protocol::{Action, Assurance};

use super::{MachineRecord, MachineState};

/// What the last accepted report is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No report was ever accepted.
    Never,
    /// Nothing but the machine's own system ran since.
    Stands,
    /// Nothing else was done since, but the machine's own system did not come up: what it made of its disks is not known.
    Unanswered,
    /// Another attempt began since and was not accepted, so nobody knows what the disks hold.
    Ended {
        /// How far that attempt got.
        state: MachineState,
    },
}

impl MachineRecord {
    /// Whether the last accepted report still stands: it ends with the intent of the next attempt.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(report) = &self.last_report else { return Standing::Never };
        let settled = matches!(self.state, MachineState::Accepted | MachineState::Running | MachineState::Stopped);
        let followed = match &self.request {
            // A boot is accepted only on the disks that the report is about.
            Some(request) if request.action == Action::Boot => true,
            Some(request) => *report == format!("reports/{}.json", request.id),
            None => false,
        };
        let same = self.request.as_ref().is_some_and(|request| *report == format!("reports/{}.json", request.id));
        match (settled && followed, same) {
            (true, _) => Standing::Stands,
            (false, true) if self.state == MachineState::Failed => Standing::Unanswered,
            _ => Standing::Ended { state: self.state },
        }
    }

    /// The assurance of the last accepted report, while it stands.
    #[must_use]
    pub fn standing_assurance(&self) -> Option<Assurance> {
        self.assurance.filter(|_| self.standing() == Standing::Stands)
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
