//! How long requests, waits and looks take, and the waits themselves. Must not know what is waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};

/// How patient the client is. No wait goes beyond the deadline of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// One request with its answer.
    pub request: Duration,
    /// With less time than this before the deadline, no request is sent again: one that is cut off leaves open what it did.
    pub least: Duration,
    /// The first wait before something is asked again; the following ones double, each with some chance in it.
    pub first_wait: Duration,
    /// The longest of these waits.
    pub longest_wait: Duration,
    /// How often a request is sent that the provider does not answer, or answers with a fault of its own.
    pub attempts: usize,
    /// How long something is looked for that a request without an answer may have made.
    pub look: Duration,
}

impl Default for Pace {
    /// Half a minute for a request, never less than a second for another one, half a second to eight between them, eight attempts, six seconds of looking.
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            least: Duration::from_secs(1),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(8),
            attempts: 8,
            look: Duration::from_secs(6),
        }
    }
}

impl Pace {
    /// Waits without end. With some chance in them, since several programs may wait for one server.
    pub(crate) fn waits(self) -> impl Iterator<Item = Duration> {
        let longest = self.longest_wait;
        ExponentialBuilder::new()
            .with_min_delay(self.first_wait)
            .with_max_delay(longest)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .build()
            .map(move |wait| wait.min(longest))
    }

    /// Waits before another request, unless too little time would be left for it; whether it was waited.
    pub(crate) fn pause(self, wait: Duration, until: Instant) -> bool {
        pause(wait, until.checked_sub(self.least).unwrap_or(until))
    }
}

/// Waits, unless that would outlast the deadline; whether it was waited.
pub(crate) fn pause(wait: Duration, until: Instant) -> bool {
    let fits = wait < until.saturating_duration_since(Instant::now());
    if fits {
        thread::sleep(wait);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_have_no_end() {
        let pace = Pace::default();
        let waits: Vec<Duration> = pace.waits().take(200).collect();
        assert_eq!(waits.len(), 200);
        for (wait, doubled) in waits.iter().zip([1, 2, 4, 8].into_iter().chain(std::iter::repeat(16))) {
            let low = pace.first_wait * doubled;
            let longest = pace.longest_wait;
            assert!(*wait >= low.min(longest) && *wait <= (2 * low).min(longest), "{waits:?}");
        }
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun() {
        let now = Instant::now();
        assert!(!pause(Duration::from_secs(60), now + Duration::from_secs(59)));
        assert!(!pause(Duration::ZERO, now));
        assert!(now.elapsed() < Duration::from_secs(30));
        assert!(pause(Duration::from_millis(1), now + Duration::from_secs(59)));
        let pace = Pace { least: Duration::from_secs(20), ..Pace::default() };
        assert!(!pace.pause(Duration::from_secs(45), now + Duration::from_secs(60)));
        assert!(!pace.pause(Duration::ZERO, now + Duration::from_secs(19)));
        assert!(pace.pause(Duration::from_millis(1), now + Duration::from_secs(59)));
    }
}
