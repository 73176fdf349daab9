//! How long each phase of an attempt takes on the host's clock, one after the other. Must not know what a phase does.

use std::time::Instant;

use serde::Serialize;

use crate::{
    event::{Happening, Phase},
    teller::Teller,
};

/// How long a phase took on the host's clock.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PhaseTime {
    /// Which.
    pub phase: Phase,
    /// How long.
    pub milliseconds: u64,
}

/// Measures phases one after the other.
pub(crate) struct Clock<'a> {
    teller: Teller<'a>,
    since: Instant,
    pub(crate) phases: Vec<PhaseTime>,
}

impl<'a> Clock<'a> {
    pub(crate) fn start(teller: Teller<'a>) -> Self {
        Self { teller, since: Instant::now(), phases: Vec::new() }
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.phases.push(PhaseTime { phase, milliseconds });
        self.teller.tell(Happening::Phase { phase, milliseconds });
        self.since = Instant::now();
    }
}
