//! A deadline, that of the request or of the search for it: a worker that has not reported by then ends, wherever it is. That is safe at any write, as a
//! power cut is; must not try to tidy up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use cloud_machine_system::kernel;

/// Exit status of a worker that passed its deadline.
pub(crate) const PASSED: i32 = 3;

/// A running deadline.
pub(crate) struct Deadline {
    met: Arc<AtomicBool>,
}

impl Deadline {
    /// Starts to count for `what`.
    pub(crate) fn start(what: &'static str, limit: Duration) -> Self {
        let met = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&met);
        thread::spawn(move || {
            thread::sleep(limit);
            if !seen.load(Ordering::SeqCst) {
                kernel::log(&format!("the deadline of {} s for {what} has passed", limit.as_secs()));
                end_process();
            }
        });
        Self { met }
    }

    /// It is done: time no longer counts.
    pub(crate) fn meet(&self) {
        self.met.store(true, Ordering::SeqCst);
    }
}

#[expect(clippy::exit, reason = "the other threads may hang in a device that does not answer")]
fn end_process() {
    std::process::exit(PASSED);
}
