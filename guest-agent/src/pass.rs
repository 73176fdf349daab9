//! What every pass over a whole disk needs: its node, how many threads go over it, and how the host hears of its progress.
//! Must not read or write the disk.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use cloud_machine_protocol::StepId;
use cloud_machine_system::kernel;

use crate::host::Host;

/// Threads of the block pipeline: more gained nothing on the disks that were measured, fewer lose the overlap.
pub(crate) const THREADS: usize = 4;

/// The device node of a disk.
pub(crate) fn node(device: &str) -> PathBuf {
    Path::new("/dev").join(device)
}

/// Tells the host of progress at most a hundred times a step, from whichever thread gets there first. A port that
/// fails does not stop the step: the report will fail for the same reason.
pub(crate) struct Progress<'a> {
    state: Mutex<(&'a mut Host, u64)>,
    id: &'a StepId,
    message: &'static str,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(host: &'a mut Host, id: &'a StepId, message: &'static str) -> Self {
        Self { state: Mutex::new((host, 0)), id, message }
    }

    pub(crate) fn tell(&self, done: u64, total: u64) {
        let percent = (done.saturating_mul(100)).checked_div(total).unwrap_or(100);
        let Ok(mut state) = self.state.try_lock() else { return };
        if percent > state.1 {
            state.1 = percent;
            if let Err(error) = state.0.progress(Some(self.id), self.message, Some((done, total))) {
                kernel::log(&error.to_string());
            }
        }
    }
}
