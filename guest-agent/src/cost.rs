//! What a step cost, for its record. Must not measure it.

use std::time::Duration;

use cloud_machine_plan::PlannedStep;
use cloud_machine_protocol::{Outcome, StepRecord};

/// Bytes that a step moved.
#[derive(Default)]
pub(crate) struct Cost {
    pub(crate) changed: bool,
    pub(crate) compared: u64,
    pub(crate) written: u64,
    pub(crate) zeroed: u64,
    pub(crate) read_back: u64,
}

impl Cost {
    /// The record of a step that took `time`.
    pub(crate) fn record(&self, planned: &PlannedStep, time: Duration) -> StepRecord {
        StepRecord {
            id: planned.id.clone(),
            step: planned.step.clone(),
            outcome: if self.changed { Outcome::Changed } else { Outcome::Unchanged },
            compared_bytes: self.compared,
            written_bytes: self.written,
            zeroed_bytes: self.zeroed,
            read_back_bytes: self.read_back,
            milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
